import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { SILENT } from "../../src/base/log.ts";
import { ClusterMember } from "../../src/gateway/cluster/cluster-member.ts";
import { Lease } from "../../src/gateway/cluster/lease.ts";
import type { Answerer } from "../../src/gateway/contract.ts";
import { MemoryCluster } from "../support/memory-cluster.ts";
import { failing, hears, testCluster, World } from "./cluster-suite.ts";
import type { SharedStore } from "./cluster-suite.ts";
import { createManualClock, settled } from "./manual-clock.ts";
import { createManualAnswerer, createTestGateway, shout } from "./setup.ts";

function openShared(): Promise<SharedStore> {
  const clock = createManualClock();
  const shared = new MemoryCluster(clock);
  return Promise.resolve({
    clock,
    open: (owner: string) => Promise.resolve(shared.open(owner)),
    pass: (ms: number) => clock.advance(ms),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  });
}

testCluster("a store in memory", openShared);

describe("a gateway that shares its store", () => {
  it("ends its turns when it loses its lease, and neither delivers nor stores anything more", async () => {
    await using world = new World(await openShared());
    const aborted: string[] = [];
    const written: string[] = [];
    const answer: Answerer<string> = async function* ({ signal, text }) {
      yield `begins ${text}. `;
      await new Promise<void>((resolve) => {
        signal.addEventListener("abort", () => {
          aborted.push(text);
          resolve();
        });
      });
      // It does not care.
      yield "more";
      return { messages: ["more"] };
    };
    let isLost = false;
    const first = await world.open(answer, {
      slots: 4,
      change: (store) => ({
        renew: () => (isLost ? Promise.resolve(false) : store.renew()),
        answered(...args) {
          written.push("answered");
          return store.answered(...args);
        },
        release(claim) {
          written.push("release");
          return store.release(claim);
        },
      }),
    });
    await hears(first);
    for (const client of ["a", "b"]) first.ask(client, { client });
    await world.until(() => world.heard.length === 2, "the first parts");
    isLost = true;
    await world.shared.pass(3000);
    await first.gateway.lost;
    await world.shared.pass(5000);
    assert.deepEqual(aborted.toSorted(), ["a", "b"]);
    assert.equal(world.heard.length, 2);
    assert.deepEqual(written, []);
    const held = first.ask("later", { client: "c" });
    await world.shared.pass(1000);
    assert.equal(held.acknowledged, false);
    assert.equal(world.heard.length, 2);
  });

  it("sends an answer again that another one stored and did not deliver: the same parts", async () => {
    await using world = new World(await openShared());
    let isDead = false;
    const first = await world.open(shout, {
      deliver: () => new Promise(() => {}),
      change: (store) => ({
        renew: () => (isDead ? new Promise(() => {}) : store.renew()),
      }),
    });
    await hears(first);
    first.ask("hello");
    await world.until(() => world.heard.length === 1, "an answer that does not arrive");
    isDead = true;
    const second = await world.open(createManualAnswerer().answer);
    await world.until(() => world.answers("to device").length === 1, "the same answer");
    assert.deepEqual(
      world.heard.map(({ owner, part }) => [owner, part.text]),
      [
        [first.owner, "HELLO"],
        [second.owner, "HELLO"],
        [second.owner, ""],
      ],
    );
  });

  it("delivers no answer that it could not store", async () => {
    await using world = new World(await openShared());
    const first = await world.open(shout, {
      change: (store) => ({
        answered: failing((...args) => store.answered(...args), {
          times: 8,
          code: "unsure",
          writes: true,
        }),
      }),
    });
    await hears(first);
    first.ask("hello");
    await world.shared.pass(6000);
    assert.deepEqual(world.answers("to device"), []);
    await world.until(() => world.answers("to device").length === 1, "the answer");
    assert.deepEqual(world.answers("to device"), ["HELLO"]);
  });

  for (const writes of [true, false])
    it(`runs a request once whose acceptance is unsure and ${writes ? "written" : "not written"}`, async () => {
      await using world = new World(await openShared());
      const { answer, began, end } = createManualAnswerer();
      const first = await world.open(answer, {
        change: (store) => ({
          accept: failing((...args) => store.accept(...args), { times: 3, code: "unsure", writes }),
        }),
      });
      await hears(first);
      const asked = first.ask("hello");
      await world.until(() => world.answers("to device").length === 1, "the rejection");
      assert.deepEqual(world.answers("to device"), ["[busy]"]);
      assert.equal(world.heard[0]?.part.error?.retryAfter, 30);
      const again = first.ask("hello");
      await world.until(() => asked.acknowledged && again.acknowledged, "the acknowledgements");
      await world.until(() => began.length === 1, "its turn");
      end();
      await world.until(() => world.answers("to device").length === 2, "the answer");
      assert.deepEqual(world.answers("to device"), ["[busy]", "answer to hello"]);
      assert.deepEqual(began, ["hello"]);
    });

  it("keeps the order of requests that come while the store is away", async () => {
    await using world = new World(await openShared());
    let isAway = true;
    const first = await world.open(shout, {
      change: (store) => ({
        accept: (...args) =>
          isAway ? Promise.reject(new Failure("busy", "the store is away")) : store.accept(...args),
      }),
    });
    await hears(first);
    first.ask("one");
    await world.shared.pass(500);
    first.ask("two");
    await world.shared.pass(2300);
    first.ask("three");
    isAway = false;
    const answered = (): readonly string[] =>
      world.answers("to device").filter((text) => text !== "[busy]");
    await world.until(() => answered().length === 3, "the answers");
    assert.deepEqual(answered(), ["ONE", "TWO", "THREE"]);
  });

  it("takes a request again whose first delivery another one's lease fenced off", async () => {
    await using world = new World(await openShared());
    let fence: ((failure: Failure) => void) | undefined;
    let isFenced = true;
    const first = await world.open(shout, {
      change: (store) => ({
        accept: (...args) =>
          isFenced ? new Promise((_resolve, reject) => (fence = reject)) : store.accept(...args),
      }),
    });
    await hears(first);
    const lost = first.ask("?");
    await world.until(() => fence !== undefined, "the first delivery");
    const again = first.ask("?", { redelivered: true });
    await world.shared.pass(100);
    isFenced = false;
    fence?.(new Failure("fenced", "another gateway hears this channel"));
    await world.until(() => again.acknowledged, "the acknowledgement");
    await world.until(() => world.answers("to device").length === 1, "the answer");
    assert.equal(lost.acknowledged, false);
  });

  it("leaves no timer when it cannot start", async () => {
    const clock = createManualClock();
    const { store, cluster } = new MemoryCluster(clock).open("one");
    const member = new ClusterMember<string>({
      store,
      cluster: { ...cluster, poll: () => Promise.reject(new Failure("busy", "away")) },
      clock,
      log: SILENT,
    });
    const { gateway } = createTestGateway(shout, { clock, store, member });
    await assert.rejects(gateway.resume(), { code: "busy" });
    assert.equal(clock.timers, 0);
  });

  it("runs no tool whose call it could not record: another attempt may run it", async () => {
    await using world = new World(await openShared());
    const ran: string[] = [];
    let isTaken = false;
    const first = await world.open(
      async function* ({ record }) {
        await record("calls a tool");
        ran.push("the tool");
        yield "done";
        return { messages: [] };
      },
      {
        change: (store) => ({
          record: (claim, message) =>
            isTaken ? Promise.resolve(false) : store.record(claim, message),
        }),
      },
    );
    await hears(first);
    isTaken = true;
    first.ask("?");
    await world.shared.pass(1000);
    assert.deepEqual(ran, []);
  });

  it("counts what its client has waiting elsewhere", async () => {
    await using world = new World(await openShared());
    const [one, two] = [createManualAnswerer(), createManualAnswerer()];
    const first = await world.open(one.answer, { queued: 2 });
    await world.open(two.answer);
    await hears(first);
    first.ask("a1", { client: "a" });
    for (const text of ["b1", "b2", "b3", "b4"]) first.ask(text, { client: "b" });
    await world.until(() => two.began.length === 1, "the other's turn");
    assert.deepEqual(world.answers("to b"), ["[busy]"]);
  });
});

describe("the lease of a gateway", () => {
  it("ends 12 s after the last renewal was sent, also when timers did not run", async () => {
    const clock = createManualClock();
    let frozenMs = 0;
    let isAway = false;
    const lease = new Lease({
      clock: { now: () => clock.now() + frozenMs, after: (ms, run) => clock.after(ms, run) },
      store: { renew: () => (isAway ? Promise.reject(new Error("away")) : Promise.resolve(true)) },
    });
    await lease.start();
    await clock.advance(30_000);
    assert.ok(lease.isHeld());
    isAway = true;
    await clock.advance(10_000);
    assert.ok(lease.isHeld());
    isAway = false;
    await clock.advance(1000);
    assert.ok(lease.isHeld());
    frozenMs = 60_000;
    const replies: unknown[] = [];
    const reply = lease.guarded((part) => Promise.resolve(void replies.push(part)));
    await assert.rejects(reply({ text: "late", done: true }), { code: "unreachable" });
    assert.deepEqual(replies, []);
    await lease.lost;
    assert.equal(clock.timers, 0);
    await settled();
  });

  it("ends while a renewal hangs", async () => {
    const clock = createManualClock();
    let hangs = false;
    const lease = new Lease({
      clock,
      store: { renew: () => (hangs ? new Promise(() => {}) : Promise.resolve(true)) },
    });
    await lease.start();
    hangs = true;
    await clock.advance(12_000);
    await lease.lost;
    assert.equal(clock.timers, 0);
  });
});
