import type { Limits } from "../base/contract.ts";

/** No limit at all. */
export const UNLIMITED: Limits = {
  requests_per_minute: 0,
  burst: 0,
  queued: 0,
  tokens_per_day: 0,
  cost_per_day: 0,
  tool_calls_per_turn: 0,
};

/** What a channel allows, named as in the configuration. */
export interface ChannelPolicy {
  /** Client ids that are allowed; an empty list, or `*`, allows every client. */
  readonly allowFrom: readonly string[];
  /** Client ids that are not allowed, even if `allowFrom` has them; `*` is every client. */
  readonly denyFrom: readonly string[];
  /** Client ids that may change things for everyone; an empty list is nobody, `*` is every client. */
  readonly adminFrom: readonly string[];
  /** Milliseconds between the parts of a streamed answer. */
  readonly intervalMs: number;
  /** Milliseconds without a part after which a streamed answer gets an empty one; 0 is never. */
  readonly progressMs: number;
  /** Code points of what is pushed to a client at most; 0 is any number, as is to leave it out. */
  readonly maxChars?: (client: string) => number;
  /** For each client. */
  readonly limits: Limits;
  /** For all clients of the channel together. */
  readonly totalLimits: Limits;
}

/** Whether the channel serves the client. Compares exactly: no case folding, no trimming, no patterns. */
export function isAllowed(
  { allowFrom, denyFrom }: Pick<ChannelPolicy, "allowFrom" | "denyFrom">,
  client: string,
): boolean {
  if (denyFrom.includes("*") || denyFrom.includes(client)) return false;
  return allowFrom.length === 0 || allowFrom.includes("*") || allowFrom.includes(client);
}

/** Whether the client may change things for everyone. Compares exactly. */
export function isAdmin({ adminFrom }: Pick<ChannelPolicy, "adminFrom">, client: string): boolean {
  return adminFrom.includes("*") || adminFrom.includes(client);
}
