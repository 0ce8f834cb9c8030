import type { Limits } from "../../base/contract.ts";
import type { Counter } from "../../store/contract.ts";
import { filled, isRated, msUntilFull, secondsUntilRoom } from "./rate-limit.ts";
import type { Bucket } from "./rate-limit.ts";

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
export function meterOf(name: string, { holder, bucket, days }: Account, moment: Moment): Counter {
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

export function textIn(fields: unknown, key: string): string | undefined {
  const value = isFields(fields) ? fields[key] : undefined;
  return typeof value === "string" ? value : undefined;
}

export function numberIn(fields: unknown, key: string): number {
  const value = isFields(fields) ? fields[key] : undefined;
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

/** A calendar day of this device's own time zone, as a number that grows: 20261125. */
export type DayName = number;

/** A day, and the moment (milliseconds since the epoch) at which the next one begins. */
export interface Today {
  readonly day: DayName;
  readonly end: number;
}

/** The day of a moment. Days of 23 and 25 hours are days, too: the calendar says when one ends. */
export function todayAt(epoch: number): Today {
  const date = new Date(epoch);
  const [year, month, day] = [date.getFullYear(), date.getMonth(), date.getDate()];
  const end = new Date(year, month, day + 1).getTime();
  return { day: year * 10_000 + (month + 1) * 100 + day, end };
}

/** When the day ends and so many more have passed, in milliseconds since the epoch; 0 for a number that is no day. */
function endOf(day: DayName, more: number): number {
  const [year, month, date] = [Math.floor(day / 10_000), Math.floor(day / 100) % 100, day % 100];
  const end = new Date(year, month - 1, date + 1 + more).getTime();
  return Number.isFinite(end) ? end : 0;
}

/** The same for one moment after another: the calendar is asked once a day, and when the clock goes back. */
export function createCalendar(): (epoch: number) => Today {
  let known: (Today & { readonly from: number }) | undefined;
  return (epoch) => {
    if (known === undefined || epoch < known.from || epoch >= known.end) {
      known = { ...todayAt(epoch), from: epoch };
    }
    return known;
  };
}

/** Whole seconds until the day ends, at least 1. */
export function secondsLeftOf({ end }: Today, epoch: number): number {
  return Math.max(1, Math.ceil((end - epoch) / 1000));
}

/** What was counted on one day. */
export interface DayCount {
  readonly day: DayName;
  /** Requests that were accepted. */
  requests: number;
  inputTokens: number;
  outputTokens: number;
  cost: number;
  /** Requests that were refused, by the code of the error. */
  readonly refused: Record<string, number>;
}

/**
 * Days of one account that are remembered. They go by their number and never by the clock: whatever the
 * clock says on its way, each calendar day has one budget, and finds what was spent of it when it comes
 * again.
 */
const DAYS = 4;

/** The count of that day among `days`, or one that begins; the one longest untouched makes room for it. */
export function countOf(days: DayCount[], day: DayName): DayCount {
  const last = days.at(-1);
  if (last?.day === day) return last;
  const at = days.findIndex((one) => one.day === day);
  const [known = newDay(day)] = at === -1 ? [] : days.splice(at, 1);
  days.push(known);
  if (days.length > DAYS) days.shift();
  return known;
}

/** What was counted on that day so far; nothing is begun. */
export function lookedUp(days: readonly DayCount[], day: DayName): DayCount {
  return days.find((one) => one.day === day) ?? newDay(day);
}

function newDay(day: DayName): DayCount {
  return { day, requests: 0, inputTokens: 0, outputTokens: 0, cost: 0, refused: {} };
}
