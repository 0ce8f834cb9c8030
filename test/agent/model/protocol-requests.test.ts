import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { PromptMessage } from "../../../src/agent/model/contract.ts";
import { wrapReasoning } from "../../../src/agent/model/http/reasoning-envelope.ts";
import { fromJson } from "../../../src/base/unknown.ts";
import { sentBy } from "../../support/model.ts";
import type { EntryChanges } from "../../support/model.ts";

async function sent(
  entry: EntryChanges,
  messages: readonly PromptMessage[] = CONVERSATION,
  defaults = {},
) {
  const settings = { entry, defaults: { temperature: 0.5, ...defaults } };
  const { url, body } = await sentBy(settings, { messages, tools: [TOOL] });
  return { url, body: fromJson(body) };
}

const TOOL = {
  name: "device",
  description: "facts",
  parameters: {
    type: "object",
    properties: { facts: { type: "array", items: { type: "string", enum: ["cpu", "disk"] } } },
    required: ["facts"],
    additionalProperties: false,
  },
};

/** A conversation from another model: a round of two tools, of which one call is no JSON, and a second question. */
const CONVERSATION: readonly PromptMessage[] = [
  { role: "user", text: "How warm?" },
  {
    role: "assistant",
    text: "I look.",
    reasoning: "hm",
    toolCalls: [
      { id: "functions.device:0", name: "device", arguments: '{"facts":["cpu"]}' },
      { id: "b", name: "device", arguments: '{"fac' },
    ],
  },
  { role: "tool", callId: "functions.device:0", name: "device", text: "61 °C" },
  { role: "tool", callId: "b", name: "device", text: "error: no JSON", failed: true },
  { role: "assistant", text: "61 °C." },
  { role: "user", text: "And now?" },
];

const CHAT_BODY = {
  messages: [
    { role: "system", content: "be short" },
    { role: "user", content: "How warm?" },
    {
      role: "assistant",
      content: "I look.",
      tool_calls: [
        {
          id: "functions.device:0",
          type: "function",
          function: { name: "device", arguments: '{"facts":["cpu"]}' },
        },
        { id: "b", type: "function", function: { name: "device", arguments: "{}" } },
      ],
    },
    { role: "tool", tool_call_id: "functions.device:0", content: "61 °C" },
    { role: "tool", tool_call_id: "b", content: "error: no JSON" },
    { role: "assistant", content: "61 °C." },
    { role: "user", content: "And now?" },
  ],
  stream: true,
  stream_options: { include_usage: true },
  tools: [{ type: "function", function: TOOL }],
  tool_choice: "auto",
  temperature: 0.5,
};

const RESPONSES_BODY = {
  model: "gpt-test",
  instructions: "be short",
  input: [
    { role: "user", content: [{ type: "input_text", text: "How warm?" }] },
    { role: "assistant", content: "I look." },
    {
      type: "function_call",
      call_id: "functions.device:0",
      name: "device",
      arguments: '{"facts":["cpu"]}',
    },
    { type: "function_call", call_id: "b", name: "device", arguments: "{}" },
    { type: "function_call_output", call_id: "functions.device:0", output: "61 °C" },
    { type: "function_call_output", call_id: "b", output: "error: no JSON" },
    { role: "assistant", content: "61 °C." },
    { role: "user", content: [{ type: "input_text", text: "And now?" }] },
  ],
  stream: true,
  store: false,
  include: ["reasoning.encrypted_content"],
  tools: [{ type: "function", ...TOOL, strict: false }],
  tool_choice: "auto",
  max_output_tokens: 1000,
  temperature: 0.5,
};

const ANTHROPIC_BODY = {
  model: "claude-test",
  max_tokens: 1000,
  system: [{ type: "text", text: "be short", cache_control: { type: "ephemeral" } }],
  messages: [
    { role: "user", content: [{ type: "text", text: "How warm?" }] },
    {
      role: "assistant",
      content: [
        { type: "text", text: "I look." },
        { type: "tool_use", id: "functions_device_0", name: "device", input: { facts: ["cpu"] } },
        { type: "tool_use", id: "b", name: "device", input: {} },
      ],
    },
    {
      role: "user",
      content: [
        { type: "tool_result", tool_use_id: "functions_device_0", content: "61 °C" },
        { type: "tool_result", tool_use_id: "b", content: "error: no JSON", is_error: true },
      ],
    },
    { role: "assistant", content: [{ type: "text", text: "61 °C." }] },
    {
      role: "user",
      content: [{ type: "text", text: "And now?", cache_control: { type: "ephemeral" } }],
    },
  ],
  tools: [{ name: "device", description: "facts", input_schema: TOOL.parameters }],
  tool_choice: { type: "auto" },
  temperature: 0.5,
  stream: true,
};

const { additionalProperties: _, ...PARAMETERS } = TOOL.parameters;
const GEMINI_BODY = {
  systemInstruction: { parts: [{ text: "be short" }] },
  contents: [
    { role: "user", parts: [{ text: "How warm?" }] },
    {
      role: "model",
      parts: [
        { text: "I look." },
        {
          functionCall: { name: "device", args: { facts: ["cpu"] } },
          thoughtSignature: "skip_thought_signature_validator",
        },
        { functionCall: { name: "device", args: {} } },
      ],
    },
    {
      role: "user",
      parts: [
        { functionResponse: { name: "device", response: { result: "61 °C" } } },
        { functionResponse: { name: "device", response: { error: "error: no JSON" } } },
      ],
    },
    { role: "model", parts: [{ text: "61 °C." }] },
    { role: "user", parts: [{ text: "And now?" }] },
  ],
  tools: [
    { functionDeclarations: [{ name: "device", description: "facts", parameters: PARAMETERS }] },
  ],
  generationConfig: { maxOutputTokens: 1000, temperature: 0.5 },
};

describe("one conversation", () => {
  const rows: [string, EntryChanges, unknown][] = [
    [
      "chat completions",
      { model: "openai/gpt-test" },
      { model: "gpt-test", max_tokens: 1000, ...CHAT_BODY },
    ],
    [
      "Azure",
      { provider: "azure", model: "mine", api_base: "https://a.test" },
      { model: "mine", max_completion_tokens: 1000, ...CHAT_BODY },
    ],
    ["Responses", { model: "openai/gpt-test", protocol: "responses" }, RESPONSES_BODY],
    ["Anthropic's messages", { model: "anthropic-messages/claude-test" }, ANTHROPIC_BODY],
    ["Gemini", { model: "gemini/gemini-3-flash" }, GEMINI_BODY],
  ];
  for (const [name, entry, body] of rows) {
    it(`is told exactly so to ${name}`, async () => {
      assert.deepEqual((await sent(entry)).body, body);
    });
  }

  it("needs no stand-in for a signature before Gemini 3", async () => {
    const { body } = await sent({ model: "gemini/gemini-2.5-flash" });
    assert.doesNotMatch(JSON.stringify(body), /thoughtSignature/);
  });

  it("always has a limit for Anthropic, and for Gemini only a configured one", async () => {
    const none = { max_tokens: undefined };
    const anthropic = await sent({ model: "anthropic-messages/x" }, CONVERSATION, none);
    assert.match(JSON.stringify(anthropic.body), /"max_tokens":64000/);
    const gemini = await sent({ model: "gemini/x" }, CONVERSATION, none);
    assert.match(JSON.stringify(gemini.body), /"generationConfig":\{"temperature":0.5\}/);
  });

  it("has its limit under the configured name", async () => {
    for (const model of ["openai/x", "anthropic-messages/x", "gemini/x"]) {
      const { body } = await sent({ model, max_tokens_field: "limit" });
      assert.match(JSON.stringify(body), /"limit":1000/);
      assert.doesNotMatch(JSON.stringify(body), /max_tokens|maxOutputTokens/);
    }
  });

  it("has for Responses what was configured for chat completions, under its own names", async () => {
    const schema = { type: "object" };
    const { body } = await sent({
      model: "openai/gpt-test",
      protocol: "responses",
      thinking_level: "low",
      max_tokens_field: "max_completion_tokens",
      extra_body: {
        reasoning: { summary: "auto" },
        verbosity: "low",
        response_format: { type: "json_schema", json_schema: { name: "x", schema } },
        service_tier: "flex",
      },
    });
    assert.deepEqual(body, {
      ...RESPONSES_BODY,
      reasoning: { effort: "low", summary: "auto" },
      text: { verbosity: "low", format: { type: "json_schema", name: "x", schema } },
      service_tier: "flex",
    });
    const extra_body = { reasoning_effort: "high", max_tokens: 7 };
    const other = await sent({ model: "openai/gpt-test", protocol: "responses", extra_body });
    assert.deepEqual(other.body, {
      ...RESPONSES_BODY,
      max_output_tokens: 7,
      reasoning: { effort: "high" },
    });
  });

  it("keeps its limit beside what extra_body adds to Gemini's generationConfig", async () => {
    const extra_body = { generationConfig: { topP: 0.1, temperature: 1 } };
    const { body } = await sent({ model: "gemini/x", extra_body });
    assert.match(
      JSON.stringify(body),
      /"generationConfig":\{"maxOutputTokens":1000,"temperature":1,"topP":0.1\}/,
    );
  });

  it("is told of tools in the plainest schema where that is wanted", async () => {
    for (const model of ["openai/x", "anthropic-messages/x", "gemini/x"]) {
      const { body } = await sent({ model, tool_schema_transform: "simple" });
      assert.match(JSON.stringify(body), /"enum":\["cpu","disk"\]/);
      assert.doesNotMatch(JSON.stringify(body), /additionalProperties/);
    }
  });

  it("holds no other model's signed thinking, even for those who want reasoning back", async () => {
    const [question, call] = CONVERSATION;
    if (question === undefined || call?.role !== "assistant") assert.fail();
    const round = (reasoning: string): PromptMessage[] => [question, { ...call, reasoning }];
    const own = await sent({ model: "deepseek/x" }, round("hm"));
    assert.match(JSON.stringify(own.body), /"reasoning_content":"hm"/);
    const other = await sent(
      { model: "deepseek/x" },
      round(wrapReasoning("gemini/x", { b: "sig" })),
    );
    assert.doesNotMatch(JSON.stringify(other.body), /sig/);
  });

  it("has the results before the words that were said in between, for Anthropic", async () => {
    const [question, call, first, second] = CONVERSATION;
    const odd = [question, call, { role: "user", text: "Hurry!" } as const, first, second];
    const messages = odd.filter((message) => message !== undefined);
    const { body } = await sent({ model: "anthropic-messages/x" }, messages);
    assert.match(JSON.stringify(body), /tool_result.*tool_result.*Hurry!/);
  });

  it("that begins with the model, or holds an empty message, is mended for the strict", async () => {
    const odd: PromptMessage[] = [
      { role: "assistant", text: "Hello." },
      { role: "user", text: "One" },
      { role: "assistant", text: "" },
      { role: "user", text: "Two" },
    ];
    const anthropic = await sent({ model: "anthropic-messages/x" }, odd);
    assert.match(
      JSON.stringify(anthropic.body),
      /goes on.*Hello.*"role":"user","content":\[\{"type":"text","text":"One"\},\{"type":"text","text":"Two","cache_control":\{"type":"ephemeral"\}\}\]/,
    );
    const gemini = await sent({ model: "gemini/x" }, odd);
    assert.match(JSON.stringify(gemini.body), /goes on.*Hello.*One.*Two/);
    assert.doesNotMatch(JSON.stringify(gemini.body), /"parts":\[\]/);
  });
});

describe("the address of", () => {
  const rows: [string, string, string][] = [
    ["anthropic-messages/x", "https://a.test", "https://a.test/v1/messages"],
    ["anthropic-messages/x", "https://a.test/v1/", "https://a.test/v1/messages"],
    [
      "anthropic-messages/x",
      "https://a.test/apps/anthropic",
      "https://a.test/apps/anthropic/v1/messages",
    ],
    [
      "anthropic-messages/x",
      "https://a.test/v1/messages?beta=true",
      "https://a.test/v1/messages?beta=true",
    ],
    [
      "gemini/flash",
      "https://g.test/v1beta",
      "https://g.test/v1beta/models/flash:streamGenerateContent?alt=sse",
    ],
    [
      "gemini/tunedModels/mine",
      "https://g.test/v1beta/models",
      "https://g.test/v1beta/tunedModels/mine:streamGenerateContent?alt=sse",
    ],
    ["azure/gpt", "https://a.test", "https://a.test/openai/v1/chat/completions"],
    ["azure/gpt", "https://a.test/openai", "https://a.test/openai/v1/chat/completions"],
    [
      "azure/gpt",
      "https://a.test/openai/v1?api-version=preview",
      "https://a.test/openai/v1/chat/completions?api-version=preview",
    ],
    [
      "azure/gpt",
      "https://a.test/api/projects/p",
      "https://a.test/api/projects/p/openai/v1/chat/completions",
    ],
    [
      "azure/gpt",
      "https://a.test/openai/deployments/d?api-version=2024-10-21",
      "https://a.test/openai/deployments/d/chat/completions?api-version=2024-10-21",
    ],
    [
      "azure/gpt",
      "https://a.test/openai/deployments/d/chat/completions?api-version=1",
      "https://a.test/openai/deployments/d/chat/completions?api-version=1",
    ],
    [
      "azure/my gpt",
      "https://a.test?api-version=1",
      "https://a.test/openai/deployments/my%20gpt/chat/completions?api-version=1",
    ],
    [
      "azure/gpt",
      "https://a.test/models?api-version=1",
      "https://a.test/models/chat/completions?api-version=1",
    ],
  ];
  for (const [model, api_base, url] of rows) {
    it(`${model} at ${api_base} is ${url}`, async () => {
      assert.equal((await sent({ model, api_base })).url, url);
    });
  }

  for (const [model, api_base, url] of [
    ["openai/gpt", "", "https://api.openai.com/v1/responses"],
    ["openai/gpt", "https://a.test/v1/responses", "https://a.test/v1/responses"],
    ["openai/gpt", "https://a.test/v1/chat/completions", "https://a.test/v1/responses"],
    ["azure/gpt", "https://a.test", "https://a.test/openai/v1/responses"],
    ["azure/gpt", "https://a.test/openai/v1", "https://a.test/openai/v1/responses"],
    ["azure/gpt", "https://a.test/openai/v1/responses", "https://a.test/openai/v1/responses"],
    ["azure/gpt", "https://a.test?api-version=1", "https://a.test/openai/responses?api-version=1"],
    [
      "azure/gpt",
      "https://a.test/openai/deployments/d/chat/completions?api-version=1",
      "https://a.test/openai/responses?api-version=1",
    ],
  ] as const) {
    it(`Responses for ${model} at ${api_base} is ${url}`, async () => {
      assert.equal((await sent({ model, api_base, protocol: "responses" })).url, url);
    });
  }
});
