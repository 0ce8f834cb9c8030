import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { JobStore, NewJob } from "../../src/store/contract/jobs.ts";
import type { StoreOptions } from "../../src/store/contract/store.ts";

/** Opened again it is the next process; `isDead` says that the former ones are dead by then. */
interface JobsUnderTest extends AsyncDisposable {
  open(facts?: Partial<StoreOptions>): Promise<JobsOpener>;
}

interface JobsOpener {
  hasJobs(): Promise<boolean>;
  jobs(): Promise<JobStore>;
}

export const NOON = 1_800_000_000_000;
export const MANY = { ofClient: 100, ofAll: 1000 };

export function newJob(id: string, facts: Partial<NewJob> = {}): NewJob {
  return {
    id,
    channel: "mqtt",
    client: "kitchen",
    name: `name of ${id}`,
    schedule: { kind: "every", ms: 60_000 },
    payload: { kind: "message", text: `text of ${id}` },
    nextAt: NOON,
    ...facts,
  };
}

async function jobsOf(home: JobsUnderTest, facts?: Partial<StoreOptions>): Promise<JobStore> {
  return (await home.open(facts)).jobs();
}

/** What every store of jobs has to do. */
export function jobContract(name: string, create: () => Promise<JobsUnderTest>): void {
  describe(`jobs in ${name}`, () => {
    it("are what was added, in that order, by client or all", async () => {
      await using home = await create();
      const opened = await home.open();
      assert.equal(await opened.hasJobs(), false);
      const store = await opened.jobs();
      const strange = newJob("b", { client: "küche \ud800 \0 x", nextAt: NOON + 5 });
      const never = newJob("c", {
        schedule: { kind: "cron", expr: "0 9 * * *", zone: "Europe/Berlin" },
      });
      const { nextAt: _, ...disabled } = never;
      for (const job of [newJob("z"), strange, disabled]) {
        assert.equal(await store.addJob(job, MANY), "added");
      }
      assert.equal(await opened.hasJobs(), true);
      const [z, b, c] = await store.jobs();
      assert.deepEqual(
        [z, b, c],
        [
          { ...newJob("z"), version: 1 },
          { ...strange, version: 1 },
          { ...disabled, version: 1 },
        ],
      );
      assert.deepEqual(await store.jobs(strange), [b]);
      assert.deepEqual(await store.jobs(newJob("?")), [z, c]);
      assert.deepEqual(await store.jobs({ channel: "mqt", client: "tkitchen" }), []);
      assert.deepEqual(await store.job("c"), c);
      assert.equal(await store.job("d"), undefined);
      assert.deepEqual(await store.jobSummary(NOON), { jobs: 3, enabled: 2, nextAt: NOON + 5 });
      assert.deepEqual(await store.jobSummary(NOON + 5), { jobs: 3, enabled: 2 });
    });

    it("have an id of their own, and are only so many", async () => {
      await using home = await create();
      const store = await jobsOf(home);
      const most = { ofClient: 2, ofAll: 3 };
      assert.equal(await store.addJob(newJob("a"), most), "added");
      assert.equal(await store.addJob(newJob("a", { client: "other" }), most), "known");
      // Two at once find room for one.
      const both = ["b", "c"].map((id) => store.addJob(newJob(id), most));
      assert.deepEqual((await Promise.all(both)).toSorted(), ["added", "full"]);
      assert.equal(await store.addJob(newJob("d", { client: "other" }), most), "added");
      assert.equal(await store.addJob(newJob("e", { client: "third" }), most), "full");
      assert.equal(await store.removeJob("a"), true);
      assert.equal(await store.removeJob("a"), false);
      assert.equal(await store.addJob(newJob("e", { client: "third" }), most), "added");
    });

    it("are changed by whoever read them last", async () => {
      await using home = await create();
      const store = await jobsOf(home);
      await store.addJob(newJob("a"), MANY);
      const read = await store.job("a");
      assert.ok(read);
      const { nextAt: _, ...disabled } = { ...read, name: "new" };
      assert.equal(await store.changeJob(disabled), true);
      assert.equal(await store.changeJob({ ...read, name: "late" }), false);
      assert.deepEqual(await store.job("a"), { ...disabled, version: 2 });
      assert.equal(await store.changeJob({ ...read, id: "b" }), false);
    });

    it("are claimed once when they are due, the earliest first, until the firing ends", async () => {
      await using home = await create();
      const store = await jobsOf(home);
      for (const [id, nextAt] of [
        ["late", 3],
        ["first", 1],
        ["second", 2],
      ] as const) {
        await store.addJob(newJob(id, { nextAt: NOON + nextAt }), MANY);
      }
      assert.deepEqual(await store.claimJobs(NOON, 10), []);
      const [first] = await store.claimJobs(NOON + 2, 1);
      assert.deepEqual(first, {
        ...newJob("first", { nextAt: NOON + 1 }),
        version: 1,
        attempts: 0,
      });
      const [second, ...more] = await store.claimJobs(NOON + 2, 10);
      assert.deepEqual([second?.id, more.length], ["second", 0]);
      assert.deepEqual(await store.claimJobs(NOON + 2, 10), []);
      assert.ok(second);
      assert.equal(await store.endFiring(first, { nextAt: NOON + 60_000 }), true);
      assert.equal(await store.endFiring(first, { nextAt: NOON + 70_000 }), false);
      assert.equal(await store.endFiring(second, { error: "why\0 not" }), true);
      const { nextAt: _, ...ended } = newJob("second");
      const fields = { lastAt: NOON + 2, lastError: "why\0 not", version: 2 };
      assert.deepEqual(await store.job("second"), { ...ended, ...fields });
      const again = await store.claimJobs(NOON + 60_000, 10);
      assert.deepEqual(
        again.map(({ id, lastAt }) => [id, lastAt]),
        [
          ["late", undefined],
          ["first", NOON + 1],
        ],
      );
    });

    it("that were changed while they fired are as they were changed", async () => {
      await using home = await create();
      const store = await jobsOf(home);
      await store.addJob(newJob("moved"), MANY);
      await store.addJob(newJob("renamed"), MANY);
      await store.addJob(newJob("removed"), MANY);
      const claimed = await store.claimJobs(NOON, 10);
      const [moved, renamed, removed] = claimed;
      assert.ok(moved && renamed && removed);
      const { attempts: _, ...job } = moved;
      assert.equal(await store.changeJob({ ...job, nextAt: NOON + 500 }), true);
      assert.equal(await store.endFiring(moved, { nextAt: NOON + 60_000 }), false);
      assert.equal((await store.job("moved"))?.nextAt, NOON + 500);
      const { attempts: _one, ...other } = renamed;
      assert.equal(await store.changeJob({ ...other, name: "new" }), true);
      assert.equal(await store.endFiring(renamed, { nextAt: NOON + 60_000 }), true);
      const stored = await store.job("renamed");
      assert.deepEqual([stored?.name, stored?.nextAt], ["new", NOON + 60_000]);
      await store.removeJob("removed");
      assert.equal(await store.endFiring(removed, { nextAt: NOON + 60_000 }), false);
      const [free] = await store.claimJobs(NOON + 500, 10);
      assert.deepEqual([free?.id, free?.attempts], ["moved", 0]);
    });

    it("that have done their work are removed", async () => {
      await using home = await create();
      const store = await jobsOf(home);
      await store.addJob(newJob("a", { schedule: { kind: "at", at: NOON } }), MANY);
      const [claimed] = await store.claimJobs(NOON, 10);
      assert.ok(claimed);
      assert.equal(await store.endFiring(claimed, { remove: true }), true);
      assert.equal(await store.endFiring(claimed, { remove: true }), false);
      assert.deepEqual(await store.jobs(), []);
    });

    it("of an owner that died are claimed by the next, which knows what was begun", async () => {
      await using home = await create();
      const former = await jobsOf(home);
      await former.addJob(newJob("begun"), MANY);
      await former.addJob(newJob("claimed"), MANY);
      const [claimed] = await former.claimJobs(NOON, 10);
      assert.ok(claimed);
      assert.equal(await former.beginFiring(claimed), true);
      const store = await nextOwner(home);
      const later = async () => (await store.laterJobs(NOON - 1)).map(({ id }) => id);
      // Nobody alive has claimed them.
      assert.deepEqual(new Set(await later()), new Set(["begun", "claimed"]));
      assert.deepEqual(await store.laterJobs(NOON), []);
      const next = await store.claimJobs(NOON, 10);
      assert.deepEqual(await later(), []);
      assert.deepEqual(
        next.map(({ id, attempts }) => [id, attempts]),
        [
          ["begun", 1],
          ["claimed", 0],
        ],
      );
      const [again] = next;
      assert.ok(again);
      assert.equal(await former.beginFiring(claimed), false);
      assert.equal(await former.endFiring(claimed, { nextAt: NOON + 60_000 }), false);
      assert.equal(await store.endFiring(again, { nextAt: NOON + 60_000 }), true);
      const [after] = await store.claimJobs(NOON + 60_000, 10);
      assert.equal(after?.attempts, 0);
    });
  });
}

async function nextOwner(home: JobsUnderTest): Promise<JobStore> {
  const opened = await home.open({ sole: true });
  if ("claimAbandoned" in opened && typeof opened.claimAbandoned === "function") {
    await opened.claimAbandoned();
  }
  return opened.jobs();
}
