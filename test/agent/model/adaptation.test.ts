import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { AgentDefaults } from "../../../src/config/contract.ts";
import { collect, modelFailureOf, questionOf } from "../../support/agent-config.ts";
import { ANTHROPIC } from "../../support/anthropic-server.ts";
import { CHAT } from "../../support/chat-dialect.ts";
import type { TestDialect } from "../../support/dialects.ts";
import { GEMINI } from "../../support/gemini-server.ts";
import { createMemoryLog } from "../../support/memory-log.ts";
import { refuses, sendsEvents, startModelServer } from "../../support/model-server.ts";
import type { Behaviour, ModelServer } from "../../support/model-server.ts";
import type { EntryChanges } from "../../support/model.ts";
import { openModel } from "../../support/model.ts";
import { RESPONSES } from "../../support/responses-server.ts";

const TOOL = { name: "device", description: "facts", parameters: { type: "object" } };

/** One refusal as a provider words it, and the fields of the request before and after it. */
interface Case {
  readonly who: string;
  readonly entry?: EntryChanges;
  readonly defaults?: Partial<AgentDefaults>;
  readonly dialect?: TestDialect;
  readonly status?: number;
  readonly body: Record<string, unknown>;
  /** The fields that differ; undefined is one that is not sent. */
  readonly before: Record<string, unknown>;
  readonly after: Record<string, unknown>;
}

function says(message: string, param?: string): Record<string, unknown> {
  return { error: { message, type: "invalid_request_error", param: param ?? null, code: null } };
}

const MUCH = { max_tokens: 32_768 };
const WARM = { temperature: 0.7 };

const LIMITS: readonly Case[] = [
  {
    who: "OpenAI, with the largest number",
    defaults: MUCH,
    body: says(
      "max_tokens is too large: 32768. This model supports at most 16384 completion tokens, whereas you provided 32768.",
      "max_tokens",
    ),
    before: { max_tokens: 32_768 },
    after: { max_tokens: 16_384 },
  },
  {
    who: "OpenAI, with another name",
    defaults: MUCH,
    body: says(
      "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
      "max_tokens",
    ),
    before: { max_tokens: 32_768, max_completion_tokens: undefined },
    after: { max_tokens: undefined, max_completion_tokens: 32_768 },
  },
  {
    who: "DeepSeek",
    defaults: MUCH,
    body: says("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"),
    before: { max_tokens: 32_768 },
    after: { max_tokens: 8192 },
  },
  {
    who: "Qwen",
    defaults: MUCH,
    body: says(
      "<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]",
    ),
    before: { max_tokens: 32_768 },
    after: { max_tokens: 8192 },
  },
  {
    who: "Groq",
    defaults: MUCH,
    entry: { max_tokens_field: "max_completion_tokens" },
    body: says(
      "`max_completion_tokens` must be less than or equal to `16384`, the maximum value for `max_completion_tokens` is less than the `context_window` for this model",
      "max_completion_tokens",
    ),
    before: { max_completion_tokens: 32_768 },
    after: { max_completion_tokens: 16_384 },
  },
  {
    who: "Groq, with the model's name",
    defaults: MUCH,
    body: says("max_tokens for `llama-3.1-8b-instant` must be less than or equal to 8000"),
    before: { max_tokens: 32_768 },
    after: { max_tokens: 8000 },
  },
  {
    who: "vLLM",
    defaults: MUCH,
    body: says(
      "'max_tokens' or 'max_completion_tokens' is too large: 32768. This model's maximum context length is 32768 tokens and your request has 3012 input tokens (32768 > 32768 - 3012).",
      "max_tokens",
    ),
    before: { max_tokens: 32_768 },
    after: { max_tokens: undefined },
  },
  {
    who: "an older vLLM",
    defaults: { max_tokens: 8192 },
    body: {
      object: "error",
      message:
        "This model's maximum context length is 8192 tokens. However, you requested 8204 tokens (12 in the messages, 8192 in the completion). Please reduce the length of the messages or completion.",
      type: "BadRequestError",
      code: 400,
    },
    before: { max_tokens: 8192 },
    after: { max_tokens: undefined },
  },
  {
    who: "a server without a number",
    defaults: MUCH,
    status: 422,
    body: { detail: [{ loc: ["body", "max_tokens"], msg: "Extra inputs are not permitted" }] },
    before: { max_tokens: 32_768 },
    after: { max_tokens: undefined },
  },
  {
    who: "Anthropic",
    dialect: ANTHROPIC,
    defaults: { max_tokens: 0 },
    body: {
      type: "error",
      error: {
        type: "invalid_request_error",
        message:
          "max_tokens: 64000 > 32000, which is the maximum allowed number of output tokens for claude-opus-4-1-20250805",
      },
    },
    before: { max_tokens: 64_000 },
    after: { max_tokens: 32_000 },
  },
  {
    who: "Anthropic, with a budget above the new limit",
    dialect: ANTHROPIC,
    entry: { thinking_level: "high" },
    defaults: MUCH,
    body: says(
      "max_tokens: 32768 > 8192, which is the maximum allowed number of output tokens for claude-3-5-haiku-20241022",
    ),
    before: { max_tokens: 32_768, thinking: { type: "enabled", budget_tokens: 16_384 } },
    after: { max_tokens: 8192, thinking: { type: "enabled", budget_tokens: 6144 } },
  },
  {
    who: "Gemini",
    dialect: GEMINI,
    defaults: MUCH,
    body: says(
      "Unable to submit request because it has a maxOutputTokens value of 32768 but the supported range is from 1 (inclusive) to 8193 (exclusive). Update the value and try again.",
    ),
    before: { generationConfig: { maxOutputTokens: 32_768 } },
    after: { generationConfig: { maxOutputTokens: 8192 } },
  },
  {
    who: "OpenAI's Responses",
    dialect: RESPONSES,
    defaults: MUCH,
    body: says(
      "Invalid 'max_output_tokens': integer above maximum value. Expected a value <= 16384, but got 32768 instead.",
      "max_output_tokens",
    ),
    before: { max_output_tokens: 32_768 },
    after: { max_output_tokens: 16_384 },
  },
];

const REFUSED_TEMPERATURES: readonly Pick<Case, "who" | "dialect" | "body">[] = [
  {
    who: "OpenAI",
    body: says(
      "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is supported.",
      "temperature",
    ),
  },
  {
    who: "OpenAI, for o3-mini",
    body: says(
      "Unsupported parameter: 'temperature' is not supported with this model.",
      "temperature",
    ),
  },
  {
    who: "OpenAI's Responses",
    dialect: RESPONSES,
    body: says(
      "Unsupported parameter: 'temperature' is not supported with this model.",
      "temperature",
    ),
  },
  { who: "Moonshot", body: says("invalid temperature: only 0.6 is allowed for this model") },
  {
    who: "Anthropic",
    dialect: ANTHROPIC,
    body: says("`temperature` is deprecated for this model."),
  },
  {
    who: "Anthropic with thinking",
    dialect: ANTHROPIC,
    body: says(
      "`temperature` may only be set to 1 when thinking is enabled or in adaptive mode. Please consult our documentation at https://platform.claude.com/docs/en/build-with-claude/extended-thinking",
    ),
  },
];

const TEMPERATURES = REFUSED_TEMPERATURES.map(({ who, dialect = CHAT, body }) => ({
  who,
  dialect,
  body,
  defaults: WARM,
  before: { temperature: 0.7 },
  after: { temperature: undefined },
}));

const TERRA =
  "Function tools with reasoning_effort are not supported for gpt-5.6-terra in /v1/chat/completions. To use function tools, use /v1/responses or set reasoning_effort to 'none'.";
const GPT_5_4 =
  "Function tools with reasoning_effort are not supported for gpt-5.4 in /v1/chat/completions. Please use /v1/responses instead.";

const THINKING: readonly Case[] = [
  {
    who: "OpenAI, without a level",
    body: says(TERRA, "reasoning_effort"),
    before: { reasoning_effort: undefined },
    after: { reasoning_effort: "none" },
  },
  {
    who: "OpenAI, with a level",
    entry: { thinking_level: "high" },
    body: says(TERRA, "reasoning_effort"),
    before: { reasoning_effort: "high" },
    after: { reasoning_effort: "none" },
  },
  {
    who: "OpenAI, for gpt-5.4",
    entry: { thinking_level: "low" },
    body: says(GPT_5_4, "reasoning_effort"),
    before: { reasoning_effort: "low" },
    after: { reasoning_effort: undefined },
  },
  {
    who: "OpenAI, with one value",
    entry: { thinking_level: "high" },
    body: says(
      "Unsupported value: 'reasoning_effort' does not support 'high' with this model. Supported values are: 'medium'.",
      "reasoning_effort",
    ),
    before: { reasoning_effort: "high" },
    after: { reasoning_effort: "medium" },
  },
  {
    who: "OpenAI's Responses, without a value that it lacks",
    dialect: RESPONSES,
    entry: { thinking_level: "off" },
    body: says(
      "Unsupported value: 'none' is not supported with the 'gpt-5' model. Supported values are: 'minimal', 'low', 'medium', and 'high'.",
      "reasoning.effort",
    ),
    before: { reasoning: { effort: "none" } },
    after: { reasoning: { effort: "minimal" } },
  },
  {
    who: "OpenAI's Responses, for gpt-4o",
    dialect: RESPONSES,
    entry: { thinking_level: "low" },
    body: says(
      "Unsupported parameter: 'reasoning.effort' is not supported with this model.",
      "reasoning.effort",
    ),
    before: { reasoning: { effort: "low" } },
    after: { reasoning: undefined },
  },
  {
    who: "OpenAI's Responses, for a model that does not think",
    dialect: RESPONSES,
    body: says("Encrypted content is not supported with this model.", "include"),
    before: { include: ["reasoning.encrypted_content"] },
    after: { include: undefined },
  },
  {
    who: "Kimi, with several values",
    entry: { thinking_level: "off" },
    body: says(
      "Unsupported value: 'reasoning_effort' does not support 'none' with this model. Supported values are: 'minimal', 'low', 'medium', and 'high'.",
    ),
    before: { reasoning_effort: "none" },
    after: { reasoning_effort: "minimal" },
  },
  {
    who: "Groq, for qwen3",
    entry: { model: "groq/qwen3", thinking_level: "high" },
    body: says("`reasoning_effort` must be one of `none` or `default`", "reasoning_effort"),
    before: { reasoning_effort: "high" },
    after: { reasoning_effort: undefined },
  },
  {
    who: "Groq, for gpt-oss",
    entry: { model: "groq/openai/gpt-oss-120b", thinking_level: "off" },
    body: says("`reasoning_effort` must be one of `low`, `medium`, or `high`", "reasoning_effort"),
    before: { reasoning_effort: "none" },
    after: { reasoning_effort: "low" },
  },
  {
    who: "Groq, for llama",
    entry: { model: "groq/llama-3.3-70b-versatile", thinking_level: "high" },
    body: says("reasoning_effort is not supported with this model", "reasoning_effort"),
    before: { reasoning_effort: "high" },
    after: { reasoning_effort: undefined },
  },
  {
    who: "OpenAI, for o3",
    entry: { thinking_level: "off" },
    body: says(
      "Unsupported value: 'reasoning_effort' does not support 'none' with this model. Supported values are: 'low', 'medium', and 'high'.",
      "reasoning_effort",
    ),
    before: { reasoning_effort: "none" },
    after: { reasoning_effort: "low" },
  },
  {
    who: "Z.ai, for glm-5.3",
    entry: { model: "zai/glm-5.3", thinking_level: "off" },
    body: {
      error: {
        code: "1210",
        message:
          "This model always engages in thinking and cannot be disabled; please use low, high, or max.",
      },
    },
    before: { thinking: { type: "disabled" } },
    after: { thinking: undefined },
  },
  {
    who: "DeepSeek behind a server that takes one of two fields",
    entry: { model: "deepseek/deepseek-v4-pro", thinking_level: "xhigh" },
    body: says("Error from provider: cannot specify both 'thinking' and 'reasoning_effort'"),
    before: { thinking: { type: "enabled" }, reasoning_effort: "max" },
    after: { thinking: undefined, reasoning_effort: undefined },
  },
  {
    who: "Google's chat completions, for gemini-3-pro",
    entry: { model: "openai/gemini-3-pro-preview", thinking_level: "medium" },
    body: says(
      "Thinking level MEDIUM is not supported for this model. Please retry with other thinking level",
    ),
    before: { reasoning_effort: "medium" },
    after: { reasoning_effort: undefined },
  },
  {
    who: "Cerebras, with another param",
    entry: { thinking_level: "off" },
    body: {
      message:
        "1 validation error for ChatCompletionServerRequest\nreasoning_effort\n Input should be 'low', 'medium' or 'high' [type=enum, input_value='none', input_type=str]",
      type: "invalid_request_error",
      param: "validation_error",
      code: "wrong_api_format",
    },
    before: { reasoning_effort: "none" },
    after: { reasoning_effort: "low" },
  },
  {
    who: "Ollama",
    entry: { model: "ollama/llama3", thinking_level: "high" },
    body: says('"llama3" does not support thinking'),
    before: { reasoning_effort: "high" },
    after: { reasoning_effort: undefined },
  },
  {
    who: "OpenRouter",
    entry: { model: "openrouter/x/y", thinking_level: "off" },
    body: {
      error: { message: "Reasoning is mandatory for this endpoint and cannot be disabled." },
    },
    before: { reasoning: { effort: "none" } },
    after: { reasoning: undefined },
  },
  {
    who: "Qwen",
    entry: { model: "qwen/x", thinking_level: "low" },
    body: says("parameter.enable_thinking is not supported by this model"),
    before: { enable_thinking: true, thinking_budget: 2048 },
    after: { enable_thinking: undefined, thinking_budget: undefined },
  },
  {
    who: "Anthropic, with adaptive thinking",
    dialect: ANTHROPIC,
    entry: { thinking_level: "low" },
    defaults: MUCH,
    body: says(
      '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.',
    ),
    before: { thinking: { type: "enabled", budget_tokens: 2048 }, output_config: undefined },
    after: { thinking: { type: "adaptive" }, output_config: { effort: "low" } },
  },
  {
    who: "Anthropic, for a model without a version in its name",
    dialect: ANTHROPIC,
    entry: { model: "anthropic-messages/claude-mythos-preview", thinking_level: "xhigh" },
    defaults: MUCH,
    body: says(
      '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.',
    ),
    before: { thinking: { type: "enabled", budget_tokens: 24_576 }, output_config: undefined },
    after: { thinking: { type: "adaptive" }, output_config: { effort: "xhigh" } },
  },
  {
    who: "Anthropic, without it",
    dialect: ANTHROPIC,
    entry: { thinking_level: "adaptive" },
    body: says("adaptive thinking is not supported on this model"),
    before: { thinking: { type: "adaptive" } },
    after: { thinking: undefined },
  },
  {
    who: "Gemini",
    dialect: GEMINI,
    entry: { model: "gemini/gemini-3-flash", thinking_level: "low" },
    defaults: { max_tokens: 7 },
    body: says("Thinking level is not supported for this model."),
    before: {
      generationConfig: {
        maxOutputTokens: 7,
        thinkingConfig: { thinkingLevel: "low", includeThoughts: true },
      },
    },
    after: { generationConfig: { maxOutputTokens: 7 } },
  },
];

function call(id: string) {
  return { id, name: "device", arguments: "{}" };
}

function result(callId: string) {
  return { role: "tool", callId, name: "device", text: `of ${callId}` } as const;
}

function answersAs(dialect: TestDialect): Behaviour {
  return sendsEvents(dialect.events({ text: ["yes"] }), {});
}

describe("a parameter that a server refuses", () => {
  let server: ModelServer;
  beforeEach(async () => {
    server = await startModelServer();
  });
  afterEach(() => server.close());

  function open({ dialect = CHAT, entry, defaults }: Partial<Case>) {
    const log = createMemoryLog();
    server.otherwise(answersAs(dialect));
    const model = openModel({
      entry: { ...dialect.entry, ...entry, api_base: server.base },
      defaults: { max_llm_retries: 0, ...defaults },
      log,
    });
    return { log, ask: () => collect(model({ ...questionOf(), tools: [TOOL] })) };
  }

  function sentFields(index: number, fields: Record<string, unknown>): Record<string, unknown> {
    const body = server.requests[index]?.body ?? {};
    return Object.fromEntries(
      Object.keys(fields).map((name) => [name, Reflect.get(body, name) as unknown]),
    );
  }

  for (const [kind, cases] of Object.entries<readonly Case[]>({ LIMITS, TEMPERATURES, THINKING })) {
    for (const one of cases) {
      it(`is adapted once and from then on: ${kind.toLowerCase()}, ${one.who}`, async () => {
        const { ask, log } = open(one);
        server.script(refuses(one.status ?? 400, one.body));
        assert.equal((await ask()).text, "yes");
        assert.equal((await ask()).text, "yes");
        assert.equal(server.requests.length, 3);
        assert.deepEqual(sentFields(0, one.before), one.before);
        assert.deepEqual(sentFields(1, one.after), one.after);
        assert.deepEqual(server.requests[2]?.body, server.requests[1]?.body);
        assert.equal(
          log.lines.filter((line) => /refused a parameter/.test(line.message)).length,
          1,
        );
      });
    }
  }

  it("is adapted together with others, one after the other", async () => {
    const { ask } = open({ defaults: { ...MUCH, ...WARM }, entry: { thinking_level: "xhigh" } });
    server.script(
      refuses(400, LIMITS[1]?.body ?? {}),
      refuses(
        400,
        says(
          "max_completion_tokens is too large: 32768. This model supports at most 16384 completion tokens, whereas you provided 32768.",
          "max_completion_tokens",
        ),
      ),
      refuses(400, TEMPERATURES[0]?.body ?? {}),
      refuses(400, says(TERRA, "reasoning_effort")),
    );
    assert.equal((await ask()).text, "yes");
    const after = { max_tokens: undefined, max_completion_tokens: 16_384, temperature: undefined };
    assert.deepEqual(sentFields(4, { ...after, reasoning_effort: 1 }), {
      ...after,
      reasoning_effort: "none",
    });
  });

  it("is what the entry says in extra_body: the refusal is final", async () => {
    const { ask } = open({ entry: { extra_body: { temperature: 0.7, max_tokens: 32_768 } } });
    for (const { body } of [TEMPERATURES[0], LIMITS[0]].filter((one) => one !== undefined)) {
      server.script(refuses(400, body));
      const before = server.requests.length;
      await modelFailureOf(ask());
      assert.equal(server.requests.length, before + 1);
    }
  });

  /** Asks twice with two calls in the history; returns the roles and ids of each request. */
  async function shapesAfter(...refusals: readonly Behaviour[]): Promise<string[][]> {
    server.otherwise(answersAs(CHAT));
    server.script(...refusals);
    const entry = { ...CHAT.entry, api_base: server.base };
    const model = openModel({ entry, defaults: { max_llm_retries: 0 } });
    const messages = [
      { role: "user", text: "How warm?" },
      { role: "assistant", text: "I look.", toolCalls: [call("call_a"), call("abcdefgh1")] },
      result("call_a"),
      result("abcdefgh1"),
      { role: "assistant", text: "61 °C." },
      { role: "user", text: "And now?" },
    ] as const;
    const begin = server.requests.length;
    for (const _ of [1, 2]) await collect(model({ ...questionOf(), messages }));
    return server.requests.slice(begin).map(({ body }) =>
      body.messages.slice(2).map(({ role, tool_calls = [], tool_call_id }) => {
        const ids = tool_calls.map(({ id }) => id).concat(tool_call_id ?? []);
        return [role, ...ids].join(" ");
      }),
    );
  }

  const PARALLEL = ["assistant call_a abcdefgh1", "tool call_a", "tool abcdefgh1"];
  const REST = ["assistant", "user"];

  it("may be the number of calls in one message: the conversation has one in each then", async () => {
    for (const status of [400, 500]) {
      const words = "This model only supports single tool-calls at once!";
      const shapes = await shapesAfter(refuses(status, says(words)));
      const single = ["assistant call_a", "tool call_a", "assistant abcdefgh1", "tool abcdefgh1"];
      assert.deepEqual(shapes, [
        [...PARALLEL, ...REST],
        [...single, ...REST],
        [...single, ...REST],
      ]);
    }
  });

  for (const words of [
    "Tool call IDs should be alphanumeric strings with length 9!",
    "Tool call id was call_a but must be a-z, A-Z, 0-9, with a length of 9.",
  ]) {
    it(`may be the form of a call's id: ${words}`, async () => {
      const [before, after, next] = await shapesAfter(refuses(400, says(words)));
      assert.deepEqual(before, [...PARALLEL, ...REST]);
      const id = /^assistant ([\da-f]{9}) abcdefgh1$/.exec(after?.[0] ?? "")?.[1];
      assert.ok(id);
      assert.deepEqual(after?.slice(1), [`tool ${id}`, "tool abcdefgh1", ...REST]);
      assert.deepEqual(next, after);
    });
  }

  it("is forgotten with its entry", async () => {
    const [first] = TEMPERATURES;
    assert.ok(first);
    const { ask } = open(first);
    server.script(refuses(400, first.body));
    await ask();
    await open(first).ask();
    assert.equal(server.requests.at(-1)?.body["temperature"], 0.7);
  });

  for (const [status, message, param] of [
    [
      400,
      "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `text`",
    ],
    [400, "Invalid type for 'messages[0].content': temperature of the message", "messages[0]"],
    [400, "Invalid schema for function 'device': temperature is not allowed", "tools[0].function"],
    [400, "The conversation is malformed."],
    [400, "prompt is too long: 210000 tokens > 200000 maximum; lower max_tokens"],
    [
      400,
      "This model's maximum context length is 4096 tokens. However, you requested 6000 tokens (5000 in the messages, 1000 in the completion).",
    ],
    [401, "temperature is not supported"],
    [403, "'max_tokens' is not supported with this key"],
    [404, "'temperature' is not supported"],
    [500, "Unsupported parameter: 'temperature' is not supported with this model.", "temperature"],
  ] as const) {
    it(`is not what every refusal is about: ${status} ${message}`, async () => {
      const { ask } = open({
        defaults: { ...WARM, max_tokens: 1000 },
        entry: { thinking_level: "low" },
      });
      server.script(refuses(status, says(message, param)));
      await modelFailureOf(ask());
      assert.equal(server.requests.length, 1);
    });
  }
});
