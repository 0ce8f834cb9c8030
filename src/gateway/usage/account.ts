import type { Limits, Spent } from "../../base/contract.ts";
import { at, isObject, listAt } from "../../base/unknown.ts";
import type { Counter } from "../../store/contract.ts";
import { isRated, msUntilFull, secondsUntilToken } from "./rate-limit.ts";
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
  readonly today: Today;
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
  { now, epoch, today }: Moment,
): number {
  const isSpent = usedUpBudget(lookedUp(days, today.day), limits) !== undefined;
  const wait = isRated(limits) ? secondsUntilToken(bucket, limits, now) : 0;
  return Math.max(wait, isSpent ? secondsLeftOf(today, epoch) : 0);
}

/** The budget of the day that is used up, for the log; undefined when none is. */
export function usedUpBudget(used: DayCount, limits: Limits): string | undefined {
  const { tokens_per_day: tokens, cost_per_day: cost } = limits;
  if (tokens > 0 && tokensOf(used) >= tokens) return `tokens_per_day (${tokens})`;
  return cost > 0 && used.cost >= cost ? `cost_per_day (${cost})` : undefined;
}

export function tokensOf({ inputTokens, outputTokens }: DayCount): number {
  return inputTokens + outputTokens;
}

/** Adds tokens and cost, which may be negative. Clamps at 0, because of rounding. */
export function addSpent(to: { -readonly [Key in keyof Spent]: number }, more: Spent): void {
  to.inputTokens = Math.max(0, to.inputTokens + more.inputTokens);
  to.outputTokens = Math.max(0, to.outputTokens + more.outputTokens);
  to.cost = Math.max(0, to.cost + more.cost);
}

/** A copy of the account in the form of the store. */
export function counterOf(
  name: string,
  { holder, bucket, days }: Account,
  { now, epoch }: Pick<Moment, "now" | "epoch">,
): Counter {
  return {
    name,
    state: {
      holder,
      days: days.map((day) => ({ ...day, refused: { ...day.refused } })),
      ...(bucket && { bucket: { left: bucket.left, at: Math.round(epoch - (now - bucket.at)) } }),
    },
  };
}

/**
 * The account in a stored counter; undefined when it is malformed. The time since it was stored is wall-clock
 * time, clamped at 0: a clock jump refills a bucket at most once, up to its capacity.
 */
export function accountIn(
  { state }: Counter,
  { now, epoch }: Pick<Moment, "now" | "epoch">,
): Account | undefined {
  const [holder, bucket] = [at(state, "holder"), at(state, "bucket")];
  if (!isObject(holder)) return undefined;
  const [channel, client] = [at(holder, "channel"), at(holder, "client")];
  return {
    holder: {
      ...(typeof channel === "string" && { channel }),
      ...(typeof client === "string" && { client }),
    },
    bucket: isObject(bucket)
      ? { left: numberAt(bucket, "left"), at: now - Math.max(0, epoch - numberAt(bucket, "at")) }
      : undefined,
    days: listAt(state, "days").filter(isObject).map(dayIn),
  };
}

function dayIn(fields: object): DayCount {
  const refused = at(fields, "refused");
  const codes = isObject(refused) ? Object.keys(refused) : [];
  return {
    day: numberAt(fields, "day"),
    requests: numberAt(fields, "requests"),
    inputTokens: numberAt(fields, "inputTokens"),
    outputTokens: numberAt(fields, "outputTokens"),
    cost: numberAt(fields, "cost"),
    refused: Object.fromEntries(codes.map((code) => [code, numberAt(refused, code)])),
  };
}

/** The finite number under a key; 0 if there is none. */
export function numberAt(fields: unknown, key: string): number {
  const value = at(fields, key);
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
  const index = days.findIndex((one) => one.day === day);
  const [existing = newDay(day)] = index === -1 ? [] : days.splice(index, 1);
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
