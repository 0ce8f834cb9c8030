import type { Clock } from "./clock.ts";

/** How much may be asked; 0 is no limit. */
export interface Limits {
  readonly requests_per_minute: number;
  /** How many of them may come at once. */
  readonly burst: number;
  /** Requests that wait behind the one under way. */
  readonly queued: number;
}

/** What a channel allows, named as in the configuration. */
export interface ChannelPolicy {
  /** Client ids that may ask; empty, or holding `*`, is everyone. */
  readonly allowFrom: readonly string[];
  /** Client ids that may not, whatever `allowFrom` says; `*` is everyone. */
  readonly denyFrom: readonly string[];
  /** Client ids that may change things for everyone; empty is nobody, `*` is everyone. */
  readonly adminFrom: readonly string[];
  /** Milliseconds between the parts of a streamed answer. */
  readonly intervalMs: number;
  /** For each client. */
  readonly limits: Limits;
  /** For all clients of the channel together. */
  readonly totalLimits: Limits;
}

/** Whether the channel serves that client. Exact: no folding, no trimming, no patterns. */
export function isAllowed({ allowFrom, denyFrom }: ChannelPolicy, client: string): boolean {
  if (denyFrom.includes("*") || denyFrom.includes(client)) return false;
  return allowFrom.length === 0 || allowFrom.includes("*") || allowFrom.includes(client);
}

/** Whether that client may change things for everyone; exact, too. */
export function isAdmin({ adminFrom }: ChannelPolicy, client: string): boolean {
  return adminFrom.includes("*") || adminFrom.includes(client);
}

/** Who asked how often lately. */
export interface Rates {
  /**
   * Counts one request against every one of these limits, or against none: then the result is the
   * seconds, at least 1, after which it would be counted. 0 is: counted.
   */
  take(charges: readonly Charge[]): number;
}

interface Charge {
  /** Whose limit it is. */
  readonly name: string;
  readonly limits: Limits;
}

interface Bucket {
  tokens: number;
  at: number;
}

interface Filled extends Charge {
  readonly capacity: number;
  readonly perMs: number;
  readonly tokens: number;
}

/** Tokens are fractions: the last rounding must not cost the asker a second. */
const ROUNDING = 1e-6;

/**
 * Token buckets. A bucket that nobody touched for long is full, which is as good as none: with more
 * than `rows` names the ones longest untouched are forgotten.
 */
export function createRates(clock: Pick<Clock, "now">, rows: number): Rates {
  const buckets = new Map<string, Bucket>();

  const filled = ({ name, limits }: Charge): Filled => {
    const capacity = Math.max(1, limits.burst);
    const perMs = limits.requests_per_minute / 60_000;
    const bucket = buckets.get(name);
    const grown = bucket && bucket.tokens + (clock.now() - bucket.at) * perMs;
    return { name, limits, capacity, perMs, tokens: Math.min(capacity, grown ?? capacity) };
  };
  const put = (name: string, tokens: number): void => {
    buckets.delete(name);
    buckets.set(name, { tokens, at: clock.now() });
  };
  const forget = (): void => {
    for (const name of buckets.keys()) {
      if (buckets.size <= rows) return;
      buckets.delete(name);
    }
  };

  return {
    take(charges) {
      const limited = charges.filter(({ limits }) => limits.requests_per_minute > 0).map(filled);
      const lacking = limited.filter(({ tokens }) => tokens < 1 - ROUNDING);
      const price = lacking.length === 0 ? 1 : 0;
      for (const { name, tokens } of limited) put(name, Math.max(0, tokens - price));
      forget();
      const waits = lacking.map(({ tokens, perMs }) => Math.ceil((1 - tokens) / perMs / 1000));
      return Math.max(0, ...waits);
    },
  };
}
