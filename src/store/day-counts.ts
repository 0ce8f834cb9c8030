import { at, isObject, listAt } from "../base/unknown.ts";
import type { DayCount } from "./contract.ts";

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

/**
 * Adds to the counts of a day, which is the last of `days` then; the least recently used day is dropped when
 * there are too many. A number does not fall below `least`.
 */
export function addDay(days: DayCount[], more: DayCount, least = 0): void {
  const last = days.length - 1;
  if (days[last]?.day === more.day) {
    days[last] = sumOf(days[last], more, least);
    return;
  }
  const index = last === -1 ? -1 : days.findIndex(({ day }) => day === more.day);
  const [earlier] = index === -1 ? [] : days.splice(index, 1);
  days.push(sumOf(earlier ?? dayCount(more.day), more, least));
  if (days.length > DAYS) days.shift();
}

function sumOf(a: DayCount, b: DayCount, least: number): DayCount {
  return {
    day: a.day,
    requests: Math.max(least, a.requests + b.requests),
    inputTokens: Math.max(least, a.inputTokens + b.inputTokens),
    outputTokens: Math.max(least, a.outputTokens + b.outputTokens),
    cost: Math.max(least, a.cost + b.cost),
    refused: sumOfCodes(a.refused, b.refused),
  };
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
