import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import type { Answerer } from "../../src/gateway/contract.ts";
import { usageIn } from "../../src/gateway/usage/report.ts";
import type { Store } from "../../src/store/contract/store.ts";
import { ask, createGate } from "./client.ts";
import { createManualClock, settled } from "./manual-clock.ts";
import type { ManualClock } from "./manual-clock.ts";
import {
  createManualAnswerer,
  createTestGateway,
  createTestStore,
  NO_LIMITS,
  shout,
} from "./setup.ts";

/** Counts its turns and answers with the number. */
function createCounter(): { answer: Answerer<string>; turns: () => number } {
  let turns = 0;
  return {
    turns: () => turns,
    answer: async function* () {
      turns++;
      yield `turn ${turns}`;
      return { messages: [] };
    },
  };
}

describe("the same request again", () => {
  it("joins what waits or runs: nothing for the same address, everything for another", async () => {
    const { answer, began, end } = createManualAnswerer();
    const { gateway, lines } = createTestGateway(answer);
    const first = ask("first");
    const waiting = ask("second", { key: "k" });
    const same = ask("second", { key: "k" });
    const elsewhere = ask("second", { key: "k", address: "/device/other" });
    for (const { request } of [first, waiting, same, elsewhere]) void gateway.accept(request);
    await settled();
    end();
    await settled();
    const whileItRuns = ask("second", { key: "k", address: "/device/third" });
    void gateway.accept(whileItRuns.request);
    await settled();
    end();
    await settled();
    assert.deepEqual(began, ["first", "second"]);
    for (const { parts } of [waiting, elsewhere, whileItRuns]) {
      assert.deepEqual(parts, [{ text: "answer to second", done: true }]);
    }
    assert.deepEqual(same.parts, []);
    const duplicates = lines.map(({ fields }) => fields["duplicate"]);
    assert.deepEqual(
      duplicates
        .filter(Boolean)
        .map(String)
        .toSorted((one, other) => one.localeCompare(other)),
      ["ignored", "joined", "joined"],
    );
    assert.equal(lines.length, 5);
  });

  it("gets the parts so far, then the rest", async () => {
    const { gateway, clock } = createTestGateway(async function* () {
      for (const word of ["one ", "two ", "three"]) {
        yield word;
        await new Promise<void>((resolve) => {
          clock.after(300, resolve);
        });
      }
      return { messages: [] };
    });
    const first = ask("?", { key: "k" });
    void gateway.accept(first.request);
    await clock.advance(600);
    const later = ask("?", { key: "k", address: "/device/other" });
    void gateway.accept(later.request);
    await clock.advance(600);
    assert.deepEqual(
      first.parts.map(({ text }) => text),
      ["one ", "two ", "three", ""],
    );
    assert.deepEqual(later.parts, first.parts);
  });

  it("is answered with identical parts when it was answered before, to any address", async () => {
    const { answer, turns } = createCounter();
    const { gateway, clock } = createTestGateway(answer);
    const first = ask("?", { key: "k" });
    void gateway.accept(first.request);
    await first.done;
    await clock.advance(599_000);
    for (const address of ["/device/response", "/device/other"]) {
      const again = ask("?", { key: "k", address });
      void gateway.accept(again.request);
      await again.done;
      assert.deepEqual(again.parts, first.parts);
    }
    assert.equal(turns(), 1);
    await clock.advance(1000);
    const late = ask("?", { key: "k" });
    void gateway.accept(late.request);
    assert.equal((await late.done).text, "turn 2");
  });

  it("without a key is the same only where the transport says so", async () => {
    const { answer, turns } = createCounter();
    const { gateway } = createTestGateway(answer);
    for (const [redelivered, text] of [
      [false, "turn 1"],
      [false, "turn 2"],
      [true, "turn 2"],
    ] as const) {
      const asked = ask("same words", { redelivered });
      void gateway.accept(asked.request);
      assert.equal((await asked.done).text, text);
    }
    assert.equal(turns(), 2);
    const unknown = ask("other words", { redelivered: true });
    void gateway.accept(unknown.request);
    assert.equal((await unknown.done).text, "turn 3");
  });

  it("is the same though it comes at QoS 1 after it was answered at QoS 0", async () => {
    const { answer, began, end } = createManualAnswerer();
    const { gateway } = createTestGateway(answer);
    const first = ask("?", { key: "k" });
    await gateway.accept(first.request);
    await settled();
    end();
    await first.done;
    const again = ask("?", { key: "k", durable: true });
    await gateway.accept(again.request);
    assert.equal((await again.done).text, "answer to ?");
    assert.deepEqual(began, ["?"]);
  });

  it("is another's request when another client uses the same key", async () => {
    const { answer } = createCounter();
    const { gateway } = createTestGateway(answer);
    for (const [client, text] of [
      ["a", "turn 1"],
      ["b", "turn 2"],
    ] as const) {
      const asked = ask("?", { client, key: "k" });
      void gateway.accept(asked.request);
      assert.equal((await asked.done).text, text);
    }
  });

  it("runs again after an error, but not because of a redelivery", async () => {
    let turns = 0;
    const { gateway } = createTestGateway(async function* () {
      turns++;
      yield "so far ";
      if (turns === 1) throw new Failure("model", "the model failed");
      return { messages: [] };
    });
    const first = ask("?", { key: "k" });
    void gateway.accept(first.request);
    await first.done;
    const redelivered = ask("?", { key: "k", redelivered: true });
    void gateway.accept(redelivered.request);
    await redelivered.done;
    assert.deepEqual(redelivered.parts, first.parts);
    assert.equal(turns, 1);
    const again = ask("?", { key: "k" });
    void gateway.accept(again.request);
    assert.equal((await again.done).error, undefined);
    assert.equal(turns, 2);
  });

  it("finds a new way when the first client cannot be reached any more", async () => {
    const { answer, end } = createManualAnswerer();
    const { gateway, clock } = createTestGateway(async function* (turn) {
      yield "so far ";
      yield* answer(turn);
      return { messages: [] };
    });
    const gone = ask("?", { key: "k" }, () => Promise.reject(new Error("session lost")));
    void gateway.accept(gone.request);
    await clock.advance(1000);
    const back = ask("?", { key: "k", redelivered: true });
    void gateway.accept(back.request);
    await clock.advance(1000);
    end();
    await settled();
    assert.equal(back.text(), "so far answer to ?");
  });

  it("needs no token while it runs, and one when its answer is sent again", async () => {
    const { answer, end } = createManualAnswerer();
    const limits = { ...NO_LIMITS, requests_per_minute: 1, burst: 2, queued: 0 };
    const { gateway } = createTestGateway(answer, { policy: { limits } });
    const repeat = () => {
      const asked = ask("?", { key: "k" });
      void gateway.accept(asked.request);
      return asked;
    };
    const first = repeat();
    for (let again = 0; again < 10; again++) assert.deepEqual(repeat().parts, []);
    await settled();
    end();
    await first.done;
    await settled();
    assert.equal((await repeat().done).error, undefined);
    assert.equal((await repeat().done).error?.code, "rate_limited");
  });

  it("needs no token and counts nothing where only the store knows it", async () => {
    const limits = { ...NO_LIMITS, requests_per_minute: 1, burst: 2, tokens_per_day: 10 };
    const clock = createManualClock();
    const store = createTestStore(clock);
    const { answer, end } = createManualAnswerer();
    const first = createTestGateway(answer, { store, clock, policy: { limits } });
    void first.gateway.accept(ask("?", { key: "k", durable: true }).request);
    await settled();
    // Another gateway hears the client now; nothing of the request is in its memory.
    const { gateway } = createTestGateway(shout, { store, clock, policy: { limits } });
    await gateway.resume();
    for (let again = 0; again < 10; again++) {
      const { request, parts } = ask("?", { key: "k", durable: true });
      await gateway.accept(request);
      assert.deepEqual(parts, []);
    }
    assert.equal(await requestsIn(store, clock), 1);
    const asked = ["a new one", "one more"].map((text) => ask(text, { durable: true }));
    for (const { request } of asked) await gateway.accept(request);
    const answers = await Promise.all(asked.map(({ done }) => done));
    assert.deepEqual(
      answers.map(({ error }) => error?.code),
      [undefined, "rate_limited"],
    );
    end();
  });

  it("gets its token back where it was taken for a new one at first", async () => {
    const limits = { ...NO_LIMITS, requests_per_minute: 1, burst: 1 };
    const clock = createManualClock();
    const plain = createTestStore(clock);
    const store: Store<string> = {
      ...plain,
      async accept(request, admission) {
        // The transaction was rolled back: meanwhile another gateway took the same request.
        if (request.text === "?") admission?.admit(true);
        return plain.accept(request, admission);
      },
    };
    const { answer, end } = createManualAnswerer();
    const first = createTestGateway(answer, { store: plain, clock, policy: { limits } });
    void first.gateway.accept(ask("?", { key: "k", durable: true }).request);
    await settled();
    const { gateway } = createTestGateway(shout, { store, clock, policy: { limits } });
    for (let again = 0; again < 3; again++)
      await gateway.accept(ask("?", { key: "k", durable: true }).request);
    assert.equal(await requestsIn(store, clock), 1);
    const asked = ask("a new one", { durable: true });
    await gateway.accept(asked.request);
    assert.equal((await asked.done).error, undefined);
    end();
  });

  it("needs no room", async () => {
    const { answer, end } = createManualAnswerer();
    const { gateway } = createTestGateway(answer, {
      policy: { limits: { ...NO_LIMITS, queued: 1 } },
    });
    const first = ask("?", { key: "k" });
    void gateway.accept(first.request);
    await settled();
    end();
    await first.done;
    for (const text of ["1", "2"]) void gateway.accept(ask(text).request);
    const again = ask("?", { key: "k" });
    void gateway.accept(again.request);
    assert.deepEqual(await again.done, await first.done);
  });

  it("is not remembered when it was refused", async () => {
    const limits = { ...NO_LIMITS, requests_per_minute: 60, burst: 1 };
    const { gateway, clock } = createTestGateway(shout, { policy: { limits } });
    void gateway.accept(ask("x").request);
    const refused = ask("?", { key: "k" });
    void gateway.accept(refused.request);
    assert.equal((await refused.done).error?.code, "rate_limited");
    await clock.advance(1000);
    const again = ask("ok", { key: "k", redelivered: true });
    void gateway.accept(again.request);
    assert.equal((await again.done).text, "OK");
  });

  it("is one reply at a time to one address, however often it comes", async () => {
    const { gateway } = createTestGateway(shout);
    const first = ask("?", { key: "k" });
    void gateway.accept(first.request);
    await first.done;
    await settled();
    const gate = createGate();
    const copies = Array.from({ length: 100 }, () => ask("?", { key: "k" }, gate.deliver));
    for (const { request } of copies) void gateway.accept(request);
    await settled();
    assert.equal(copies.filter(({ parts }) => parts.length > 0).length, 1);
    gate.open();
  });
});

async function requestsIn(store: Store<string>, clock: ManualClock): Promise<number> {
  await clock.advance(60);
  await settled();
  const counters = await store.counters();
  return usageIn(counters, { epoch: clock.epoch(), heaviest: 1 }).clients[0]?.requests ?? 0;
}
