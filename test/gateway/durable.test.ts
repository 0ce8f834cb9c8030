import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import type { Part } from "../../src/base/contract.ts";
import { Failure } from "../../src/base/failure.ts";
import { SILENT } from "../../src/base/log.ts";
import type { Request } from "../../src/gateway/contract.ts";
import type { Recipient } from "../../src/gateway/durable/recovery.ts";
import type { Gateway } from "../../src/gateway/gateway.ts";
import type { Store } from "../../src/store/contract/store.ts";
import type { LogSync } from "../../src/store/sqlite/log-sync.ts";
import { openSqliteStore } from "../../src/store/sqlite/store.ts";
import type { SqliteStoreOptions } from "../../src/store/sqlite/store.ts";
import { claimedAbandoned } from "../store/contract.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { ask, createGate } from "./client.ts";
import type { Asked } from "./client.ts";
import { createManualClock, settled } from "./manual-clock.ts";
import {
  createManualAnswerer,
  createTestGateway,
  createTestStore,
  NO_LIMITS,
  shout,
  storeFacts,
} from "./setup.ts";

/** Long enough: a dead process does not notice its timeout. */
const LONG_MS = 3_600_000;
const DURABLE = { durable: true } as const;

/** Whether a promise has resolved by now. */
async function isResolved(promise: Promise<unknown>): Promise<boolean> {
  let resolved = false;
  void promise.then(() => {
    resolved = true;
  });
  await settled();
  return resolved;
}

/** The answers of later processes, by client. */
function createReplies(): {
  replyTo: (channel: string, recipient: Recipient) => Request["reply"];
  parts: (client: string) => readonly Part[];
} {
  const heard = new Map<string, Part[]>();
  const parts = (client: string): Part[] => {
    const own = heard.get(client) ?? [];
    heard.set(client, own);
    return own;
  };
  return {
    parts,
    replyTo:
      (_channel, { client }) =>
      (part) => {
        parts(client).push(part);
        return Promise.resolve();
      },
  };
}

/** Sends each text as a durable request. */
async function askAll(gateway: Gateway, texts: readonly string[]): Promise<readonly Asked[]> {
  const asked = texts.map((text) => ask(text, { ...DURABLE, key: text }));
  for (const { request } of asked) await gateway.accept(request);
  await settled();
  return asked;
}

/** There is no subscriber. */
function gone(): Promise<never> {
  return Promise.reject(new Failure("no_subscriber", "nobody"));
}

function hang(): Promise<never> {
  return new Promise(() => {});
}

const FULL = new Failure("busy", "the agent cannot store requests at the moment", {
  why: "disk full",
  retryAfter: 30,
});

/** A store whose disk is full until it is freed; with `isAsked` a call fails after its admission. */
function createFullStore(
  store: Store<string>,
  { isAsked = false } = {},
): { store: Store<string>; free: () => void } {
  let full = true;
  const orFull =
    <Fact, Result>(write: (fact: Fact) => Promise<Result>) =>
    (fact: Fact): Promise<Result> =>
      full ? Promise.reject(FULL) : write(fact);
  return {
    free: () => {
      full = false;
    },
    store: {
      ...store,
      accept(ticket, admission) {
        if (!full) return store.accept(ticket, admission);
        if (isAsked) admission?.admit(true);
        return Promise.reject(FULL);
      },
      begin: orFull((claim) => store.begin(claim)),
      delivered: orFull((claim) => store.delivered(claim)),
    },
  };
}

describe("a durable request", () => {
  it("may be acknowledged when the store has it, long before its turn ends", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    const gate = createGate();
    const slow: Store<string> = {
      ...store,
      accept: async (...facts) => {
        await gate.deliver();
        return store.accept(...facts);
      },
    };
    const { answer, began } = createManualAnswerer();
    const { gateway } = createTestGateway(answer, { clock, store: slow });
    const accepted = gateway.accept(ask("?", DURABLE).request);
    assert.equal(await isResolved(accepted), false);
    assert.deepEqual(began, []);
    gate.open();
    assert.equal(await isResolved(accepted), true);
    assert.deepEqual(began, ["?"]);
  });

  it("is answered after a restart with the format and the images that it came with", async () => {
    await using home = await createHome();
    const { clock } = home;
    const extras = {
      format: { type: "json_schema", schema: { type: "object" } },
      images: [{ mediaType: "image/png", data: "aaaa" }],
    } as const;
    const { answer } = createManualAnswerer();
    const first = createTestGateway(answer, { clock, store: await home.open() });
    await first.gateway.accept(ask("1", { ...DURABLE, key: "1", extras }).request);
    await first.gateway.accept(ask("2", { ...DURABLE, key: "2", extras }).request);
    await settled();
    const seen: unknown[] = [];
    const { replyTo } = createReplies();
    const second = createTestGateway(
      async function* look({ text, format, images }) {
        seen.push([text, { format, images }]);
        yield "seen";
        return { messages: [] };
      },
      { clock, store: await home.open(), replyTo },
    );
    await second.gateway.resume();
    await settled();
    assert.deepEqual(seen, [
      ["1", extras],
      ["2", extras],
    ]);
  });

  it("that is rejected may be acknowledged when the rejection is stored, long before it is delivered", async () => {
    const gate = createGate();
    const clock = createManualClock();
    const store = createTestStore(clock);
    const { gateway } = createTestGateway(shout, {
      clock,
      store,
      policy: { limits: { ...NO_LIMITS, requests_per_minute: 1, burst: 1, queued: 0 } },
    });
    await gateway.accept(ask("1", DURABLE).request);
    const refused = ask("2", { ...DURABLE, key: "2" }, gate.deliver);
    assert.equal(await isResolved(gateway.accept(refused.request)), true);
    assert.equal(refused.parts[0]?.error?.code, "rate_limited");
    assert.equal((await store.rejections(0, 10)).length, 1);

    const again = ask("2", { ...DURABLE, key: "2", redelivered: true });
    assert.equal(await isResolved(gateway.accept(again.request)), true);
    gate.open();
    await settled();
    assert.deepEqual(again.parts, []);
    assert.deepEqual(await store.rejections(0, 10), []);
  });

  it("that was rejected once gets the same answer when it is delivered again, also after a restart", async () => {
    await using home = await createHome();
    const { clock } = home;
    const { answer, end } = createManualAnswerer();
    const policy = { limits: { ...NO_LIMITS, queued: 1 } };
    const first = createTestGateway(answer, { clock, store: await home.open(), policy });
    const [, , third] = await askAll(first.gateway, ["1", "2", "3"]);
    assert.equal((await third?.done)?.error?.code, "busy");

    const redelivered = ask("3", { ...DURABLE, key: "3", redelivered: true });
    await first.gateway.accept(redelivered.request);
    assert.equal((await redelivered.done).error?.code, "busy");
    for (const _turn of ["1", "2"]) {
      await settled();
      end();
    }
    await settled();
    const second = createTestGateway(shout, { clock, store: await home.open() });
    await second.gateway.resume();
    const later = ask("3", { ...DURABLE, key: "3", redelivered: true });
    await second.gateway.accept(later.request);
    assert.equal((await later.done).error?.code, "busy");
    const askedAgain = ask("3", { ...DURABLE, key: "3" });
    await second.gateway.accept(askedAgain.request);
    assert.equal((await askedAgain.done).text, "3");
  });

  it("that was rejected and not delivered is delivered by the next process, once", async () => {
    await using home = await createHome();
    const { clock } = home;
    const limits = { ...NO_LIMITS, requests_per_minute: 1, burst: 1 };
    const never = new Promise<never>(() => {});
    const first = createTestGateway(shout, { clock, store: await home.open(), policy: { limits } });
    for (let number = 0; number < 700; number += 1) {
      const { request } = ask(`${number}`, { ...DURABLE, key: `${number}` }, () => never);
      await first.gateway.accept(request);
    }
    const { replyTo, parts } = createReplies();
    const second = createTestGateway(shout, { clock, store: await home.open(), replyTo });
    await second.gateway.resume();
    for (let round = 0; round < 20; round += 1) await settled();
    const codes = parts("device").map(({ error }) => error?.code);
    assert.equal(codes.filter((code) => code === "rate_limited").length, 699);
    const third = await home.open();
    assert.deepEqual([await third.claimAbandoned(), await third.rejections(0, 10)], [[], []]);
  });

  it("waits without its text: what waits is on the disk", async () => {
    await using home = await createHome();
    const { clock } = home;
    const store = await home.open();
    const { answer, began, end } = createManualAnswerer();
    const { gateway } = createTestGateway(answer, { clock, store, maxParallelTurns: 1 });
    const texts = Array.from({ length: 5000 }, (_, number) => `${number} ${"x".repeat(2000)}`);
    const accepted = texts.map((text, number) =>
      gateway.accept(ask(text, { ...DURABLE, client: `c${number}`, key: text }).request),
    );
    await Promise.all(accepted);
    for (let number = 0; number < 3; number += 1) {
      await settled();
      end();
    }
    await settled();
    assert.deepEqual(began, texts.slice(0, 4));
  });

  it("is delivered again when there was no subscriber, until there is one", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    let isThere = false;
    const deliver = (): Promise<void> => (isThere ? Promise.resolve() : gone());
    const { gateway, lines } = createTestGateway(shout, { clock, store });
    const asked = ["a", "b"].map((text) => ask(text, { ...DURABLE, key: text }, deliver));
    for (const { request } of asked) await gateway.accept(request);
    await clock.advance(60_000);
    const tries = asked.map(({ parts }) => parts.length);
    assert.ok((tries[0] ?? 0) >= 7 && (tries[0] ?? 0) <= 12, tries.join());
    assert.equal(tries[1], 1);
    isThere = true;
    await clock.advance(10_000);
    assert.deepEqual(
      asked.map(({ parts }) => parts.at(-1)),
      [
        { text: "A", done: true },
        { text: "B", done: true },
      ],
    );
    assert.equal(asked[1]?.parts.length, 2);
    await settled();
    assert.equal(lines.filter(({ message }) => message === "answered").length, 2);
    await gateway.drain(0);
    assert.equal(clock.timers, 0);
  });

  it("is answered within a second when its recipient subscribes right after it asked several times", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    let isThere = false;
    const heard: string[] = [];
    const deliver = ({ text }: Part): Promise<void> => {
      if (!isThere) return gone();
      heard.push(text);
      return Promise.resolve();
    };
    const { gateway } = createTestGateway(shout, { clock, store });
    for (const text of ["a", "b", "c", "d"]) {
      await gateway.accept(ask(text, { ...DURABLE, key: text }, deliver).request);
      await clock.advance(30);
      await settled();
    }
    isThere = true;
    await clock.advance(1_000);
    await settled();
    assert.deepEqual(heard, ["A", "B", "C", "D"]);
  });

  it("is answered before what its recipient asked later, though nobody was there for either", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    let isThere = false;
    const heard: string[] = [];
    const deliver = (part: Part): Promise<void> => {
      if (!isThere) return gone();
      heard.push(`${part.text}${part.done ? "." : ""}`);
      return Promise.resolve();
    };
    const { gateway } = createTestGateway(
      async function* ({ text }) {
        yield `${text} begins`;
        await new Promise<void>((resolve) => {
          clock.after(500, resolve);
        });
        yield `${text} ends`;
        return { messages: [] };
      },
      { clock, store },
    );
    const askOne = (text: string): Promise<void> =>
      gateway.accept(ask(text, { ...DURABLE, key: text }, deliver).request);
    for (const text of ["1", "2"]) await askOne(text);
    await clock.advance(20_000);
    isThere = true;
    await askOne("3");
    await clock.advance(1000);
    const texts = heard.join("").replaceAll(/\D/g, "");
    assert.equal(texts, "112233", heard.join());
  });

  it("is answered again as soon as its recipient asks something else, and given up after ten minutes", async () => {
    await using home = await createHome();
    const { clock } = home;
    const store = await home.open();
    const { gateway, lines } = createTestGateway(shout, { clock, store });
    let isThere = false;
    const late = ask("late", { ...DURABLE, key: "late" }, () =>
      isThere ? Promise.resolve() : gone(),
    );
    await gateway.accept(late.request);
    await gateway.accept(ask("x", { ...DURABLE, key: "x", client: "never" }, gone).request);
    await clock.advance(30_100);
    isThere = true;
    await gateway.accept(ask("more", { ...DURABLE, key: "more" }).request);
    await settled();
    assert.equal(late.parts.at(-1)?.text, "LATE");
    await clock.advance(600_000);
    const given = lines.filter(({ message }) => message.includes("no subscriber"));
    assert.deepEqual(
      given.map(({ fields }) => fields["client"]),
      ["never"],
    );
    assert.deepEqual(await (await home.open()).claimAbandoned(), []);
  });

  it("is not answered before the store has the answer", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    const gate = createGate();
    const slow: Store<string> = {
      ...store,
      answered: async (...facts) => {
        await gate.deliver();
        return store.answered(...facts);
      },
    };
    const { gateway } = createTestGateway(shout, { clock, store: slow });
    const asked = ask("hi", DURABLE);
    await gateway.accept(asked.request);
    await settled();
    assert.deepEqual(asked.parts, []);
    gate.open();
    assert.equal((await asked.done).text, "HI");
  });

  it("that starts at once begins with its acceptance; one that waits does not", async () => {
    await using home = await createHome();
    const { clock } = home;
    const store = await home.open();
    const answerer = createManualAnswerer();
    const begun: number[] = [];
    const counting: Store<string> = {
      ...store,
      begin(claim) {
        begun.push(claim.seq);
        return store.begin(claim);
      },
    };
    const { gateway } = createTestGateway(answerer.answer, {
      clock,
      store: counting,
      maxParallelTurns: 2,
    });
    const asked = ["1", "2", "3", "4"].map((text) =>
      ask(text, { ...DURABLE, key: text, client: text === "2" ? "1" : text }),
    );
    await Promise.all(asked.map(({ request }) => gateway.accept(request)));
    await settled();
    assert.deepEqual(answerer.began, ["1", "3"]);
    assert.deepEqual(begun, []);
    const left = await claimedAbandoned(await home.open());
    assert.deepEqual(
      left.map(({ request, claim }) => [request.text, claim.attempt]),
      [
        ["1", 1],
        ["2", 0],
        ["3", 1],
        ["4", 0],
      ],
    );
  });

  it("costs three transactions when it starts at once and calls no tool", async () => {
    const commits: number[] = [];
    await using home = await createHome({ onCommit: (calls) => void commits.push(calls) });
    const { clock } = home;
    const { gateway } = createTestGateway(shout, { clock, store: await home.open() });
    for (const text of ["1", "2"]) {
      commits.length = 0;
      const asked = ask(text, { ...DURABLE, key: text });
      await gateway.accept(asked.request);
      await asked.done;
      await settled();
    }
    assert.deepEqual(commits, [1, 1, 1]);
  });

  it("holds no slot while it cannot be stored", async () => {
    const clock = createManualClock();
    const { store, free } = createFullStore(createTestStore(clock), { isAsked: true });
    const { gateway } = createTestGateway(shout, { clock, store, maxParallelTurns: 1 });
    const waiting = ask("a", { ...DURABLE, client: "a" });
    const accepted = gateway.accept(waiting.request);
    await settled();
    const asked = ask("b", { client: "b" });
    await gateway.accept(asked.request);
    assert.equal((await asked.done).text, "B");
    const own = ask("a2", { client: "a" });
    await gateway.accept(own.request);
    assert.equal((await own.done).text, "A2");
    free();
    await clock.advance(1000);
    assert.equal(await isResolved(accepted), true);
    assert.equal(waiting.parts.at(-1)?.text, "A");
  });

  it("is answered expired when that came while it was stored, and does not run", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    const slow: Store<string> = {
      ...store,
      async accept(...facts) {
        const acceptance = await store.accept(...facts);
        await clock.advance(2000);
        return acceptance;
      },
    };
    const answerer = createManualAnswerer();
    const { gateway } = createTestGateway(answerer.answer, { clock, store: slow });
    const asked = ask("?", { ...DURABLE, expiresAt: clock.epoch() + 1000 });
    await gateway.accept(asked.request);
    await asked.done;
    assert.deepEqual(
      asked.parts.map(({ error }) => error?.code),
      ["expired"],
    );
    assert.deepEqual(answerer.began, []);
  });

  it("gets busy while the disk is full, is not acknowledged, and is answered when there is room", async () => {
    const clock = createManualClock();
    const { store, free } = createFullStore(createTestStore(clock));
    const { gateway, lines } = createTestGateway(shout, { clock, store });
    const asked = ask("hi", DURABLE);
    const accepted = gateway.accept(asked.request);
    await clock.advance(5000);
    assert.equal(await isResolved(accepted), false);
    assert.deepEqual(
      asked.parts.map(({ error }) => [error?.code, error?.retryAfter]),
      [["busy", 30]],
    );
    assert.equal(gateway.problem(), "requests cannot be stored");
    assert.equal(lines.filter(({ level }) => level === "error").length, 1);

    free();
    await clock.advance(1000);
    assert.equal(await isResolved(accepted), true);
    assert.equal(asked.parts.at(-1)?.text, "HI");
    assert.equal(gateway.problem(), undefined);
  });

  it("gets its answer though the disk became full meanwhile, and the store gets it later", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    const { answer, end, began } = createManualAnswerer();
    let full = false;
    const filling: Store<string> = {
      ...store,
      answered: (...facts) => (full ? Promise.reject(FULL) : store.answered(...facts)),
    };
    const { gateway } = createTestGateway(answer, { clock, store: filling });
    const asked = ask("?", { ...DURABLE, key: "k" });
    await gateway.accept(asked.request);
    await settled();
    full = true;
    end();
    await clock.advance(5000);
    assert.equal((await asked.done).text, "answer to ?");
    full = false;
    await clock.advance(1000);
    await settled();
    const again = ask("?", { ...DURABLE, key: "k" });
    await gateway.accept(again.request);
    assert.equal((await again.done).text, "answer to ?");
    assert.deepEqual(began, ["?"]);
  });

  it("that comes while the gateway shuts down is left to the broker", async () => {
    const { gateway } = createTestGateway(shout);
    await gateway.drain(0);
    const asked = ask("?", DURABLE);
    assert.equal(await isResolved(gateway.accept(asked.request)), false);
    assert.deepEqual(asked.parts, []);
  });
});

/** One file that several processes open one after the other. */
/** A disk that takes no time, so that turns of the event loop settle everything. */
const AT_ONCE: LogSync = { start: (_calls, done) => done(null), now() {}, close() {} };

async function createHome(more: Pick<SqliteStoreOptions, "onCommit"> = {}) {
  const clock = createManualClock();
  const folder = await temporaryFolder();
  const opened: Store<string>[] = [];
  return {
    clock,
    async open(): Promise<Store<string>> {
      const own = storeFacts(clock, `owner ${opened.length}`);
      const facts = { ...own, sole: true, log: SILENT, sync: AT_ONCE, ...more };
      const store = await openSqliteStore<string>(join(folder.path, "state.db"), facts);
      opened.push(store);
      return store;
    },
    async [Symbol.asyncDispose]() {
      for (const store of opened) await store.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

describe("the next start", () => {
  it("runs what was accepted and not answered, in order, and remembers the conversation", async () => {
    await using home = await createHome();
    const { clock } = home;
    const store = await home.open();
    const answerer = createManualAnswerer();
    const first = createTestGateway(answerer.answer, { clock, store, turnTimeoutMs: LONG_MS });
    const asked = ["1", "2", "3"].map((text) => ask(text, { ...DURABLE, key: text }));
    for (const { request } of asked) await first.gateway.accept(request);
    await settled();
    assert.deepEqual(answerer.began, ["1"]);

    const { replyTo, parts } = createReplies();
    const later = await home.open();
    const histories: (readonly string[])[] = [];
    const second = createTestGateway(
      async function* ({ text, history }) {
        histories.push(await history());
        yield text;
        return { messages: [text] };
      },
      { clock, store: later, replyTo },
    );
    assert.equal(await second.gateway.resume(), 3);
    await settled();
    assert.deepEqual(
      parts("device").map(({ text }) => text),
      ["1", "2", "3"],
    );
    assert.deepEqual(histories, [[], ["1"], ["1", "2"]]);
  });

  it("logs each resumed request, and their number when there are many", async () => {
    await using home = await createHome();
    const { clock } = home;
    const store = await home.open();
    const first = createTestGateway(createManualAnswerer().answer, {
      clock,
      store,
      turnTimeoutMs: LONG_MS,
    });
    await askAll(
      first.gateway,
      Array.from({ length: 300 }, (_, index) => `${index}`),
    );
    const { replyTo } = createReplies();
    const { gateway, lines } = createTestGateway(shout, {
      clock,
      store: await home.open(),
      replyTo,
    });
    assert.equal(await gateway.resume(), 300);
    const shown = lines.filter(({ level, message }) => level === "info" && /resumed/.test(message));
    assert.equal(shown.length, 101);
    assert.deepEqual(shown.at(-1)?.fields, { requests: 300 });
  });

  it("runs nothing of a client that was denied meanwhile, which gets forbidden; others go on", async () => {
    await using home = await createHome();
    const { clock } = home;
    const answerer = createManualAnswerer();
    const first = createTestGateway(answerer.answer, {
      clock,
      store: await home.open(),
      turnTimeoutMs: LONG_MS,
    });
    for (const client of ["thief", "thief", "friend"]) {
      await first.gateway.accept(ask("?", { ...DURABLE, client, key: `${Math.random()}` }).request);
    }
    await settled();
    assert.equal(answerer.began.length, 2);

    const { replyTo, parts } = createReplies();
    const ran: string[] = [];
    const second = createTestGateway(
      async function* ({ client }) {
        ran.push(client);
        yield "!";
        return { messages: [] };
      },
      { clock, store: await home.open(), replyTo, policy: { denyFrom: ["thief"] } },
    );
    await second.gateway.resume();
    await settled();
    assert.deepEqual(ran, ["friend"]);
    assert.deepEqual(
      parts("thief").map(({ error }) => error?.code),
      ["forbidden", "forbidden"],
    );
    assert.equal(parts("friend").at(-1)?.done, true);
    assert.deepEqual(await (await home.open()).claimAbandoned(), []);
  });

  it("runs nothing that /stop cancelled, though the process ended before its answers were stored", async () => {
    await using home = await createHome();
    const { clock } = home;
    const store = await home.open();
    const dying = { ...store, answered: hang, expire: hang };
    const hanging = createManualAnswerer();
    const first = createTestGateway(hanging.answer, {
      clock,
      store: dying,
      turnTimeoutMs: LONG_MS,
    });
    await askAll(first.gateway, ["one", "two"]);
    const other = ask("of another client", { ...DURABLE, client: "other" });
    await first.gateway.accept(other.request);
    const stop = ask("/stop", { ...DURABLE, key: "stop" });
    await first.gateway.accept(stop.request);
    await settled();
    assert.equal(stop.text(), "Stopped.");
    await askAll(first.gateway, ["three"]);

    const { replyTo, parts } = createReplies();
    const second = createTestGateway(shout, { clock, store: await home.open(), replyTo });
    await second.gateway.resume();
    await settled();
    assert.deepEqual(
      parts("device").map(({ text, error }) => error?.code ?? text),
      ["cancelled", "cancelled", "THREE"],
    );
    assert.equal(parts("other").at(-1)?.error, undefined);
    assert.deepEqual(await (await home.open()).claimAbandoned(), []);
  });

  it("delivers an answer that was stored and not delivered, byte for byte, without a turn", async () => {
    await using home = await createHome();
    const { clock } = home;
    const store = await home.open();
    const never = new Promise<never>(() => {});
    const first = createTestGateway(shout, { clock, store });
    const asked = ask("hi", DURABLE, () => never);
    await first.gateway.accept(asked.request);
    await settled();
    assert.equal(asked.parts.at(-1)?.done, true);

    const { replyTo, parts } = createReplies();
    const later = await home.open();
    const second = createTestGateway(
      () => {
        throw new Error("no turn is run");
      },
      { clock, store: later, replyTo },
    );
    await second.gateway.resume();
    await settled();
    assert.deepEqual(parts("device"), asked.parts);
    assert.deepEqual(await (await home.open()).claimAbandoned(), []);
  });

  it("knows what was answered before: a second delivery gets the same bytes and no turn", async () => {
    await using home = await createHome();
    const { clock } = home;
    const store = await home.open();
    const first = createTestGateway(shout, { clock, store });
    const asked = ask("hi", { ...DURABLE, key: "k" });
    await first.gateway.accept(asked.request);
    await asked.done;
    await first.gateway.drain(0);

    const second = createTestGateway(
      () => {
        throw new Error("no turn is run");
      },
      { clock, store: await home.open() },
    );
    await second.gateway.resume();
    const again = ask("hi", { ...DURABLE, key: "k", redelivered: true });
    await second.gateway.accept(again.request);
    await again.done;
    assert.deepEqual(again.parts, asked.parts);
  });

  it("shows the model the steps of a turn that was cut off, and gives up after three attempts", async () => {
    await using home = await createHome();
    const { clock } = home;
    const seen: (readonly string[] | undefined)[] = [];
    const { replyTo, parts } = createReplies();
    const start = async () =>
      createTestGateway(
        async function* ({ resumed, record }) {
          seen.push(resumed);
          await record(`step ${seen.length}`);
          await new Promise(() => {});
          yield "never";
          return { messages: [] };
        },
        { clock, store: await home.open(), replyTo, turnTimeoutMs: LONG_MS },
      ).gateway;
    const request = ask("?", DURABLE).request;
    await (await start()).accept(request);
    for (let again = 0; again < 3; again++) {
      await settled();
      await (await start()).resume();
    }
    await settled();
    assert.deepEqual(seen, [undefined, ["step 1"], ["step 1", "step 2"]]);
    assert.deepEqual(
      parts("device").map(({ error }) => error?.code),
      ["internal"],
    );
  });

  it("shows the model the steps of a turn that a shutdown broke off", async () => {
    await using home = await createHome();
    const { clock } = home;
    const seen: (readonly string[] | undefined)[] = [];
    const { replyTo, parts } = createReplies();
    const start = async () =>
      createTestGateway(
        async function* ({ resumed, record, signal }) {
          seen.push(resumed);
          if (resumed === undefined) {
            await record("a step");
            await new Promise((_, reject) => {
              signal.addEventListener("abort", () => reject(signal.reason));
            });
          }
          yield "done";
          return { messages: [] };
        },
        { clock, store: await home.open(), replyTo, turnTimeoutMs: LONG_MS },
      ).gateway;
    const first = await start();
    await first.accept(ask("?", DURABLE).request);
    await settled();
    const drained = first.drain(1000);
    await clock.advance(5000);
    assert.equal((await drained).resumable, 1);
    await (await start()).resume();
    await settled();
    assert.deepEqual(seen, [undefined, ["a step"]]);
    assert.equal(parts("device").at(-1)?.done, true);
  });

  it("finds what a shutdown broke off, not counted as an attempt and not answered cancelled", async () => {
    await using home = await createHome();
    const { clock } = home;
    const store = await home.open();
    const answerer = createManualAnswerer();
    const first = createTestGateway(answerer.answer, { clock, store, turnTimeoutMs: LONG_MS });
    const asked: Asked[] = ["1", "2"].map((text) => ask(text, DURABLE));
    for (const { request } of asked) await first.gateway.accept(request);
    await settled();
    const drained = first.gateway.drain(1000);
    await clock.advance(1000);
    assert.deepEqual(await drained, { cancelled: 0, resumable: 2, undelivered: 0 });
    assert.deepEqual(
      asked.flatMap(({ parts }) => parts),
      [],
    );
    assert.equal(clock.timers, 0);

    const held = await claimedAbandoned(await home.open());
    assert.deepEqual(
      held.map(({ request, claim }) => [request.text, claim.attempt]),
      [
        ["1", 0],
        ["2", 0],
      ],
    );
  });

  it("answers expired where the deadline passed meanwhile, and runs nothing", async () => {
    await using home = await createHome();
    const { clock } = home;
    const store = await home.open();
    const answerer = createManualAnswerer();
    const first = createTestGateway(answerer.answer, {
      clock,
      store,
      turnTimeoutMs: LONG_MS,
      maxParallelTurns: 1,
    });
    await first.gateway.accept(ask("1", DURABLE).request);
    await first.gateway.accept(
      ask("2", { ...DURABLE, expiresAt: clock.epoch() + 30_000, client: "other" }).request,
    );
    await clock.advance(31_000);
    const { replyTo, parts } = createReplies();
    const later = await home.open();
    const second = createTestGateway(shout, { clock, store: later, replyTo });
    await second.gateway.resume();
    await settled();
    assert.deepEqual(
      parts("other").map(({ error }) => error?.code),
      ["expired"],
    );
  });
});
