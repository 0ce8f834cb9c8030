import type { Limits } from "../../base/contract.ts";
import type { Meter } from "../../store/contract.ts";
import { filled, isRated, msUntilFull, secondsUntilRoom } from "./bucket.ts";
import type { Bucket } from "./bucket.ts";
import { endOf, lookedUp, secondsLeftOf } from "./day.ts";
import type { DayCount, Today } from "./day.ts";

/** Whose account it is: a client of a channel, a channel as a whole, or, with neither, the gateway. */
export interface Holder {
  readonly channel?: string;
  /** Short enough for a line: not to be compared. */
  readonly client?: string;
}

/** What was counted of one holder. */
export interface Account {
  readonly holder: Holder;
  bucket: Bucket | undefined;
  /** The day touched last is the last one. */
  readonly days: DayCount[];
}

/** A moment on both clocks: what is kept tells times by the one that others share. */
export interface Moment {
  readonly now: number;
  readonly epoch: number;
}

/** A budget of a day that is over is kept so much longer, for a clock that is set back. */
const GRACE_DAYS = 3;

/**
 * Until when something of the account counts, in milliseconds since the epoch: its bucket is not full, or
 * tokens or cost stand on one of its days.
 */
export function countsUntil({ bucket, days }: Account, limits: Limits, moment: Moment): number {
  const spent = days.filter((day) => tokensOf(day) > 0 || day.cost > 0);
  const ends = spent.map(({ day }) => endOf(day, GRACE_DAYS));
  const refill = isRated(limits) ? msUntilFull(bucket, limits, moment.now) : 0;
  return Math.max(refill > 0 ? moment.epoch + refill : 0, ...ends);
}

/** Seconds until the account has room for one more request of each limit; 0 where it has. */
export function secondsUntilFree(
  { bucket, days }: Account,
  limits: Limits,
  { now, epoch, today }: Moment & { readonly today: Today },
): number {
  const { tokens_per_day: tokens, cost_per_day: cost } = limits;
  const used = lookedUp(days, today.day);
  const isSpent = (tokens > 0 && tokensOf(used) >= tokens) || (cost > 0 && used.cost >= cost);
  const wait = isRated(limits) ? secondsUntilRoom(filled(bucket, limits, now), limits) : 0;
  return Math.max(wait, isSpent ? secondsLeftOf(today, epoch) : 0);
}

export function tokensOf({ inputTokens, outputTokens }: Tokens): number {
  return inputTokens + outputTokens;
}

type Tokens = Pick<DayCount, "inputTokens" | "outputTokens">;

/** An account as it is kept, a copy. */
export function meterOf(name: string, { holder, bucket, days }: Account, moment: Moment): Meter {
  const at = bucket && Math.round(moment.epoch - (moment.now - bucket.at));
  return {
    name,
    state: {
      holder,
      days: days.map((day) => ({ ...day, refused: { ...day.refused } })),
      ...(bucket && { bucket: { left: bucket.left, at } }),
    },
  };
}

/**
 * The account that was kept; undefined where that is none. Time since it was kept is what the clock of
 * others says, but never less than none: a bucket grows by a jump of that clock at the start at the most,
 * and never beyond its capacity.
 */
export function accountIn({ state }: Meter, { now, epoch }: Moment): Account | undefined {
  if (!isFields(state) || !isFields(state["holder"])) return undefined;
  const { holder, bucket, days } = state;
  const [channel, client] = [textIn(holder, "channel"), textIn(holder, "client")];
  const at = numberIn(bucket, "at");
  return {
    holder: { ...(channel !== undefined && { channel }), ...(client !== undefined && { client }) },
    bucket: isFields(bucket)
      ? { left: numberIn(bucket, "left"), at: now - Math.max(0, epoch - at) }
      : undefined,
    days: Array.isArray(days) ? days.filter(isFields).map(dayIn) : [],
  };
}

function dayIn(fields: Fields): DayCount {
  const refused = isFields(fields["refused"]) ? fields["refused"] : {};
  return {
    day: numberIn(fields, "day"),
    requests: numberIn(fields, "requests"),
    inputTokens: numberIn(fields, "inputTokens"),
    outputTokens: numberIn(fields, "outputTokens"),
    cost: numberIn(fields, "cost"),
    refused: Object.fromEntries(
      Object.keys(refused).map((code) => [code, numberIn(refused, code)]),
    ),
  };
}

type Fields = Readonly<Record<string, unknown>>;

export function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function textIn(fields: unknown, key: string): string | undefined {
  const value = isFields(fields) ? fields[key] : undefined;
  return typeof value === "string" ? value : undefined;
}

export function numberIn(fields: unknown, key: string): number {
  const value = isFields(fields) ? fields[key] : undefined;
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}
