import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { StoreBounds } from "../../src/store/contract/store.ts";
import { createMemoryStore } from "../../src/store/sqlite/store.ts";
import { createManualClock } from "../gateway/manual-clock.ts";
import { BOUNDS } from "./contract.ts";

const DAY_MS = 24 * 60 * 60_000;

function openMemory(bounds: Partial<StoreBounds> = {}, clock = createManualClock()) {
  const now = (): number => clock.now();
  return createMemoryStore<string>({ owner: "one", now, bounds: { ...BOUNDS, ...bounds } });
}

describe("conversations in memory", () => {
  it("show the last whole turns that fit, and the last one always", async () => {
    const turns = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 30 });
    const property = fc.asyncProperty(
      turns,
      fc.integer({ min: 1, max: 20 }),
      async (sizes, messages) => {
        const store = openMemory({ messages });
        const all = sizes.map((size, turn) =>
          Array.from({ length: size }, (_, index) => `${turn}.${index}`),
        );
        for (const turn of all) void store.append("a", turn);
        const history = await store.history("a");
        const last = all.at(-1) ?? [];
        assert.ok(history.length <= Math.max(messages, last.length));
        assert.ok(history[0]?.endsWith(".0"), "begins with the beginning of a turn");
        assert.deepEqual(history, all.flat().slice(-history.length));
        const before = all[all.findIndex((turn) => turn[0] === history[0]) - 1];
        assert.ok(before === undefined || history.length + before.length > messages);
        await store.close();
      },
    );
    await fc.assert(property);
  });

  it("forget the ones longest without a turn when they are too many", async () => {
    const store = openMemory({ conversations: 2 });
    await store.append("a", ["1"]);
    await store.append("b", ["1"]);
    await store.append("a", ["2"]);
    await store.append("c", ["1"]);
    const histories = await Promise.all(["a", "b", "c"].map((name) => store.history(name)));
    assert.deepEqual(histories, [["1", "2"], [], ["1"]]);
  });

  it("forget that one was deleted when too many were, which may be imported again then", async () => {
    const store = openMemory({ conversations: 2 });
    for (const name of ["a", "b", "c"]) await store.append(name, [], true);
    await store.append("d", ["1"]);
    await store.erase("d");
    const imports = (name: string) =>
      store.importConversation(name, { turns: [{ messages: ["elsewhere"] }] });
    assert.deepEqual(await Promise.all(["c", "d", "a"].map(imports)), [false, false, true]);
  });

  it("forget whole conversations when together they are too large, and no one crowds the others out", async () => {
    const store = openMemory({ conversationBytes: 4000 });
    for (const name of ["a", "b", "c"]) await store.append(name, ["x".repeat(900)]);
    for (let turn = 0; turn < 20; turn++) await store.append("chatty", ["x".repeat(400)]);
    assert.equal((await store.history("a")).length, 1);
    assert.equal((await store.history("chatty")).length, 2);
    await store.append("d", ["x".repeat(900)]);
    const histories = await Promise.all(["a", "b", "d"].map((name) => store.history(name)));
    assert.deepEqual(
      histories.map(({ length }) => length),
      [0, 1, 1],
    );
  });

  it("forget what was said a day ago, without a timer", async () => {
    const clock = createManualClock();
    const store = openMemory({}, clock);
    await store.append("a", ["1"]);
    await clock.advance(DAY_MS - 1);
    await store.append("b", ["1"]);
    assert.deepEqual(await store.history("a"), ["1"]);
    assert.equal(clock.timers, 0);
    await clock.advance(1);
    await store.append("b", ["2"]);
    assert.deepEqual(await store.history("a"), []);
  });
});
