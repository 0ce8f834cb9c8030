import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { Part } from "../../src/base/contract.ts";
import { Failure } from "../../src/base/failure.ts";
import { AnswerStream, deliver } from "../../src/gateway/answer/answer-stream.ts";
import { codePoint } from "../support/code-point.ts";
import { cpuTimeOf } from "../support/cpu-time.ts";
import { runs } from "../support/runs.ts";
import { createManualClock } from "./manual-clock.ts";
import type { ManualClock } from "./manual-clock.ts";

interface Heard {
  readonly part: Part;
  readonly at: number;
}

const RECIPIENT = { durable: false, channel: "mqtt", client: "device", address: "/response" };

/** Reads an answer like a transport that needs `deliveryMs` for each part. */
function listen(answer: AnswerStream, clock: ManualClock, { stream = true, deliveryMs = 0 } = {}) {
  const heard: Heard[] = [];
  const reply = (part: Part): Promise<void> => {
    heard.push({ part, at: clock.now() });
    if (deliveryMs === 0) return Promise.resolve();
    return new Promise((resolve) => {
      clock.after(deliveryMs, resolve);
    });
  };
  const delivery = deliver({ ...RECIPIENT, stream, reply }, answer, clock);
  return { heard, delivery, texts: () => heard.map(({ part }) => part.text) };
}

const INTERVAL_MS = 250;

function start() {
  const clock = createManualClock();
  return { clock, answer: new AnswerStream({ clock, intervalMs: INTERVAL_MS }) };
}

/** All UTF-16 units, also lone surrogates. */
const anyText = fc.oneof(
  fc.string({ unit: codePoint }),
  fc.string({ unit: fc.constantFrom("a", "😀", "\ud83d", "\ude00") }),
);

const chunk = fc.record({
  text: anyText,
  waitMs: fc.constantFrom(0, 0, 10, 249, 250, 900),
});

const listener = fc.record({
  stream: fc.boolean(),
  deliveryMs: fc.constantFrom(0, 1, 300, 5000),
  joinsAt: fc.nat(8),
});

function endsInHalf(text: string): boolean {
  return /[\ud800-\udbff]$/.test(text);
}

describe("an answer in parts", () => {
  it("concatenates to itself for everyone, ends in one done, and splits no character", async () => {
    const chunks = fc.array(chunk, { maxLength: 8 });
    const listeners = fc.array(listener, { minLength: 1, maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(chunks, listeners, fc.boolean(), async (pieces, askers, fails) => {
        const { clock, answer } = start();
        const failure = fails ? new Failure("model", "it broke") : undefined;
        const heard: { stream: boolean; heard: Heard[] }[] = [];
        const join = (step: number) => {
          for (const each of askers.filter(({ joinsAt }) => joinsAt === step)) {
            heard.push({ stream: each.stream, ...listen(answer, clock, each) });
          }
        };
        for (const [step, { text, waitMs }] of pieces.entries()) {
          join(step);
          answer.push(text);
          await clock.advance(waitMs);
        }
        answer.finish(failure);
        for (let step = pieces.length; step <= 8; step++) join(step);
        await clock.advance(200_000);

        const whole = pieces.map(({ text }) => text).join("");
        for (const { stream, heard: parts } of heard) {
          const last = parts.at(-1)?.part;
          assert.equal(parts.filter(({ part }) => part.done).length, 1);
          assert.equal(last?.done, true);
          assert.equal(last?.error, failure);
          const texts = parts.map(({ part }) => part.text);
          const expected = failure === undefined ? whole : `${whole}it broke`;
          assert.equal(texts.join(""), stream || !fails ? expected : "it broke");
          if (!stream) assert.equal(parts.length, 1);
          const splits = texts.filter(
            (text, index) => endsInHalf(text) && /^[\udc00-\udfff]/.test(texts[index + 1] ?? ""),
          );
          assert.deepEqual(splits, []);
          assert.ok(!texts.slice(0, -1).includes(""), "an empty part says nothing");
        }
        assert.equal(clock.timers, 0);
      }),
      { numRuns: runs(300) },
    );
  });

  it("comes at most once an interval, the first part within one of its first text", async () => {
    const pieces = fc.array(chunk, { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(pieces, fc.constantFrom(0, 100, 400), async (chunks, deliveryMs) => {
        const { clock, answer } = start();
        const { heard } = listen(answer, clock, { deliveryMs });
        let firstTextAt: number | undefined;
        for (const { text, waitMs } of chunks) {
          if (text !== "" && !endsInHalf(text)) firstTextAt ??= clock.now();
          answer.push(text);
          await clock.advance(waitMs);
        }
        const endAt = clock.now();
        answer.finish();
        await clock.advance(10_000);

        const gaps = heard.slice(1).map(({ at }, index) => at - (heard[index]?.at ?? 0));
        assert.ok(gaps.slice(0, -1).every((gap) => gap >= INTERVAL_MS));
        const latest = Math.min((firstTextAt ?? endAt) + INTERVAL_MS, endAt);
        assert.ok((heard[0]?.at ?? Infinity) <= latest);
      }),
      { numRuns: runs(200) },
    );
  });

  it("is one message when it is short", async () => {
    const { clock, answer } = start();
    const { heard } = listen(answer, clock);
    answer.push("12 ");
    await clock.advance(100);
    answer.push("%.");
    answer.finish();
    await clock.advance(1000);
    assert.deepEqual(
      heard.map(({ part }) => part),
      [{ text: "12 %.", done: true }],
    );
  });

  it("is one done part when it is empty", async () => {
    const { clock, answer } = start();
    const { heard } = listen(answer, clock);
    answer.finish();
    await clock.advance(0);
    assert.deepEqual(
      heard.map(({ part }) => part),
      [{ text: "", done: true }],
    );
  });

  it("has no empty part before its end while the end is being stored", async () => {
    const { clock, answer } = start();
    const { texts, delivery } = listen(answer, clock);
    await clock.advance(0);
    answer.push("short");
    answer.close();
    await clock.advance(3 * INTERVAL_MS);
    assert.deepEqual(texts(), []);
    answer.release();
    await delivery.finished;
    assert.deepEqual(texts(), ["short"]);
  });

  it("collects while a part is on its way, and makes no queue of it", async () => {
    const { clock, answer } = start();
    const { texts } = listen(answer, clock, { deliveryMs: 5000 });
    for (const text of "abcdefghij") {
      answer.push(text);
      await clock.advance(1000);
    }
    assert.deepEqual(texts(), ["a", "bcdef"]);
    answer.finish();
    await clock.advance(60_000);
    assert.deepEqual(texts(), ["a", "bcdef", "ghij"]);
  });

  it("goes on for one client when another cannot be reached any more", async () => {
    const { clock, answer } = start();
    const gone = deliver(
      { ...RECIPIENT, stream: true, reply: () => Promise.reject(new Error("gone")) },
      answer,
      clock,
    );
    const { texts } = listen(answer, clock);
    answer.push("one ");
    await clock.advance(300);
    answer.push("two ");
    await clock.advance(300);
    answer.finish();
    await clock.advance(300);
    assert.deepEqual(texts(), ["one ", "two ", ""]);
    assert.equal(gone.failure?.why, "gone");
    assert.equal(gone.parts, 1);
  });

  it("is the same parts again for a later request", async () => {
    const { clock, answer } = start();
    const first = listen(answer, clock);
    answer.push("one ");
    await clock.advance(300);
    answer.push("two");
    answer.finish();
    await clock.advance(300);
    const again = listen(answer, clock);
    await clock.advance(0);
    assert.deepEqual(
      again.heard.map(({ part }) => part),
      first.heard.map(({ part }) => part),
    );
    assert.equal(first.heard.length, 2);
  });

  it("takes a million small pieces in no time, delivered or not", async () => {
    const took = await cpuTimeOf(() => {
      const { clock, answer } = start();
      listen(answer, clock);
      for (let piece = 0; piece < 1_000_000; piece++) answer.push("x");
      answer.finish();
      assert.deepEqual([answer.length, answer.text.length], [1_000_000, 1_000_000]);
    });
    assert.ok(took < 2_000);
  });
});
