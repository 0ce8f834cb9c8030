import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ModelError } from "../../../src/agent/model/errors.ts";
import type { AnswerBuilder } from "../../../src/agent/model/http/answer.ts";
import { unwrapReasoning } from "../../../src/agent/model/http/reasoning-envelope.ts";
import { createMessageAnswer } from "../../../src/agent/model/protocols/anthropic.ts";
import { createContentAnswer } from "../../../src/agent/model/protocols/gemini.ts";

/** Takes all chunks; returns the reply with the text that was yielded. */
function heard(answer: AnswerBuilder, chunks: readonly unknown[]) {
  const said = chunks.map((chunk) => answer.take(chunk)).join("");
  return { said, finished: answer.finished, ended: answer.ended, reply: answer.reply() };
}

function faultIn(answer: AnswerBuilder, chunks: readonly unknown[]): ModelError {
  try {
    heard(answer, chunks);
  } catch (thrown) {
    assert.ok(thrown instanceof ModelError);
    return thrown;
  }
  return assert.fail("no fault");
}

const take = (...events: readonly unknown[]) => heard(createMessageAnswer("me"), events);
const start = (index: number, content_block: unknown) => ({
  type: "content_block_start",
  index,
  content_block,
});
const grow = (index: number, delta: unknown) => ({ type: "content_block_delta", index, delta });
const tool = (id: string) => ({ type: "tool_use", id, name: "device", input: {} });
const faultOf = (chunk: unknown) => faultIn(createContentAnswer("me"), [chunk]);
const finishedBy = (finishReason: string) => ({ candidates: [{ finishReason }] });

describe("a message of Anthropic", () => {
  const call = start(9, { type: "tool_use", id: "toolu_1", name: "device", input: {} });
  const end = [
    { type: "message_delta", delta: { stop_reason: "tool_use" } },
    { type: "message_stop" },
  ];

  it("keeps all that was thought before a call in its own order, redacted or not", () => {
    const { said, ended, reply } = take(
      start(0, { type: "thinking", thinking: "", signature: "" }),
      grow(0, { type: "thinking_delta", thinking: "hm " }),
      grow(0, { type: "thinking_delta", thinking: "hm" }),
      grow(0, { type: "signature_delta", signature: "sig" }),
      start(1, { type: "redacted_thinking", data: "secret" }),
      start(2, { type: "text", text: "" }),
      grow(2, { type: "text_delta", text: "I look." }),
      call,
      ...end,
    );
    assert.deepEqual([said, ended], ["I look.", true]);
    assert.deepEqual(reply.toolCalls, [{ id: "toolu_1", name: "device", arguments: "" }]);
    assert.deepEqual(unwrapReasoning("me", reply.reasoning), [
      { type: "thinking", thinking: "hm hm", signature: "sig" },
      { type: "redacted_thinking", data: "secret" },
      { type: "text", text: "I look." },
      { type: "tool_use", id: "toolu_1", name: "device", input: {} },
    ]);
    assert.equal(unwrapReasoning("you", reply.reasoning), undefined);
  });

  it("keeps nothing of what was thought without a signature, or without a call", () => {
    const thinking = start(0, { type: "thinking", thinking: "hm", signature: "" });
    assert.equal(take(thinking, call, ...end).reply.reasoning, undefined);
    const signed = start(0, { type: "thinking", thinking: "hm", signature: "sig" });
    assert.equal(take(signed, ...end).reply.reasoning, undefined);
  });

  it("passes over events and blocks that are not known", () => {
    const { said } = take(
      { type: "something_new" },
      start(0, { type: "server_tool_use", id: "x", name: "web" }),
      grow(0, { type: "input_json_delta", partial_json: "{}" }),
      start(1, { type: "text", text: "a" }),
      grow(1, { type: "citations_delta", citation: {} }),
      grow(7, { type: "text_delta", text: "lost" }),
    );
    assert.equal(said, "a");
  });

  it("is cut where the context was full, too", () => {
    const reason = "model_context_window_exceeded";
    const { reply } = take({ type: "message_delta", delta: { stop_reason: reason } });
    assert.equal(reply.truncated, true);
  });

  it("counts the tokens wherever they are told, the cached ones too", () => {
    const first = { input_tokens: 1, cache_read_input_tokens: 10, output_tokens: 1 };
    const { reply } = take(
      { type: "message_start", message: { usage: first } },
      { type: "message_delta", delta: {}, usage: { input_tokens: 3, output_tokens: 5 } },
      { type: "message_delta", delta: {}, usage: { output_tokens: 8 } },
    );
    assert.deepEqual(reply.usage, { inputTokens: 13, outputTokens: 8, cachedTokens: 10 });
    assert.equal(take(call, ...end).reply.usage, undefined);
  });

  it("tells what the cache served and what it took apart, both as input", () => {
    const usage = {
      input_tokens: 21,
      cache_creation_input_tokens: 188,
      cache_read_input_tokens: 2051,
      cache_creation: { ephemeral_5m_input_tokens: 188, ephemeral_1h_input_tokens: 0 },
      output_tokens: 2,
      service_tier: "standard",
    };
    const { reply } = take(
      { type: "message_start", message: { usage } },
      { type: "message_delta", delta: { stop_reason: "end_turn" }, usage: { output_tokens: 503 } },
    );
    assert.deepEqual(reply.usage, {
      inputTokens: 2260,
      outputTokens: 503,
      cachedTokens: 2051,
      cacheWriteTokens: 188,
    });
  });

  it("that begins anew in the middle drops the calls that were cut", () => {
    const { said, reply } = take(
      { type: "message_start", message: { content: [] } },
      start(0, { type: "text", text: "I look. " }),
      start(1, tool("toolu_cut")),
      grow(1, { type: "input_json_delta", partial_json: '{"fac' }),
      { type: "message_start", message: { content: [] } },
      start(0, { type: "thinking", thinking: "hm", signature: "sig" }),
      start(1, tool("toolu_whole")),
      grow(1, { type: "input_json_delta", partial_json: '{"facts":["cpu"]}' }),
      ...end,
    );
    assert.deepEqual(unwrapReasoning("me", reply.reasoning), [
      { type: "thinking", thinking: "hm", signature: "sig" },
      { type: "tool_use", id: "toolu_whole", name: "device", input: { facts: ["cpu"] } },
    ]);
    assert.deepEqual([said, reply.text], ["I look. ", "I look. "]);
    assert.deepEqual(reply.toolCalls, [
      { id: "toolu_whole", name: "device", arguments: '{"facts":["cpu"]}' },
    ]);
  });

  it("with thoughts or a signature without end is bounded", () => {
    const piece = grow(0, { type: "signature_delta", signature: "x".repeat(300_000) });
    const thinking = start(0, { type: "thinking", thinking: "", signature: "" });
    const events = [thinking, piece, piece, piece, piece];
    assert.equal(faultIn(createMessageAnswer("me"), events).kind, "oversized");
  });
});

describe("content of Gemini", () => {
  for (const [reason, kind] of [
    ["SAFETY", "withheld"],
    ["RECITATION", "withheld"],
    ["PROHIBITED_CONTENT", "withheld"],
    ["SPII", "withheld"],
    ["BLOCKLIST", "withheld"],
    ["MALFORMED_FUNCTION_CALL", "broken_off"],
    ["UNEXPECTED_TOOL_CALL", "broken_off"],
    ["OTHER", "broken_off"],
    ["MISSING_THOUGHT_SIGNATURE", "refused"],
  ] as const) {
    it(`that ends with ${reason} is ${kind}`, () => {
      assert.equal(faultOf(finishedBy(reason)).kind, kind);
    });
  }

  it("is whole with a reason for its end that is not known", () => {
    const content = { parts: [{ functionCall: { name: "device", args: {} } }] };
    const candidates = [{ content, finishReason: "FUNCTION_CALL" }];
    const { finished, reply } = heard(createContentAnswer("me"), [{ candidates }]);
    assert.equal(finished, true);
    assert.equal(reply.toolCalls[0]?.name, "device");
  });

  it("is withheld where the question was blocked", () => {
    const { kind, message } = faultOf({ promptFeedback: { blockReason: "SAFETY" } });
    assert.deepEqual([kind, message], ["withheld", "blockReason SAFETY"]);
  });

  it("keeps the ids that Gemini gave, and the signatures, by the ids of the calls", () => {
    const parts = [
      { functionCall: { id: "given", name: "device", args: { a: 1 } }, thoughtSignature: "sig" },
      { functionCall: { name: "device" } },
      { functionCall: { name: "device" }, thoughtSignature: "other" },
    ];
    const { reply } = heard(createContentAnswer("me"), [{ candidates: [{ content: { parts } }] }]);
    const [first, second, third] = reply.toolCalls.map(({ id }) => id);
    assert.equal(first, "given");
    assert.notEqual(second, third);
    assert.deepEqual(unwrapReasoning("me", reply.reasoning), {
      given: { given: true, signature: "sig" },
      [third ?? ""]: { signature: "other" },
    });
    assert.deepEqual(
      reply.toolCalls.map(({ arguments: words }) => words),
      ['{"a":1}', "{}", "{}"],
    );
  });

  it("counts thinking as output", () => {
    const usageMetadata = { promptTokenCount: 5, candidatesTokenCount: 2, thoughtsTokenCount: 40 };
    const { reply } = heard(createContentAnswer("me"), [{ usageMetadata }]);
    assert.deepEqual(reply.usage, { inputTokens: 5, outputTokens: 42 });
  });

  it("tells what the cache served, which is a part of the prompt", () => {
    const usageMetadata = {
      promptTokenCount: 2152,
      candidatesTokenCount: 15,
      totalTokenCount: 2167,
      cachedContentTokenCount: 2027,
      promptTokensDetails: [{ modality: "TEXT", tokenCount: 2152 }],
      cacheTokensDetails: [{ modality: "TEXT", tokenCount: 2027 }],
    };
    const { reply } = heard(createContentAnswer("me"), [{ usageMetadata }]);
    assert.deepEqual(reply.usage, { inputTokens: 2152, outputTokens: 15, cachedTokens: 2027 });
  });
});
