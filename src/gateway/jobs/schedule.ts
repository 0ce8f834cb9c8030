import { Failure, messageOf } from "../../base/failure.ts";
import type { Job, JobSchedule } from "../../store/contract/jobs.ts";

/** The IANA time zone of this machine. */
export function localZone(): string {
  return new Intl.DateTimeFormat().resolvedOptions().timeZone;
}

/** Milliseconds between two firings of a job at least. */
const MIN_INTERVAL_MS = 60_000;
const MAX_INTERVAL_MS = 366 * 24 * 60 * 60_000;
const MAX_EXPRESSION = 100;
/** A clock that is set back by more has been wrong: what it showed counts for nothing. */
export const CLOCK_ERROR_MS = 60 * 60_000;
/** A clock that shows less is not set yet: a board whose clock has no battery begins in 1970, or where it was built. */
const CLOCK_IS_SET = Date.UTC(2025, 0, 1);

/**
 * When a job is due next, in milliseconds since the epoch: after `now`, so that firings that were missed count once.
 * `dueAt` is when it fired last, if it did: repeated jobs keep their distance from that. Undefined is never. Throws a
 * `Failure` (`bad_request`) if the schedule is invalid.
 */
export async function nextTime(
  schedule: JobSchedule,
  now: number,
  dueAt?: number,
): Promise<number | undefined> {
  if (schedule.kind === "at") return schedule.at > now ? schedule.at : undefined;
  if (schedule.kind === "every") return nextOfEvery(schedule.ms, now, dueAt);
  const isLast = dueAt !== undefined && dueAt <= now + CLOCK_ERROR_MS;
  const after = isLast ? Math.max(now, dueAt + MIN_INTERVAL_MS - 1) : now;
  return nextOfCron(schedule, after);
}

/**
 * The job as it should be stored if a clock that was wrong has said when it is due next; undefined if that may stay. A
 * clock that is not set says nothing. Throws as `nextTime`.
 */
export async function corrected(job: Job, now: number): Promise<Job | undefined> {
  const { schedule, nextAt, lastAt } = job;
  if (nextAt === undefined || now < CLOCK_IS_SET) return undefined;
  if (schedule.kind === "at") {
    const { at, setAt } = schedule;
    if (setAt === undefined || (setAt >= CLOCK_IS_SET && setAt <= now + CLOCK_ERROR_MS))
      return undefined;
    const due = now + at - setAt;
    return { ...job, schedule: { kind: "at", at: due, setAt: now }, nextAt: due };
  }
  const next = await nextTime(schedule, now, lastAt);
  return next !== undefined && nextAt > next + CLOCK_ERROR_MS
    ? { ...job, nextAt: next }
    : undefined;
}

function nextOfEvery(ms: number, now: number, dueAt = now): number {
  // A clock that is set back would let it wait for the time that it was before.
  if (dueAt > now) return now + ms;
  return dueAt + (Math.floor((now - dueAt) / ms) + 1) * ms;
}

/**
 * In the hour that a zone skips, a job of that hour fires at its end; in the hour that a zone repeats, a job at one
 * time of the day fires once, and one of every hour or minute twice.
 */
async function nextOfCron(
  { expr, zone }: Extract<JobSchedule, { kind: "cron" }>,
  after: number,
): Promise<number | undefined> {
  const { Cron } = await import("croner");
  try {
    return new Cron(expr, { timezone: zone, paused: true }).nextRun(new Date(after))?.getTime();
  } catch (thrown) {
    const message = isZone(zone)
      ? `"${expr}" in ${zone} is no schedule: ${messageOf(thrown)}`
      : `"${zone}" is no time zone: name one such as Europe/Berlin`;
    throw new Failure("bad_request", message);
  }
}

function isZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name }).resolvedOptions();
    return true;
  } catch {
    return false;
  }
}

/**
 * Throws a `Failure` (`bad_request`) if a new job must not have this schedule: it is invalid, never fires, or fires too
 * often. Returns when it fires first.
 */
export async function firstTime(schedule: JobSchedule, now: number): Promise<number> {
  if (schedule.kind === "every") {
    if (schedule.ms < MIN_INTERVAL_MS) throw tooOften();
    if (schedule.ms > MAX_INTERVAL_MS)
      throw new Failure("bad_request", "a job repeats at least once a year");
  }
  if (schedule.kind === "cron" && schedule.expr.length > MAX_EXPRESSION) {
    throw new Failure("bad_request", `a cron expression has at most ${MAX_EXPRESSION} characters`);
  }
  const first = await nextTime(schedule, now);
  if (first === undefined) throw new Failure("bad_request", "this schedule never fires");
  if (schedule.kind !== "cron") return first;
  const second = await nextOfCron(schedule, first);
  if (second !== undefined && second - first < MIN_INTERVAL_MS) throw tooOften();
  return first;
}

function tooOften(): Failure {
  return new Failure("bad_request", "a job fires at most once a minute: choose a longer interval");
}
