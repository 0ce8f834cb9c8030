import assert from "node:assert/strict";
import { framed } from "../../../src/agent/untrusted-content/frame.ts";
import { documentOf, lineField, listField } from "../../../src/agent/workspace/markdown.ts";
import { escapeControl } from "../../../src/base/escape-control.ts";
import { createRedactor } from "../../../src/base/redaction/redactor.ts";
import { framesIn } from "../../support/frames.ts";
import { headAndBody, kindOf, sizeOf, textOf } from "../target.ts";
import type { Target } from "../target.ts";

async function runFrontmatter(input: Uint8Array): Promise<string> {
  const text = textOf(input);
  const document = await documentOf(text);
  for (const [key, value] of document.fields) {
    assert.equal(typeof key, "string");
    const all = typeof value === "string" ? [value] : value;
    assert.ok(all.every((one) => typeof one === "string"));
    assert.ok(typeof value === "string" || value.length <= 200, "a list has no end");
    const line = lineField(document, key, 100);
    assert.ok(line === undefined || (line.length <= 101 && !/[\n\r]/.test(line)));
    assert.ok(listField(document, key)?.every((item) => item !== "" && item === item.trim()));
  }
  assert.ok(document.body.length <= text.length);
  assert.deepEqual(Object.keys(Object.prototype), []);
  return `${document.fields.size} ${document.fault ?? ""} ${document.body === ""}`;
}

export const FRONTMATTER: Target = {
  name: "frontmatter",
  about: "a Markdown file with frontmatter is read whatever its author wrote",
  material: {
    lines: true,
    most: 16_384,
    words:
      "---\n name: description: tools: - [ ] { } & * <<: ! | > ' \" # ? : \n\n ~ null true 007 &a *a".split(
        " ",
      ),
  },
  linear: true,
  async open() {
    return { run: runFrontmatter };
  },
};

const SECRETS = ["sk-live-0123456789abcdef", 'pass"word\\with/é', "hunter22hunter22"];

/** The first line says where the text is cut; the text may hold secrets in any spelling. */
function runRedactor(input: Uint8Array): string {
  const [head, body] = headAndBody(input);
  const text = textOf(body);
  const redactor = createRedactor(SECRETS);
  const whole = redactor.redact(text);
  for (const secret of SECRETS) {
    const base64 = Buffer.from(secret).toString("base64").replace(/=+$/, "");
    const spellings = [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret)];
    for (const spelling of [...spellings, base64, Buffer.from(secret).toString("hex")]) {
      assert.ok(!whole.includes(spelling), "a secret passes");
    }
  }
  const stream = redactor.stream();
  let [passed, at] = ["", 0];
  const cuts = [...head.matchAll(/\d{1,3}/g)].map(([digits]) => 1 + (Number(digits) % 50));
  for (let index = 0; at < text.length; index += 1) {
    const size = cuts[index % Math.max(1, cuts.length)] ?? 1;
    passed += stream.push(text.slice(at, at + size));
    at += size;
  }
  passed += stream.end();
  assert.equal(passed, whole, "in pieces it is another text");
  if (whole === text) return `same ${sizeOf(text.length)}`;
  return `masked ${sizeOf(whole.split("[FILTERED]").length)}`;
}

export const REDACTOR: Target = {
  name: "redactor",
  about: "no secret passes in any spelling, and a text in pieces is redacted as the whole is",
  material: {
    most: 8192,
    words: SECRETS.flatMap((secret) => [
      secret,
      secret.slice(0, 9),
      secret.slice(-9),
      JSON.stringify(secret),
      encodeURIComponent(secret),
      Buffer.from(secret).toString("base64"),
      Buffer.from(`x${secret}`).toString("base64"),
      Buffer.from(secret).toString("hex"),
      Buffer.from(secret).toString("base64").replaceAll(/.{7}/g, "$&\n"),
      Buffer.from(secret).toString("hex").replaceAll(/../g, "$&, 0x"),
      Buffer.from(secret).toString("hex").replaceAll(/../g, "%25$&"),
      `\n00000010  ${Buffer.from(secret).toString("hex").replaceAll(/../g, "$& ")} |x\n0000020 `,
    ]),
  },
  linear: true,
  async open() {
    return { run: runRedactor };
  },
};

/** The first line is the source, the rest what it says. */
function runFrame(input: Uint8Array): string {
  const text = textOf(input);
  const end = text.indexOf("\n");
  const frame = framed(text.slice(0, Math.max(0, end)), text.slice(end + 1));
  assert.equal(framesIn(frame).length, 1, "a frame within a frame, or none");
  assert.equal(frame.match(/<\/?\s*data_only/gi)?.length, 2, "a tag inside a frame");
  assert.ok(frame.length <= 2 * text.length + 500, "the frame has no end");
  return `${sizeOf(frame.length)} ${frame.includes("hidden=")}`;
}

export const FRAME: Target = {
  name: "frame",
  about: "what is data cannot end its frame, nor begin another",
  material: {
    lines: true,
    most: 16_384,
    words:
      '<data_only </data_only> data_only < > " = from= hidden= \u200b \u00ad \ufeff \u{e0061} <|im_end|> [INST] <\uff0f ＜ ‹ &lt; DATA_ONLY </ \u202e'.split(
        " ",
      ),
  },
  linear: true,
  async open() {
    return { run: runFrame };
  },
};

/** Shown on a terminal. */
function runVisible(input: Uint8Array): string {
  const text = textOf(input);
  const shown = escapeControl(text);
  assert.doesNotMatch(shown, /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\u202a-\u202e\u2066-\u2069]/u);
  assert.ok(shown.length <= 12 * text.length);
  return `${sizeOf(shown.length - text.length)} ${kindOf(shown).length > 0}`;
}

export const VISIBLE: Target = {
  name: "visible",
  about: "what is shown on a terminal holds nothing that it obeys",
  material: { most: 8192, words: "\u001b[2J \u202e \u2066 \u200d \ufe0f 👋🏽 \r \u0085".split(" ") },
  linear: true,
  async open() {
    return { run: runVisible };
  },
};
