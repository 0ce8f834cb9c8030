import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { SILENT } from "../../src/base/log.ts";
import { readCondition } from "../../src/config/watch/condition.ts";
import type { PromptPush, Push } from "../../src/gateway/contract.ts";
import type { WatchRule } from "../../src/gateway/watch/contract.ts";
import { Watches, type WatchesOptions } from "../../src/gateway/watch/watches.ts";
import { openSqliteStore } from "../../src/store/sqlite/store.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { createManualClock, settled } from "./manual-clock.ts";
import type { ManualClock } from "./manual-clock.ts";
import { createTestGateway, createTestStore, shout, storeFacts } from "./setup.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const WEEK = 7 * 24 * HOUR;

function ruleOf(condition: string, more: Partial<WatchRule> = {}): WatchRule {
  const read = condition === "" ? {} : readCondition(condition);
  assert.ok(typeof read === "object", `${condition} is no condition`);
  const channel = { channel: "mqtt", client: "hall", prompt: "Say it." };
  return {
    topic: "s/+",
    written: condition,
    ...channel,
    cooldownMs: 10 * MINUTE,
    ...read,
    ...more,
  };
}

/** The push of a gateway that is killed meanwhile. */
const never = () => new Promise<never>(() => {});

type PushedTurn = Push & PromptPush;

/** Watches whose turns are noted in place of begun; `results` are those of the next pushes. */
function createPlace(options: Partial<WatchesOptions> & { readonly clock?: ManualClock } = {}) {
  const clock = options.clock ?? createManualClock();
  const log = createMemoryLog();
  const pushed: PushedTurn[] = [];
  const known = new Set<string>();
  const failures: Failure[] = [];
  const push: WatchesOptions["push"] = async (asked) => {
    await Promise.resolve();
    const failure = failures.shift();
    if (failure !== undefined) throw failure;
    assert.ok("prompt" in asked);
    if (known.has(asked.id)) return "known";
    known.add(asked.id);
    pushed.push(asked);
    return "accepted";
  };
  const store = options.store ?? createTestStore(clock);
  const watches = new Watches({ clock, log, push, store, isShared: false, ...options });
  return {
    clock,
    store,
    watches,
    pushed,
    failures,
    lines: log.lines,
    texts: () => pushed.map(({ data }) => data?.text),
    watch: (rule: WatchRule, isHearing = () => true) => {
      const watch = watches.open(rule, isHearing);
      const hear = async (payload: unknown, topic = "s/a", retained = false): Promise<void> => {
        const text = typeof payload === "string" ? payload : JSON.stringify(payload);
        watch.onMessage({ topic, payload: Buffer.from(text), retained });
        await settled();
      };
      return { ...watch, hear };
    },
  };
}

describe("a condition of a watch", () => {
  const deep = `${"[".repeat(60_000)}${"]".repeat(60_000)}`;
  const cases: readonly [condition: string, payload: unknown, matches: boolean][] = [
    ["$.t > 30", { t: 31 }, true],
    ["$.t > 30", { t: 30 }, false],
    ["$.t >= 30", { t: "30.0" }, true],
    ["$.t > 30", { t: "warm" }, false],
    ["$.t > 30", {}, false],
    ["$.t < 30", "1e999", false],
    ["> 30", "30.5", true],
    ["> 30", "30.5 °C", false],
    ["<= 1", { t: 1 }, false],
    ["== 'on'", "on", true],
    ["== 'on'", '"on"', true],
    ["== 'on'", "off", false],
    ["!= 'on'", "off", true],
    ["$.a != 1", {}, false],
    ["$.a == true", { a: true }, true],
    ["$.a == 'true'", { a: true }, true],
    ["$.a == null", { a: null }, true],
    ["$.a == 'null'", { a: null }, false],
    ["$.a == '1'", { a: 1 }, true],
    ["$.a[1].b == 2", { a: [0, { b: 2 }] }, true],
    ["$.length == 2", "[1,2]", false],
    ["$.constructor != 1", {}, false],
    ["$.a > 1 and $.b == 'x' or $.c == 1", { c: 1 }, true],
    ["$.a > 1 and $.b == 'x' or $.c == 1", { a: 2, b: "y" }, false],
    ["$.a == 1", deep, false],
    ["", "", true],
  ];
  for (const [condition, payload, matches] of cases) {
    const shown = `${condition} ${JSON.stringify(payload).slice(0, 30)}`;
    it(`${matches ? "matches" : "does not match"}: ${shown}`, async () => {
      const { watch, pushed } = createPlace();
      await watch(ruleOf(condition)).hear(payload);
      assert.equal(pushed.length, matches ? 1 : 0);
    });
  }

  it("`changed` compares with the message before it, of the same topic", async () => {
    const { clock, watch, texts } = createPlace();
    const { hear } = watch(ruleOf("changed $.state", { cooldownMs: 10_000 }));
    const messages: readonly (readonly [object, string])[] = [
      [{ state: "a", n: 1 }, "s/a"],
      [{ state: "b", n: 2 }, "s/b"],
      [{ state: "a", n: 3 }, "s/a"],
      [{ state: "c", n: 4 }, "s/a"],
      [{ n: 5 }, "s/a"],
      [{ state: "c", n: 6 }, "s/a"],
      [{ state: { x: "y".repeat(99) }, n: 7 }, "s/a"],
      [{ state: { x: "y".repeat(99) }, n: 8 }, "s/a"],
    ];
    for (const [message, topic] of messages) {
      await hear(message, topic);
      await clock.advance(20_000);
    }
    assert.deepEqual(
      texts().map((text) => JSON.parse(text ?? "").n),
      [4, 7],
    );
  });

  it("`becomes` matches once, until it does not hold any more; the first message only says how things are", async () => {
    const { clock, watch, texts } = createPlace();
    const { hear } = watch(ruleOf("becomes > 30", { cooldownMs: 10_000 }));
    for (const number of [31, 32, 20, 33, 34, 10, 35]) {
      await hear(number);
      await clock.advance(20_000);
    }
    assert.deepEqual(texts(), ["33", "35"]);
  });

  it("never matches a retained message, which says how things were", async () => {
    const { watch, texts } = createPlace();
    const [any, changed, becomes] = ["", "changed", "becomes > 5"].map((text) =>
      watch(ruleOf(text)),
    );
    for (const one of [any, changed, becomes]) await one?.hear(1, "s/a", true);
    for (const one of [changed, becomes]) await one?.hear(9, "s/a", true);
    assert.deepEqual(texts(), []);
    await changed?.hear(9);
    await changed?.hear(10);
    await becomes?.hear(4);
    await becomes?.hear(11);
    assert.deepEqual(texts(), ["10", "11"]);
  });
});

describe("a topic that is missing", () => {
  const rule = ruleOf("missing for 10m", { cooldownMs: 10_000 });

  it("starts a turn once, and again after it has spoken", async () => {
    const { clock, watch, pushed, texts } = createPlace();
    const { hear } = watch(rule);
    await clock.advance(HOUR);
    assert.equal(pushed.length, 0);
    await hear("x");
    await hear("x", "s/b", true);
    await clock.advance(9 * MINUTE);
    await hear("x");
    assert.equal(pushed.length, 0);
    await clock.advance(2 * MINUTE);
    assert.deepEqual(
      pushed.map(({ data }) => data?.source),
      ["topic s/b"],
    );
    await clock.advance(9 * MINUTE);
    assert.deepEqual(texts(), ["(no message for 600 s)", "(no message for 600 s)"]);
    await clock.advance(DAY);
    assert.equal(pushed.length, 2);
    await hear("x");
    await clock.advance(11 * MINUTE);
    assert.equal(pushed.length, 3);
  });

  it("is missing from the start if it is one topic, and never while nothing can be heard", async () => {
    const { clock, watch, pushed } = createPlace();
    let hears = false;
    watch({ ...rule, topic: "s/a" }, () => hears);
    await clock.advance(HOUR);
    assert.equal(pushed.length, 0);
    hears = true;
    await clock.advance(9 * MINUTE);
    assert.equal(pushed.length, 0);
    await clock.advance(2 * MINUTE);
    assert.equal(pushed.length, 1);
  });
});

const DAY = 24 * HOUR;

describe("the start of a watched turn", () => {
  it("is a push with the prompt, and the payload as data", async () => {
    const { watch, pushed, lines } = createPlace();
    await watch(ruleOf("")).hear("y".repeat(9_000));
    const [push] = pushed;
    assert.deepEqual(push && { ...push, id: "", data: "" }, {
      channel: "mqtt",
      client: "hall",
      from: "watch",
      prompt: "Say it.",
      id: "",
      data: "",
    });
    assert.match(push?.id ?? "", /^watch-[0-9a-f]{24}-\d+$/);
    assert.equal(push?.data?.source, "topic s/a");
    assert.equal(push?.data?.text.length, 4_001);
    assert.ok(lines.some(({ message }) => message === "a watched topic begins a turn"));
  });

  it("says once in a cooldown that it matches again", async () => {
    const { clock, watch, pushed, lines } = createPlace();
    const { hear } = watch(ruleOf(""));
    const logged = () =>
      lines.filter(
        ({ message }) => message === "a watched topic matches again within its cooldown",
      );
    await hear("x");
    assert.equal(logged().length, 0);
    for (const payload of ["y", "z"]) await hear(payload);
    const until = new Date(clock.epoch() + 10 * MINUTE).toISOString();
    assert.deepEqual(
      logged().map(({ fields }) => fields),
      [{ topic: "s/a", client: ruleOf("").client, until }],
    );
    await clock.advance(10 * MINUTE);
    for (const payload of ["y", "z"]) await hear(payload);
    assert.equal(pushed.length, 2);
    assert.equal(logged().length, 2);
  });

  it("has a cooldown for each topic, which a restart remembers", async () => {
    await using folder = await temporaryFolder();
    const clock = createManualClock();
    const open = (owner: string) =>
      openSqliteStore<string>(join(folder.path, "db"), {
        ...storeFacts(clock, owner),
        log: SILENT,
      });
    const first = await open("first");
    {
      const { watch, pushed } = createPlace({ clock, store: first });
      const { hear } = watch(ruleOf(""));
      for (const topic of ["s/a", "s/a", "s/b"]) await hear("x", topic);
      assert.equal(pushed.length, 2);
    }
    await first.close();
    const second = await open("second");
    const { watch, pushed } = createPlace({ clock, store: second });
    const { hear } = watch(ruleOf(""));
    await clock.advance(9 * MINUTE);
    await hear("x");
    assert.equal(pushed.length, 0);
    await clock.advance(2 * MINUTE);
    await hear("x");
    assert.equal(pushed.length, 1);
    // A clock that was wrong does not silence a topic for ever.
    clock.jump(-WEEK);
    await hear("x");
    assert.equal(pushed.length, 2);
    clock.jump(-WEEK);
    await second.close();
    const third = await open("third");
    const later = createPlace({ clock, store: third });
    await later.watch(ruleOf("")).hear("x");
    assert.equal(later.pushed.length, 1);
    await third.close();
  });

  it("is bounded in an hour, of one watch and of all, also after a restart, and this is logged once", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    const { watch, pushed, lines } = createPlace({ clock, store });
    const one = watch(ruleOf(""));
    for (let topic = 0; topic < 200; topic += 1) await one.hear("x", `s/${topic}`);
    assert.equal(pushed.length, 20);
    for (const name of ["> 1", "> 2", "> 3"]) {
      const other = watch(ruleOf(name));
      for (let topic = 0; topic < 50; topic += 1) await other.hear("9", `s/${topic}`);
    }
    assert.equal(pushed.length, 60);
    const full = lines.filter(({ message }) => message.includes("no more turns"));
    assert.deepEqual(
      full.map(({ fields }) => fields?.["why"]),
      ["this watch", "this watch", "this watch", "all watches together"].map((which) =>
        which === "all watches together"
          ? `${which} began 60 within an hour`
          : `${which} began 20 within an hour`,
      ),
    );
    const later = createPlace({ clock, store });
    await later.watch(ruleOf("")).hear("x", "s/new");
    assert.equal(later.pushed.length, 0);
    await clock.advance(HOUR);
    await one.hear("x", "s/new");
    assert.equal(pushed.length, 61);
  });

  it("does not double in a burst, and drops what a flood brings", async () => {
    const { watch, pushed, lines } = createPlace();
    const watching = watch(ruleOf(""));
    for (let index = 0; index < 10_000; index += 1) {
      watching.onMessage({ topic: `s/${index % 40}`, payload: Buffer.from("x"), retained: false });
    }
    for (let round = 0; round < 10; round += 1) await settled();
    assert.equal(pushed.length, 20);
    assert.equal(lines.filter(({ message }) => message.includes("no more turns")).length, 1);
  });

  it("is tried again while the gateway is busy, under the same id, and not if it may not be", async () => {
    const { clock, watch, pushed, failures, lines } = createPlace();
    const { hear } = watch(ruleOf(""));
    failures.push(new Failure("busy", "full"), new Failure("busy", "full"));
    await hear("x");
    await clock.advance(MINUTE);
    assert.equal(pushed.length, 1);
    failures.push(new Failure("forbidden", "not this client"));
    await hear("x", "s/b");
    await clock.advance(9 * MINUTE);
    assert.equal(pushed.length, 1);
    assert.ok(lines.some(({ fields }) => fields?.["error"] === "not this client"));
  });

  it("survives a kill before its push is stored, and while the gateway is busy", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    const killed = createPlace({ clock, store, push: never });
    await killed.watch(ruleOf("becomes > 5")).hear(1);
    await killed.watch(ruleOf("")).hear("hot");
    const busy = createPlace({ clock, store });
    busy.failures.push(new Failure("busy", "full"));
    await busy.watch(ruleOf("> 1")).hear("2");
    assert.equal(busy.pushed.length, 0);
    await busy.watches.close();

    clock.jump(20_000);
    const next = createPlace({ clock, store });
    next.watch(ruleOf(""));
    next.failures.push(new Failure("busy", "full"));
    next.watch(ruleOf("> 1"));
    await settled();
    await clock.advance(2_000);
    assert.deepEqual(new Set(next.texts()), new Set(["hot", "2"]));
    assert.equal(next.pushed.length, 2);
    assert.equal(new Set(next.pushed.map(({ id }) => id)).size, 2);
    // The cooldown holds, and what is pushed is not pushed again.
    await next.watch(ruleOf("")).hear("hot");
    const last = createPlace({ clock, store });
    for (const condition of ["", "> 1"]) await last.watch(ruleOf(condition)).hear("9");
    assert.deepEqual([next.pushed.length, last.pushed.length], [2, 0]);
  });

  it("is left to another gateway if the one that stored it is killed, and not a day later", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    const killed = createPlace({ clock, store, push: never });
    const other = createPlace({ clock, store });
    const [one, two] = [killed, other].map(({ watch }) => watch(ruleOf("")));
    await settled();
    await one?.hear("x");
    await two?.hear("x");
    assert.deepEqual(other.texts(), ["x"]);
    await one?.hear("y", "s/b");
    clock.jump(DAY);
    const later = createPlace({ clock, store });
    later.watch(ruleOf(""));
    await settled();
    assert.deepEqual(later.texts(), []);
  });

  it("waits for a store that does not answer, and is lost only if that stays away", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    let isAway = true;
    const away: typeof store = Object.assign(Object.create(store), {
      counter: (name: string) =>
        isAway ? Promise.reject(new Failure("busy", "away")) : store.counter(name),
      count: (take: Parameters<typeof store.count>[0]) => store.count(take),
    });
    const { watch, pushed, lines } = createPlace({ clock, store: away });
    const { hear } = watch(ruleOf(""));
    await hear("x");
    await hear("y");
    await clock.advance(11_000);
    assert.equal(pushed.length, 0);
    isAway = false;
    await clock.advance(MINUTE);
    assert.deepEqual(
      pushed.map(({ data }) => data?.text),
      ["x"],
    );
    isAway = true;
    await hear("z", "s/b");
    await clock.advance(2 * MINUTE);
    const warned = lines.filter(({ message }) => message.includes("could not begin a turn"));
    assert.equal(warned.length, 1);
    isAway = false;
    await hear("z", "s/b");
    assert.equal(pushed.length, 2);
  });

  it("begins in memory while nothing can be stored", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    const full: typeof store = Object.assign(Object.create(store), {
      counter: (name: string) => store.counter(name),
      count: () => Promise.reject(new Failure("busy", "the disk is full")),
    });
    const { watch, pushed, lines } = createPlace({ clock, store: full });
    const { hear } = watch(ruleOf(""));
    await hear("x");
    await hear("x");
    assert.equal(pushed.length, 1);
    assert.ok(lines.some(({ message }) => message.includes("could not be stored")));
  });

  it("happens once for several gateways of one store, whichever is faster", async () => {
    const clock = createManualClock();
    const places = [1, 2, 3].map(() =>
      createPlace({ clock, store: createTestStore(clock), isShared: true }),
    );
    const ids = [];
    for (const { watch, pushed } of places) {
      await watch(ruleOf("")).hear("x");
      ids.push(pushed[0]?.id);
    }
    assert.equal(new Set(ids).size, 1);
    // With the same store the others find the cooldown.
    const store = createTestStore(clock);
    const shared = [1, 2, 3].map(() => createPlace({ clock, store, isShared: true }));
    for (const { watch } of shared) await watch(ruleOf("")).hear("x");
    assert.equal(shared.flatMap(({ pushed }) => pushed).length, 1);
  });

  it("is not counted as usage, and the usage of clients stays", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    const { watch } = createPlace({ clock, store });
    await watch(ruleOf("")).hear("x");
    const before = (await store.counters()).length;
    const { gateway } = createTestGateway(shout, { clock, store, replyTo: () => async () => {} });
    await gateway.push({ channel: "mqtt", client: "hall", id: "1", from: "message", text: "x" });
    await gateway.drain(1000);
    const names = (await store.counters()).map(({ name }) => name);
    assert.equal(names.filter((name) => name.startsWith("watch ")).length, before);
  });
});

/** Some values in the same hour of so many weeks. */
async function learn(
  place: ReturnType<typeof createPlace>,
  hear: (payload: unknown) => Promise<void>,
  weeks: number,
): Promise<void> {
  const { clock } = place;
  for (let week = 0; week < weeks; week += 1) {
    for (const power of [99, 100, 101, 100, 99, 101]) await hear({ power });
    clock.jump(WEEK);
    await clock.advance(2_000);
  }
}

describe("an unusual value", () => {
  const rule = ruleOf("", { unusual: ["power"], cooldownMs: 10_000 });

  it("says nothing before it has samples of two weeks, and tells what is usual", async () => {
    const place = createPlace();
    const { hear } = place.watch(rule);
    await hear({ power: 5000 });
    await learn(place, hear, 1);
    await hear({ power: 6000 });
    assert.equal(place.pushed.length, 0);
  });

  it("is compared with the same hour of earlier weeks", async () => {
    const place = createPlace();
    const { hear } = place.watch(rule);
    await learn(place, hear, 3);
    await hear({ power: 100 });
    await hear({ power: 104 });
    await hear("100000");
    assert.equal(place.pushed.length, 0);
    await hear({ power: 130 });
    assert.equal(place.pushed.length, 1);
    assert.match(
      place.texts()[0] ?? "",
      /^\{"power":130\}\n\(unusual: at this hour of the week it is 100, with a standard deviation of 0\.8/,
    );
    // At another hour nothing is known.
    place.clock.jump(3 * HOUR);
    await hear({ power: 900 });
    assert.equal(place.pushed.length, 1);
  });

  it("is learned slowly: one outlier does not become usual", async () => {
    const place = createPlace();
    const { hear } = place.watch(rule);
    await learn(place, hear, 3);
    for (let index = 0; index < 3; index += 1) await hear({ power: 10_000 });
    place.clock.jump(WEEK);
    await place.clock.advance(20_000);
    await hear({ power: 130 });
    assert.match(place.texts().at(-1) ?? "", /"power":130/);
  });

  it("survives restarts, and an hour in several parts counts as one", async () => {
    await using folder = await temporaryFolder();
    const clock = createManualClock();
    const open = (owner: string) =>
      openSqliteStore<string>(join(folder.path, "db"), {
        ...storeFacts(clock, owner),
        log: SILENT,
      });
    for (let week = 0; week < 3; week += 1) {
      for (let part = 0; part < 2; part += 1) {
        await using store = await disposable(open(`${week}-${part}`));
        const { watch, watches, pushed } = createPlace({ clock, store });
        const { hear, close } = watch(rule);
        for (const power of [99, 100, 101, 100]) await hear({ power });
        // Only the second part of the second week has enough to compare with.
        if (week < 1) await hear({ power: 500 });
        assert.equal(pushed.length, 0);
        await watches.close();
        await close();
      }
      clock.jump(WEEK);
    }
    await using store = await disposable(open("last"));
    const { watch, pushed } = createPlace({ clock, store });
    const { hear } = watch(rule);
    await hear({ power: 100 });
    await hear({ power: 9_000 });
    assert.equal(pushed.length, 1);
  });

  it("is written at the end of the hour, and rarely", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    let writes = 0;
    const counting: typeof store = Object.assign(Object.create(store), {
      counter: (name: string) => store.counter(name),
      count(take: Parameters<typeof store.count>[0]) {
        writes += 1;
        return store.count(take);
      },
    });
    const { watch } = createPlace({ clock, store: counting });
    const { hear } = watch(rule);
    for (let index = 0; index < 100; index += 1) await hear({ power: index }, `s/${index % 10}`);
    assert.equal(writes, 0);
    // Without another message.
    await clock.advance(HOUR + MINUTE);
    assert.equal(writes, 1);
    const counters = await store.counters();
    assert.equal(counters.length, 10);
    const bytes = JSON.stringify(counters).length / counters.length;
    assert.ok(bytes < 2_700, `${bytes} bytes a topic`);
  });

  it("is learned once by gateways that share a store", async () => {
    const clock = createManualClock();
    const store = createTestStore(clock);
    const places = [1, 2, 3].map(() => createPlace({ clock, store, isShared: true }));
    const watching = places.map(({ watch }) => watch(rule));
    for (let week = 0; week < 2; week += 1) {
      for (const power of [1, 2, 3]) for (const { hear } of watching) await hear({ power });
      clock.jump(WEEK);
      await clock.advance(2_000);
    }
    const [counter] = await store.counters();
    const cells = Buffer.from(String(Object(counter?.state).cells), "base64");
    const counts = Array.from({ length: 168 }, (_, index) => cells.readUInt16LE(index * 11 + 8));
    assert.deepEqual(
      counts.filter((count) => count > 0),
      [6],
    );
  });
});

async function disposable<S extends { close(): Promise<void> }>(opening: Promise<S>) {
  const store = await opening;
  return Object.assign(store, { [Symbol.asyncDispose]: () => store.close() });
}
