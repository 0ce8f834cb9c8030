import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { jsonLine } from "../../src/base/escape-control.ts";
import { escapeControl } from "../../src/base/escape-control.ts";
import { codePoint } from "../support/code-point.ts";

describe("text from outside", () => {
  for (const [name, text, expected] of [
    ["controls", "\u001b[2J\u0007\u009b\u007f", String.raw`\x1b[2J\x07\x9b\x7f`],
    ["ends of lines", "a\nb\r\tc\u2028d", String.raw`a\nb\r\tc\u2028d`],
    ["changes of direction", "\u202e\u2066\u061c\u200f", String.raw`\u202e\u2066\u061c\u200f`],
    [
      "what has no width",
      "\u200b\u00ad\u180e\u2060\u2064",
      String.raw`\u200b\xad\u180e\u2060\u2064`,
    ],
    ["old format controls", "\u206a\u206f\ufff9\ufffb", String.raw`\u206a\u206f\ufff9\ufffb`],
    ["fillers", "\u115f\u1160\u3164\uffa0", String.raw`\u115f\u1160\u3164\uffa0`],
    ["tags", "\u{e0041}\u{e007f}", String.raw`\udb40\udc41\udb40\udc7f`],
    ["selectors of ideographs", "x\u{e0100}", String.raw`x\udb40\udd00`],
    ["a row of selectors", "x\ufe00\ufe01\ufe02", String.raw`${"x\ufe00"}\ufe01\ufe02`],
    ["joiners that join nothing", "a\u200db \u200d", String.raw`a\u200db \u200d`],
    ["a row of joiners", "é\u200d\u200c\u200dé", "é\\u200d\\u200c\\u200dé"],
    ["halves of characters", "\ud83d \ude00", String.raw`\ud83d \ude00`],
  ] as const) {
    it(`is shown with its ${name}`, () => assert.equal(escapeControl(text), expected));
  }

  for (const [name, text] of [
    ["emoji of several people", "👩‍💻 👨‍👩‍👧 🏳️‍🌈"],
    ["emoji with a look and a colour", "❤️ ☀︎ ✌🏽"],
    ["Persian words", "می‌خواهم"],
    ["Devanagari with a joiner", "क्‍ष"],
    ["Arabic, Hebrew and Chinese", "مرحبا שלום 你好"],
    ["accents of both forms", "é e\u0301"],
  ] as const) {
    it(`is left as it is with ${name}`, () => assert.equal(escapeControl(text), text));
  }

  it("keeps what it is told to keep", () => {
    assert.equal(escapeControl("a\n\tb\u001b", "\n\t"), "a\n\tb\\x1b");
  });

  it("is safe in a line of JSON, whatever it is, and is read back as it was", () => {
    const unseen = fc.constantFrom(
      "\u009b",
      "\u202e",
      "\u3164",
      "\u{e0041}",
      "\u{e0100}",
      "\u00ad",
    );
    const text = fc
      .array(fc.oneof(unseen, fc.string({ unit: codePoint })))
      .map((all) => all.join(""));
    fc.assert(
      fc.property(text, (said) => {
        const line = jsonLine({ said });
        assert.deepEqual(JSON.parse(line), { said });
        assert.doesNotMatch(
          line.trimEnd(),
          /\p{Cc}|\p{Zl}|\p{Zp}|\p{Default_Ignorable_Code_Point}/u,
        );
      }),
    );
  });
});
