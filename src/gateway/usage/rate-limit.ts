import type { Limits } from "../../base/contract.ts";

/** The tokens of a token bucket at a moment; a request takes one. */
export interface Bucket {
  readonly left: number;
  /** On the monotonic clock. */
  readonly at: number;
}

type Rate = Pick<Limits, "requests_per_minute" | "burst">;

/** A rounding error must not cost a second. */
const ROUNDING = 1e-6;

/** Whether there is a rate limit. */
export function isRated({ requests_per_minute: perMinute }: Rate): boolean {
  return perMinute > 0;
}

function capacityOf({ burst }: Rate): number {
  return Math.max(1, burst);
}

/** The bucket at `now`, refilled up to its capacity; a new bucket is full. */
function filled(bucket: Bucket | undefined, rate: Rate, now: number): Bucket {
  const capacity = capacityOf(rate);
  if (bucket === undefined) return { left: capacity, at: now };
  const grown = bucket.left + (Math.max(0, now - bucket.at) * rate.requests_per_minute) / 60_000;
  return { left: Math.min(capacity, grown), at: now };
}

/** Whole seconds, at least 1, until the bucket has a token; 0 when it has one. */
export function secondsUntilToken(bucket: Bucket | undefined, rate: Rate, now: number): number {
  const { left } = filled(bucket, rate, now);
  if (left >= 1 - ROUNDING) return 0;
  return Math.ceil(((1 - left) * 60) / rate.requests_per_minute);
}

/** Milliseconds until the bucket is full; 0 when it is. */
export function msUntilFull(bucket: Bucket | undefined, rate: Rate, now: number): number {
  const missing = capacityOf(rate) - filled(bucket, rate, now).left;
  return (missing * 60_000) / rate.requests_per_minute;
}

/** The bucket at `now`, with one token less. */
export function withTokenTaken(bucket: Bucket | undefined, rate: Rate, now: number): Bucket {
  const { left, at } = filled(bucket, rate, now);
  return { left: Math.max(0, left - 1), at };
}

/** The bucket at `now`, with one token more, up to its capacity. */
export function withTokenGiven(bucket: Bucket | undefined, rate: Rate, now: number): Bucket {
  const { left, at } = filled(bucket, rate, now);
  return { left: Math.min(capacityOf(rate), left + 1), at };
}
