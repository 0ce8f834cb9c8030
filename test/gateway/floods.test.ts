import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { SILENT } from "../../src/base/log.ts";
import type { Request } from "../../src/gateway/contract.ts";
import { openSqliteStore } from "../../src/store/sqlite/store.ts";
import { atMost, heldBytes } from "../support/memory.ts";
import { runs } from "../support/runs.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { ask, createGate } from "./client.ts";
import { createManualClock, settled } from "./manual-clock.ts";
import {
  createManualAnswerer,
  createTestGateway,
  NO_LIMITS,
  OPEN_TO_ALL,
  shout,
  storeFacts,
} from "./setup.ts";

const LIMITS = { ...NO_LIMITS, requests_per_minute: 60, burst: 5, queued: 32 };

/** Waits until the condition is true, and for everything that follows. */
async function until(isDone: () => boolean): Promise<void> {
  while (!isDone()) await settled();
  for (let times = 0; times < 50; times += 1) await settled();
}

describe("a flood", () => {
  it("of ten thousand invented clients at once ends at the channel's limit, and costs a few megabytes", async () => {
    await using folder = await temporaryFolder();
    const clock = createManualClock();
    const facts = { ...storeFacts(clock, "one"), sole: true, log: SILENT };
    let calls = 0;
    await using store = Object.assign(
      await openSqliteStore<string>(join(folder.path, "state.db"), {
        ...facts,
        onCommit: (count) => (calls += count),
      }),
      { [Symbol.asyncDispose]: () => store.close() },
    );
    const totalLimits = { ...NO_LIMITS, requests_per_minute: 600, burst: 100 };
    const { gateway } = createTestGateway(shout, {
      clock,
      store,
      policy: { limits: LIMITS, totalLimits },
    });
    await gateway.resume();
    const before = heldBytes();
    const outcomes = new Map<string, number>();
    for (let client = 0; client < 10_000; client += 1) {
      const asked = ask("?", { client: `invented ${client}` });
      void gateway.accept(asked.request);
      void asked.done.then(({ error }) => {
        const code = error?.code ?? "ok";
        outcomes.set(code, (outcomes.get(code) ?? 0) + 1);
      });
    }
    await settled();
    const friend = ask("hello", { client: "friend" });
    await clock.advance(1000);
    void gateway.accept(friend.request);
    assert.equal((await friend.done).text, "HELLO");
    await settled();
    assert.equal(outcomes.get("ok"), 100);
    assert.ok((outcomes.get("rate_limited") ?? 0) > 0);
    const grown = heldBytes() - before;
    assert.ok(grown < atMost(8), `grew by ${grown}`);
    // Rejections were not written: the store has the calls of 101 requests.
    assert.ok(calls < 101 * 6, `${calls} calls`);
    assert.ok((await store.counters()).length <= 103);
    await gateway.drain(0);
  });

  it("of /stop, or of one request again and again, which costs no token, fills no disk with the log", async () => {
    const answerer = createManualAnswerer();
    const policy = { limits: { ...LIMITS, requests_per_minute: 1 } };
    const { gateway, lines } = createTestGateway(answerer.answer, { policy });
    const flood = async (texts: readonly string[], facts = {}): Promise<void> => {
      for (const text of texts) {
        void gateway.accept(ask(text, facts).request);
        await settled();
      }
    };
    await flood(
      Array.from({ length: 100 }, () => "one"),
      { key: "k" },
    );
    await flood(
      Array.from({ length: 100 }, () => "one"),
      { key: "k", address: "/device/2" },
    );
    await flood(Array.from({ length: 100 }, () => "/stop"));
    assert.deepEqual(answerer.began, ["one"]);
    const thinned = lines.filter(({ level }) => level !== "info").length;
    assert.ok(thinned > 200, `${thinned} lines`);
    // The ones with a token: four requests of the burst of five, besides the one that ran.
    assert.ok(lines.length - thinned <= 5, `${lines.length - thinned} lines`);
  });

  it("of one client at ten times its rate leaves every other client its own", async () => {
    const { gateway, clock } = createTestGateway(shout, { policy: { limits: LIMITS } });
    const codes = { flood: [] as (string | undefined)[], calm: [] as (string | undefined)[] };
    const askAs = (client: "flood" | "calm"): void => {
      const asked = ask("?", { client });
      void gateway.accept(asked.request);
      void asked.done.then(({ error }) => codes[client].push(error?.code));
    };
    for (let second = 0; second < 60; second += 1) {
      for (let times = 0; times < 10; times += 1) askAs("flood");
      askAs("calm");
      await clock.advance(1000);
    }
    await settled();
    assert.deepEqual(new Set(codes.calm), new Set([undefined]));
    assert.equal(codes.calm.length, 60);
    const served = codes.flood.filter((code) => code === undefined).length;
    assert.ok(served >= 60 && served <= 65, `${served} served`);
    assert.deepEqual(new Set(codes.flood), new Set([undefined, "rate_limited"]));
  });

  it("of one request under one id takes a token for each, and one turn in all", async () => {
    let turns = 0;
    const { gateway } = createTestGateway(
      async function* (turn) {
        turns += 1;
        return yield* shout(turn);
      },
      { policy: { limits: LIMITS } },
    );
    const codes: (string | undefined)[] = [];
    for (let times = 0; times < 10; times += 1) {
      const asked = ask("?", { key: "the same" });
      void gateway.accept(asked.request);
      codes.push((await asked.done).error?.code);
    }
    assert.equal(turns, 1);
    assert.deepEqual(codes.slice(0, 5), Array.from({ length: 5 }));
    assert.deepEqual(new Set(codes.slice(5)), new Set(["rate_limited"]));
  });

  it("of names in another case is one client each, and the channel's limit is what they share", async () => {
    const totalLimits = { ...NO_LIMITS, requests_per_minute: 60, burst: 3 };
    const { gateway } = createTestGateway(shout, { policy: { limits: LIMITS, totalLimits } });
    const codes: (string | undefined)[] = [];
    for (const client of ["dev", "DEV", "Dev", "dEv"]) {
      const asked = ask("?", { client });
      void gateway.accept(asked.request);
      codes.push((await asked.done).error?.code);
    }
    assert.deepEqual(codes, [undefined, undefined, undefined, "rate_limited"]);
  });

  it("of clients of a channel whose connection is lost runs a bounded number of turns, and other channels are served", async () => {
    await using folder = await temporaryFolder();
    const clock = createManualClock();
    const facts = { ...storeFacts(clock, "one"), sole: true, log: SILENT };
    await using store = Object.assign(
      await openSqliteStore<string>(join(folder.path, "state.db"), facts),
      { [Symbol.asyncDispose]: () => store.close() },
    );
    const count = runs(5000);
    let turns = 0;
    const lost = createGate();
    let answered = 0;
    const replyTo = (): Request["reply"] => async (part) => {
      await lost.deliver();
      if (part.done) answered += 1;
    };
    const { gateway } = createTestGateway(
      async function* (turn) {
        turns += 1;
        return yield* shout(turn);
      },
      {
        clock,
        store,
        replyTo,
        policies: new Map([
          ["lost", OPEN_TO_ALL],
          ["mqtt", OPEN_TO_ALL],
        ]),
      },
    );
    await gateway.resume();
    const before = heldBytes();
    await Promise.all(
      Array.from({ length: count }, (_, index) => {
        const asked = { channel: "lost", client: `c${index}`, durable: true, key: "k" };
        return gateway.accept({ ...ask("?", asked).request, reply: replyTo() });
      }),
    );
    await until(() => turns >= 1024);
    assert.equal(turns, 1024);
    const grown = heldBytes() - before;
    assert.ok(grown < atMost(24), `grew by ${grown}`);

    const other = ask("hello", { durable: true, key: "k" });
    await gateway.accept(other.request);
    assert.equal((await other.done).text, "HELLO");

    lost.open();
    await until(() => answered >= count);
    assert.equal(turns, count + 1);
    assert.equal(answered, count);
    await gateway.drain(0);
  });

  it("over several channels ends at the gateway's limit on what waits", async () => {
    const { gateway } = createTestGateway(() => hang(), {
      maxParallelTurns: 1,
      limits: { ...NO_LIMITS, queued: 3 },
    });
    const asked = Array.from({ length: 6 }, (_, client) => ask("?", { client: `c${client}` }));
    for (const { request } of asked) void gateway.accept(request);
    await settled();
    const codes = asked.map(({ parts }) => parts[0]?.error?.code);
    assert.deepEqual(codes, [undefined, undefined, undefined, undefined, "busy", "busy"]);
  });
});

async function* hang(): AsyncGenerator<string, never> {
  await new Promise(() => {});
  yield "never";
  throw new Error("never");
}
