import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { Limits } from "../../src/base/contract.ts";
import { Failure } from "../../src/base/failure.ts";
import { SILENT } from "../../src/base/log.ts";
import type { ChannelPolicy } from "../../src/gateway/channel-policy.ts";
import { createCalendar, secondsLeftOf, todayAt } from "../../src/gateway/usage/account.ts";
import { Accounting } from "../../src/gateway/usage/accounts.ts";
import { usageIn } from "../../src/gateway/usage/report.ts";
import type { Counter, CounterChanges, CounterStore } from "../../src/store/contract/counters.ts";
import type { Store } from "../../src/store/contract/store.ts";
import { daysIn } from "../../src/store/day-counts.ts";
import { createMemoryStore, openSqliteStore } from "../../src/store/sqlite/store.ts";
import { atMost, heldBytes } from "../support/memory.ts";
import { runs } from "../support/runs.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { ask } from "./client.ts";
import { createManualClock, settled } from "./manual-clock.ts";
import {
  createManualAnswerer,
  createTestGateway,
  NO_LIMITS,
  OPEN_TO_ALL,
  shout,
  storeFacts,
} from "./setup.ts";

const DAY_MS = 86_400_000;

interface Facts {
  readonly limits?: Partial<Limits>;
  readonly total?: Partial<Limits>;
  readonly gateway?: Partial<Limits>;
  readonly rows?: number;
  /** The store of the accounts; a store in memory when left out. */
  readonly store?: Store<string>;
  /** Called with the errors of the store. */
  readonly report?: (thrown: unknown) => void;
}

const of = (client: string) => ask("?", { client, durable: true }).request;

/** Accounting over one store, across processes. */
function createBooks(facts: Facts = {}, clock = createManualClock()) {
  const { limits = {}, total = {}, gateway = {}, rows = 4096 } = facts;
  const { store = createMemoryStore<string>(storeFacts(clock, "one")) } = facts;
  const policy: ChannelPolicy = {
    ...OPEN_TO_ALL,
    limits: { ...NO_LIMITS, ...limits },
    totalLimits: { ...NO_LIMITS, ...total },
  };
  let writes = 0;
  const counting: CounterStore = {
    ...store,
    count(take) {
      writes += 1;
      return store.count(take);
    },
  };
  const open = () =>
    new Accounting({
      policies: new Map([["mqtt", policy]]),
      limits: { ...NO_LIMITS, ...gateway },
      store: counting,
      clock,
      rows,
      onError: facts.report ?? ((thrown) => assert.fail(String(thrown))),
    });
  let books = open();
  return {
    clock,
    store,
    writes: () => writes,
    prepare: (client: string) => books.prepare(of(client), policy),
    async prepareAll(clients: readonly string[]): Promise<void> {
      // The store writes between messages.
      await new Promise(setImmediate);
      await Promise.all(clients.map(async (client) => await books.prepare(of(client), policy)));
    },
    prepareTurn: (client: string, text = "?") => books.prepareTurn({ ...of(client), text }, policy),
    distrust: () => books.distrust(),
    charge: (client: string) => books.consumeRateLimit(of(client), policy),
    /** Seconds to wait; 0 when the request is allowed. */
    take: (client: string): number => books.consumeRateLimit(of(client), policy)?.retryAfter ?? 0,
    overdrawn: (client: string) => books.overBudget(of(client), policy),
    allowance: (client: string) => books.allowanceOf(of(client), policy),
    refused: (client: string) => books.countRejection(of(client), "forbidden"),
    keepAll: () => books.saveAll(),
    usage: async () => usageIn(await store.counters(), { epoch: clock.epoch(), heaviest: 5 }),
    /** The process dies; the next one loads the store. */
    async restart() {
      await settled();
      books = open();
      await books.load();
    },
  };
}

function closing<S extends Store<string>>(store: S): S & AsyncDisposable {
  return Object.assign(store, { [Symbol.asyncDispose]: () => store.close() });
}

const spend = (books: ReturnType<typeof createBooks>, client: string, tokens: number): string => {
  try {
    books.allowance(client).begin({ inputTokens: tokens, outputTokens: 0, cost: 0 });
    return "ok";
  } catch (thrown) {
    assert.ok(thrown instanceof Failure);
    return thrown.code;
  }
};

describe("counters of a request of QoS 0", () => {
  const rated = { ...NO_LIMITS, requests_per_minute: 60, burst: 60 };

  it("are written with the conversation of a short turn, in one transaction", async () => {
    await using folder = await temporaryFolder();
    const clock = createManualClock();
    const commits: number[] = [];
    const onCommit = (calls: number): void => void commits.push(calls);
    const options = { ...storeFacts(clock, "one"), sole: true, log: SILENT, onCommit };
    await using store = closing(await openSqliteStore<string>(join(folder.path, "db"), options));
    const { gateway } = createTestGateway(shout, { clock, store, policy: { limits: rated } });
    for (const text of ["1", "2"]) {
      commits.length = 0;
      const asked = ask(text);
      await gateway.accept(asked.request);
      await asked.done;
      await settled();
    }
    assert.deepEqual(commits, [2]);
    const { clients } = usageIn(await store.counters(), { epoch: clock.epoch(), heaviest: 1 });
    assert.equal(clients[0]?.requests, 2);
    await gateway.drain(1000);
    assert.equal(clock.timers, 0);
  });

  it("are written within 50 ms while its turn runs", async () => {
    const clock = createManualClock();
    const store = createMemoryStore<string>(storeFacts(clock, "one"));
    const answerer = createManualAnswerer();
    const { gateway } = createTestGateway(answerer.answer, {
      clock,
      store,
      policy: { limits: rated },
    });
    await gateway.accept(ask("?").request);
    await clock.advance(49);
    assert.deepEqual(await store.counters(), []);
    await clock.advance(1);
    const { clients } = usageIn(await store.counters(), { epoch: clock.epoch(), heaviest: 1 });
    assert.equal(clients[0]?.requests, 1);
  });
});

describe("rates", () => {
  it("let through no more than the burst and what grew since, and no less, over restarts and while somebody sets the clock", async () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ wait: fc.nat(5000) }) },
      { weight: 1, arbitrary: fc.constant("restart" as const) },
      { weight: 1, arbitrary: fc.record({ jump: fc.integer({ min: -DAY_MS, max: DAY_MS }) }) },
    );
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 600 }),
        fc.integer({ min: 0, max: 20 }),
        fc.array(step, { minLength: 1, maxLength: 60 }),
        async (perMinute, burst, steps) => {
          const books = createBooks({ limits: { requests_per_minute: perMinute, burst } });
          const capacity = Math.max(burst, 1);
          let [taken, most] = [0, capacity];
          let jumped = false;
          for (const one of steps) {
            if (one === "restart") {
              await books.restart();
              // A clock jump between two processes can refill a bucket at most once.
              if (jumped) most = Math.max(most, taken + capacity);
              jumped = false;
            } else if ("jump" in one) {
              books.clock.jump(one.jump);
              jumped = true;
            } else {
              await books.clock.advance(one.wait);
              most += (one.wait * perMinute) / 60_000;
            }
            const seconds = books.take("a");
            if (seconds === 0) taken += 1;
            else assert.ok(Number.isInteger(seconds) && seconds >= 1);
            assert.ok(taken <= most + 1e-3, `${taken} of ${most}`);
          }
          // After the stated wait the request is allowed; a second earlier it is not.
          let seconds = books.take("a");
          while (seconds === 0) seconds = books.take("a");
          await books.clock.advance(Math.max(0, (seconds - 1) * 1000 - 1));
          const early = books.take("a");
          assert.ok(early > 0);
          await books.clock.advance(early * 1000);
          assert.equal(books.take("a"), 0);
        },
      ),
      { numRuns: runs(60) },
    );
  });

  it("are no fresher after a restart: what was asked before it counts, and what grew meanwhile", async () => {
    const books = createBooks({ limits: { requests_per_minute: 60, burst: 3 } });
    for (let asked = 0; asked < 3; asked += 1) assert.equal(books.take("a"), 0);
    for (let restarts = 0; restarts < 5; restarts += 1) {
      await books.restart();
      assert.equal(books.take("a"), 1);
    }
    await books.clock.advance(2000);
    await books.restart();
    assert.deepEqual([books.take("a"), books.take("a"), books.take("a")], [0, 0, 1]);
  });

  it("charge nobody when one of the limits says no", () => {
    const books = createBooks({
      limits: { requests_per_minute: 60, burst: 2 },
      total: { requests_per_minute: 60, burst: 3 },
    });
    assert.deepEqual([books.take("flood"), books.take("flood"), books.take("flood")], [0, 0, 1]);
    for (let asked = 0; asked < 100; asked += 1) assert.equal(books.take("flood"), 1);
    assert.equal(books.take("quiet"), 0);
    assert.equal(books.take("quiet"), 1);
  });

  it("hold for the gateway as a whole, beyond every channel's own", () => {
    const books = createBooks({ gateway: { requests_per_minute: 60, burst: 2 } });
    assert.deepEqual([books.take("a"), books.take("b"), books.take("c")], [0, 0, 1]);
  });

  it("are none where the limit is 0", () => {
    const books = createBooks();
    for (let asked = 0; asked < 1000; asked += 1) assert.equal(books.take("a"), 0);
  });

  it("cost the disk nothing where they refuse", async () => {
    const books = createBooks({ limits: { requests_per_minute: 1, burst: 1 } });
    assert.equal(books.take("a"), 0);
    await settled();
    assert.equal(books.writes(), 1);
    for (let asked = 0; asked < 1000; asked += 1) assert.equal(books.take("a"), 60);
    for (let asked = 0; asked < 1000; asked += 1) books.refused(`invented ${asked}`);
    await settled();
    assert.equal(books.writes(), 1);
  });
});

describe("a day's budget", () => {
  it("is one for each calendar day, however the clock goes to and fro, and over restarts", async () => {
    const LIMIT = 1000;
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ tokens: fc.integer({ min: 1, max: 400 }) }) },
      { weight: 2, arbitrary: fc.record({ days: fc.integer({ min: -3, max: 3 }) }) },
      { weight: 1, arbitrary: fc.constant("restart" as const) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const books = createBooks({ limits: { tokens_per_day: LIMIT } });
        /** The plain model: the usage of each day, for ever. */
        const spent = new Map<number, number>();
        let day = 0;
        for (const one of steps) {
          if (one === "restart") await books.restart();
          else if ("days" in one) {
            // At most the days that an account remembers.
            const next = Math.min(3, Math.max(0, day + one.days));
            books.clock.jump((next - day) * DAY_MS);
            day = next;
          } else {
            const before = spent.get(day) ?? 0;
            const isOver = before >= LIMIT;
            assert.equal(books.overdrawn("a") !== undefined, isOver);
            assert.equal(spend(books, "a", one.tokens), isOver ? "budget" : "ok");
            if (!isOver) spent.set(day, before + one.tokens);
          }
          assert.equal(books.allowance("a").status().tokensToday, spent.get(day) ?? 0);
        }
      }),
      { numRuns: runs(100) },
    );
  });

  it("gives the seconds until the next day, and is full again then", async () => {
    const books = createBooks({ limits: { cost_per_day: 1 } });
    const allowance = books.allowance("a");
    allowance.begin({ inputTokens: 5, outputTokens: 5, cost: 1 });
    const seconds = books.overdrawn("a")?.retryAfter ?? 0;
    const { end } = todayAt(books.clock.epoch());
    assert.equal(seconds, (end - books.clock.epoch()) / 1000);
    await books.clock.advance(seconds * 1000 - 1);
    assert.equal(books.overdrawn("a")?.retryAfter, 1);
    await books.clock.advance(1);
    assert.equal(books.overdrawn("a"), undefined);
    allowance.begin({ inputTokens: 5, outputTokens: 5, cost: 0.5 });
    assert.equal(allowance.status().costToday, 0.5);
  });

  it("counts an answer that goes on over midnight for the day on which it was asked", async () => {
    const books = createBooks({ limits: { tokens_per_day: 100 } });
    const more = books.allowance("a").begin({ inputTokens: 50, outputTokens: 0, cost: 0 });
    await books.clock.advance((books.allowance("a").status().secondsLeft + 1) * 1000);
    more({ inputTokens: -20, outputTokens: 500, cost: 0 });
    assert.equal(books.allowance("a").status().tokensToday, 0);
    books.clock.jump(-DAY_MS);
    assert.equal(books.allowance("a").status().tokensToday, 530);
  });

  it("holds for the channel and for the gateway as a whole, whoever spent it", () => {
    for (const whole of ["total", "gateway"] as const) {
      const books = createBooks({ [whole]: { tokens_per_day: 100 } });
      assert.equal(spend(books, "a", 99), "ok");
      assert.equal(spend(books, "b", 99), "ok");
      for (const client of ["a", "b", "fresh"]) {
        assert.equal(books.overdrawn(client)?.code, "budget", whole);
        assert.equal(spend(books, client, 1), "budget", whole);
      }
    }
  });

  it("is of exactly one client: another case, a blank, a mark is another client", () => {
    const books = createBooks({ limits: { tokens_per_day: 10 } });
    assert.equal(spend(books, "a", 10), "ok");
    for (const client of ["A", "a ", "@a", "a|b"]) {
      assert.equal(books.overdrawn(client), undefined, client);
    }
    assert.equal(books.overdrawn("a")?.code, "budget");
  });
});

describe("calls of tools", () => {
  it("are as many in one turn as the strictest limit says", () => {
    const books = createBooks({
      limits: { tool_calls_per_turn: 5 },
      total: { tool_calls_per_turn: 0 },
      gateway: { tool_calls_per_turn: 3 },
    });
    const turn = books.allowance("a");
    const taken = Array.from({ length: 5 }, () => turn.takeCall());
    assert.deepEqual(taken, [true, true, true, false, false]);
    assert.equal(books.allowance("a").takeCall(), true);
  });
});

describe("names that are invented", () => {
  it("do not make what somebody spent be forgotten, neither of a day nor of a minute, nor over a restart", async () => {
    await using folder = await temporaryFolder();
    const clock = createManualClock();
    const options = { ...storeFacts(clock, "one"), sole: true, log: SILENT };
    await using store = closing(await openSqliteStore<string>(join(folder.path, "db"), options));
    const limits = { tokens_per_day: 1000, requests_per_minute: 1, burst: 1 };
    const books = createBooks({ limits, rows: 100, store }, clock);
    assert.equal(books.take("hasty"), 0);
    assert.equal(spend(books, "spender", 1000), "ok");
    assert.equal(spend(books, "half", 500), "ok");
    for (let round = 0; round < 100; round += 1) {
      const names = Array.from({ length: 100 }, (_, client) => `invented ${round} ${client}`);
      await books.prepareAll(names);
      for (const name of names) assert.equal(books.take(name), 0);
      if (round === 0) for (const name of names.slice(50)) spend(books, name, 10);
      if (round % 10 !== 9) continue;
      assert.ok(books.prepare("spender"), "it was evicted");
      await books.prepare("spender");
      assert.equal(books.overdrawn("spender")?.code, "budget");
    }
    await settled();
    for (const restarts of [0, 1]) {
      if (restarts > 0) await books.restart();
      await books.prepareAll(["spender", "half", "hasty"]);
      assert.equal(books.overdrawn("spender")?.code, "budget");
      assert.equal(books.allowance("half").status().tokensToday, 500);
      assert.equal(books.take("hasty"), 60);
    }
    assert.equal((await store.counters()).length, 10_005);
    // A minute and a day later only the usage is left.
    await clock.advance(DAY_MS + 60_001);
    for (let purges = 0; purges < 6; purges += 1) await store.purge();
    const left = (await store.counters()).length;
    assert.ok(left >= 52 && left <= 54, `${left} meters`);
  });

  it("leave a newcomer its room, whatever thousands of others have used up", async () => {
    const books = createBooks({
      limits: { requests_per_minute: 1, burst: 1, tokens_per_day: 10 },
    });
    const names = Array.from({ length: 5000 }, (_, client) => `used up ${client}`);
    for (const name of names) {
      await books.prepare(name);
      assert.equal(books.take(name), 0);
      assert.equal(spend(books, name, 10), "ok");
    }
    await books.prepare("one more");
    assert.equal(books.take("one more"), 0);
    assert.equal(spend(books, "one more", 9), "ok");
    assert.equal(books.overdrawn("one more"), undefined);
    for (const name of names) {
      await books.prepare(name);
      assert.equal(books.overdrawn(name)?.code, "budget");
    }
    // All at once: a prepared account is known until the decision.
    await books.prepareAll(names);
    assert.ok(names.every((name) => books.overdrawn(name)?.code === "budget"));
  });

  it("cost a few megabytes at the most, on the disk and in memory, ten thousand at once", async () => {
    const books = createBooks({ limits: { requests_per_minute: 60, burst: 5 } });
    const before = heldBytes();
    for (let client = 0; client < 10_000; client += 1) {
      books.take(`invented ${client} ${"x".repeat(200)}`);
      books.refused(`invented ${client} ${"x".repeat(200)}`);
    }
    await settled();
    const grown = heldBytes() - before;
    const meters = await books.store.counters();
    // Their tokens count for a second; the rows, a hundred bytes each, are dropped after a day.
    assert.ok(meters.length <= 10_002, `${meters.length} rows`);
    assert.ok(JSON.stringify(meters).length < 6 * 2 ** 20);
    assert.ok(grown < atMost(12), `grew by ${grown}`);
  });

  it("hold nothing of a long name but its beginning", async () => {
    const books = createBooks();
    const before = heldBytes();
    for (let client = 0; client < 1000; client += 1) {
      // As it comes: a part of a topic.
      const topic = Buffer.alloc(60_000, `/picoclaw/${client}/`).toString();
      books.take(topic.slice(10));
    }
    await settled();
    const grown = heldBytes() - before;
    assert.ok(grown < atMost(8), `grew by ${grown}`);
    assert.equal(books.take("short"), 0);
  });

  it("are counted in their channel, and the ones refused most by name", async () => {
    const books = createBooks();
    for (let round = 0; round < 50; round += 1) {
      books.refused("stubborn");
      for (let client = 0; client < 20; client += 1) books.refused(`invented ${round} ${client}`);
    }
    books.keepAll();
    await settled();
    const usage = await books.usage();
    assert.deepEqual(usage.channels.get("mqtt")?.refused, { forbidden: 50 * 21 });
    assert.deepEqual(usage.refused[0], { channel: "mqtt", client: "stubborn", count: 50 });
    await books.restart();
    books.refused("stubborn");
    books.keepAll();
    await settled();
    const [first] = (await books.usage()).refused;
    assert.equal(first?.count, 51);
  });
});

/** Other clients ask until the account is evicted from memory. */
const crowd = async (books: ReturnType<typeof createBooks>): Promise<void> => {
  for (let client = 0; client < 50; client += 1) {
    await books.prepare(`crowd ${client}`);
    books.take(`crowd ${client}`);
  }
  await settled();
};

const refuse = (): Promise<never> => Promise.reject(new Error("disk full"));

describe("an account that is not in memory", () => {
  const limits = { requests_per_minute: 1, burst: 1, tokens_per_day: 1000 };
  it("is nobody's where the store has no other: the usual case asks it nothing", async () => {
    const books = createBooks({ limits });
    for (let client = 0; client < 4000; client += 1) books.take(`${client}`);
    await books.restart();
    assert.equal(books.prepare("17"), undefined);
    assert.equal(books.prepare("a newcomer"), undefined);
    assert.deepEqual([books.take("17"), books.take("a newcomer")], [60, 0]);
  });

  it("is not read as it was before it was written", async () => {
    const books = createBooks({ limits, rows: 10 });
    assert.equal(spend(books, "a", 400), "ok");
    for (let client = 0; client < 30; client += 1) void books.prepare(`${client}`);
    assert.equal(books.prepare("a"), undefined, "its write is under way");
    assert.equal(books.allowance("a").status().tokensToday, 400);
    await crowd(books);
    assert.ok(books.prepare("a"), "it is the store's alone");
    await books.prepare("a");
    assert.equal(books.allowance("a").status().tokensToday, 400);
  });

  it("is written with what is written next where its write failed", async () => {
    const clock = createManualClock();
    const plain = createMemoryStore<string>(storeFacts(clock, "one"));
    let isFull = true;
    const store: Store<string> = {
      ...plain,
      async count(take) {
        const changes = take();
        await settled();
        return await (isFull ? refuse() : plain.count(() => changes));
      },
    };
    const books = createBooks({ limits, rows: 10, store, report: () => {} }, clock);
    assert.equal(spend(books, "a", 400), "ok");
    for (let client = 0; client < 30; client += 1) void books.prepare(`${client}`);
    await settled();
    await settled();
    isFull = false;
    assert.equal(spend(books, "b", 1), "ok");
    await settled();
    await crowd(books);
    await books.restart();
    assert.ok(books.prepare("a"));
    await books.prepare("a");
    assert.equal(books.allowance("a").status().tokensToday, 400);
  });

  it("is dropped from the store when it was read again and counts for nothing", async () => {
    const books = createBooks({ limits, rows: 10 });
    const isStored = async (): Promise<boolean> =>
      (await books.store.counters()).some(({ name }) => name.endsWith("mqtta"));
    books.take("a");
    await crowd(books);
    await books.clock.advance(60_001);
    assert.ok(books.prepare("a"));
    await books.prepare("a");
    assert.ok(await isStored());
    await crowd(books);
    assert.equal(await isStored(), false);
    await books.prepare("a");
    assert.equal(books.take("a"), 0);
  });

  it("adds what its turns use to what was counted before", async () => {
    const books = createBooks({ limits, rows: 10 });
    const allowance = books.allowance("a");
    const more = allowance.begin({ inputTokens: 500, outputTokens: 0, cost: 0 });
    await crowd(books);
    assert.ok(books.prepare("a"));
    await crowd(books);
    allowance.begin({ inputTokens: 300, outputTokens: 0, cost: 0 });
    more({ inputTokens: -100, outputTokens: 50, cost: 0 });
    await settled();
    assert.equal(allowance.status().tokensToday, 750);
    await crowd(books);
    await books.restart();
    await books.prepare("a");
    assert.equal(books.allowance("a").status().tokensToday, 750);
  });

  it("that cannot be read is asked for again later, and what it uses meanwhile counts", async () => {
    const clock = createManualClock();
    const plain = createMemoryStore<string>(storeFacts(clock, "one"));
    const shown: string[] = [];
    let isBroken = false;
    const store: Store<string> = {
      ...plain,
      counter: (name) => (isBroken ? Promise.reject(new Error("no disk")) : plain.counter(name)),
    };
    const books = createBooks(
      { limits, rows: 10, store, report: (thrown) => shown.push(String(thrown)) },
      clock,
    );
    const allowance = books.allowance("a");
    allowance.begin({ inputTokens: 400, outputTokens: 0, cost: 0 });
    await crowd(books);
    isBroken = true;
    await books.prepare("a");
    assert.deepEqual(shown, ["Error: no disk"]);
    const failure = books.charge("a");
    assert.deepEqual([failure?.code, failure?.retryAfter], ["busy", 1]);
    assert.equal(books.overdrawn("a")?.code, "busy");
    allowance.begin({ inputTokens: 100, outputTokens: 0, cost: 0 });
    await settled();
    isBroken = false;
    books.keepAll();
    await settled();
    assert.equal(books.allowance("a").status().tokensToday, 500);
  });

  it("and cannot be written either is not forgotten when it is used up: a new client learns when there is room", async () => {
    const clock = createManualClock();
    const plain = createMemoryStore<string>(storeFacts(clock, "one"));
    const store: Store<string> = { ...plain, count: refuse };
    const rate = { requests_per_minute: 1, burst: 1 };
    const books = createBooks({ limits: rate, rows: 10, store, report: () => {} }, clock);
    let client = 0;
    const served = async (name: string): Promise<number> => {
      await books.prepare(name);
      return books.take(name);
    };
    while (client < 1000 && (await served(`${client}`)) === 0) client += 1;
    assert.ok(client >= 10 && client < 200, `${client} served`);
    await clock.advance(30_000);
    assert.equal(await served("a newcomer"), 30);
    for (let each = 0; each < client; each += 1) assert.equal(await served(`${each}`), 30);
    await clock.advance(30_000);
    assert.equal(await served("a newcomer"), 0);
  });

  it("decides the same with a few accounts in memory as with all", async () => {
    const client = fc.integer({ min: 0, max: 40 }).map(String);
    const step = fc.oneof(
      {
        weight: 8,
        arbitrary: fc.record({ ask: fc.array(client, { minLength: 1, maxLength: 8 }) }),
      },
      {
        weight: 4,
        arbitrary: fc.record({ spend: client, tokens: fc.integer({ min: 1, max: 600 }) }),
      },
      { weight: 3, arbitrary: fc.record({ crowd: fc.integer({ min: 10, max: 60 }) }) },
      { weight: 2, arbitrary: fc.record({ wait: fc.integer({ min: 1, max: 40_000 }) }) },
      { weight: 1, arbitrary: fc.constantFrom("restart" as const, "keep" as const) },
    );
    const property = fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const clock = createManualClock();
      const rates = { requests_per_minute: 2, burst: 3, tokens_per_day: 1000 };
      const [few, all] = [4, 1e6].map((rows) => createBooks({ limits: rates, rows }, clock));
      assert.ok(few && all);
      const same = async (asking: readonly string[]): Promise<void> => {
        await few.prepareAll(asking);
        for (const each of asking) {
          assert.equal(few.overdrawn(each)?.code, all.overdrawn(each)?.code);
          assert.equal(few.take(each), all.take(each));
          assert.deepEqual(few.allowance(each).status(), all.allowance(each).status());
        }
      };
      for (const one of steps) {
        if (one === "restart") for (const books of [few, all]) await books.restart();
        else if (one === "keep") for (const books of [few, all]) books.keepAll();
        else if ("ask" in one) await same(one.ask);
        else if ("wait" in one) await clock.advance(one.wait);
        else if ("crowd" in one) {
          for (let other = 0; other < one.crowd; other += 1) await same([`crowd ${other}`]);
        } else {
          await few.prepare(one.spend);
          assert.equal(spend(few, one.spend, one.tokens), spend(all, one.spend, one.tokens));
        }
      }
      for (let each = 0; each <= 40; each += 1) await same([`${each}`]);
    });
    await fc.assert(property, { numRuns: runs(100) });
  });

  it("is one of ten thousand at a start that reads none of them but the ones of all", async () => {
    await using folder = await temporaryFolder();
    const clock = createManualClock();
    const options = { ...storeFacts(clock, "one"), sole: true, log: SILENT };
    await using store = closing(await openSqliteStore<string>(join(folder.path, "db"), options));
    const books = createBooks({ limits, total: { tokens_per_day: 1e9 }, store }, clock);
    for (let round = 0; round < 100; round += 1) {
      const names = Array.from({ length: 100 }, (_, client) => `${round * 100 + client}`);
      await books.prepareAll(names);
      for (const name of names) spend(books, name, 1);
    }
    await books.restart();
    assert.equal(books.allowance("x").status().tokensToday, 0);
    const usage = await books.usage();
    assert.deepEqual([usage.channels.get("mqtt")?.tokens, usage.clients.length], [10_000, 5]);
    await books.prepare("9999");
    assert.equal(books.allowance("9999").status().tokensToday, 1);
  });
});

/** Two gateways, and the store's clock, which starts with theirs. */
function createTwo(facts: Facts) {
  const clock = createManualClock();
  const time = { aheadMs: 0, utcOffsetMs: 0 };
  const plain = createMemoryStore<string>(storeFacts(clock, "one"));
  const store: Store<string> = {
    ...plain,
    clock: async () => ({ epoch: clock.epoch() + time.aheadMs, utcOffsetMs: time.utcOffsetMs }),
    ...facts.store,
  };
  const [one, two] = [0, 1].map(() => createBooks({ ...facts, store }, clock));
  assert.ok(one && two);
  return { clock, time, plain, one, two };
}

async function outcome(books: ReturnType<typeof createBooks>, tokens: number): Promise<string> {
  await books.prepareTurn("a");
  const result = spend(books, "a", tokens);
  await settled();
  return result;
}

/** Uses so many tokens, or makes a request. */
async function use(books: ReturnType<typeof createBooks> | undefined, tokens: number) {
  assert.ok(books);
  await books.prepare("a");
  if (tokens > 0) return spend(books, "a", tokens);
  return books.take("a") === 0 ? "ok" : "rate_limited";
}

type WriteFailure = "busy" | "unsure" | "unsure but written";

/** A store whose next write fails in one of the ways in which it may. */
function failing(store: Store<string>, plain: Store<string>) {
  let next: WriteFailure | undefined;
  const done = new WeakMap<() => CounterChanges, readonly Counter[]>();
  const count: CounterStore["count"] = async (take) => {
    const before = done.get(take);
    if (before !== undefined) return before;
    const failure = next;
    next = undefined;
    if (failure === "busy" || failure === "unsure") {
      take();
      throw new Failure(failure, "no");
    }
    const totals = await plain.count(take);
    done.set(take, totals);
    if (failure !== undefined) throw new Failure("unsure", "written");
    return totals;
  };
  const failNext = (how: WriteFailure | undefined): void => void (next = how);
  return { store: { ...store, count }, failNext };
}

describe("two gateways that share a store", () => {
  it("lose no count of each other, and have one budget", async () => {
    for (const whole of ["limits", "total", "gateway"] as const) {
      const { clock, one, two } = createTwo({ [whole]: { tokens_per_day: 100 } });
      await Promise.all([one.restart(), two.restart()]);
      assert.equal(await outcome(one, 40), "ok");
      assert.equal(await outcome(two, 40), "ok");
      assert.equal(await outcome(one, 40), "ok");
      // The sum came back with what it wrote before; a read tells it to the other one.
      assert.equal(await outcome(one, 1), "budget", whole);
      await clock.advance(2000);
      assert.equal(await outcome(two, 1), "budget", whole);
      // What counts for no limit is written later.
      for (const books of [one, two]) books.keepAll();
      await settled();
      const usage = await one.usage();
      assert.equal(usage.gateway.tokens, 120);
      assert.equal(usage.clients[0]?.tokens, 120);
    }
  });

  it("never count anything twice or lose it, whoever counts when, and whatever fails", async () => {
    const step = fc.oneof(
      fc.record({ by: fc.nat(1), tokens: fc.integer({ min: 0, max: 9 }) }),
      fc.constantFrom("settle" as const, "read" as const, "keep" as const),
      fc.constantFrom("busy" as const, "unsure" as const, "unsure but written" as const),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const { plain, one: first, clock } = createTwo({});
        const { store, failNext } = failing(first.store, plain);
        const books = [0, 1].map(() =>
          createBooks({ limits: { tokens_per_day: 1e9 }, store, report: () => {} }, clock),
        );
        let [tokens, requests] = [0, 0];
        for (const one of steps) {
          if (one === "settle") await settled();
          else if (one === "keep") books.forEach((each) => each.keepAll());
          else if (one === "read") {
            await clock.advance(2000);
            for (const each of books) await each.prepareTurn("a");
          } else if (typeof one === "string") failNext(one);
          else {
            assert.equal(await use(books[one.by], one.tokens), "ok");
            tokens += one.tokens;
            requests += Number(one.tokens === 0);
          }
        }
        failNext(undefined);
        for (let times = 0; times < 3; times += 1) {
          for (const each of books) each.keepAll();
          await settled();
        }
        const { clients, gateway } = await first.usage();
        const [client = { tokens: 0, requests: 0 }] = clients;
        const counted = [client.tokens, client.requests, gateway.tokens];
        assert.deepEqual(counted, [tokens, requests, tokens]);
      }),
      { numRuns: runs(150) },
    );
  });

  it("read nothing of what has no limit, and all for a command, which may show it", async () => {
    const { one, two } = createTwo({});
    await Promise.all([one.restart(), two.restart()]);
    assert.equal(one.prepare("a"), undefined);
    assert.equal(one.take("a"), 0);
    assert.equal(spend(one, "a", 5), "ok");
    one.keepAll();
    await settled();
    assert.equal(two.prepareTurn("a"), undefined);
    assert.equal(two.take("a"), 0);
    assert.equal(two.allowance("a").status().tokensToday, 0);
    await two.prepareTurn("a", "/status");
    assert.equal(two.allowance("a").status().tokensToday, 5);
    two.keepAll();
    await settled();
    assert.equal((await one.usage()).clients[0]?.requests, 2);
  });

  it("have the days of the store's clock and its time zone", async () => {
    const { clock, time, one, two } = createTwo({ limits: { tokens_per_day: 100 } });
    const noon = Date.UTC(2026, 10, 25, 12);
    clock.jump(noon - clock.epoch());
    time.aheadMs = 11 * 3_600_000;
    await Promise.all([one.restart(), two.restart()]);
    assert.equal(await outcome(one, 100), "ok");
    assert.equal(one.overdrawn("a")?.retryAfter, 3600);
    time.utcOffsetMs = 3_600_000;
    two.keepAll();
    await settled();
    assert.equal(await outcome(two, 100), "ok");
    for (const books of [one, two]) books.keepAll();
    await settled();
    const days = daysIn((await one.store.counter("gateway"))?.state);
    assert.deepEqual(
      days.map(({ day }) => day),
      [20261125, 20261126],
    );
  });

  it("that hears next goes on with the rates of the one that heard before", async () => {
    const { one, two } = createTwo({ limits: { requests_per_minute: 1, burst: 3 } });
    await Promise.all([one.restart(), two.restart()]);
    await two.prepare("a");
    await one.prepare("a");
    for (let asked = 0; asked < 3; asked += 1) assert.equal(one.take("a"), 0);
    await settled();
    two.distrust();
    await two.prepare("a");
    assert.equal(two.take("a"), 60);
  });
});

describe("what the store has of it", () => {
  it("is taken as it is, whatever it is: nothing in it ends the program or gives a budget below nothing", async () => {
    const key = fc.constantFrom("holder", "bucket", "days", "left", "at", "day", "channel", "x");
    const anything = fc.object({ key, maxDepth: 4, withBigInt: false });
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.tuple(fc.constantFrom("4:mqtta", "total mqtt", "gateway", "refused"), anything),
        ),
        async (states) => {
          const books = createBooks({ limits: { requests_per_minute: 60, burst: 2 } });
          const put = states.map(([name, state]) => ({ name, state }));
          await books.store.count(() => ({ put, drop: [] }));
          await books.restart();
          books.take("a");
          books.refused("a");
          books.keepAll();
          await settled();
          const usage = await books.usage();
          assert.ok(Number.isFinite(usage.gateway.requests));
          let taken = 0;
          while (books.take("a") === 0) taken += 1;
          assert.ok(taken <= 2);
        },
      ),
      { numRuns: runs(200) },
    );
  });
});

describe("what was used today", () => {
  it("is reported for the gateway, for each channel and for the clients that used most", async () => {
    const books = createBooks();
    for (const [client, tokens] of [
      ["light", 10],
      ["heavy", 1000],
      ["middling", 100],
    ] as const) {
      books.take(client);
      spend(books, client, tokens);
    }
    await settled();
    books.keepAll();
    const usage = await books.usage();
    assert.equal(usage.gateway.requests, 3);
    assert.equal(usage.gateway.tokens, 1110);
    assert.equal(usage.channels.get("mqtt")?.tokens, 1110);
    assert.deepEqual(
      usage.clients.map(({ client, tokens }) => [client, tokens]),
      [
        ["heavy", 1000],
        ["middling", 100],
        ["light", 10],
      ],
    );
    books.clock.jump(DAY_MS);
    const tomorrow = await books.usage();
    assert.deepEqual([tomorrow.gateway.tokens, tomorrow.clients], [0, []]);
  });
});

describe("a calendar day", () => {
  it("ends at the next local midnight, also where the clocks change", () => {
    const calendar = createCalendar();
    let day = new Date(2026, 0, 1, 13, 30);
    for (let index = 0; index < 400; index += 1) {
      const { day: name, end } = calendar(day.getTime());
      const next = new Date(day.getFullYear(), day.getMonth(), day.getDate() + 1);
      assert.equal(end, next.getTime());
      assert.equal(name, Number(day.toLocaleDateString("sv-SE").replaceAll("-", "")));
      assert.equal(todayAt(end - 1).day, name);
      assert.notEqual(todayAt(end).day, name);
      assert.equal(secondsLeftOf({ day: name, end }, end - 1), 1);
      day = new Date(next.getTime() + 13.5 * 3_600_000);
    }
  });
});
