import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { Failure } from "../../src/base/failure.ts";
import {
  decodePart,
  decodeRequest,
  encodePart,
  encodeRequest,
  readableFacts,
} from "../../src/mqtt/protocol/wire.ts";
import { codePoint } from "../support/code-point.ts";
import { JPEG, jpegOf, PNG, WEBP } from "../support/images.ts";

const limits = { plainText: false, maxPayloadBytes: 1_000 };
const bytes = (text: string): Uint8Array => Buffer.from(text);
const decode = (value: unknown, plainText = false) =>
  decodeRequest(bytes(typeof value === "string" ? value : JSON.stringify(value)), {
    ...limits,
    plainText,
  });
const refusal = (value: unknown, plainText = false): string => {
  const failure = decode(value, plainText);
  assert.ok(failure instanceof Failure, JSON.stringify(value));
  return `${failure.code}: ${failure.message}`;
};

describe("a request of a display", () => {
  it("asks for bare text of a length", () => {
    const asked = { text: "hi", accept: "text/plain", max_chars: 40 };
    assert.deepEqual(decode(asked), {
      text: "hi",
      accept: "text/plain",
      extras: { maxChars: 40 },
    });
    assert.deepEqual(decode({ text: "hi", accept: "application/json", max_chars: null }), {
      text: "hi",
      accept: "application/json",
    });
  });

  it("is refused with another form or length, in the form that it asked for", () => {
    assert.match(
      refusal({ text: "hi", accept: "text/html" }),
      /^bad_request: .*"accept" is neither/,
    );
    for (const max_chars of [0, -1, 1.5, "40", 10_001]) {
      assert.match(
        refusal({ text: "hi", max_chars }),
        /^bad_request: .*"max_chars" is not a whole/,
      );
    }
    const facts = readableFacts(bytes('{"id":"r-1","accept":"text/plain","max_chars":0}'));
    assert.deepEqual(facts, { id: "r-1", accept: "text/plain" });
    assert.deepEqual(readableFacts(bytes("no")), {});
  });
});

describe("a request's payload", () => {
  it("any JSON is a question or one failure that a device may see", () => {
    const nearly = fc.record(
      {
        text: fc.oneof(fc.string(), fc.jsonValue()),
        id: fc.oneof(fc.string({ maxLength: 200 }), fc.jsonValue()),
        stream: fc.oneof(fc.boolean(), fc.jsonValue()),
        TEXT: fc.string(),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), nearly), fc.boolean(), (value, plainText) => {
        const question = decode(value, plainText);
        if (question instanceof Failure) {
          assert.match(question.code, /^(bad_request|too_large)$/);
          return;
        }
        assert.notEqual(question.text.trim(), "");
        assert.ok((question.id ?? "").length <= 128);
        assert.ok(["boolean", "undefined"].includes(typeof question.stream));
      }),
    );
  });

  it("any bytes are a question or one failure", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), fc.boolean(), (payload, plainText) => {
        const question = decodeRequest(payload, { ...limits, plainText });
        if (!plainText) assert.ok(question instanceof Failure);
        else if (!(question instanceof Failure)) {
          assert.equal(Buffer.from(question.text).includes(Buffer.from(payload.slice(3))), true);
        }
      }),
    );
  });

  it("what the asking side encodes is what the agent's side reads", () => {
    const question = fc.record(
      {
        text: fc.string({ unit: codePoint }).filter((text) => text.trim() !== ""),
        id: fc.string({ unit: codePoint, maxLength: 64 }),
        stream: fc.boolean(),
      },
      { requiredKeys: ["text"] },
    );
    fc.assert(
      fc.property(question, (asked) => {
        assert.deepEqual(decode(encodeRequest(asked)), { ...asked });
      }),
    );
  });

  it("keys are matched exactly first, then without case", () => {
    assert.deepEqual(decode({ Text: "a", ID: "r", Stream: true }), {
      text: "a",
      id: "r",
      stream: true,
    });
    assert.deepEqual(decode({ TEXT: "shout", text: "exact" }), { text: "exact" });
    assert.deepEqual(decode({ text: "a", id: null, stream: null, more: [1] }), { text: "a" });
  });

  it("what is wrong is said", () => {
    assert.match(refusal({}), /bad_request: .* no "text"/);
    assert.match(refusal({ text: 7 }), /"text" is not a string/);
    assert.match(refusal({ text: " \n" }), /blank/);
    assert.match(refusal({ text: "a", id: 7 }), /"id"/);
    assert.match(refusal({ text: "a", id: "x".repeat(129) }), /"id"/);
    assert.match(refusal({ text: "a", stream: "yes" }), /"stream"/);
    assert.match(refusal("[1]"), /not a JSON object/);
    assert.match(refusal('{"text": '), /not a JSON object/);
    assert.match(refusal({ text: "x".repeat(1_000) }), /^too_large: .*1000 bytes/);
    assert.ok(!(decode({ text: "a", id: "x".repeat(128) }) instanceof Failure));
  });

  it("carries a format and images", () => {
    const format = { type: "json_schema", schema: { type: "object" } };
    const [jpeg, png] = [JPEG.toString("base64"), PNG.toString("base64")];
    const images = [`data:image/jpeg;base64,${jpeg}`, `DATA:image/PNG;base64,${png}`];
    const asked = decode({ text: "a", format, Images: images });
    assert.deepEqual(asked, {
      text: "a",
      extras: {
        format,
        images: [
          { mediaType: "image/jpeg", data: jpeg },
          { mediaType: "image/png", data: png },
        ],
      },
    });
    assert.ok(!(asked instanceof Failure));
    assert.deepEqual(decode(encodeRequest(asked)), asked);
    assert.deepEqual(decode({ text: "a", images: [], format: null }), { text: "a" });
  });

  it("a bad format or bad images are named", () => {
    for (const format of ["json", 1, [], {}, { type: "json_object" }, { type: "json_schema" }]) {
      assert.match(refusal({ text: "a", format }), /^bad_request: .*"format"/);
    }
    assert.match(
      refusal({ text: "a", images: "data:image/png;base64,aaaa" }),
      /^bad_request: .*"images" is not a list/,
    );
    for (const url of [
      7,
      "",
      "aaaa",
      "data:image/png,aaaa",
      "data:image/svg+xml;base64,aaaa",
      "data:image/png;base64,aaaa",
      "data:image/png;base64,",
      "data:image/png;base64,aaa",
      "data:image/png;base64,aa a",
      "https://example.com/a.png",
    ]) {
      const images = [`data:image/png;base64,${PNG.toString("base64")}`, url];
      assert.match(refusal({ text: "a", images }), /^bad_request: .*entry 1 of its "images"/);
    }
  });

  it("is an image by its content type, with a sentence for its text", () => {
    for (const [contentType, bytesOf] of [
      ["image/jpeg", JPEG],
      ["image/png", PNG],
      ["image/webp", WEBP],
      // The bytes decide.
      ["IMAGE/PNG; q=1", JPEG],
    ] as const) {
      const asked = decodeRequest(bytesOf, { ...limits, contentType });
      assert.ok(!(asked instanceof Failure));
      assert.equal(asked.text, "Describe this image.");
      const [image] = asked.extras?.images ?? [];
      assert.equal(image?.data, bytesOf.toString("base64"));
      if (bytesOf === JPEG) assert.equal(image?.mediaType, "image/jpeg");
    }
    for (const payload of [bytes('{"text": "a"}'), bytes("GIF89a"), bytes("x")]) {
      const failure = decodeRequest(payload, { ...limits, contentType: "image/png" });
      assert.ok(failure instanceof Failure);
      assert.match(failure.message, /content type is that of an image, but it is no JPEG, PNG or/);
    }
    const large = decodeRequest(jpegOf(1, 1, 1001), { ...limits, contentType: "image/jpeg" });
    assert.ok(large instanceof Failure && large.code === "too_large");
    const asked = decodeRequest(bytes('{"text": "a"}'), { ...limits, contentType: "text/plain" });
    assert.deepEqual(asked, { text: "a" });
  });

  it("the limit is in bytes, and the limit itself fits", () => {
    const payload = bytes(JSON.stringify({ text: "é".repeat(100) }));
    const at = (maxPayloadBytes: number) => decodeRequest(payload, { ...limits, maxPayloadBytes });
    assert.ok(!(at(payload.byteLength) instanceof Failure));
    assert.ok(at(payload.byteLength - 1) instanceof Failure);
  });

  it("with plain_text what is no JSON object is the text itself, unchanged", () => {
    for (const text of ["hello ", "[1]", "12", '"quoted"', '{"text": ']) {
      assert.deepEqual(decode(text, true), { text });
    }
    assert.deepEqual(decode({ text: "a" }, true), { text: "a" });
    assert.match(refusal({ no: "text" }, true), /no "text"/);
    assert.match(refusal(" \n", true), /blank/);
    const invalid = decodeRequest(Uint8Array.of(0xff, 0x41), { ...limits, plainText: true });
    assert.ok(invalid instanceof Failure);
  });
});

describe("a part's payload", () => {
  it("survives the way", () => {
    const part = fc.record(
      {
        text: fc.string({ unit: codePoint }),
        id: fc.string({ unit: codePoint }),
        seq: fc.nat(),
        done: fc.constant(true),
        error: fc.record(
          { code: fc.string(), retryAfter: fc.nat() },
          { requiredKeys: ["code"], noNullPrototype: true },
        ),
      },
      { requiredKeys: ["text"], noNullPrototype: true },
    );
    fc.assert(
      fc.property(part, (value) => assert.deepEqual(decodePart(bytes(encodePart(value))), value)),
    );
  });

  it("is written with the contract's keys alone", () => {
    assert.equal(encodePart({ text: "a", seq: 0, done: true }), '{"text":"a","seq":0,"done":true}');
    assert.equal(encodePart({ text: "a", seq: 1, done: false }), '{"text":"a","seq":1}');
    assert.equal(
      encodePart({
        text: "a",
        id: "r",
        seq: 2,
        done: true,
        error: { code: "busy", retryAfter: 3 },
      }),
      '{"text":"a","id":"r","error":{"code":"busy","retry_after":3},"seq":2,"done":true}',
    );
  });

  it("from anywhere is a part or nothing", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const part = decodePart(bytes(JSON.stringify(value)));
        if (part !== undefined) assert.equal(typeof part.text, "string");
      }),
    );
    for (const text of ["", "{}", "[]", "null", '{"text":1}', "hello"]) {
      assert.equal(decodePart(bytes(text)), undefined);
    }
    assert.equal(decodePart(Uint8Array.of(0xff)), undefined);
    const odd = { text: "a", id: 1, seq: -1, done: "yes", error: { code: 1 } };
    assert.deepEqual(decodePart(bytes(JSON.stringify(odd))), { text: "a" });
  });
});
