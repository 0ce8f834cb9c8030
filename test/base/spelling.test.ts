import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { nearestWord } from "../../src/base/spelling.ts";

describe("the nearest word", () => {
  const known = ["broker", "agent_id", "qos", "topic_prefix", "tls"];
  const table: readonly [written: string, nearest: string | undefined][] = [
    ["borker", "broker"],
    ["brokr", "broker"],
    ["brokker", "broker"],
    ["Broker", "broker"],
    ["agentid", "agent_id"],
    ["topicprefix", "topic_prefix"],
    ["qs", "qos"],
    ["tsl", "tls"],
    ["xyz", undefined],
    ["username", undefined],
    ["", undefined],
  ];
  for (const [written, nearest] of table) {
    it(`to ${JSON.stringify(written)} is ${nearest}`, () => {
      assert.equal(nearestWord(written, known), nearest);
    });
  }

  it("is the word itself where it is known", () => {
    fc.assert(
      fc.property(fc.array(fc.string()), fc.string(), (words, word) => {
        assert.equal(nearestWord(word, [word, ...words]), word);
      }),
    );
  });
});
