import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { Message } from "../../../src/agent/contract.ts";
import { trimHistory } from "../../../src/agent/turn/trim-history.ts";

const user = (text: string): Message => ({ role: "user", text });
const assistant = (text: string): Message => ({ role: "assistant", text });
const SUMMARY: Message = { role: "summary", text: "before" };

describe("a history that is too long for the model", () => {
  it("loses the older half of its turns, whole, and never its summary", () => {
    const [first, second, third] = [
      [user("1"), assistant("one")],
      [user("2"), assistant(""), assistant("two")],
      [user("3"), assistant("three")],
    ];
    assert.deepEqual(trimHistory([SUMMARY, ...first, ...second, ...third]), [SUMMARY, ...third]);
    assert.deepEqual(trimHistory([...first, ...second]), second);
    assert.deepEqual(trimHistory([SUMMARY, ...first]), [SUMMARY]);
  });

  it("is the very same where nothing can go", () => {
    for (const history of [[], [SUMMARY]]) assert.equal(trimHistory(history), history);
  });

  it("gets shorter each time, begins with a question, and is at its end soon", () => {
    const message = fc.constantFrom(user("?"), assistant("!"));
    fc.assert(
      fc.property(fc.array(message, { maxLength: 60 }), fc.boolean(), (said, isSummarized) => {
        let history: readonly Message[] = isSummarized ? [SUMMARY, ...said] : said;
        for (let times = 0; ; times += 1) {
          const next = trimHistory(history);
          if (next === history) break;
          assert.ok(next.length < history.length);
          const begin = isSummarized ? 1 : 0;
          const left = next.length - begin;
          assert.deepEqual(next.slice(begin), history.slice(history.length - left));
          assert.ok((next[begin]?.role ?? "user") === "user");
          assert.ok(times < 8);
          history = next;
        }
        assert.deepEqual(history, isSummarized ? [SUMMARY] : []);
      }),
    );
  });
});
