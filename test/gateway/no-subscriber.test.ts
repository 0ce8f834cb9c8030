import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import type { Store } from "../../src/store/contract/store.ts";
import { until } from "../support/until.ts";
import { ask, createGate } from "./client.ts";
import { createManualClock, settled } from "./manual-clock.ts";
import { createTestGateway, createTestStore, NO_LIMITS, OPEN_TO_ALL, shout } from "./setup.ts";

const DURABLE = { durable: true } as const;
const FULL = new Failure("busy", "requests cannot be stored", { why: "disk full" });

function long(index: number): string {
  return `${index} ${"x".repeat(60_000)}`;
}

/** There is no subscriber. */
function gone(): Promise<never> {
  return Promise.reject(new Failure("no_subscriber", "nobody"));
}

describe("an answer without a subscriber", () => {
  it("and that the store could not write yet holds up no later answer", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    let isFull = true;
    const filling: Store<string> = {
      ...store,
      answered: (...facts) => (isFull ? Promise.reject(FULL) : store.answered(...facts)),
    };
    let isThere = false;
    const deliver = (): Promise<void> => (isThere ? Promise.resolve() : gone());
    const { gateway } = createTestGateway(shout, { clock, store: filling });
    const first = ask("first", { ...DURABLE, key: "first" }, deliver);
    await gateway.accept(first.request);
    await clock.advance(20_000);
    isThere = true;
    const second = ask("second", { ...DURABLE, key: "second" }, deliver);
    await gateway.accept(second.request);
    await clock.advance(10_000);
    assert.equal(second.parts.at(-1)?.text, "SECOND");
    isFull = false;
    await clock.advance(20_000);
    assert.equal(first.parts.at(-1)?.text, "FIRST");
    await settled();
    await gateway.drain(0);
    assert.equal(clock.timers, 0);
  });

  it("is given up, and takes no room in the store, where its time is over or its client has too many", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    const given: number[] = [];
    const watched: Store<string> = {
      ...store,
      delivered: (claim) => {
        given.push(claim.seq);
        return store.delivered(claim);
      },
    };
    const { gateway } = createTestGateway(shout, { clock, store: watched });
    const expiresAt = clock.epoch() + 1000;
    const late = ask("late", { ...DURABLE, key: "late", expiresAt }, async () => {
      await clock.advance(1000);
      return gone();
    });
    await gateway.accept(late.request);
    await until("it is given up", () => given.length === 1);
    for (let index = 0; index < 2050; index += 1) {
      const one = ask("?", { ...DURABLE, key: `${index}`, client: "never" }, gone);
      await gateway.accept(one.request);
    }
    await until("two more are given up", () => given.length >= 3);
    assert.equal(given.length, 3);
  });
});

describe("a full disk", () => {
  it("is logged once a minute and in `problem` all the time, although the store can be read", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    let isFull = false;
    const filling: Store<string> = {
      ...store,
      accept: (...facts) => (isFull ? Promise.reject(FULL) : store.accept(...facts)),
    };
    const { gateway, lines } = createTestGateway(shout, { clock, store: filling });
    await gateway.accept(ask("x", { ...DURABLE, key: "x", client: "away" }, gone).request);
    await settled();
    isFull = true;
    void gateway.accept(ask("y", { ...DURABLE, key: "y" }).request);
    for (let second = 0; second < 50; second += 1) {
      await clock.advance(1000);
      assert.equal(gateway.problem(), "requests cannot be stored");
    }
    const shown = lines.filter(({ message }) => message.startsWith("requests can"));
    assert.equal(shown.length, 1, `${shown.length}`);
  });

  it("takes one token for a finished answer that is asked again, however long the disk is full", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    let isFull = false;
    // Like a full disk: the write fails after the decision.
    const filling: Store<string> = {
      ...store,
      accept: async (ticket, admission) => {
        if (!isFull) return store.accept(ticket, admission);
        admission?.repeat?.();
        throw FULL;
      },
    };
    const limits = { ...NO_LIMITS, requests_per_minute: 1, burst: 3 };
    const { gateway } = createTestGateway(shout, { clock, store: filling, policy: { limits } });
    const first = ask("x", { ...DURABLE, key: "x" });
    await gateway.accept(first.request);
    await first.done;
    isFull = true;
    const again = ask("x", { ...DURABLE, key: "x" });
    void gateway.accept(again.request);
    await clock.advance(10_000);
    isFull = false;
    await clock.advance(1000);
    assert.equal(again.parts.at(-1)?.text, "X");
  });
});

describe("a flood of rejections", () => {
  it("fills no disk with the log, though most wait in the store", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    const gate = createGate();
    const limits = { ...NO_LIMITS, requests_per_minute: 1, burst: 1 };
    const replyTo = () => () => gate.deliver();
    const { gateway, lines } = createTestGateway(shout, {
      clock,
      store,
      policy: { limits },
      replyTo,
    });
    await gateway.resume();
    const many = Array.from({ length: 6000 }, (_, index) =>
      gateway.accept(ask("?", { ...DURABLE, key: `${index}` }, gate.deliver).request),
    );
    await Promise.all(many);
    gate.open();
    await until("all are delivered", async () => {
      await settled();
      return (await store.rejections(0, 1)).length === 0;
    });
    const loud = lines.filter(({ level }) => level !== "debug");
    assert.ok(loud.length < 20, `${loud.length}`);
  });
});

describe("rejections that wait in the store", () => {
  it("are delivered although the store could not be read for a while", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    let tries = 0;
    const failing: Store<string> = {
      ...store,
      rejections: (...facts) => {
        tries += 1;
        return tries < 3 ? Promise.reject(FULL) : store.rejections(...facts);
      },
    };
    const limits = { ...NO_LIMITS, requests_per_minute: 1, burst: 1 };
    const facts = { store, clock, policy: { limits } };
    const former = createTestGateway(shout, facts);
    for (const key of ["1", "2"]) {
      await former.gateway.accept(ask(key, { ...DURABLE, key }, createGate().deliver).request);
    }
    const heard: string[] = [];
    const replyTo = () => (part: { readonly text: string }) => {
      heard.push(part.text);
      return Promise.resolve();
    };
    const { gateway } = createTestGateway(shout, { ...facts, store: failing, replyTo });
    await gateway.resume();
    await clock.advance(5000);
    assert.deepEqual(heard, ["too many requests, please wait"]);
  });
});

describe("what comes with an address as long as a topic can be", () => {
  it("takes the room of many: of one client few wait in memory, and the rest is counted", async () => {
    const gate = createGate();
    const limits = { ...NO_LIMITS, requests_per_minute: 1, burst: 1 };
    const { gateway, clock, lines } = createTestGateway(shout, { policy: { limits } });
    for (let index = 0; index < 100; index += 1) {
      await gateway.accept(ask("?", { address: long(index) }, gate.deliver).request);
    }
    await clock.advance(60_000);
    const dropped = lines.find(({ message }) => message.startsWith("dropped replies"));
    assert.ok(Number(dropped?.fields["count"]) > 50, `${dropped?.fields["count"]}`);
    gate.open();
  });

  it("waits for a client that is away as long as it is not too much", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    let given = 0;
    const watched: Store<string> = {
      ...store,
      delivered: (claim) => {
        given += 1;
        return store.delivered(claim);
      },
    };
    const { gateway } = createTestGateway(shout, { clock, store: watched });
    for (let index = 0; index < 100; index += 1) {
      const facts = { ...DURABLE, key: `${index}`, address: long(index) };
      await gateway.accept(ask("?", facts, gone).request);
    }
    await until("most are given up", () => given >= 80);
  });
});

describe("a channel whose broker is away", () => {
  for (const durable of [false, true]) {
    it(`holds up no rejection of another channel (${durable ? "stored" : "in memory"})`, async () => {
      const limits = { ...NO_LIMITS, requests_per_minute: 1, burst: 1 };
      const policies = new Map(["down", "up"].map((name) => [name, { ...OPEN_TO_ALL, limits }]));
      const gate = createGate();
      const { gateway } = createTestGateway(shout, { policies, replyTo: () => gate.deliver });
      await gateway.resume();
      const many = Array.from({ length: 6000 }, (_, index) => {
        const facts = { durable, channel: "down", client: `${index % 40}`, key: `${index}` };
        return gateway.accept(ask("?", facts, gate.deliver).request);
      });
      await Promise.all(many);
      const asked = ["1", "2"].map((key) => ask("?", { durable, channel: "up", key }));
      for (const { request } of asked) await gateway.accept(request);
      await settled();
      assert.equal(asked[1]?.parts.at(-1)?.error?.code, "rate_limited");
      gate.open();
    });
  }
});
