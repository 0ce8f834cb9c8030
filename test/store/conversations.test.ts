import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { createConversations } from "../../src/store/conversations.ts";
import { createManualClock, type ManualClock } from "../gateway/manual-clock.ts";
import { BOUNDS } from "./contract.ts";

const nowOf =
  (clock: ManualClock): (() => number) =>
  () =>
    clock.now();
const ROOMY = { messages: 100, conversations: 100, characters: 1e9, idleMs: 1000, bounds: BOUNDS };

describe("conversations", () => {
  it("keep the last whole turns that fit, and the last one always", () => {
    const turns = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(turns, fc.integer({ min: 1, max: 20 }), (sizes, messages) => {
        const kept = createConversations<string>({
          ...ROOMY,
          now: nowOf(createManualClock()),
          bounds: { ...BOUNDS, messages },
          messages: 300,
        });
        const all = sizes.map((size, turn) =>
          Array.from({ length: size }, (_, index) => `${turn}.${index}`),
        );
        for (const turn of all) kept.append("a", turn);
        const history = kept.history("a");
        const last = all.at(-1) ?? [];
        assert.ok(history.length <= Math.max(messages, last.length));
        assert.ok(history[0]?.endsWith(".0"), "begins with the beginning of a turn");
        assert.deepEqual(history, all.flat().slice(-history.length));
        const before = all[all.findIndex((turn) => turn[0] === history[0]) - 1];
        assert.ok(before === undefined || history.length + before.length > messages);
      }),
    );
  });

  it("keep more of one than they show, and no more than they have room for", () => {
    const kept = createConversations<string>({ ...ROOMY, now: nowOf(createManualClock()) });
    for (let turn = 1; turn <= 60; turn++) kept.append("a", [`q${turn}`, `a${turn}`]);
    assert.equal(kept.history("a").length, BOUNDS.messages);
    assert.equal(kept.conversation("a").turns.length, 50);
    assert.deepEqual(kept.page("a", 0)[0]?.messages, ["q11", "a11"]);
  });

  it("forget the ones longest without a turn when they are too many", () => {
    const options = { ...ROOMY, now: nowOf(createManualClock()), conversations: 2 };
    const kept = createConversations<string>(options);
    kept.append("a", ["1"]);
    kept.append("b", ["1"]);
    kept.append("a", ["2"]);
    kept.append("c", ["1"]);
    assert.deepEqual(
      ["a", "b", "c"].map((lane) => kept.history(lane)),
      [["1", "2"], [], ["1"]],
    );
  });

  it("forget whole conversations when together they are too large, and no one crowds the others out", () => {
    const options = { ...ROOMY, now: nowOf(createManualClock()), characters: 4000 };
    const kept = createConversations<string>(options);
    for (const lane of ["a", "b", "c"]) kept.append(lane, ["x".repeat(900)]);
    for (let turn = 0; turn < 20; turn++) kept.append("chatty", ["x".repeat(400)]);
    assert.deepEqual(kept.history("a").length, 1);
    assert.equal(kept.history("chatty").length, 2);
    kept.append("d", ["x".repeat(900)]);
    assert.deepEqual(
      ["a", "b", "d"].map((lane) => kept.history(lane).length),
      [0, 1, 1],
    );
  });

  it("forget what was said a day ago, without a timer", async () => {
    const clock = createManualClock();
    const kept = createConversations<string>({ ...ROOMY, now: nowOf(clock) });
    kept.append("a", ["1"]);
    await clock.advance(999);
    assert.deepEqual(kept.history("a"), ["1"]);
    assert.equal(clock.timers, 0);
    await clock.advance(1);
    assert.deepEqual(kept.history("a"), []);
  });
});
