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
