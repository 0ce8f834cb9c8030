import { Failure, messageOf } from "../../base/failure.ts";
import type { JobSchedule } from "../../store/contract.ts";

/** The IANA time zone of this machine. */
export function localZone(): string {
  return new Intl.DateTimeFormat().resolvedOptions().timeZone;
}

/** Milliseconds between two firings of a job at least. */
const MIN_INTERVAL_MS = 60_000;
const MAX_INTERVAL_MS = 366 * 24 * 60 * 60_000;
const MAX_EXPRESSION = 100;

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
  const after = dueAt === undefined ? now : Math.max(now, dueAt + MIN_INTERVAL_MS - 1);
  return nextOfCron(schedule, after);
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
    throw new Failure("bad_request", `"${expr}" in ${zone} is no schedule: ${messageOf(thrown)}`);
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
