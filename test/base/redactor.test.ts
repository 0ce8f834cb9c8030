import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { Failure } from "../../src/base/failure.ts";
import { createRedactor, redactFailure } from "../../src/base/redaction/redactor.ts";
import type { Redactor } from "../../src/base/redaction/redactor.ts";
import { cpuTimeOf } from "../support/cpu-time.ts";

/** What comes out for these pieces, piece by piece, with what the end gives as the last. */
function streamed(redactor: Redactor, pieces: readonly string[]): string[] {
  const stream = redactor.stream();
  return [...pieces.map((piece) => stream.push(piece)), stream.end()];
}

/** A text cut at these places. */
function cut(text: string, places: readonly number[]): string[] {
  const at = [0, ...places.map((place) => place % (text.length + 1)), text.length];
  const sorted = at.toSorted((left, right) => left - right);
  return sorted.slice(1).map((end, index) => text.slice(sorted[index], end));
}

const SPELLINGS: readonly [name: string, spell: (secret: string) => string][] = [
  ["as it is", (secret) => secret],
  ["in JSON", (secret) => JSON.stringify(secret)],
  ["in JSON within JSON", (secret) => JSON.stringify(JSON.stringify({ a: secret }))],
  [
    "in JSON as Go writes it",
    (secret) =>
      JSON.stringify(secret).replaceAll(
        /[<>&]/g,
        (mark) => `\\u00${mark.charCodeAt(0).toString(16)}`,
      ),
  ],
  ["in JSON as PHP writes it", (secret) => JSON.stringify(secret).replaceAll("/", "\\/")],
  ["in URL encoding", encodeURIComponent],
  [
    "in URL encoding with small letters",
    (secret) => encodeURIComponent(secret).replaceAll(/%../g, (code) => code.toLowerCase()),
  ],
  ["in a form", (secret) => new URLSearchParams({ key: secret }).toString()],
  ["in base64", (secret) => Buffer.from(secret).toString("base64")],
  ["in base64url", (secret) => Buffer.from(secret).toString("base64url")],
  ["in hexadecimal", (secret) => Buffer.from(secret).toString("hex")],
  ["in hexadecimal with capitals", (secret) => Buffer.from(secret).toString("hex").toUpperCase()],
];

const anySecret = fc
  .string({ unit: "grapheme", minLength: 4, maxLength: 40 })
  .filter((text) => text === text.trim() && !"[FILTERED]".includes(text));

describe("a redactor", () => {
  it("knows of secrets that are renewed under a name the last two lists", () => {
    const redactor = createRedactor(["for-ever"]);
    for (const count of [1, 2, 3, 3]) redactor.add([`token-${count}`, "always"], "notes");
    redactor.add(["token-9"], "other");
    const text = "for-ever token-1 token-2 token-3 token-9 always";
    const mask = "[FILTERED]";
    assert.equal(redactor.redact(text), `${mask} token-1 ${`${mask} `.repeat(4)}`.trim());
  });

  it("masks any secret in all of its spellings, however the text is cut", () => {
    const places = fc.array(fc.nat(400), { maxLength: 12 });
    const around = fc.stringMatching(/^[<> ]{0,5}$/);
    const secrets = fc.array(anySecret, { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(secrets, around, places, (known, gap, cuts) => {
        const redactor = createRedactor(known);
        for (const [name, spell] of SPELLINGS) {
          for (const secret of known) {
            const text = `${gap}${spell(secret)}${gap}`;
            const whole = redactor.redact(text);
            assert.ok(whole.includes("[FILTERED]"), `${name}: ${whole}`);
            assert.ok(!whole.includes(spell(secret)));
            assert.equal(streamed(redactor, cut(text, cuts)).join(""), whole);
          }
        }
      }),
    );
  });

  it("masks a secret in base64 wherever it stands in what was encoded", () => {
    const redactor = createRedactor(["hunter22??>"]);
    for (const before of ["", "a", "ab", "user:"]) {
      for (const encoding of ["base64", "base64url"] as const) {
        const text = Buffer.from(`${before}hunter22??>and more`).toString(encoding);
        assert.match(redactor.redact(`x ${text}`), /\[FILTERED\]/);
        assert.ok(!streamed(redactor, text.split("")).join("").includes(text.slice(8, 16)));
      }
    }
  });

  it("leaves a text without secrets as it is, however it is cut", () => {
    const redactor = createRedactor(["SK-0123456789-ABC", "PASSWORD#1"]);
    const words = fc.stringMatching(/^[a-z .]{0,200}$/);
    fc.assert(
      fc.property(words, fc.array(fc.nat(200)), (text, cuts) => {
        assert.equal(redactor.redact(text), text);
        assert.equal(streamed(redactor, cut(text, cuts)).join(""), text);
      }),
    );
  });

  it("holds back no more than what may still become a secret, and lets go of it when it does not", () => {
    const redactor = createRedactor(["sk-secret-1"]);
    assert.deepEqual(streamed(redactor, ["the key is sk-sec", "ond hand. s", "k-s", "ecret-1!"]), [
      "the key is ",
      "sk-second hand. ",
      "",
      "[FILTERED]!",
      "",
    ]);
    assert.deepEqual(streamed(redactor, ["sk-secret-"]), ["", "sk-secret-"]);
  });

  it("masks secrets that overlap, touch or hold one another together", () => {
    for (const [secrets, text, expected] of [
      [["abcdef", "defghi"], "1abcdefghi2", "1[FILTERED]2"],
      [["abcd", "abcdef"], "abcdef abcd abcde", "[FILTERED] [FILTERED] [FILTERED]e"],
      [["aaaa"], "aaaaaa", "[FILTERED]"],
      [["abcd", "wxyz"], "abcdwxyz-wxyz", "[FILTERED]-[FILTERED]"],
      [["xbcdy", "bcde"], "xbcde", "x[FILTERED]"],
    ] as const) {
      const redactor = createRedactor(secrets);
      assert.equal(redactor.redact(text), expected);
      assert.equal(streamed(redactor, text.split("")).join(""), expected);
    }
  });

  it("never gives an end of a secret away that another secret begins with", () => {
    const redactor = createRedactor(["abcdef", "defghi"]);
    assert.deepEqual(streamed(redactor, ["abcdef", "gh", "x"]), ["[FILTERED]", "", "ghx", ""]);
  });

  it("knows what it learned, also in the middle of a stream, and forgets nothing", () => {
    const redactor = createRedactor(["first-secret"]);
    const stream = redactor.stream();
    const before = stream.push("first-sec");
    redactor.add(["second-secret"]);
    const after = stream.push("ret second-secret");
    assert.equal(before + after + stream.end(), "[FILTERED] [FILTERED]");
    assert.equal(redactor.redact("first-secret"), "[FILTERED]");
  });

  it("passes over values of fewer than four characters, and blanks around one", () => {
    assert.equal(createRedactor(["abc", "", " "]).redact("abc"), "abc");
    assert.equal(createRedactor([" abcd\n"]).redact("abcd"), "[FILTERED]");
  });

  it("takes as long for many secrets as for one, and no longer for small pieces late in a stream", async () => {
    const secrets = Array.from({ length: 200 }, (_, index) => `sk-${index}-0123456789abcdef`);
    const redactor = createRedactor(secrets);
    const piece = "sk-1-0123456789abcde ";
    const timeOf = (pieces: number): Promise<number> =>
      cpuTimeOf(() => {
        const stream = redactor.stream();
        for (let count = 0; count < pieces; count += 1) stream.push(piece);
      });
    const few = await timeOf(5000);
    // Eight times the pieces: quadratic work would take 64 times as long.
    assert.ok((await timeOf(40_000)) < Math.max(few * 24, 200), "time grows with the pieces alone");
  });
});

describe("a failure behind a redactor", () => {
  const redactor = createRedactor(["hunter22"]);

  it("says the same without secrets, with its code and what it carries", () => {
    const cause = new Error("because");
    const failure = new Failure("busy", "no hunter22", {
      why: "aHVudGVyMjI=",
      remedy: "not hunter22",
      retryAfter: 3,
      cause,
    });
    const redacted = redactFailure(failure, redactor);
    assert.ok(redacted instanceof Failure);
    const { code, message, why, remedy, retryAfter } = redacted;
    assert.deepEqual(
      [code, message, why, remedy, retryAfter, redacted.cause],
      ["busy", "no [FILTERED]", "[FILTERED]=", "not [FILTERED]", 3, cause],
    );
  });

  it("is itself where it holds none, and so is whatever else was thrown", () => {
    const failure = new Failure("busy", "wait");
    assert.equal(redactFailure(failure, redactor), failure);
    assert.equal(redactFailure("text", redactor), "text");
  });
});
