import { at, isObject, listAt } from "../base/unknown.ts";
import type { DayCount } from "./contract/counters.ts";

/**
 * Days that a counter remembers. Keyed by calendar day, not by elapsed time: if the clock is corrected back
 * and forth, each day still has one budget.
 */
const DAYS = 4;
const NO_CODES = {};

/** A day with nothing but `counts`. */
export function dayCount(day: number, counts: Partial<DayCount> = {}): DayCount {
  return {
    day,
    requests: counts.requests ?? 0,
    inputTokens: counts.inputTokens ?? 0,
    outputTokens: counts.outputTokens ?? 0,
    cost: counts.cost ?? 0,
    refused: counts.refused ?? NO_CODES,
  };
}

/** The counts of the day; 0 if there are none. */
export function countsOf(days: readonly DayCount[], day: number): DayCount {
  return days.find((one) => one.day === day) ?? dayCount(day);
}

/** Counts that only the holder of the list has, and that are changed in place. */
type OwnCount = { -readonly [Key in keyof DayCount]: DayCount[Key] };

/**
 * Adds to the counts of a day, which is the last of `days` then; the least recently used day is dropped when
 * there are too many. A number does not fall below `least`.
 */
export function addDay(days: OwnCount[], more: DayCount, least = 0): void {
  const sum = lastDay(days, more.day);
  sum.requests = Math.max(least, sum.requests + more.requests);
  sum.inputTokens = Math.max(least, sum.inputTokens + more.inputTokens);
  sum.outputTokens = Math.max(least, sum.outputTokens + more.outputTokens);
  sum.cost = Math.max(least, sum.cost + more.cost);
  sum.refused = sumOfCodes(sum.refused, more.refused);
}

/** Gets or creates the counts of the day, and makes them the last. */
function lastDay(days: OwnCount[], day: number): OwnCount {
  const last = days.at(-1);
  if (last?.day === day) return last;
  const index = days.findIndex((one) => one.day === day);
  const [counts = dayCount(day)] = index === -1 ? [] : days.splice(index, 1);
  days.push(counts);
  if (days.length > DAYS) days.shift();
  return counts;
}

function sumOfCodes(a: DayCount["refused"], b: DayCount["refused"]): DayCount["refused"] {
  const codes = Object.keys(b);
  if (codes.length === 0) return a;
  const sum = { ...a };
  for (const code of codes) sum[code] = (sum[code] ?? 0) + (b[code] ?? 0);
  return sum;
}

/** The days in the state of a counter; what is malformed counts 0. */
export function daysIn(state: unknown): DayCount[] {
  return listAt(state, "days").filter(isObject).map(dayIn);
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
