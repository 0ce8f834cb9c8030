import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import type { Part } from "../../src/base/contract.ts";
import { Failure } from "../../src/base/failure.ts";
import type { Answerer, Push } from "../../src/gateway/contract.ts";
import type { GatewayOptions } from "../../src/gateway/gateway.ts";
import type { Store } from "../../src/store/contract/store.ts";
import { createMemoryStore, openSqliteStore } from "../../src/store/sqlite/store.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";
import { ask } from "./client.ts";
import { createManualClock, settled } from "./manual-clock.ts";
import type { ManualClock } from "./manual-clock.ts";
import {
  createManualAnswerer,
  createTestGateway,
  createTestStore,
  NO_LIMITS,
  shout,
  storeFacts,
} from "./setup.ts";

const DAY_MS = 24 * 60 * 60_000;

interface Sent {
  readonly client: string;
  readonly id: string | undefined;
  readonly part: Part;
}

/** What clients hear of pushes; a client that is away has no subscription. */
function createClients() {
  const sent: Sent[] = [];
  const away = new Set<string>();
  const replyTo: GatewayOptions<string>["replyTo"] =
    (_channel, { client, id }) =>
    async (part) => {
      await Promise.resolve();
      if (away.has(client)) throw new Failure("no_subscriber", "nobody");
      sent.push({ client, id, part });
    };
  return { sent, away, replyTo, texts: () => sent.map(({ part }) => part.text) };
}

function ready(text: string, facts: Partial<Push> = {}): Push {
  return {
    channel: "mqtt",
    client: "device",
    id: `id of ${text}`,
    from: "message",
    ...facts,
    text,
  };
}

function prompt(text: string, facts: Partial<Push> = {}): Push {
  return {
    channel: "mqtt",
    client: "device",
    id: `id of ${text}`,
    from: "job",
    ...facts,
    prompt: text,
  };
}

function says(text: string): Answerer<string> {
  return async function* () {
    yield text;
    return { messages: ["question", text] };
  };
}

/** Uses six tokens and answers with the question. */
async function* spend({ text, allowance }: Parameters<Answerer<string>>[0]) {
  allowance.begin({ inputTokens: 4, outputTokens: 2, cost: 0 });
  yield text;
  return { messages: [] };
}

describe("a push with a ready text", () => {
  it("is sent at once as it is, while a turn of its client runs, under its own id", async () => {
    const { sent, replyTo } = createClients();
    const { answer, running } = createManualAnswerer();
    const { gateway, lines } = createTestGateway(answer, { replyTo });
    await gateway.accept(ask("?").request);
    await settled();
    assert.equal(running(), 1);
    assert.equal(await gateway.push(ready("good morning")), "accepted");
    await settled();
    assert.deepEqual(sent, [
      { client: "device", id: "id of good morning", part: { text: "good morning", done: true } },
    ]);
    const { fields } = lines.find(({ message }) => message === "answered") ?? {};
    assert.deepEqual([fields?.["push"], fields?.["id"]], [true, "id of good morning"]);
  });

  it("is one push under one id, also while it is stored, and is known for as long as it was to be kept", async () => {
    const clock = createManualClock();
    const { sent, replyTo } = createClients();
    const { gateway } = createTestGateway(shout, { clock, replyTo });
    const once = ready("once", { from: "job" });
    const both = [gateway.push(once), gateway.push(once)];
    assert.deepEqual((await Promise.all(both)).toSorted(), ["accepted", "known"]);
    await clock.advance(20 * 60 * 60_000);
    assert.equal(await gateway.push(once), "known");
    await settled();
    assert.equal(sent.length, 1);
    await gateway.drain(0);
  });

  it("that is a message takes no room of its client when it was delivered, as an answer", async () => {
    const clock = createManualClock();
    const { sent, replyTo } = createClients();
    const facts = storeFacts(clock, "test");
    const bounds = { ...facts.bounds, laneRows: 2 };
    const store = createMemoryStore<string>({ ...facts, bounds });
    const { gateway } = createTestGateway(shout, { clock, replyTo, store });
    for (const text of ["one", "two"]) await gateway.push(ready(text));
    await assert.rejects(gateway.push(ready("three")), { code: "busy" });
    await clock.advance(11 * 60_000);
    await store.purge();
    await gateway.push(ready("four"));
    await settled();
    assert.equal(sent.length, 3);
    await gateway.drain(0);
  });

  it("waits for its client, longer than answers do, and until it expires", async () => {
    const clock = createManualClock();
    const { away, replyTo, texts } = createClients();
    away.add("device");
    const { gateway } = createTestGateway(shout, { clock, replyTo });
    await gateway.push(ready("a day"));
    await gateway.push(ready("an hour", { expiresAt: clock.epoch() + 3_600_000 }));
    await clock.advance(2 * 3_600_000);
    away.clear();
    await clock.advance(60_000);
    assert.deepEqual(texts(), ["a day"]);
    away.add("device");
    await gateway.push(ready("too long"));
    await clock.advance(DAY_MS + 60_000);
    away.clear();
    await clock.advance(60_000);
    assert.deepEqual(texts(), ["a day"]);
    await gateway.drain(0);
    assert.equal(clock.timers, 0);
  });

  it("comes as soon as an answer would when its client asked something lately", async () => {
    const clock = createManualClock();
    const { away, replyTo, texts } = createClients();
    away.add("device");
    const { gateway } = createTestGateway(shout, { clock, replyTo });
    await gateway.push(ready("hello"));
    await clock.advance(3_600_000);
    await gateway.accept(ask("?").request);
    await clock.advance(120_000);
    away.clear();
    await clock.advance(9_000);
    assert.deepEqual(texts(), ["hello"]);
    await gateway.drain(0);
  });

  it("is cut to the length that the channel's displays have", async () => {
    const { texts, replyTo } = createClients();
    const { gateway } = createTestGateway(shout, { replyTo, policy: { maxChars: () => 8 } });
    await gateway.push(ready("0123456789"));
    await settled();
    assert.deepEqual(texts(), ["0123456…"]);
  });
});

describe("a push with a prompt", () => {
  it("is the whole answer of a turn that knows what began it, after the client's earlier requests", async () => {
    const { sent, replyTo } = createClients();
    const turns: unknown[] = [];
    const began: string[] = [];
    const answer: Answerer<string> = async function* ({ text, pushed, history }) {
      began.push(text);
      turns.push(pushed);
      yield "a";
      yield `b after ${(await history()).length}`;
      return { messages: [text] };
    };
    const { gateway } = createTestGateway(answer, { replyTo, maxParallelTurns: 1 });
    const asked = ask("first");
    await gateway.accept(asked.request);
    const data = { source: "topic t", text: "21" };
    await gateway.push(prompt("second", { from: "watch", data }));
    await until("it is sent", () => sent.length === 1);
    assert.deepEqual(began, ["first", "second"]);
    assert.deepEqual(turns, [undefined, { from: "watch", data }]);
    assert.deepEqual(sent[0]?.part, { text: "ab after 1", done: true });
  });

  for (const nothing of ["NOTHING", "nothing.", "", " …", "Let me see.\n\n**NOTHING**"])
    it(`sends and remembers nothing after the answer ${JSON.stringify(nothing)}`, async () => {
      const clock = createManualClock();
      const { sent, replyTo } = createClients();
      const store = createTestStore(clock);
      const { gateway, lines } = createTestGateway(says(nothing), { clock, store, replyTo });
      await gateway.push(prompt("anything new?"));
      await until("its turn", () => lines.some(({ message }) => message === "answered"));
      await settled();
      assert.deepEqual(sent, []);
      const [conversation] = await store.conversations();
      assert.equal(conversation, undefined);
      assert.equal(await gateway.push(prompt("anything new?")), "known");
      assert.deepEqual(await store.claimAbandoned(), []);
    });

  const HEARD = ["There is nothing to worry about.", "喝水时间到了！", "Пора пить воду!", "🔔"];
  for (const text of HEARD)
    it(`sends ${JSON.stringify(text)}`, async () => {
      const { sent, texts, replyTo } = createClients();
      const { gateway } = createTestGateway(says(text), { replyTo });
      await gateway.push(prompt("?"));
      await until("it is sent", () => sent.length === 1);
      assert.deepEqual(texts(), [text]);
    });

  it("that failed is told, and does not run again under its id", async () => {
    const { sent, replyTo } = createClients();
    let runs = 0;
    // oxlint-disable-next-line require-yield
    const answer: Answerer<string> = async function* () {
      runs += 1;
      throw new Failure("model", "the model is away");
    };
    const { gateway } = createTestGateway(answer, { replyTo });
    await gateway.push(prompt("?"));
    await until("it is sent", () => sent.length === 1);
    await settled();
    assert.equal(sent[0]?.part.error?.code, "model");
    assert.equal(await gateway.push(prompt("?")), "known");
    assert.equal(runs, 1);
  });
});

describe("a push is refused", () => {
  it("for a client that may not ask, and for an unknown channel", async () => {
    const { sent, replyTo } = createClients();
    const { gateway } = createTestGateway(shout, { replyTo, policy: { denyFrom: ["device"] } });
    await assert.rejects(gateway.push(ready("x")), { code: "forbidden" });
    await assert.rejects(gateway.push(prompt("x")), { code: "forbidden" });
    await assert.rejects(gateway.push(ready("x", { channel: "other" })), { code: "failed" });
    await settled();
    assert.deepEqual(sent, []);
  });

  it("when it has expired", async () => {
    const { replyTo } = createClients();
    const clock = createManualClock();
    const { gateway } = createTestGateway(shout, { clock, replyTo });
    const expiresAt = clock.epoch();
    await assert.rejects(gateway.push(ready("x", { expiresAt })), { code: "expired" });
  });

  it("when the day's budget is used up, unless its text is ready; requests a minute do not count", async () => {
    const { sent, replyTo } = createClients();
    const limits = { ...NO_LIMITS, tokens_per_day: 10, requests_per_minute: 1, burst: 1 };
    const { gateway } = createTestGateway(spend, { replyTo, policy: { limits } });
    for (const text of ["one", "two"]) {
      await gateway.push(prompt(text));
      await until("it is sent", () => sent.some(({ part }) => part.text === text));
    }
    await assert.rejects(gateway.push(prompt("three")), { code: "budget" });
    await gateway.push(ready("four"));
    await until("it is sent", () => sent.some(({ part }) => part.text === "four"));
  });

  it("while the queue of its client is full, and may be tried again", async () => {
    const { sent, replyTo } = createClients();
    const { answer, end } = createManualAnswerer();
    const limits = { ...NO_LIMITS, queued: 1 };
    const { gateway } = createTestGateway(answer, { replyTo, policy: { limits } });
    await gateway.push(prompt("runs"));
    await gateway.push(prompt("waits"));
    await assert.rejects(gateway.push(prompt("later")), { code: "busy" });
    await settled();
    end();
    await until("there is room", () => sent.length === 1);
    assert.equal(await gateway.push(prompt("later")), "accepted");
    for (const count of [2, 3]) {
      await settled();
      end();
      await until("it is sent", () => sent.length === count);
    }
  });

  it("while nothing can be stored; then it is stored once, and known when it is tried again", async () => {
    const clock = createManualClock();
    const { sent, replyTo } = createClients();
    const store = createTestStore(clock);
    let isFull = true;
    const filling: Store<string> = {
      ...store,
      accept: (...facts) =>
        isFull ? Promise.reject(new Failure("busy", "full")) : store.accept(...facts),
    };
    const { gateway } = createTestGateway(shout, { clock, store: filling, replyTo });
    await assert.rejects(gateway.push(prompt("x")), { code: "busy" });
    const again = gateway.push(prompt("x"));
    isFull = false;
    await clock.advance(1000);
    assert.equal(await again, "known");
    await until("it is sent", () => sent.length === 1);
    await gateway.drain(0);
  });

  it("at a shutdown", async () => {
    const { replyTo } = createClients();
    const { gateway } = createTestGateway(shout, { replyTo });
    await gateway.drain(0);
    await assert.rejects(gateway.push(ready("x")), { code: "busy" });
    await assert.rejects(gateway.push(prompt("x")), { code: "busy" });
  });
});

/** Opens one database after the other, as processes do that die. */
async function openHome() {
  const folder = await temporaryFolder();
  const stores: Store<string>[] = [];
  return {
    async open(clock: ManualClock) {
      const owner = `owner ${stores.length}`;
      const facts = { ...storeFacts(clock, owner), sole: true };
      const store = await openSqliteStore<string>(join(folder.path, "p.db"), {
        ...facts,
        log: { debug() {}, info() {}, warn() {}, error() {} },
      });
      stores.push(store);
      return store;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(stores.map((store) => store.close()));
      await folder[Symbol.asyncDispose]();
    },
  };
}

describe("a push of a former process", () => {
  it("is delivered by the next one when its client comes, and known there", async () => {
    const clock = createManualClock();
    await using home = await openHome();
    const { away, replyTo, texts } = createClients();
    away.add("device");
    const first = createTestGateway(shout, { clock, replyTo, store: await home.open(clock) });
    await first.gateway.push(ready("ready"));
    await first.gateway.push(prompt("prompt"));
    await settled();
    const second = createTestGateway(shout, { clock, replyTo, store: await home.open(clock) });
    assert.equal(await second.gateway.resume(), 2);
    await clock.advance(60 * 60_000);
    assert.deepEqual(texts(), []);
    away.clear();
    await clock.advance(60_000);
    assert.deepEqual(texts(), ["ready", "PROMPT"]);
    assert.equal(await second.gateway.push(ready("ready")), "known");
    assert.equal(await second.gateway.push(prompt("prompt")), "known");
    await clock.advance(60_000);
    assert.deepEqual(texts(), ["ready", "PROMPT"]);
    await second.gateway.drain(0);
  });

  it("whose turn answered that there is nothing is not sent", async () => {
    const clock = createManualClock();
    await using home = await openHome();
    const { sent, replyTo } = createClients();
    const store = await home.open(clock);
    const dying: Store<string> = { ...store, delivered: () => new Promise(() => {}) };
    const first = createTestGateway(says("NOTHING"), { clock, replyTo, store: dying });
    await first.gateway.push(prompt("?"));
    await settled();
    const next = await home.open(clock);
    const second = createTestGateway(says("never"), { clock, replyTo, store: next });
    assert.equal(await second.gateway.resume(), 1);
    await settled();
    assert.deepEqual(sent, []);
    assert.deepEqual(await next.claimAbandoned(), []);
    await second.gateway.drain(0);
  });
});
