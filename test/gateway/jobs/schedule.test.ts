import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { firstTime, nextTime } from "../../../src/gateway/jobs/schedule.ts";
import type { JobSchedule } from "../../../src/store/contract/jobs.ts";

const at = (time: string): number => Date.parse(time);
const berlin = (expr: string): JobSchedule => ({ kind: "cron", expr, zone: "Europe/Berlin" });

/** The next firings, each as the scheduler finds it: after the one before. */
async function firings(schedule: JobSchedule, from: string, most: number) {
  const found: string[] = [];
  let dueAt: number | undefined;
  for (let now = at(from); found.length < most;) {
    const next = await nextTime(schedule, now, dueAt);
    if (next === undefined) break;
    found.push(new Date(next).toISOString().slice(0, 16));
    [now, dueAt] = [next, next];
  }
  return found;
}

describe("the schedule of a job", () => {
  it("keeps its distance, and counts firings that were missed once", async () => {
    const hourly: JobSchedule = { kind: "every", ms: 3_600_000 };
    const noon = at("2027-01-01T12:00:00Z");
    assert.equal(await nextTime(hourly, noon), noon + 3_600_000);
    assert.equal(await nextTime(hourly, noon + 5, noon), noon + 3_600_000);
    assert.equal(await nextTime(hourly, noon + 3_600_000, noon), noon + 7_200_000);
    assert.equal(await nextTime(hourly, noon + 9 * 3_600_000 + 1, noon), noon + 10 * 3_600_000);
    // The clock was set back by a day.
    const yesterday = noon - 24 * 3_600_000;
    assert.equal(await nextTime(hourly, yesterday, noon), yesterday + 3_600_000);
    const daily = berlin("0 9 * * *");
    assert.equal(await nextTime(daily, yesterday, at("2035-01-01")), at("2027-01-01T08:00Z"));
    // By a little it was corrected while the job was done.
    assert.equal(await nextTime(daily, noon - 1, noon), at("2027-01-02T08:00Z"));
  });

  it("of one time is that time, or never", async () => {
    const once: JobSchedule = { kind: "at", at: 1000 };
    assert.equal(await nextTime(once, 999), 1000);
    assert.equal(await nextTime(once, 1000, 1000), undefined);
    await assert.rejects(firstTime(once, 1000), { code: "bad_request", message: /never fires/ });
  });

  it("stays at its time of the day when summer time begins, and fires in the hour that is skipped", async () => {
    // On 28 March 2027 the clocks go from 02:00 to 03:00.
    assert.deepEqual(await firings(berlin("30 2 * * *"), "2027-03-26T12:00:00Z", 4), [
      "2027-03-27T01:30",
      "2027-03-28T01:00",
      "2027-03-29T00:30",
      "2027-03-30T00:30",
    ]);
    assert.deepEqual(await firings(berlin("0 9 * * *"), "2027-03-26T12:00:00Z", 2), [
      "2027-03-27T08:00",
      "2027-03-28T07:00",
    ]);
  });

  it("fires once in the hour that is repeated when summer time ends, but each half hour all the same", async () => {
    // On 31 October 2027 the clocks go from 03:00 back to 02:00.
    assert.deepEqual(await firings(berlin("30 2 * * *"), "2027-10-29T12:00:00Z", 3), [
      "2027-10-30T00:30",
      "2027-10-31T00:30",
      "2027-11-01T01:30",
    ]);
    assert.deepEqual(await firings(berlin("*/30 * * * *"), "2027-10-30T23:40:00Z", 5), [
      "2027-10-31T00:00",
      "2027-10-31T00:30",
      "2027-10-31T01:00",
      "2027-10-31T01:30",
      "2027-10-31T02:00",
    ]);
  });

  it("that is none, or fires more than once a minute, is refused with a sentence", async () => {
    const now = at("2027-01-01T00:00:00Z");
    const refusals: (readonly [JobSchedule, RegExp])[] = [
      [{ kind: "every", ms: 59_999 }, /once a minute/],
      [{ kind: "every", ms: 400 * 86_400_000 }, /once a year/],
      [berlin("*/10 * * * * *"), /once a minute/],
      [berlin("0 0 30 2 *"), /never fires/],
      [berlin("61 * * * *"), /is no schedule/],
      [berlin(""), /is no schedule/],
      [berlin(`${"0,".repeat(60)}0 * * * *`), /at most 100 characters/],
      [{ kind: "cron", expr: "0 9 * * *", zone: "Mars/Olympus" }, /Mars\/Olympus/],
    ];
    for (const [schedule, message] of refusals) {
      await assert.rejects(firstTime(schedule, now), { code: "bad_request", message });
    }
    assert.equal(await firstTime(berlin("* * * * *"), now), now + 60_000);
    assert.equal(await firstTime({ kind: "every", ms: 60_000 }, now), now + 60_000);
  });

  it("that hides a second firing in a later minute still fires once a minute at the most", async () => {
    const sly = berlin("0,10,20 */2 * * * *");
    assert.deepEqual(await firings(sly, "2027-01-01T00:00:30Z", 3), [
      "2027-01-01T00:02",
      "2027-01-01T00:04",
      "2027-01-01T00:06",
    ]);
  });
});
