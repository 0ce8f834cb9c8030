import type { Limits } from "../../base/contract.ts";
import { at, isObject } from "../../base/unknown.ts";
import type { Counter, CounterChange, DayCount } from "../../store/contract/counters.ts";
import { addDay, countsOf, daysIn, numberAt } from "../../store/day-counts.ts";
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
  /** The most recently used day is the last; undefined is none. */
  days: DayCount[] | undefined;
  /** What is not written yet. */
  unwritten: Unwritten | undefined;
}

interface Unwritten {
  /** The bucket is another than the one written last. */
  hasBucket: boolean;
  /** What was counted here. */
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
export function countsUntil(
  { bucket, days = [] }: Account,
  limits: Limits,
  moment: Moment,
): number {
  const spent = days.filter((day) => tokensOf(day) > 0 || day.cost > 0);
  const ends = spent.map(({ day }) => endOf(day, GRACE_DAYS));
  const refill = isRated(limits) ? msUntilFull(bucket, limits, moment.now) : 0;
  return Math.max(refill > 0 ? moment.epoch + refill : 0, ...ends);
}

/** Seconds until the account is below all limits; 0 when it is. */
export function secondsUntilFree(
  { bucket, days = [] }: Account,
  limits: Limits,
  { now, epoch, today }: Moment,
): number {
  const isSpent = usedUpBudget(countsOf(days, today.day), limits) !== undefined;
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

export function newAccount(holder: Holder): Account {
  return { holder, bucket: undefined, days: undefined, unwritten: undefined };
}

/** Counts here. */
export function countIn(account: Account, more: DayCount): void {
  addDay((account.days ??= []), more);
  account.unwritten ??= { hasBucket: false, days: [] };
  addDay(account.unwritten.days, more, Number.NEGATIVE_INFINITY);
}

export function setBucket(account: Account, bucket: Bucket): void {
  account.bucket = bucket;
  if (account.unwritten === undefined) account.unwritten = { hasBucket: true, days: [] };
  else account.unwritten.hasBucket = true;
}

/** Takes what changed since the last call, in the form of the store. */
export function takeChange(
  name: string,
  account: Account,
  { now, epoch }: Pick<Moment, "now" | "epoch">,
): CounterChange & { until?: number } {
  const { holder, bucket, unwritten } = account;
  account.unwritten = undefined;
  const stored = bucket && { left: bucket.left, at: Math.round(epoch - (now - bucket.at)) };
  const state = { holder, ...(unwritten?.hasBucket && { bucket: stored }) };
  return { name, state, add: unwritten?.days ?? [] };
}

/** The change was not written. */
export function putBack(account: Account, { state, add = [] }: CounterChange): void {
  const later = account.unwritten;
  const hasBucket = later?.hasBucket === true || at(state, "bucket") !== undefined;
  account.unwritten = { hasBucket, days: [...add] };
  for (const day of later?.days ?? [])
    addDay(account.unwritten.days, day, Number.NEGATIVE_INFINITY);
}

/** Takes over what all writers have counted; `unwritten` are changes of this one that are not among that. */
export function adopt(
  account: Account,
  stored: Account,
  unwritten: readonly CounterChange[],
): void {
  const later = account.unwritten;
  const days = (account.days = [...(stored.days ?? [])]);
  for (const { add = [] } of unwritten) for (const day of add) addDay(days, day);
  for (const day of later?.days ?? []) addDay(days, day);
  const isNewer =
    later?.hasBucket === true || unwritten.some(({ state }) => at(state, "bucket") !== undefined);
  if (!isNewer) account.bucket = stored.bucket;
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
    ...newAccount({
      ...(typeof channel === "string" && { channel }),
      ...(typeof client === "string" && { client }),
    }),
    bucket: isObject(bucket)
      ? { left: numberAt(bucket, "left"), at: now - Math.max(0, epoch - numberAt(bucket, "at")) }
      : undefined,
    days: daysIn(state),
  };
}

/** A calendar day as a growing number: 20261125. */
export type DayName = DayCount["day"];

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

/** The day of a moment in a time zone. */
export function todayInZone(epoch: number, utcOffsetMs: number): Today {
  const date = new Date(epoch + utcOffsetMs);
  const [year, month, day] = [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()];
  const end = Date.UTC(year, month, day + 1) - utcOffsetMs;
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
