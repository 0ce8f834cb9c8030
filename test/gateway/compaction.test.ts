import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { SILENT } from "../../src/base/log.ts";
import type { Compact } from "../../src/gateway/compaction.ts";
import type { Answerer } from "../../src/gateway/contract.ts";
import { createGateway } from "../../src/gateway/gateway.ts";
import type { Conversation } from "../../src/store/contract/conversations.ts";
import type { Store } from "../../src/store/contract/store.ts";
import { openSqliteStore } from "../../src/store/sqlite/store.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";
import { ask } from "./client.ts";
import { createManualClock, settled } from "./manual-clock.ts";
import type { ManualClock } from "./manual-clock.ts";
import {
  createManualAnswerer,
  createTestGateway,
  createTestStore,
  OPEN_TO_ALL,
  storeFacts,
} from "./setup.ts";

/** Answers with its history. */
const recall: Answerer<string> = async function* ({ history, text }) {
  yield (await history()).join(",");
  return { messages: [text, `re ${text}`], ...(text === "/clear" && { forget: true as const }) };
};

/** Answers with the client id. */
const report: Answerer<string> = async function* ({ isRemote, isAdmin, client }) {
  yield `${client} ${isRemote} ${isAdmin}`;
  return { messages: [] };
};

/** Leaves the last turn as it is. */
const compactAllButLast: Compact<string> = ({ summary = "", turns }) => {
  const through = turns.at(-2)?.id;
  if (through === undefined) return Promise.resolve(undefined);
  const said = turns.slice(0, -1).flatMap(({ messages }) => messages);
  return Promise.resolve({ through, summary: `<${summary}${said.join(" ")}>` });
};

/** A compactor whose calls end when the test says so. */
function createSlowCompactor(obeys = true) {
  const calls: {
    readonly conversation: Conversation<string>;
    readonly signal: AbortSignal;
    readonly end: () => void;
  }[] = [];
  const compact: Compact<string> = (conversation, signal) =>
    new Promise((resolve, reject) => {
      const end = (): void =>
        resolve({ through: conversation.turns.at(-1)?.id ?? 0, summary: "slow" });
      calls.push({ conversation, signal, end });
      if (obeys) signal.addEventListener("abort", () => reject(signal.reason));
    });
  return { compact, calls };
}

type Make = (clock: ManualClock) => Promise<{ store: Store<string> } & AsyncDisposable>;

const STORES: Readonly<Record<string, Make>> = {
  memory: async (clock) => ({
    store: createTestStore(clock),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }),
  SQLite: async (clock) => {
    const folder = await temporaryFolder();
    const facts = { ...storeFacts(clock, "one"), log: SILENT };
    const store = await openSqliteStore<string>(join(folder.path, "picoclaw.db"), facts);
    return {
      store,
      async [Symbol.asyncDispose]() {
        await store.close();
        await folder[Symbol.asyncDispose]();
      },
    };
  },
};

for (const [name, make] of Object.entries(STORES)) {
  describe(`a conversation that grows, kept in ${name}`, () => {
    for (const durable of [false, true]) {
      const kind = durable ? "durable requests" : "requests that are not durable";

      it(`is condensed after each turn of ${kind}, and shown so to the next`, async () => {
        const clock = createManualClock();
        await using kept = await make(clock);
        const options = { clock, store: kept.store, compact: compactAllButLast };
        const { gateway, lines } = createTestGateway(recall, options);
        const heard: string[] = [];
        for (const [index, text] of ["1", "2", "3"].entries()) {
          const asked = ask(text, { durable });
          await gateway.accept(asked.request);
          heard.push((await asked.done).text);
          const summaries = () => lines.filter(({ message }) => /summarized/.test(message));
          await until("it is condensed", () => summaries().length >= index);
        }
        assert.deepEqual(heard, ["", "1,re 1", "<1 re 1>,2,re 2"]);
      });

      it(`begins anew with the turn that says so, by ${kind}`, async () => {
        const clock = createManualClock();
        await using kept = await make(clock);
        const { gateway } = createTestGateway(recall, { clock, store: kept.store });
        const heard: string[] = [];
        for (const text of ["1", "/clear", "2", "3"]) {
          const asked = ask(text, { durable });
          await gateway.accept(asked.request);
          heard.push((await asked.done).text);
        }
        assert.deepEqual(heard, ["", "1,re 1", "", "2,re 2"]);
      });
    }
  });
}

describe("compaction", () => {
  it("is in nobody's way, and does nothing where the conversation began anew meanwhile", async () => {
    const { compact, calls } = createSlowCompactor();
    const { gateway } = createTestGateway(recall, { compact });
    const first = ask("1");
    await gateway.accept(first.request);
    await first.done;
    await until("it condenses", () => calls.length === 1);
    const [clear, second] = [ask("/clear"), ask("2")];
    for (const each of [clear, second]) await gateway.accept(each.request);
    assert.equal((await clear.done).text, "1,re 1");
    assert.equal((await second.done).text, "");
    calls[0]?.end();
    await settled();
    const third = ask("3");
    await gateway.accept(third.request);
    assert.equal((await third.done).text, "2,re 2");
  });

  it("is done for one conversation at a time, and for one that grew meanwhile again", async () => {
    const { compact, calls } = createSlowCompactor();
    const { gateway } = createTestGateway(recall, { compact });
    for (const client of ["a", "b", "a", "a"]) {
      const asked = ask("?", { client });
      await gateway.accept(asked.request);
      await asked.done;
    }
    await settled();
    const turns = (): number[] => calls.map(({ conversation }) => conversation.turns.length);
    assert.deepEqual(turns(), [1]);
    calls[0]?.end();
    await settled();
    assert.deepEqual(turns(), [1, 1]);
    calls[1]?.end();
    await settled();
    assert.deepEqual(turns(), [1, 1, 2]);
    assert.equal(calls[2]?.conversation.summary, "slow");
  });

  it("that is short enough by its size is not even read", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    const read: string[] = [];
    const reading: Store<string> = {
      ...store,
      conversation(name) {
        read.push(name);
        return store.conversation(name);
      },
    };
    const compact: Compact<string> = Object.assign(compactAllButLast.bind(undefined), {
      isDue: ({ messages }: { readonly messages: number }) => messages > 4,
    });
    const { gateway } = createTestGateway(recall, { clock, store: reading, compact });
    for (const [text, reads] of [
      ["1", 0],
      ["2", 0],
      ["3", 1],
      ["4", 1],
    ] as const) {
      const asked = ask(text);
      await gateway.accept(asked.request);
      await asked.done;
      await settled();
      assert.equal(read.length, reads);
    }
  });

  it("that fails is logged, and tried again only after the next turn", async () => {
    let tries = 0;
    const compact: Compact<string> = () => {
      tries += 1;
      return Promise.reject(new Failure("model", "the model is away", { why: "status 503" }));
    };
    const { gateway, clock, lines } = createTestGateway(recall, { compact });
    for (const expected of [1, 2]) {
      const asked = ask(`${expected}`);
      await gateway.accept(asked.request);
      await asked.done;
      await clock.advance(600_000);
      assert.equal(tries, expected);
    }
    const shown = lines.filter(({ level }) => level === "warn");
    assert.deepEqual(
      shown.map(({ fields }) => [fields["error"], fields["why"]]),
      Array.from({ length: 2 }, () => ["the model is away", "status 503"]),
    );
    assert.equal(clock.timers, 0);
  });

  it("has two minutes, and is left behind where it does not end then", async () => {
    const { compact, calls } = createSlowCompactor(false);
    const { gateway, clock, lines } = createTestGateway(recall, { compact });
    for (const client of ["a", "b"]) {
      const asked = ask("?", { client });
      await gateway.accept(asked.request);
      await asked.done;
    }
    await clock.advance(119_999);
    assert.equal(calls[0]?.signal.aborted, false);
    await clock.advance(1);
    assert.equal(calls[0]?.signal.aborted, true);
    assert.equal(calls.length, 1);
    await clock.advance(5000);
    assert.equal(calls.length, 2);
    assert.match(lines.at(-1)?.message ?? "", /could not be summarized/);
  });

  it("gives way to the turns that run, a minute at most, and its two minutes wait meanwhile", async () => {
    const steps: string[] = [];
    const compact: Compact<string> = async (_, signal, giveWay) => {
      for (const step of ["first", "second"]) {
        await giveWay();
        steps.push(step);
      }
      return new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => {
          steps.push("over");
          reject(signal.reason);
        });
      });
    };
    const answerer = createManualAnswerer();
    const { gateway, clock } = createTestGateway(answerer.answer, {
      compact,
      turnTimeoutMs: 600_000,
    });
    const begin = async (client: string) => {
      const asked = ask(client, { client });
      await gateway.accept(asked.request);
      await settled();
      return asked;
    };
    const short = await begin("short");
    const long = await begin("long");
    answerer.end();
    await short.done;
    await settled();
    assert.deepEqual(steps, []);
    // Later turns do not make it wait longer.
    await begin("hangs");
    answerer.end();
    await long.done;
    await settled();
    assert.deepEqual(steps, ["first"]);
    await clock.advance(60_000);
    assert.deepEqual(steps, ["first", "second"]);
    await clock.advance(119_999);
    assert.deepEqual(steps, ["first", "second"]);
    await clock.advance(1);
    assert.deepEqual(steps, ["first", "second", "over"]);
  });

  it("ends at once when the gateway drains, and is not waited for", async () => {
    const { compact, calls } = createSlowCompactor(false);
    const { gateway, clock } = createTestGateway(recall, { compact });
    const asked = ask("?");
    await gateway.accept(asked.request);
    await asked.done;
    await until("it condenses", () => calls.length === 1);
    const drained = gateway.drain(20_000);
    await settled();
    assert.equal(calls[0]?.signal.aborted, true);
    await clock.advance(250);
    assert.deepEqual(await drained, { cancelled: 0, resumable: 0, undelivered: 0 });
    assert.equal(clock.timers, 0);
  });
});

describe("one conversation of all clients", () => {
  const shared = { conversation: "everyone" };

  it("shows each what the others said, and stops each alone", async () => {
    const { gateway } = createTestGateway(recall);
    const first = ask("1", { client: "a", ...shared });
    await gateway.accept(first.request);
    await first.done;
    const second = ask("2", { client: "b", ...shared });
    await gateway.accept(second.request);
    assert.equal((await second.done).text, "1,re 1");
    const stop = ask("/stop", { client: "c", ...shared });
    await gateway.accept(stop.request);
    assert.equal((await stop.done).text, "Nothing to stop.");
  });

  it("is that of a request that the next process takes up", async () => {
    const clock = createManualClock();
    await using folder = await temporaryFolder();
    const open = (owner: string): Promise<Store<string>> =>
      openSqliteStore(join(folder.path, "db"), { ...storeFacts(clock, owner), log: SILENT });
    const first = await open("one");
    const { gateway } = createTestGateway(
      async function* ({ signal }) {
        yield "…";
        await new Promise((_, reject) => {
          signal.addEventListener("abort", () => reject(signal.reason));
        });
        return { messages: [] };
      },
      { clock, store: first },
    );
    await gateway.accept(ask("?", { client: "a", durable: true, ...shared }).request);
    await settled();
    const drained = gateway.drain(0);
    await clock.advance(10_000);
    await drained;
    await first.close();

    const second = await open("two");
    const setup = createTestGateway(recall, {
      clock,
      store: second,
      replyTo: () => () => Promise.resolve(),
    });
    assert.equal(await setup.gateway.resume(), 1);
    await until("it is answered", async () => (await second.history("everyone")).length === 2);
    assert.deepEqual(await second.history("everyone"), ["?", "re ?"]);
    await second.close();
  });
});

describe("an answerer gets", () => {
  it("that the request is remote, and whether its client may change things for everyone", async () => {
    const cases = [
      { adminFrom: [], client: "a", isAdmin: false },
      { adminFrom: ["a"], client: "a", isAdmin: true },
      { adminFrom: ["a"], client: "A", isAdmin: false },
      { adminFrom: ["a"], client: "ab", isAdmin: false },
      { adminFrom: ["b", "*"], client: "a", isAdmin: true },
    ];
    for (const { adminFrom, client, isAdmin } of cases) {
      const { gateway } = createTestGateway(report, { policy: { adminFrom } });
      const asked = ask("?", { client });
      await gateway.accept(asked.request);
      assert.equal((await asked.done).text, `${client} true ${isAdmin}`);
    }
  });
});

describe("a conversation that nobody can summarize", () => {
  it("is not even read after its turns, until there is somebody who can", async () => {
    const clock = createManualClock();
    let reads = 0;
    const store = createTestStore(clock);
    const counting: Store<string> = {
      ...store,
      conversation(lane) {
        reads += 1;
        return store.conversation(lane);
      },
    };
    let compact: Compact<string> | undefined;
    const gateway = createGateway<string>({
      answer: recall,
      store: counting,
      clock,
      log: SILENT,
      policies: new Map([["mqtt", OPEN_TO_ALL]]),
      maxParallelTurns: 0,
      turnTimeoutMs: 60_000,
      get compact() {
        return compact;
      },
    });
    const say = async (text: string): Promise<void> => {
      const asked = ask(text);
      await gateway.accept(asked.request);
      await asked.done;
      await settled();
    };
    await say("one");
    await say("two");
    assert.equal(reads, 0);
    compact = compactAllButLast;
    await say("three");
    await until("it is read", () => reads === 1);
  });
});
