import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { copyStore } from "../../src/cli/state/copy-store.ts";
import type { Store } from "../../src/store/contract/store.ts";
import { accepted, claimedAbandoned, done, newRequest } from "../store/contract.ts";
import { MANY, newJob } from "../store/job-contract.ts";
import { postgresHome } from "../store/postgres-home.ts";
import { sqliteHome } from "../store/sqlite-home.ts";
import { needsPostgres } from "../support/postgres.ts";

async function transcript(store: Store<string>, name: string): Promise<unknown[]> {
  const turns = await Array.fromAsync(store.transcript(name));
  return turns.map(({ at, messages }) => [at, messages]);
}

/** One of each kind of request, the first one cut off in its second attempt. */
async function leaveRequests(store: Store<string>): Promise<void> {
  const cut = await store.begin(await accepted(store, newRequest("cut", { id: "1" })));
  assert.ok(cut);
  assert.ok(await store.record(cut, "a step"));
  await accepted(store, newRequest("waits\0", { id: "2" }));
  const answered = await store.begin(
    await accepted(store, newRequest("answered", { id: "3", lane: "other" })),
  );
  assert.ok(answered);
  assert.ok(await store.answered(answered, { parts: ["an", "swer"] }, ["q", "a"]));
  await store.accept(newRequest("rejected", { id: "4" }), {
    admit: () => ({ parts: [], failure: { code: "busy", message: "not now", retryAfter: 5 } }),
    repeat: () => undefined,
  });
  await done(store, newRequest("delivered", { id: "5", lane: "other" }), ["said"]);
}

describe("a copy of a store in PostgreSQL", needsPostgres, () => {
  it("has all conversations, what is hidden in them too, and all counters, also after two runs", async () => {
    await using home = await sqliteHome();
    await using shared = await postgresHome();
    const from = await home.open({ sole: true });
    for (const turn of ["1", "2", "3"]) await from.append("long", [`q${turn}`, `a${turn}`]);
    const { turns } = await from.conversation("long");
    assert.ok(await from.compact("long", turns[1]?.id ?? 0, "what was said"));
    await from.append("short", ["hello"]);
    const days = [{ day: "2027-01-15", input: 5, output: 7 }];
    await from.count(() => ({ put: [{ name: "c", state: { since: 3, days } }], drop: [] }));
    await (await from.jobs()).addJob(newJob("job"), MANY);
    const to = await shared.open();
    assert.deepEqual(await copyStore(from, to), {
      conversations: 2,
      counters: 1,
      jobs: 1,
      requests: 0,
    });
    assert.deepEqual(await copyStore(from, to), {
      conversations: 0,
      counters: 0,
      jobs: 0,
      requests: 0,
    });
    assert.deepEqual(await transcript(to, "long"), await transcript(from, "long"));
    assert.deepEqual(await to.history("long"), ["what was said", "q3", "a3"]);
    assert.deepEqual(await to.history("short"), ["hello"]);
    assert.deepEqual(await to.counter("c"), await from.counter("c"));
    assert.deepEqual(await (await to.jobs()).jobs(), [{ ...newJob("job"), version: 1 }]);
  });

  it("hides what was hidden when the run before was cut off in between", async () => {
    await using home = await sqliteHome();
    await using shared = await postgresHome();
    const from = await home.open({ sole: true });
    for (const turn of ["1", "2"]) await from.append("long", [turn]);
    const { turns } = await from.conversation("long");
    assert.ok(await from.compact("long", turns[0]?.id ?? 0, "before"));
    const to = await shared.open();
    const cutOff = { ...to, compact: () => Promise.reject(new Error("cut off")) };
    await assert.rejects(copyStore(from, cutOff), /cut off/);
    await copyStore(from, to);
    assert.deepEqual(await to.history("long"), ["before", "2"]);
  });

  it("has the open requests, which others claim where they were, and which are not in SQLite any more", async () => {
    await using home = await sqliteHome();
    await using shared = await postgresHome();
    await leaveRequests(await home.open({ sole: true }));
    const expected = await claimedAbandoned(await home.open({ sole: true }));
    const from = await home.open({ sole: true });
    const to = await shared.open();
    const { requests } = await copyStore(from, to);
    assert.equal(requests, 4);
    const next = await shared.open();
    const { claimed } = await next.cluster.poll(10);
    const loaded = await Promise.all(claimed.map(({ claim }) => next.load(claim)));
    const facts = (all: readonly (typeof loaded)[number][]) =>
      all
        .map((each) => each && { ...each, claim: each.claim.attempt > 0 })
        .toSorted((a, b) => (a?.request.id ?? "").localeCompare(b?.request.id ?? ""));
    assert.deepEqual(facts(loaded.filter((each) => each?.request.id !== "4")), facts(expected));
    assert.deepEqual(await claimedAbandoned(await home.open({ sole: true })), []);
    assert.deepEqual(await copyStore(from, to), {
      conversations: 0,
      counters: 0,
      jobs: 0,
      requests: 0,
    });
  });
});
