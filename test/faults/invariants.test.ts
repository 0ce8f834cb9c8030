import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { violations, type Heard, type History, type Turn } from "./invariants.ts";

const asked = (id: string, client = "a") => ({
  client,
  id,
  expected: `to ${id}`,
  isAcknowledged: true,
});
const part = (id: string, facts: Partial<Heard> = {}): Heard => ({
  client: "a",
  id,
  seq: 0,
  text: `to ${id}`,
  done: true,
  ...facts,
});
const turn = (id: string, from: number, to: number): Turn => ({ client: "a", id, from, to });
const history = (facts: Partial<History>): History => ({
  asked: [asked("1")],
  heard: [part("1")],
  turns: [turn("1", 0, 10)],
  kills: [],
  ...facts,
});

describe("the invariants", () => {
  const good: [string, Partial<History>][] = [
    ["one answer", {}],
    [
      "an answer in parts",
      { heard: [part("1", { text: "to ", done: false }), part("1", { text: "1", seq: 1 })] },
    ],
    ["the same answer delivered twice", { heard: [part("1"), part("1")] }],
    [
      "an answer that a crash cut and that began anew",
      {
        heard: [part("1", { text: "to", done: false }), part("1")],
        turns: [turn("1", 0, 5), turn("1", 9, 12)],
        kills: [4],
      },
    ],
    [
      "a turn whose answer a frozen gateway had not read when it was killed",
      {
        turns: [turn("1", 0, 10), turn("1", 9000, 9010)],
        freezes: [{ from: 5, to: 4000 }],
        kills: [4200],
      },
    ],
    [
      "a turn that two kills and a stop cut",
      {
        turns: [0, 5000, 10_000, 15_000].map((at) => turn("1", at, at + 50)),
        kills: [10, 5010],
        stops: [10_010],
      },
    ],
    [
      "a request that three kills cut and that was given up",
      {
        heard: [part("1", { text: "", error: "internal", when: 20_000 })],
        turns: [0, 5000].map((at) => turn("1", at, at + 50)),
        kills: [10, 5010, 10_000],
      },
    ],
    ["busy, and the answer later", { heard: [part("1", { text: "", error: "busy" }), part("1")] }],
    [
      "busy alone, where it may end a request",
      { mayBeRejected: true, heard: [part("1", { text: "", error: "busy" })], turns: [] },
    ],
    [
      "a rejection for good, again after a loss",
      {
        mayBeRejected: true,
        heard: [1, 2].map(() => part("1", { text: "", error: "rate_limited", isForGood: true })),
        turns: [],
      },
    ],
    [
      "an answer behind one that was rejected first and came later",
      {
        asked: [asked("1"), asked("2")],
        heard: [part("1", { text: "", error: "busy" }), part("2"), part("1")],
      },
    ],
    [
      "an answer whose middle a device missed while it was away, and that came again",
      {
        absences: [{ client: "a", from: 5, to: 20 }],
        heard: [
          part("1", { text: "to ", done: false, when: 1 }),
          part("1", { text: "1", seq: 2, when: 21 }),
          part("1", { when: 22 }),
        ],
      },
    ],
    [
      "a request that nobody acknowledged",
      { asked: [{ ...asked("1"), isAcknowledged: false }], heard: [] },
    ],
    [
      "a part again after a loss",
      {
        heard: [
          part("1", { text: "to ", done: false }),
          part("1", { text: "1", seq: 1, done: false }),
          part("1", { text: "1", seq: 1, done: false }),
          part("1", { text: "", seq: 2 }),
        ],
      },
    ],
  ];
  for (const [name, facts] of good) {
    it(`hold for ${name}`, () => assert.deepEqual(violations(history(facts)), []));
  }

  const bad: [string, Partial<History>, RegExp][] = [
    ["a request without an answer", { heard: [] }, /no final answer/],
    ["busy alone", { heard: [part("1", { text: "", error: "busy" })] }, /no final answer/],
    [
      "busy, and the answer all the same where it was for good",
      {
        mayBeRejected: true,
        heard: [part("1", { text: "", error: "busy", isForGood: true }), part("1")],
      },
      /2 different answers/,
    ],
    [
      "a rejection of what was run",
      { mayBeRejected: true, heard: [part("1", { text: "", error: "busy" })] },
      /no final answer/,
    ],
    ["silence where rejections are allowed", { mayBeRejected: true, heard: [] }, /no final answer/],
    [
      "an answer that a device missed the middle of, and that did not come again",
      {
        absences: [{ client: "a", from: 5, to: 20 }],
        heard: [
          part("1", { text: "to ", done: false, when: 1 }),
          part("1", { text: "1", seq: 2, when: 21 }),
        ],
      },
      /no final answer/,
    ],
    ["an answer without an end", { heard: [part("1", { done: false })] }, /no final answer/],
    [
      "two different answers",
      { heard: [part("1"), part("1", { text: "else" })] },
      /2 different answers/,
    ],
    ["a wrong answer", { heard: [part("1", { text: "else" })] }, /the answer is "else"/],
    ["an error", { heard: [part("1", { error: "internal" })] }, /the error internal/],
    [
      "a part that is missing",
      { heard: [part("1", { text: "to ", done: false }), part("1", { text: "1", seq: 2 })] },
      /part 2 came too early/,
    ],
    [
      "answers out of order",
      { asked: [asked("1"), asked("2")], heard: [part("2"), part("1")] },
      /1?: answered out of order/,
    ],
    [
      "a turn run twice",
      { turns: [turn("1", 0, 10), turn("1", 20, 30)], kills: [5000] },
      /run again/,
    ],
    [
      "a turn run four times",
      { turns: [0, 100, 200, 300].map((at) => turn("1", at, at + 50)), kills: [10, 110, 210, 310] },
      /run 4 times/,
    ],
    [
      "two turns of a client at once",
      { asked: [], heard: [], turns: [turn("1", 0, 10), turn("2", 5, 15)] },
      /beside another turn/,
    ],
  ];
  for (const [name, facts, words] of bad) {
    it(`are broken by ${name}`, () => {
      const found = violations(history(facts));
      assert.equal(found.length, 1, found.join("; "));
      assert.match(found[0] ?? "", words);
    });
  }
});
