import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../../src/base/failure.ts";
import { SILENT } from "../../../src/base/log.ts";
import type { Push } from "../../../src/gateway/contract.ts";
import { JobScheduler } from "../../../src/gateway/jobs/scheduler.ts";
import type { JobSchedulerOptions } from "../../../src/gateway/jobs/scheduler.ts";
import type { JobStore } from "../../../src/store/contract/jobs.ts";
import { createMemoryStore } from "../../../src/store/sqlite/store.ts";
import { MANY, newJob } from "../../store/job-contract.ts";
import { createManualClock, settled } from "../manual-clock.ts";
import { storeFacts } from "../setup.ts";

async function setUp(facts: Partial<JobSchedulerOptions> = {}) {
  const clock = createManualClock();
  const opened = createMemoryStore<string>(storeFacts(clock, "test"));
  const store = facts.store ?? (await opened.jobs());
  const pushed: Push[] = [];
  const options: JobSchedulerOptions = {
    store,
    clock,
    log: SILENT,
    push: async (push) => void pushed.push(push),
    runCommand: async ({ payload }) => `output of ${payload.text}`,
    readTasks: async () => undefined,
    ...facts,
  };
  const scheduler = new JobScheduler(options);
  return {
    clock,
    store,
    pushed,
    options,
    scheduler,
    ids: () => pushed.map(({ id }) => id),
    async [Symbol.asyncDispose]() {
      await scheduler.close();
      assert.equal(clock.timers, 0);
      await opened.close();
    },
  };
}

const textOf = (push: Push | undefined) =>
  push === undefined ? undefined : "text" in push ? push.text : push.prompt;

function awayFailure(): Promise<never> {
  return Promise.reject(new Failure("busy", "away"));
}

describe("the scheduler of jobs", () => {
  it("pushes a job's task when it is due, and again after its interval", async () => {
    await using jobs = await setUp();
    const { clock, store, scheduler, pushed } = jobs;
    const due = clock.epoch() + 30_000;
    await store.addJob(newJob("a", { nextAt: due }), MANY);
    scheduler.wake();
    await clock.advance(29_999);
    assert.equal(pushed.length, 0);
    await clock.advance(1);
    const [push] = pushed;
    assert.deepEqual(
      [push?.channel, push?.client, push?.id, push?.from],
      ["mqtt", "kitchen", `job-a-${due}`, "job"],
    );
    assert.match(textOf(push) ?? "", /The job "name of a" \(a\) was due at .*\n?.*\ntext of a$/);
    assert.equal(push?.expiresAt, due + 3_600_000);
    await clock.advance(60_000);
    assert.deepEqual(jobs.ids(), [`job-a-${due}`, `job-a-${due + 60_000}`]);
    const stored = await store.job("a");
    assert.deepEqual([stored?.lastAt, stored?.nextAt], [due + 60_000, due + 120_000]);
  });

  it("fires once what was missed many times, and a job of one time is gone after that", async () => {
    await using jobs = await setUp();
    const { clock, store, scheduler } = jobs;
    const due = clock.epoch();
    await store.addJob(newJob("every", { nextAt: due }), MANY);
    await store.addJob(newJob("once", { schedule: { kind: "at", at: due }, nextAt: due }), MANY);
    clock.jump(10 * 60_000 + 1);
    scheduler.wake();
    await settled();
    assert.deepEqual(jobs.ids(), [`job-every-${due}`, `job-once-${due}`]);
    assert.equal((await store.job("every"))?.nextAt, due + 11 * 60_000);
    assert.equal(await store.job("once"), undefined);
  });

  it("keeps a message for a day, or for an hour if the next one comes soon", async () => {
    await using jobs = await setUp();
    const { clock, store, scheduler, pushed } = jobs;
    const now = clock.epoch();
    const schedules = [
      { kind: "at", at: now },
      { kind: "every", ms: 60_000 },
      { kind: "every", ms: 7_200_000 },
      { kind: "every", ms: 7 * 86_400_000 },
    ] as const;
    for (const [index, schedule] of schedules.entries()) {
      await store.addJob(newJob(`${index}`, { schedule, nextAt: now }), MANY);
    }
    scheduler.wake();
    await settled();
    assert.deepEqual(
      pushed.map(({ expiresAt = 0 }) => (expiresAt - now) / 3_600_000),
      [24, 1, 2, 24],
    );
  });

  it("finds within seconds what another process made due", async () => {
    await using jobs = await setUp();
    const { clock, store, scheduler, pushed } = jobs;
    const added = newJob("a", { nextAt: clock.epoch() + 3_600_000 });
    await store.addJob(added, MANY);
    scheduler.wake();
    await clock.advance(1000);
    await store.changeJob({ ...added, version: 1, nextAt: clock.epoch() });
    await clock.advance(5000);
    assert.equal(pushed.length, 1);
  });

  it("tries again with the same id what found no room, and others do not wait for it", async () => {
    const tries: string[] = [];
    let isFull = true;
    await using jobs = await setUp({
      push: async ({ id, client }) => {
        tries.push(id);
        if (client === "full" && isFull) throw new Failure("busy", "the queue is full");
      },
    });
    const { clock, store, scheduler } = jobs;
    const nextAt = clock.epoch();
    for (let index = 0; index < 40; index += 1) {
      await store.addJob(newJob(`full ${index}`, { client: "full", nextAt }), MANY);
    }
    await store.addJob(newJob("other", { nextAt: nextAt + 1 }), MANY);
    scheduler.wake();
    await clock.advance(500);
    assert.equal(tries.length, 41);
    assert.equal((await store.job("other"))?.lastAt, nextAt + 1);
    isFull = false;
    await clock.advance(1000);
    assert.equal(new Set(tries).size, 41);
    const ended = (await store.jobs()).filter(({ lastAt }) => lastAt !== undefined);
    assert.equal(ended.length, 41);
  });

  it("notes why a job failed; one whose client is no longer allowed fires no more", async () => {
    let failure = new Failure("budget", "the budget of today is used up");
    await using jobs = await setUp({
      push: async () => {
        throw failure;
      },
    });
    const { clock, store, scheduler } = jobs;
    const nextAt = clock.epoch();
    await store.addJob(newJob("a", { nextAt }), MANY);
    await store.addJob(newJob("once", { schedule: { kind: "at", at: nextAt }, nextAt }), MANY);
    scheduler.wake();
    await settled();
    const failed = await store.job("a");
    assert.deepEqual([failed?.lastError, failed?.nextAt], [failure.message, nextAt + 60_000]);
    // It is still there, for its client to see.
    const once = await store.job("once");
    assert.deepEqual([once?.lastError, once?.nextAt], [failure.message, undefined]);
    failure = new Failure("forbidden", "this client may not ask");
    await clock.advance(60_000);
    assert.deepEqual((await store.job("a"))?.nextAt, undefined);
  });

  it("sends what a command prints, and nothing if there is nothing", async () => {
    const running: string[] = [];
    let most = 0;
    await using jobs = await setUp({
      runCommand: async ({ id, payload }) => {
        running.push(id);
        most = Math.max(most, running.length);
        await settled();
        running.splice(running.indexOf(id), 1);
        return payload.text === "true" ? undefined : `output of ${payload.text}`;
      },
    });
    const { clock, store, scheduler, pushed } = jobs;
    const nextAt = clock.epoch();
    const command = (text: string, client: string) =>
      newJob(`${text} ${client}`, { client, nextAt, payload: { kind: "command", text } });
    await store.addJob(command("true", "a"), MANY);
    await store.addJob(command("df", "a"), MANY);
    for (const client of ["b", "c", "d"]) await store.addJob(command("df", client), MANY);
    scheduler.wake();
    for (let turn = 0; pushed.length < 4 && turn < 50; turn += 1) await settled();
    assert.deepEqual(
      pushed.map((push) => `${push.client}: ${textOf(push)}`).toSorted(),
      ["a", "b", "c", "d"].map((client) => `${client}: name of df ${client}\noutput of df`),
    );
    assert.equal(most, 2);
  });

  it("does not run a command again that was cut off by a crash, and says so", async () => {
    await using jobs = await setUp({ runCommand: () => new Promise(() => {}) });
    const { clock, store, options } = jobs;
    const nextAt = clock.epoch();
    await store.addJob(newJob("a", { nextAt, payload: { kind: "command", text: "rm x" } }), MANY);
    const [claimed] = await store.claimJobs(nextAt, 1);
    assert.ok(claimed);
    const left = [{ ...claimed, attempts: 1 }];
    const once: JobStore = { ...store, claimJobs: async () => left.splice(0) };
    const next = new JobScheduler({ ...options, store: once });
    next.wake();
    await settled();
    await next.close();
    assert.match(textOf(jobs.pushed[0]) ?? "", /ended while this command ran/);
  });

  it("reads tasks from their file at each firing, and sends nothing without any", async () => {
    let tasks: string | undefined;
    await using jobs = await setUp({ readTasks: async (file) => tasks && `${file}: ${tasks}` });
    const { clock, store, scheduler, pushed } = jobs;
    const payload = { kind: "file", text: "HEARTBEAT.md" } as const;
    await store.addJob(newJob("heartbeat", { payload, nextAt: clock.epoch() }), MANY);
    scheduler.wake();
    await settled();
    assert.equal(pushed.length, 0);
    tasks = "look at the door";
    await clock.advance(60_000);
    assert.deepEqual(pushed.map(textOf), ["HEARTBEAT.md: look at the door"]);
  });

  it("leaves to the next owner what is not pushed when it is closed", async () => {
    await using jobs = await setUp({
      push: async () => {
        throw new Failure("busy", "later");
      },
    });
    const { clock, store, scheduler } = jobs;
    await store.addJob(newJob("a", { nextAt: clock.epoch() }), MANY);
    scheduler.wake();
    await settled();
    await scheduler.close();
    assert.equal((await store.job("a"))?.nextAt, clock.epoch());
  });

  it("ends the firing of what is pushed while it closes", async () => {
    const stored = Promise.withResolvers<void>();
    await using jobs = await setUp({ push: () => stored.promise });
    const { clock, store, scheduler } = jobs;
    const nextAt = clock.epoch();
    await store.addJob(newJob("a", { nextAt }), MANY);
    scheduler.wake();
    await settled();
    const closed = scheduler.close();
    stored.resolve();
    await closed;
    assert.equal((await store.job("a"))?.lastAt, nextAt);
  });

  it("goes on after a store that could not be read or written", async () => {
    let isAway = true;
    const opened = createMemoryStore<string>(storeFacts(createManualClock(), "test"));
    const inner = await opened.jobs();
    const store: JobStore = {
      ...inner,
      claimJobs: (...args) => (isAway ? awayFailure() : inner.claimJobs(...args)),
      endFiring: (...args) => (isAway ? awayFailure() : inner.endFiring(...args)),
    };
    await using jobs = await setUp({ store });
    const { clock, scheduler, pushed } = jobs;
    const nextAt = clock.epoch();
    await store.addJob(newJob("a", { nextAt }), MANY);
    scheduler.wake();
    await clock.advance(4999);
    assert.equal(pushed.length, 0);
    isAway = false;
    await clock.advance(1);
    assert.deepEqual(jobs.ids(), [`job-a-${nextAt}`]);
    isAway = true;
    await clock.advance(60_000);
    isAway = false;
    await clock.advance(20_000);
    assert.deepEqual(jobs.ids(), [`job-a-${nextAt}`, `job-a-${nextAt + 60_000}`]);
    assert.equal((await store.job("a"))?.lastAt, nextAt + 60_000);
    await opened.close();
  });
});

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const YEAR = 365 * DAY;

describe("a clock that was wrong", () => {
  const zone = "UTC";
  const REPEATED = [
    newJob("every", { schedule: { kind: "every", ms: 2 * HOUR } }),
    newJob("cron", { schedule: { kind: "cron", expr: "0 * * * *", zone } }),
  ];

  it("ahead, silences no job once it is right, also with the next start", async () => {
    for (const isStarted of [true, false]) {
      await using jobs = await setUp();
      const { clock, store, scheduler, pushed } = jobs;
      const now = clock.epoch();
      clock.jump(9 * YEAR);
      for (const job of REPEATED) {
        await store.addJob({ ...job, nextAt: clock.epoch() + HOUR }, MANY);
      }
      const made = clock.epoch();
      const schedule = { kind: "at", at: made + 2 * HOUR, setAt: made } as const;
      await store.addJob(newJob("once", { schedule, nextAt: schedule.at }), MANY);
      // What somebody wants in ten years stays.
      const far = now + 10 * YEAR;
      const later = { kind: "at", at: far, setAt: now } as const;
      await store.addJob(newJob("far", { schedule: later, nextAt: far }), MANY);
      if (isStarted) scheduler.wake();
      await settled();
      clock.jump(-9 * YEAR);
      if (!isStarted) scheduler.wake();
      await clock.advance(2 * HOUR + 10_000);
      const fired = pushed.map(({ id }) => id.split("-")[1]);
      assert.deepEqual(fired.toSorted(compare), ["cron", "cron", "every", "once"]);
      assert.ok((await store.job("every"))?.nextAt === now + 4 * HOUR + (isStarted ? 5_000 : 0));
      assert.equal((await store.job("far"))?.nextAt, far);
    }
  });

  it("ahead while a job is done, silences it no longer than an hour", async () => {
    const push = Promise.withResolvers<void>();
    await using jobs = await setUp({ push: () => push.promise });
    const { clock, store, scheduler } = jobs;
    clock.jump(9 * YEAR);
    for (const job of REPEATED) await store.addJob({ ...job, nextAt: clock.epoch() }, MANY);
    scheduler.wake();
    await settled();
    clock.jump(-9 * YEAR);
    await clock.advance(10_000);
    push.resolve();
    await settled();
    for (const { id, nextAt = 0 } of await store.jobs()) {
      assert.ok(nextAt > clock.epoch() && nextAt <= clock.epoch() + 2 * HOUR, id);
    }
  });

  it("at its beginning fires nothing, and once it is set what was missed once", async () => {
    await using jobs = await setUp();
    const { clock, store, scheduler, pushed } = jobs;
    const now = clock.epoch();
    const missed = REPEATED.map((job) => ({ ...job, nextAt: now - 30 * DAY }));
    for (const job of missed) await store.addJob(job, MANY);
    await store.addJob(newJob("later", { ...REPEATED[0], id: "later", nextAt: now + HOUR }), MANY);
    clock.jump(-now);
    const schedule = { kind: "at", at: clock.epoch() + HOUR, setAt: clock.epoch() } as const;
    await store.addJob(newJob("once", { schedule, nextAt: schedule.at }), MANY);
    scheduler.wake();
    await clock.advance(60_000);
    assert.equal(pushed.length, 0);
    clock.jump(now);
    await clock.advance(10_000);
    const fired = () => pushed.map(({ id }) => id.split("-")[1]).toSorted(compare);
    assert.deepEqual(fired(), ["cron", "every"]);
    await clock.advance(HOUR - 30_000);
    assert.deepEqual(fired(), ["cron", "cron", "every", "later"]);
    await clock.advance(30_000);
    assert.deepEqual(fired(), ["cron", "cron", "every", "later", "once"]);
  });
});

function compare(one = "", other = ""): number {
  return one < other ? -1 : 1;
}
