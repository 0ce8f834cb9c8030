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
export function endOf(day: DayName, more: number): number {
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
