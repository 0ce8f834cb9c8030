import type { Limits } from "../../base/contract.ts";
import type { Counter } from "../../store/contract.ts";
import { filled, isRated, msUntilFull, secondsUntilRoom } from "./rate-limit.ts";
import type { Bucket } from "./rate-limit.ts";

/** The owner of an account: a client of a channel, a whole channel, or, with neither, the gateway. */
export interface Holder {
  readonly channel?: string;
  /** Shortened for the log: do not compare it. */
  readonly client?: string;
}

/** The counters of one holder. */
export interface Account {
  readonly holder: Holder;
  bucket: Bucket | undefined;
  /** The most recently used day is the last. */
  readonly days: DayCount[];
}

/** A moment on the monotonic clock and on the wall clock, which stored times use. */
export interface Moment {
  readonly now: number;
  readonly epoch: number;
}

/** Days for which the usage of a past day is stored, in case the clock is set back. */
const GRACE_DAYS = 3;

/**
 * When the account counts for nothing any more, in milliseconds since the epoch. It counts while its bucket
 * is not full or one of its days has tokens or cost.
 */
export function countsUntil({ bucket, days }: Account, limits: Limits, moment: Moment): number {
  const spent = days.filter((day) => tokensOf(day) > 0 || day.cost > 0);
  const ends = spent.map(({ day }) => endOf(day, GRACE_DAYS));
  const refill = isRated(limits) ? msUntilFull(bucket, limits, moment.now) : 0;
  return Math.max(refill > 0 ? moment.epoch + refill : 0, ...ends);
}

/** Seconds until the account is below all limits; 0 when it is. */
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

/** A copy of the account in the form of the store. */
export function counterOf(
  name: string,
  { holder, bucket, days }: Account,
  moment: Moment,
): Counter {
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
 * The account in a stored counter; undefined when it is malformed. The time since it was stored is wall-clock
 * time, clamped at 0: a clock jump refills a bucket at most once, up to its capacity.
 */
export function accountIn({ state }: Counter, { now, epoch }: Moment): Account | undefined {
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

function textIn(fields: unknown, key: string): string | undefined {
  const value = isFields(fields) ? fields[key] : undefined;
  return typeof value === "string" ? value : undefined;
}

export function numberIn(fields: unknown, key: string): number {
  const value = isFields(fields) ? fields[key] : undefined;
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

/** A calendar day in this device's time zone, as a growing number: 20261125. */
export type DayName = number;

/** A day, and when the next day begins, in milliseconds since the epoch. */
export interface Today {
  readonly day: DayName;
  readonly end: number;
}

/** The day of a moment, by the calendar: days with 23 and 25 hours are right. */
export function todayAt(epoch: number): Today {
  const date = new Date(epoch);
  const [year, month, day] = [date.getFullYear(), date.getMonth(), date.getDate()];
  const end = new Date(year, month, day + 1).getTime();
  return { day: year * 10_000 + (month + 1) * 100 + day, end };
}

/** The end of the day plus `more` days, in milliseconds since the epoch; 0 for a number that is no day. */
function endOf(day: DayName, more: number): number {
  const [year, month, date] = [Math.floor(day / 10_000), Math.floor(day / 100) % 100, day % 100];
  const end = new Date(year, month - 1, date + 1 + more).getTime();
  return Number.isFinite(end) ? end : 0;
}

/** `todayAt` with a cache: the calendar is used once a day, and when the clock goes back. */
export function createCalendar(): (epoch: number) => Today {
  let cached: (Today & { readonly from: number }) | undefined;
  return (epoch) => {
    if (cached === undefined || epoch < cached.from || epoch >= cached.end) {
      cached = { ...todayAt(epoch), from: epoch };
    }
    return cached;
  };
}

/** Whole seconds until the day ends, at least 1. */
export function secondsLeftOf({ end }: Today, epoch: number): number {
  return Math.max(1, Math.ceil((end - epoch) / 1000));
}

/** The counters of one day. */
export interface DayCount {
  readonly day: DayName;
  /** Accepted requests. */
  requests: number;
  inputTokens: number;
  outputTokens: number;
  cost: number;
  /** Rejected requests by error code. */
  readonly refused: Record<string, number>;
}

/**
 * Days that an account remembers. Keyed by calendar day, not by elapsed time: if the clock is corrected back
 * and forth, each day still has one budget.
 */
const DAYS = 4;

/** Gets or creates the counters of the day; drops those of the least recently used day when full. */
export function countOf(days: DayCount[], day: DayName): DayCount {
  const last = days.at(-1);
  if (last?.day === day) return last;
  const at = days.findIndex((one) => one.day === day);
  const [existing = newDay(day)] = at === -1 ? [] : days.splice(at, 1);
  days.push(existing);
  if (days.length > DAYS) days.shift();
  return existing;
}

/** The counters of the day, without creating them in `days`. */
export function lookedUp(days: readonly DayCount[], day: DayName): DayCount {
  return days.find((one) => one.day === day) ?? newDay(day);
}

function newDay(day: DayName): DayCount {
  return { day, requests: 0, inputTokens: 0, outputTokens: 0, cost: 0, refused: {} };
}
