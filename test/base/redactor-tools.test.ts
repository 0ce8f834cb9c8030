import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { createRedactor } from "../../src/base/redaction/redactor.ts";
import { cpuTimeOf } from "../support/cpu-time.ts";
import { oncePerEngine, runs } from "../support/runs.ts";

/** What comes out for a text cut at these places. */
function streamed(secret: string, text: string, places: readonly number[]): string {
  const at = [0, ...places.map((place) => place % (text.length + 1)), text.length];
  const sorted = at.toSorted((left, right) => left - right);
  const stream = createRedactor([secret]).stream();
  const pieces = sorted.slice(1).map((end, index) => text.slice(sorted[index], end));
  return pieces.map((piece) => stream.push(piece)).join("") + stream.end();
}

function wrapped(text: string, columns: number): string {
  return text.replaceAll(new RegExp(`.{${columns}}`, "g"), "$&\n");
}

/** Whether four characters of the secret or more can be read in it. */
function decodedTells(text: string, secret: string, encoding: "base64" | "hex"): boolean {
  const tells = (decoded: string): boolean =>
    Array.from({ length: secret.length - 3 }, (_, at) => secret.slice(at, at + 4)).some((part) =>
      decoded.includes(part),
    );
  const compact = text.replaceAll(/\[FILTERED\]|[\s:,-]|0x/g, "");
  const shifts = Array.from({ length: 4 }, (_, shift) => compact.slice(shift));
  return shifts.some((part) => tells(Buffer.from(part, encoding).toString("latin1")));
}

const SIGNS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&*+-./:;=?@\\^_~";
const sign = fc.constantFrom(...SIGNS.split(""));
const anySecret = fc.string({ unit: sign, minLength: 8, maxLength: 200 });
/** Of signs that no secret has, so that none is found by chance. */
const around = fc.string({
  unit: fc.constantFrom("(", ")", "{", "}", "<", ">", " ", "'", '"'),
  maxLength: 90,
});
const places = fc.array(fc.nat(2000), { maxLength: 12 });
const columns = fc.constantFrom(60, 64, 76, 100_000);

const code = (one: string): number => one.charCodeAt(0);
const hexOf = (one: string): string => code(one).toString(16).padStart(2, "0");

function assertMasked(secret: string, text: string, cuts: readonly number[]): string {
  const whole = createRedactor([secret]).redact(text);
  assert.ok(whole.includes("[FILTERED]"), `${secret} in ${text}: ${whole}`);
  assert.equal(streamed(secret, text, cuts), whole);
  return whole;
}

describe("a redactor over what ordinary tools print", () => {
  it("masks base64 in lines of any of the usual lengths, wherever the secret stands", () => {
    const newline = fc.constantFrom("\n", "\r\n", "\n    ", String.raw`\n`, String.raw`\\n`, "%0A");
    const cases = fc.record({
      secret: anySecret,
      before: around,
      behind: around,
      columns,
      newline,
    });
    const encoding = fc.constantFrom("base64" as const, "base64url" as const);
    fc.assert(
      fc.property(cases, encoding, places, (one, alphabet, cuts) => {
        const encoded = Buffer.from(one.before + one.secret + one.behind).toString(alphabet);
        const text = wrapped(encoded, one.columns).replaceAll("\n", one.newline);
        const masked = assertMasked(one.secret, text, cuts);
        assert.ok(!decodedTells(masked, one.secret, "base64"), masked);
      }),
    );
  });

  it("masks hexadecimal with any separator between its digits, in both cases", () => {
    const between = fc.constantFrom(
      "",
      " ",
      ":",
      "-",
      ",",
      ", ",
      "\n",
      "\r\n",
      "\t",
      " 0x",
      ", 0x",
    );
    const cases = fc.record({
      secret: anySecret,
      before: around,
      behind: around,
      between,
      columns,
    });
    fc.assert(
      fc.property(cases, fc.boolean(), places, (one, isUpper, cuts) => {
        const bytes = Buffer.from(one.before + one.secret + one.behind);
        const hex = bytes.toString("hex").replaceAll(/..(?=.)/g, `$&${one.between}`);
        const spelled = isUpper ? hex.toUpperCase().replaceAll("0X", "0x") : hex;
        // No tool ends a line within `0x`.
        const text = spelled.includes("x") ? spelled : wrapped(spelled, one.columns);
        const masked = assertMasked(one.secret, text, cuts);
        assert.ok(!decodedTells(masked, one.secret, "hex"), masked);
      }),
    );
  });

  it("masks base64 with the prefix of hexadecimal in it", () => {
    const secret = Buffer.from("AA0XBB0xCC0X", "base64").toString();
    for (let at = 0; at < 14; at += 1) {
      assert.equal(streamed(secret, "<AA0X\nBB0x\nCC0X>", [at]), "<[FILTERED]>");
    }
  });

  it("masks hexadecimal that ends in a zero, whatever follows", () => {
    const hex = Buffer.from("sk-12345670")
      .toString("hex")
      .replaceAll(/..(?=.)/g, "$&:");
    for (const [text, expected] of [
      [`${hex}x`, "[FILTERED]x"],
      [`${hex}, 0x33`, "[FILTERED], 0x33"],
      [hex.replaceAll(":", ", 0x"), "[FILTERED]"],
    ] as const) {
      for (let at = 0; at < text.length; at += 1) {
        assert.equal(streamed("sk-12345670", text, [at]), expected);
      }
    }
  });

  it("masks what is escaped character by character, has other capitals, or unseen signs between", () => {
    const unescaped = anySecret.filter((secret) => !secret.includes("\\"));
    const spellings: readonly ((one: string) => string)[] = [
      (one) => `\\u00${hexOf(one)}`,
      (one) => `\\\\u00${hexOf(one).toUpperCase()}`,
      (one) => `\\u{${hexOf(one)}}`,
      (one) => `\\x${hexOf(one)}`,
      (one) => `%${hexOf(one)}`,
      (one) => `%25${hexOf(one).toUpperCase()}`,
      (one) => `&#${code(one)};`,
      (one) => `&#x${hexOf(one)};`,
      (one) => `&amp;#${code(one)};`,
      (one) => one.replace("&", "&amp;"),
      (one) => one.toUpperCase(),
      (one) => one.toLowerCase(),
      (one) => `${one}\u200b`,
      (one) => `\u{e0041}${one}`,
      (one) => `${one}\u00ad\ufeff`,
    ];
    fc.assert(
      fc.property(unescaped, fc.constantFrom(...spellings), places, (secret, spell, cuts) => {
        const text = Array.from(secret, spell).join("");
        const masked = assertMasked(secret, `<${text}>`, cuts);
        assert.match(masked, /^<.{0,8}\[FILTERED\].{0,4}>$/su);
      }),
    );
  });

  it("masks a secret that is not of ASCII in escapes and in URL encoding of all letters", () => {
    const redactor = createRedactor(["geheimer-Schlüssel-😀"]);
    const units = Array.from({ length: 21 }, (_, at) => "geheimer-Schlüssel-😀".charCodeAt(at));
    const json = units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("");
    const url = Buffer.from("geheimer-Schlüssel-😀").toString("hex").replaceAll(/../g, "%$&");
    assert.equal(redactor.redact(`<${json}>`), "<[FILTERED]>");
    assert.equal(redactor.redact(`<${url}>`), "<[FILTERED]>");
  });

  for (const length of [24, 51, 108, 164]) {
    const secret = `sk-${randomBytes(length)
      .toString("base64url")
      .slice(0, length - 3)}`;

    it(`masks a key of ${length} characters at each of 76 places`, () => {
      for (let before = 0; before < 76; before += 1) {
        const bytes = Buffer.from(`${"(".repeat(before)}${secret})))`);
        const base64 = bytes.toString("base64");
        const hex = bytes.toString("hex");
        const blanks = hex.replaceAll(/../g, " $&");
        for (const text of [wrapped(base64, 76), wrapped(base64, 64)]) {
          assert.ok(!decodedTells(assertMasked(secret, text, [before * 2]), secret, "base64"));
        }
        for (const text of [wrapped(hex, 60), blanks, wrapped(blanks, 48)]) {
          assert.ok(!decodedTells(assertMasked(secret, text, [before * 3]), secret, "hex"));
        }
      }
    });

    it(`masks a key of ${length} characters as the tools of this machine print it`, () => {
      const tools: readonly [RegExp | undefined, string, ...string[]][] = [
        [undefined, "base64"],
        [undefined, "openssl", "base64"],
        [undefined, "xxd", "-p"],
        [undefined, "od", "-An", "-tx1", "-v"],
        [/^\S+ /gm, "od", "-tx1", "-v"],
        [/^\S+ |>.*<$/gm, "od", "-tx1z", "-v"],
        [/^\S+ |\|.*\|$/gm, "hexdump", "-C", "-v"],
        [/^\S+: | {2}.*$/gm, "xxd"],
        [/^\S+: | {2}.*$/gm, "xxd", "-g1"],
        [/^\S.*$/gm, "xxd", "-i"],
      ];
      for (const [frame, program, ...args] of tools) {
        if (!isThere(program)) continue;
        for (let before = 0; before < 76; before += 9) {
          const input = `${"(".repeat(before)}${secret})))`;
          const text = execFileSync(program, args, { input, encoding: "utf8" });
          const masked = assertMasked(secret, text, [before * 3, before * 5, 90]);
          const bytes = frame === undefined ? masked : masked.replaceAll(frame, "");
          const encoding = program === "base64" || program === "openssl" ? "base64" : "hex";
          assert.ok(!decodedTells(bytes, secret, encoding), masked);
          assert.ok(!masked.includes(secret.slice(-16)), masked);
        }
      }
    });
  }

  it("covers what the row of a dump tells beside the bytes, and what is in words of two bytes", () => {
    const dump = [
      "00000000  6b 65 79 3d 73 6b 2d 61  62 63 64 65 66 67 68 69  |key=sk-abcdefghi|",
      "00000010  6a 6b 6c 6d 6e 6f 70 71  0a 6e 65 78 74 0a 0a 0a  |jklmnopq.next...|",
      "00000020",
    ].join("\n");
    const expected = "00000000  6b 65 79 3d [FILTERED]\n00000020";
    assert.equal(createRedactor(["sk-abcdefghijklmnopq"]).redact(dump), expected);
    const json = JSON.stringify({ result: dump });
    assert.equal(
      createRedactor(["sk-abcdefghijklmnopq"]).redact(json),
      `{"result":${JSON.stringify(expected)}}`,
    );
    const words =
      "0000000 656b 3d79 6b73 612d 6362 6564 6766 6968\n0000010 6b6a 6d6c 0a6e\n0000016\n";
    assert.equal(
      createRedactor(["sk-abcdefghijklmn"]).redact(words),
      "0000000 656b 3d79 [FILTERED]\n0000016\n",
    );
  });

  it("leaves this program's own words as they are, whatever the secrets", () => {
    const root = new URL("../../", import.meta.url);
    const corpus = ["docs", "src"].flatMap((folder) =>
      readdirSync(new URL(folder, root), { recursive: true, encoding: "utf8" })
        .filter((name) => /\.(?:md|ts)$/.test(name))
        .map((name) => readFileSync(new URL(`${folder}/${name}`, root), "utf8")),
    );
    const text = corpus.join("\n");
    const secrets = Array.from({ length: 100 }, (_, index) =>
      randomBytes(40)
        .toString("base64url")
        .slice(0, 8 + (index % 40)),
    );
    assert.equal(createRedactor(secrets).redact(text), text);
  });

  it("lets go of what looks like a digit, a letter or the row of a dump when it goes on otherwise", () => {
    const stream = createRedactor(["sk-0123456789"]).stream();
    const pieces = ["| 7 ", "| c", "\n", "0000010 ", "7", " x", "\n7", "\nwords %", "41 &am", " "];
    assert.deepEqual(
      pieces.map((piece) => stream.push(piece)),
      ["| ", "7 | ", "", "c\n0000010 ", "", "7 x", "\n", "7\nwords ", "%41 ", "&am "],
    );
  });

  it("makes the same of any text however it is cut", () => {
    const units = [
      '"',
      "\n",
      "\u007f",
      "0",
      "1",
      "10101010",
      "a",
      " ",
      ":",
      "x",
      "%31",
      "\\",
      "n",
      "|",
    ];
    const text = fc.array(fc.constantFrom(...units), { maxLength: 60 });
    fc.assert(
      fc.property(text, places, (parts, cuts) => {
        const secret = `${"\u0010".repeat(7)}a`;
        const whole = createRedactor([secret]).redact(parts.join(""));
        assert.equal(streamed(secret, parts.join(""), cuts), whole);
      }),
      { numRuns: runs(1000) },
    );
    for (const row of ['""2fc3a9 1', "\n\u007f8222222222 1", "\n%31000000 1"]) {
      const dump = `- ${row}0101010101010101 and more`;
      const masked = createRedactor(["\u0010".repeat(8)]).redact(dump);
      assert.ok(masked.includes("[FILTERED]"), masked);
      for (let at = 0; at < dump.length; at += 1) {
        assert.equal(streamed("\u0010".repeat(8), dump, [at]), masked);
      }
    }
  });

  it(
    "takes time by the length alone of a text that is made to cost it",
    oncePerEngine,
    async () => {
      const redactor = createRedactor(["sk-0123456789", "aaaaaaaaaaab"]);
      const row =
        "00000000  73 6b 2d 61 62 63 64 65  66 67 68 69 6a 6b 6c 6d  |sk-abcdefghijklm|\n";
      for (const unit of [
        "%",
        "\\",
        "&amp;",
        "c2stM\n",
        "0x",
        "a",
        "s\u200b",
        "sk-0123456789 ",
        row,
      ]) {
        const timeOf = (length: number): Promise<number> =>
          cpuTimeOf(() => redactor.redact(unit.repeat(length / unit.length)));
        const few = await timeOf(50_000);
        assert.ok((await timeOf(400_000)) < Math.max(few * 24, 500), JSON.stringify(unit));
      }
    },
  );

  it("holds back no more than the longest spelling and what may lie between", () => {
    const stream = createRedactor([randomBytes(40).toString("hex"), "sk-0123456789"]).stream();
    let [given, let_through] = [0, 0];
    const pieces = [
      "ordinary words, ",
      "c2st\n",
      "\n".repeat(200),
      "73 6b 2d",
      " ".repeat(200),
      "\\\\\\",
    ];
    for (let round = 0; round < 200; round += 1) {
      const piece = pieces[round % pieces.length] ?? "";
      given += piece.length;
      let_through += stream.push(piece).length;
      assert.ok(given - let_through < 400, `${given - let_through} are held`);
    }
    assert.equal(let_through + stream.end().length, given);
  });
});

function isThere(program: string): boolean {
  try {
    execFileSync("which", [program], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
