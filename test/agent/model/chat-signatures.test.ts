import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { Model, PromptMessage } from "../../../src/agent/model/contract.ts";
import { at, listAt, textAt } from "../../../src/base/unknown.ts";
import { collect, modelEntry, questionOf } from "../../support/agent-config.ts";
import { openTestAgent } from "../../support/model-agent.ts";
import {
  answers,
  event,
  refuses,
  sendsEvents,
  startModelServer,
} from "../../support/model-server.ts";
import type { Behaviour, ModelServer } from "../../support/model-server.ts";
import { openModel, openTestModels } from "../../support/model.ts";

/** Google's words for a call without its signature (LibreChat-AI/agents#37). */
const MISSING =
  "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, and missing thought_signature may lead to degraded model performance. Additional data, function call `default_api:device` , position 2. Please refer to https://ai.google.dev/gemini-api/docs/thought-signatures for more details.";
const GOOGLE_ERROR = { code: 400, message: MISSING, status: "INVALID_ARGUMENT" };
/** As Google's `/openai` sends it: a list. */
const GOOGLE_REFUSAL = JSON.stringify([{ error: GOOGLE_ERROR }]);
const RAW = `Gemini models require OpenRouter reasoning details to be preserved in each request. Please refer to our docs: https://openrouter.ai/docs/use-cases/reasoning-tokens#preserving-reasoning-blocks. Upstream error: ${JSON.stringify({ error: GOOGLE_ERROR }, null, 2)}\n`;
const OPENROUTER_REFUSAL = JSON.stringify({
  error: {
    message: "Provider returned error",
    code: 400,
    metadata: { raw: RAW, provider_name: "Google AI Studio" },
  },
});

const SIGNATURE = "EqQCCqECAb4+9vsh8NTh1zcEOjSp";
const STAND_IN = "skip_thought_signature_validator";

/** The events of an answer with these deltas, which calls tools. */
function roundOf(...deltas: readonly Record<string, unknown>[]): Behaviour {
  const chunks = deltas.map((delta) => ({ choices: [{ index: 0, delta, finish_reason: null }] }));
  const end = { choices: [{ index: 0, delta: {}, finish_reason: "tool_calls" }] };
  return sendsEvents([...chunks, end, "[DONE]"].map((json) => event(json)));
}

const callDelta = (id: string, index = 0, rest = {}) => ({
  tool_calls: [
    { index, id, type: "function", function: { name: "device", arguments: "{}" }, ...rest },
  ],
});
const signed = (thought_signature: string) => ({
  extra_content: { google: { thought_signature } },
});

/** The messages with calls of a request's current turn. */
function callingIn(body: unknown): unknown[] {
  const messages = listAt(body, "messages");
  const turn = messages.slice(messages.findLastIndex((one) => textAt(one, "role") === "user"));
  return turn.filter((message) => listAt(message, "tool_calls").length > 0);
}

/** Refuses, word for word, a request whose current turn has a call that `isSigned` does not accept. */
function demands(
  isSigned: (message: unknown) => boolean,
  refusal: string,
  answer: Behaviour,
): Behaviour {
  return async (request, response) => {
    const isWhole = callingIn(request.body).every(isSigned);
    const refuse = refuses(400, JSON.parse(refusal));
    await (isWhole ? answer : refuse)(request, response);
  };
}

const isSignedByGoogle = (message: unknown): boolean => {
  const google = at(at(listAt(message, "tool_calls")[0], "extra_content"), "google");
  return [SIGNATURE, STAND_IN].includes(textAt(google, "thought_signature"));
};
const isSignedByOpenRouter = (message: unknown): boolean => {
  const ids = listAt(message, "tool_calls").map((call) => textAt(call, "id"));
  const encrypted = listAt(message, "reasoning_details").find(
    (detail) => textAt(detail, "type") === "reasoning.encrypted",
  );
  return ids[0] === textAt(encrypted, "id") && textAt(encrypted, "data") !== "";
};

/** Asks until an answer has no calls, with a result for each call, as a turn does. */
async function playTurn(model: Model, history: readonly PromptMessage[]) {
  const messages = [...history];
  for (let rounds = 0; rounds < 4; rounds += 1) {
    const { result } = await collect(model({ ...questionOf(), messages }));
    const { text, toolCalls, reasoning } = result;
    messages.push({
      role: "assistant",
      text,
      toolCalls,
      ...(reasoning !== undefined && { reasoning }),
    });
    if (toolCalls.length === 0) return messages;
    for (const { id, name } of toolCalls)
      messages.push({ role: "tool", callId: id, name, text: `measured by ${name}` });
  }
  throw new Error("the turn does not end");
}

const QUESTION: PromptMessage = { role: "user", text: "How warm?" };
/** A round of tools as the store has it, or as a crash left it: without reasoning. */
const UNSIGNED: readonly PromptMessage[] = [
  QUESTION,
  { role: "assistant", text: "", toolCalls: [{ id: "call_a", name: "device", arguments: "{}" }] },
  { role: "tool", callId: "call_a", name: "device", text: "42" },
];
const DONE: PromptMessage = { role: "assistant", text: "42" };

describe("a signature in chat completions", () => {
  let server: ModelServer;
  before(async () => {
    server = await startModelServer();
  });
  after(() => server.close());
  const open = (model: string) => openModel({ entry: { model, api_base: server.base } });
  const lastBody = (): unknown => server.requests.at(-1)?.body;
  const lastCalling = (): unknown => callingIn(lastBody()).at(-1);

  it("of Google goes back on its call, and Google answers the second round", async () => {
    const calls = roundOf(
      { role: "assistant", content: "One moment." },
      { extra_content: { google: { thought: true } } },
      callDelta("function-call-1", 0, signed(SIGNATURE)),
      callDelta("function-call-2", 1),
      signed("of-the-text"),
    );
    const device = { name: "device", arguments: "{}" };
    const rule = demands.bind(undefined, isSignedByGoogle, GOOGLE_REFUSAL);
    const asked = server.requests.length;
    server.script(rule(calls), rule(answers("42 degrees")));
    await playTurn(open("openai/gemini-3-pro"), [QUESTION]);
    assert.equal(server.requests.length - asked, 2);
    assert.deepEqual(lastCalling(), {
      role: "assistant",
      content: "One moment.",
      extra_content: { google: { thought_signature: "of-the-text" } },
      tool_calls: [
        { id: "function-call-1", type: "function", function: device, ...signed(SIGNATURE) },
        { id: "function-call-2", type: "function", function: device },
      ],
    });
  });

  it("goes back in a whole turn of the agent, and is not stored", async () => {
    const calls = roundOf(callDelta("function-call-1", 0, signed(SIGNATURE)));
    const rule = demands.bind(undefined, isSignedByGoogle, GOOGLE_REFUSAL);
    const asked = server.requests.length;
    server.script(rule(calls), rule(calls), rule(answers("42 degrees")));
    const entry = modelEntry({ model: "openai/gemini-3-pro", api_base: server.base });
    const { agent } = openTestAgent([entry]);
    const turn = { history: async () => [], text: "How warm?", client: "kitchen" };
    const { text, result } = await collect(
      agent.answer({ ...turn, signal: new AbortController().signal }),
    );
    assert.equal(text, "42 degrees");
    assert.equal(server.requests.length - asked, 3);
    assert.equal(callingIn(lastBody()).length, 2);
    assert.ok(!JSON.stringify(result.messages).includes(SIGNATURE));
  });

  it("of OpenRouter goes back joined and whole, before the calls", async () => {
    const calls = roundOf(
      {
        reasoning: "Let",
        reasoning_details: [
          { type: "reasoning.text", text: "Let", format: "anthropic-claude-v1", index: 0 },
        ],
      },
      {
        reasoning_details: [
          { type: "reasoning.text", text: " me see.", format: "anthropic-claude-v1", index: 0 },
        ],
      },
      {
        reasoning_details: [
          {
            type: "reasoning.text",
            text: null,
            signature: SIGNATURE,
            format: "anthropic-claude-v1",
            index: 0,
          },
        ],
      },
      { reasoning_details: [{ type: "reasoning.summary", summary: "Warm", index: 1 }] },
      { reasoning_details: [{ type: "reasoning.summary", summary: "th", index: 1 }] },
      callDelta("tool_0_device_a"),
      callDelta("tool_1_device_b", 1),
      {
        reasoning_details: [
          {
            type: "reasoning.encrypted",
            data: "AAAA",
            id: "tool_0_device_a",
            format: "google-gemini-v1",
            index: 0,
          },
        ],
      },
      {
        reasoning_details: [
          {
            type: "reasoning.encrypted",
            data: "BBBB",
            id: "tool_1_device_b",
            format: "google-gemini-v1",
            index: 0,
          },
        ],
      },
    );
    const rule = demands.bind(undefined, isSignedByOpenRouter, OPENROUTER_REFUSAL);
    const asked = server.requests.length;
    server.script(rule(calls), rule(answers("42 degrees")));
    await playTurn(open("openrouter/google/gemini-3-pro-preview"), [QUESTION]);
    assert.equal(server.requests.length - asked, 2);
    const message = lastCalling();
    assert.deepEqual(at(message, "reasoning_details"), [
      {
        type: "reasoning.text",
        text: "Let me see.",
        format: "anthropic-claude-v1",
        index: 0,
        signature: SIGNATURE,
      },
      { type: "reasoning.summary", summary: "Warmth", index: 1 },
      {
        type: "reasoning.encrypted",
        data: "AAAA",
        id: "tool_0_device_a",
        format: "google-gemini-v1",
        index: 0,
      },
      {
        type: "reasoning.encrypted",
        data: "BBBB",
        id: "tool_1_device_b",
        format: "google-gemini-v1",
        index: 0,
      },
    ]);
    const names = Object.keys(Object(message));
    assert.ok(names.indexOf("reasoning_details") < names.indexOf("tool_calls"));
  });

  it("of LiteLLM stays in the call's id and beside it, and in no later turn", async () => {
    const id = `call_0123456789abcdef__thought__${Buffer.from(SIGNATURE).toString("base64")}`;
    assert.ok(id.length > 50);
    const fields = { provider_specific_fields: { thought_signature: SIGNATURE } };
    server.script(roundOf(callDelta(id, 0, fields)), answers("42 degrees"), answers("Yes."));
    const model = open("litellm/gemini-3-pro");
    const messages = await playTurn(model, [QUESTION]);
    const [call] = listAt(lastCalling(), "tool_calls");
    assert.equal(textAt(call, "id"), id);
    assert.deepEqual(at(call, "provider_specific_fields"), fields.provider_specific_fields);
    const result = listAt(lastBody(), "messages").at(-1);
    assert.equal(textAt(result, "tool_call_id"), id);
    // The store keeps no reasoning.
    const stored = JSON.stringify([...messages, QUESTION], (name, value: unknown) =>
      name === "reasoning" ? undefined : value,
    );
    await playTurn(model, JSON.parse(stored));
    assert.doesNotMatch(JSON.stringify(lastBody()), /__thought__|provider_specific/);
  });

  it("keeps its id where another server's is too long, also without a signature", async () => {
    const id = `chatcmpl-tool-${"0".repeat(32)}`;
    server.script(roundOf(callDelta(id)), roundOf(callDelta(id)), answers("42 degrees"));
    await playTurn(open("vllm/qwen"), [QUESTION]);
    const ids = callingIn(lastBody()).map((message) =>
      textAt(listAt(message, "tool_calls")[0], "id"),
    );
    const results = listAt(lastBody(), "messages").flatMap(
      (one) => textAt(one, "tool_call_id") || [],
    );
    assert.equal(ids[0], id);
    // A server that repeats its id has one call of it all the same.
    assert.notEqual(ids[1], id);
    assert.deepEqual(results, ids);
  });

  it("comes from one JSON document as well", async () => {
    const detail = { type: "reasoning.encrypted", data: SIGNATURE, id: "a1", index: 0 };
    const message = { ...callDelta("a1", 0, signed(SIGNATURE)), reasoning_details: [detail] };
    const choices = [{ index: 0, finish_reason: "tool_calls", message }];
    server.script(refuses(200, { choices }), answers("42"));
    await playTurn(open("openrouter/google/gemini-3-pro-preview"), [QUESTION]);
    assert.deepEqual(at(lastCalling(), "reasoning_details"), [detail]);
    assert.ok(isSignedByGoogle(lastCalling()));
  });

  it("is no other entry's: of another protocol, server or model", async () => {
    const detail = { type: "reasoning.encrypted", data: SIGNATURE, id: "a1", index: 0 };
    for (const [model, base] of [
      ["litellm/google/gemini-3-pro", server.base],
      ["openrouter/anthropic/claude", server.base],
      ["openrouter/google/gemini-3-pro", `${server.base}/other`],
      ["gemini/gemini-3-pro", server.base],
      ["anthropic-messages/claude", server.base],
    ] as const) {
      const first = {
        model_name: "first",
        model: "openrouter/google/gemini-3-pro",
        api_base: server.base,
      };
      const second = modelEntry({ model_name: "second", model, api_base: base });
      const defaults = { model_fallbacks: ["second"], max_llm_retries: 0 };
      const { models } = openTestModels([modelEntry(first), second], defaults);
      const calls = roundOf({ reasoning_details: [detail] }, callDelta("a1", 0, signed(SIGNATURE)));
      server.script(calls, refuses(503), refuses(400));
      const turn = models.forTurn({ history: [], text: "" });
      await assert.rejects(playTurn(turn, [QUESTION]));
      const sent = JSON.stringify(lastBody());
      assert.match(sent, /measured by device/, model);
      assert.doesNotMatch(sent, new RegExp(SIGNATURE.replaceAll("+", "\\+")), model);
    }
  });

  for (const [name, model, isSigned, refusal] of [
    ["Google", "openai/gemini-3-pro", isSignedByGoogle, GOOGLE_REFUSAL],
    ["OpenRouter", "openrouter/google/gemini-3-pro", isSignedByOpenRouter, OPENROUTER_REFUSAL],
  ] as const) {
    it(`has a stand-in after another model's calls, once ${name} has asked for one`, async () => {
      const rule = demands.bind(undefined, isSigned, refusal);
      const asked = server.requests.length;
      server.otherwise(rule(answers("42 degrees")));
      const gemini = open(model);
      await playTurn(gemini, UNSIGNED);
      assert.equal(server.requests.length - asked, 2);
      await playTurn(gemini, [...UNSIGNED, DONE, ...UNSIGNED]);
      assert.equal(server.requests.length - asked, 3);
    });
  }
});
