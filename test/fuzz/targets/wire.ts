import assert from "node:assert/strict";
import { Failure } from "../../../src/base/failure.ts";
import { createPartOrder } from "../../../src/mqtt/protocol/parts.ts";
import {
  decodePart,
  decodeRequest,
  encodePart,
  encodeRequest,
  MAX_ID_LENGTH,
  readableFacts,
} from "../../../src/mqtt/protocol/wire.ts";
import { kindOf, sizeOf } from "../target.ts";
import type { Target } from "../target.ts";

const WORDS =
  '"text" "id" "stream" "TEXT" "Text" : {} [] null true false "" "\\u0000" "\\ud83d" \\ud83d\\ude00 __proto__ "seq" "done" "error" "code" "retry_after" /stop "format" "images" "accept" "text/plain" "max_chars" "type" "json_schema" "schema" "$ref" "#" "anyOf" data:image/png;base64,'.split(
    " ",
  );

/** The contract once more, as simply as it can be said: undefined is a refusal. */
function expected(payload: Uint8Array, plainText: boolean): string | undefined {
  const text = strictTextOf(payload);
  const value = valueOf(text ?? "");
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return expectedOf(value);
  }
  return plainText && text?.trim() !== "" ? text : undefined;
}

function expectedOf(value: object): string | undefined {
  const said = pick(value, "text");
  const id = pick(value, "id") ?? "";
  const isNamed = typeof id === "string" && id.length <= MAX_ID_LENGTH;
  const isWhole = isNamed && typeof (pick(value, "stream") ?? true) === "boolean";
  return isWhole && typeof said === "string" && said.trim() !== "" ? said : undefined;
}

function strictTextOf(payload: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(payload);
  } catch {
    return undefined;
  }
}

function valueOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function pick(value: object, name: string): unknown {
  const entries: [string, unknown][] = Object.entries(value);
  const exact = entries.find(([key]) => key === name);
  return (exact ?? entries.find(([key]) => key.toLowerCase() === name))?.[1];
}

function runRequest(input: Uint8Array): string {
  const outcomes = [true, false].map((plainText) => {
    const asked = decodeRequest(input, { plainText, maxPayloadBytes: 262_144 });
    const small = decodeRequest(input, { plainText, maxPayloadBytes: input.length - 1 });
    assert.ok(small instanceof Failure && small.code === "too_large");
    const text = expected(input, plainText);
    const { id } = readableFacts(input);
    assert.ok(id === undefined || id.length <= MAX_ID_LENGTH);
    if (asked instanceof Failure) {
      const isOfExtras = /"(?:format|images|accept|max_chars)"/.test(asked.message);
      assert.ok(text === undefined || isOfExtras, "a good request was refused");
      assert.equal(asked.code, "bad_request");
      assert.ok(asked.message.length < 300 && !/[\p{Cc}\p{Cf}\p{Cs}]/u.test(asked.message));
      return kindOf(asked.message);
    }
    assert.equal(asked.text, text, "the text was changed");
    if (!input.subarray(0, 1).includes(0x7b)) return `text ${sizeOf(asked.text.length)}`;
    assert.equal(asked.id, id);
    const again = new TextEncoder().encode(encodeRequest(asked));
    assert.deepEqual(decodeRequest(again, { plainText: false, maxPayloadBytes: 2 ** 30 }), asked);
    return `question ${sizeOf(asked.text.length)} ${asked.id?.length} ${asked.stream}`;
  });
  return outcomes.join(" | ");
}

export const REQUEST: Target = {
  name: "request",
  about: "a payload is a question with its text unchanged, or a failure that says what is wrong",
  material: { words: WORDS, json: true, most: 16_384 },
  linear: true,
  async open() {
    return { run: runRequest };
  },
};

/** Parts, one a line, as they arrive on a response topic. */
function runParts(input: Uint8Array): string {
  const take = createPartOrder();
  let next = 0;
  const outcomes: string[] = [];
  for (const line of Buffer.from(input).toString("latin1").split("\n")) {
    const payload = Buffer.from(line, "latin1");
    const part = decodePart(payload);
    if (part === undefined) {
      outcomes.push("none");
      continue;
    }
    const again = decodePart(new TextEncoder().encode(encodePart(part)));
    assert.ok(again !== undefined);
    assert.equal(encodePart(again), encodePart(part), "a part is another one on its way back");
    const { seq } = part;
    assert.ok(seq === undefined || (Number.isSafeInteger(seq) && seq >= 0));
    const taken = take(part, payload);
    if (typeof taken === "object") {
      assert.equal(taken.text, part.text);
      assert.ok(seq === undefined || seq === 0 || seq === next, "a part was taken out of order");
      if (seq !== undefined) next = seq + 1;
      if (seq !== undefined) assert.equal(taken.restart, seq === 0);
    }
    outcomes.push(typeof taken === "string" ? taken : Object.keys(part).join(""));
  }
  return [...new Set(outcomes)].join(" ");
}

export const PARTS: Target = {
  name: "parts",
  about: "parts of an answer are taken in their order, and none is changed on its way",
  material: { words: WORDS, json: true, lines: true, most: 16_384 },
  linear: true,
  async open() {
    return { run: runParts };
  },
};
