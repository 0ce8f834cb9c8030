import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { needsPostgres } from "../support/postgres.ts";
import { jobContract, MANY, newJob, NOON } from "./job-contract.ts";
import { postgresHome } from "./postgres-home.ts";
import { sqliteHome } from "./sqlite-home.ts";

jobContract("SQLite", sqliteHome);

describe("with PostgreSQL", needsPostgres, () => {
  jobContract("PostgreSQL", postgresHome);

  it("three gateways claim each job once", async () => {
    await using home = await postgresHome();
    const opened = [await home.open(), await home.open(), await home.open()];
    const stores = await Promise.all(opened.map((store) => store.jobs()));
    const ids = Array.from({ length: 60 }, (_, index) => `job ${index}`);
    for (const id of ids) await stores[0]?.addJob(newJob(id), MANY);
    const claimed: string[] = [];
    for (let left = ids.length; left > 0;) {
      const found = (await Promise.all(stores.map((store) => store.claimJobs(NOON, 7)))).flat();
      claimed.push(...found.map(({ id }) => id));
      left -= found.length;
    }
    assert.deepEqual(claimed.toSorted(), ids.toSorted());
    // Of one that is taken for dead others have the jobs, and it claims nothing.
    home.pass(61_000);
    const [first, second] = stores;
    assert.equal(await opened[1]?.renew(), true);
    assert.deepEqual(await second?.claimJobs(NOON, 100), []);
    await opened[1]?.claimAbandoned();
    assert.deepEqual(await first?.claimJobs(NOON, 100), []);
    const taken = (await second?.claimJobs(NOON, 100)) ?? [];
    assert.ok(taken.length > 0);
  });
});
