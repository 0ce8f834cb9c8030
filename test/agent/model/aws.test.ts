import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { crc32 } from "node:zlib";
import { eventStreamToServerSentEvents } from "../../../src/agent/model/http/aws-event-stream.ts";
import { signatureHeaders } from "../../../src/agent/model/http/aws-signature.ts";

const SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const credentials = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: SECRET };

describe("a signature of Amazon", () => {
  const scope = { region: "us-east-1", service: "service", date: new Date("2015-08-30T12:36:00Z") };
  const form = { "content-type": "application/x-www-form-urlencoded" };
  // Of Amazon's test suite: get-vanilla, post-vanilla, get-vanilla-query-order-key-case, post-x-www-form-urlencoded.
  const suite: [method: string, path: string, body: string, headers: object, signature: string][] =
    [
      ["GET", "/", "", {}, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"],
      ["POST", "/", "", {}, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"],
      [
        "GET",
        "/?Param2=value2&Param1=value1",
        "",
        {},
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
      ],
      [
        "POST",
        "/",
        "Param1=value1",
        form,
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
      ],
    ];
  for (const [method, path, body, headers, signature] of suite) {
    it(`is that of the test suite for ${method} ${path} ${body}`, () => {
      const url = new URL(`https://example.amazonaws.com${path}`);
      const parts = { method, url, body, headers: { ...headers } };
      const { authorization } = signatureHeaders(parts, { ...scope, credentials });
      const names = "content-type" in headers ? "content-type;host;x-amz-date" : "host;x-amz-date";
      const credential = "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";
      const expected = `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=${names}, Signature=${signature}`;
      assert.equal(authorization, expected);
    });
  }

  it("is that of @smithy/signature-v4 for a model with a colon and a session", () => {
    const model = encodeURIComponent("anthropic.claude-sonnet-4-5-20250929-v1:0");
    const host = "bedrock-runtime.eu-central-1.amazonaws.com";
    const headers = signatureHeaders(
      {
        method: "POST",
        url: new URL(`https://${host}/model/${model}/converse-stream`),
        headers: { "content-type": "application/json" },
        body: '{"messages":[{"role":"user","content":[{"text":"Grüße"}]}]}',
      },
      {
        credentials: { ...credentials, sessionToken: "IQoJb3JpZ2luX2VjE/token+==" },
        region: "eu-central-1",
        service: "bedrock",
        date: new Date("2026-11-30T01:02:03Z"),
      },
    );
    assert.match(
      headers["authorization"] ?? "",
      /8ba5cdadaff90522cfc0286bed3d8ffb265242ac02e92a140f9dc1986cb04327$/,
    );
    assert.equal(headers["x-amz-security-token"], "IQoJb3JpZ2luX2VjE/token+==");
  });
});

/** Two messages that @smithy/eventstream-codec 4 has written, with headers of all kinds. */
const RECORDED = Buffer.from(
  "AAAA5gAAAJrSbJdMCzpldmVudC10eXBlBwARY29udGVudEJsb2NrRGVsdGENOmNvbnRlbnQtdHlwZQcAEGFwcGxpY2F0aW9uL2pzb24NOm1lc3NhZ2UtdHlwZQcABWV2ZW50BXgtaW50BAAAAAUFeC15ZXMAB3gtYnl0ZXMGAAIBAgR4LWlkCQARIjNEVWZ3iJmqu8zd7v8EeC1hdAgAAAAAAAAAAHsiY29udGVudEJsb2NrSW5kZXgiOjAsImRlbHRhIjp7InRleHQiOiJHcsO8w59lIn0sInAiOiJhYmMifdrdyp8AAACwAAAAYU9QhrMPOmV4Y2VwdGlvbi10eXBlBwATdGhyb3R0bGluZ0V4Y2VwdGlvbg06Y29udGVudC10eXBlBwAQYXBwbGljYXRpb24vanNvbg06bWVzc2FnZS10eXBlBwAJZXhjZXB0aW9ueyJtZXNzYWdlIjoiVG9vIG1hbnkgdG9rZW5zLCBwbGVhc2Ugd2FpdCBiZWZvcmUgdHJ5aW5nIGFnYWluLiJ99wrlfw==",
  "base64",
);

async function eventsIn(bytes: Uint8Array, cut = bytes.length): Promise<string> {
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      for (let start = 0; start < bytes.length; start += cut) {
        controller.enqueue(bytes.slice(start, start + cut));
      }
      controller.close();
    },
  });
  return await new Response(stream.pipeThrough(eventStreamToServerSentEvents())).text();
}

describe("an event stream of Amazon", () => {
  it("of another encoder is read in any cuts", async () => {
    const message = "throttlingException: Too many tokens, please wait before trying again.";
    const expected = [
      { contentBlockDelta: { contentBlockIndex: 0, delta: { text: "Grüße" }, p: "abc" } },
      { error: { type: "throttlingException", message } },
    ];
    for (const cut of [1, 2, 3, 5, 11, 12, 13, 200, RECORDED.length]) {
      const events = await eventsIn(RECORDED, cut);
      const json = events
        .split("\n\n")
        .slice(0, -1)
        .map((event): unknown => JSON.parse(event.replace(/^data: /, "")));
      assert.deepEqual(json, expected);
    }
  });

  it("with any byte damaged ends in an error", async () => {
    const first = RECORDED.subarray(0, RECORDED.readUInt32BE(0));
    for (let index = 0; index < first.length; index += 1) {
      const damaged = Buffer.from(first);
      damaged.writeUInt8(first.readUInt8(index) ^ 1, index);
      await assert.rejects(eventsIn(damaged), /damaged/);
    }
  });

  it("with a message that claims to be too long, or too short for its headers, ends in an error", async () => {
    for (const [length, headers, words] of [
      [2 * 1024 * 1024, 10, /too long/],
      [100, 90, /damaged/],
    ] as const) {
      const prelude = Buffer.alloc(12);
      prelude.writeUInt32BE(length, 0);
      prelude.writeUInt32BE(headers, 4);
      prelude.writeUInt32BE(crc32(prelude.subarray(0, 8)), 8);
      await assert.rejects(eventsIn(prelude), words);
    }
  });

  it("whose end is missing has its whole messages", async () => {
    assert.match(await eventsIn(RECORDED.subarray(0, -1)), /Grüße"\},"p":"abc"\}\}\n\n$/);
  });
});
