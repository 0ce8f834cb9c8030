import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { refusalOf } from "../../src/mqtt/client/reasons.ts";
import { createPartOrder } from "../../src/mqtt/protocol/parts.ts";
import { encodePart, type WirePart } from "../../src/mqtt/protocol/wire.ts";
import { createBoundedQueue } from "../../src/mqtt/requester/link.ts";

const never = new AbortController().signal;

function takeAll(parts: readonly WirePart[]) {
  const take = createPartOrder();
  return parts.map((part) => take(part, Buffer.from(encodePart(part))));
}

describe("the parts of an answer", () => {
  it("in order, with any of them delivered twice in a row, are the answer", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.string(), fc.boolean()), { minLength: 1 }), (pieces) => {
        const parts = pieces.map(([text], seq) => ({
          text,
          seq,
          ...(seq === pieces.length - 1 && { done: true }),
        }));
        const sent = parts.flatMap((part, seq) => (pieces[seq]?.[1] ? [part, part] : [part]));
        const taken = takeAll(sent).filter((part) => part !== "ignored");
        assert.ok(taken.every((part) => part !== "missing"));
        assert.equal(
          taken.map((part) => part.text).join(""),
          pieces.map(([text]) => text).join(""),
        );
        assert.deepEqual(
          taken.map((part) => part.restart),
          parts.map(({ seq }) => seq === 0),
        );
      }),
    );
  });

  it("a hole is missing, an old one is ignored, and seq 0 begins anew", () => {
    const taken = takeAll([
      { text: "a", seq: 0 },
      { text: "b", seq: 1 },
      { text: "b", seq: 1 },
      { text: "d", seq: 3 },
      { text: "A", seq: 0 },
      { text: "B", seq: 1, done: true },
    ]);
    const short = taken.map((part) =>
      typeof part === "string" ? part : `${part.text}${part.restart ? "!" : ""}`,
    );
    assert.deepEqual(short, ["a!", "b", "ignored", "missing", "A!", "B"]);
    assert.deepEqual(takeAll([{ text: "late", seq: 1 }]), ["missing"]);
  });

  it("an answer that begins anew with another first part is not mistaken for a repetition", () => {
    const [, again] = takeAll([
      { text: "a", seq: 0 },
      { text: "b", seq: 0 },
    ]);
    assert.ok(typeof again === "object" && again.restart);
  });

  it("without numbers every message counts, and the first begins", () => {
    const taken = takeAll([{ text: "a" }, { text: "a" }]);
    assert.deepEqual(
      taken.map((part) => typeof part === "object" && part.restart),
      [true, false],
    );
  });
});

describe("a bounded queue", () => {
  it("gives items in order and counts what it had no room for", async () => {
    const queue = createBoundedQueue<number>(2);
    for (const item of [1, 2, 3, 4]) queue.put(item);
    assert.equal(await queue.take(1_000, never), 1);
    assert.equal(await queue.take(1_000, never), 2);
    assert.equal(queue.dropped(), 2);
    assert.equal(queue.dropped(), 0);
  });

  it("wakes its reader for an item, the time and the signal", async () => {
    const queue = createBoundedQueue<number>(2);
    const waiting = queue.take(Number.POSITIVE_INFINITY, never);
    queue.put(7);
    assert.equal(await waiting, 7);
    assert.equal(await queue.take(5, never), undefined);
    const stop = new AbortController();
    const aborted = queue.take(60_000, stop.signal);
    stop.abort(new Error("enough"));
    await assert.rejects(aborted, /enough/);
    await assert.rejects(queue.take(1, stop.signal), /enough/);
  });

  it("keeps no timer when the signal is aborted: it would keep the process alive", async (context) => {
    const timers = new Set<unknown>();
    const { setTimeout: set, clearTimeout: clear } = globalThis;
    context.after(() => Object.assign(globalThis, { setTimeout: set, clearTimeout: clear }));
    const counted = (run: () => void, ms: number) => {
      const timer = set(run, ms);
      timers.add(timer);
      return timer;
    };
    const forgotten = (timer: ReturnType<typeof set>) => {
      timers.delete(timer);
      clear(timer);
    };
    Object.assign(globalThis, { setTimeout: counted, clearTimeout: forgotten });
    const stop = new AbortController();
    const waiting = createBoundedQueue<number>(2).take(60_000, stop.signal);
    assert.equal(timers.size, 1);
    stop.abort(new Error("enough"));
    await assert.rejects(waiting, /enough/);
    assert.equal(timers.size, 0);
  });

  it("waits as long as asked, also beyond the 24.8 days that a timer can count", async () => {
    const queue = createBoundedQueue<number>(2);
    const waiting = queue.take(2 ** 40, never);
    setTimeout(() => queue.put(7), 20);
    assert.equal(await waiting, 7);
  });

  it("leaves nothing behind on a signal that lives as long as the program", async () => {
    const { signal } = new AbortController();
    let listening = 0;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (type: "abort", listener: () => void) => {
      listening += 1;
      add(type, listener);
    };
    signal.removeEventListener = (type: "abort", listener: () => void) => {
      listening -= 1;
      remove(type, listener);
    };
    const queue = createBoundedQueue<number>(2);
    for (let item = 0; item < 50; item += 1) {
      const waiting = queue.take(Number.POSITIVE_INFINITY, signal);
      queue.put(item);
      await waiting;
    }
    assert.equal(listening, 0);
  });
});

describe("a broker's refusal", () => {
  it("of credentials, rights or the client id is final, and says what to do", () => {
    for (const code of [2, 4, 5, 0x85, 0x86, 0x87, 0x8a, 0x8c, 0x8e]) {
      const { disposition, failure } = refusalOf(code, "the broker refused");
      assert.deepEqual([disposition, failure.code], ["fatal", "refused"], String(code));
      assert.ok(failure.remedy, String(code));
      assert.match(failure.why ?? "", /reason code/);
    }
  });

  it("of the version asks for the older one", () => {
    for (const code of [1, 0x84]) assert.equal(refusalOf(code, "").disposition, "downgrade");
  });

  it("for now is tried again, and so is a code that nobody knows", () => {
    for (const code of [3, 0x88, 0x89, 0x8b, 0x97, 0x98, 0x9c, 0x9d, 0x9f, 77, 0xf0]) {
      const { disposition, failure } = refusalOf(code, "");
      assert.deepEqual([disposition, failure.code], ["retry", "unreachable"], String(code));
    }
  });
});
