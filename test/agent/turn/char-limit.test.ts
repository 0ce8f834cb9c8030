import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { createCharLimit, limited, prefaced } from "../../../src/agent/turn/char-limit.ts";

function cut(pieces: readonly string[], limit: number): string {
  const chars = createCharLimit(limit);
  return pieces.map((piece) => chars.add(piece)).join("") + chars.end();
}

describe("a limit of characters", () => {
  it("cuts after a word, and says so", () => {
    assert.equal(cut(["It is 21 °C."], 12), "It is 21 °C.");
    assert.equal(cut(["It is 21 degrees."], 12), "It is 21…");
    assert.equal(cut(["It is ", "21 deg", "rees."], 12), "It is 21…");
    assert.equal(cut(["It is 21 degr", "ees"], 9), "It is 21…");
    assert.equal(cut(["extraordinary"], 6), "extra…");
    assert.equal(cut(["word"], 1), "…");
    assert.equal(cut(["🦞🦞🦞"], 3), "🦞🦞🦞");
    assert.equal(cut(["🦞🦞🦞🦞"], 3), "🦞🦞…");
  });

  it("holds for every text, however it comes, and changes no text that fits", () => {
    const pieces = fc.array(fc.stringMatching(/^[a-z 漢]{0,9}$/u), { maxLength: 20 });
    fc.assert(
      fc.property(pieces, fc.integer({ min: 1, max: 60 }), (all, limit) => {
        const text = all.join("");
        const shown = cut(all, limit);
        assert.ok(Array.from(shown).length <= limit, shown);
        if (Array.from(text).length <= limit) assert.equal(shown, text);
        else assert.ok(shown.endsWith("…") && text.startsWith(shown.slice(0, -1)), shown);
      }),
    );
  });

  it("leaves what is remembered of the turn alone", async () => {
    const turned = { messages: [{ role: "assistant", text: "one two three" }] } as const;
    async function* answer() {
      yield* ["one two", " three"];
      await Promise.resolve();
      return { messages: [...turned.messages] };
    }
    const answering = limited(answer(), 9);
    const pieces: string[] = [];
    let step = await answering.next();
    for (; !step.done; step = await answering.next()) pieces.push(step.value);
    assert.equal(pieces.join(""), "one two…");
    assert.deepEqual(step.value, turned);
  });

  it("ends the answer within when its reader throws into it", async () => {
    let isOpen = true;
    async function* answer(): AsyncGenerator<string, { messages: [] }> {
      try {
        yield "one two ";
        return { messages: [] };
      } finally {
        isOpen = false;
      }
    }
    const answering = limited(answer(), 100);
    await answering.next();
    await assert.rejects(answering.throw(new Error("stopped")), /stopped/);
    assert.ok(!isOpen);
  });

  it("is told before the question, whose text stays", () => {
    const messages = prefaced(
      [{ role: "user", text: "how warm?", preface: "It is noon." }],
      "[short]",
    );
    assert.deepEqual(messages, [
      { role: "user", text: "how warm?", preface: "[short]\n\nIt is noon." },
    ]);
  });
});
