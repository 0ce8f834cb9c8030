import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { isOverflow } from "../../../src/agent/model/errors.ts";
import { collect, modelFailureOf, questionOf } from "../../support/agent-config.ts";
import { refuses, startModelServer } from "../../support/model-server.ts";
import type { ModelServer } from "../../support/model-server.ts";
import { openModel } from "../../support/model.ts";

/** What providers answer with, by who says it. */
const TOO_LONG: Record<string, [number, Record<string, unknown>]> = {
  "OpenAI, by code": [400, { error: { message: "Too much.", code: "context_length_exceeded" } }],
  OpenAI: [400, { error: { message: "Your input exceeds the context window of this model." } }],
  Anthropic: [400, { error: { message: "prompt is too long: 210000 tokens > 200000 maximum" } }],
  "Anthropic with its answer": [
    400,
    {
      error: {
        message: "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
      },
    },
  ],
  "Anthropic, by size": [
    413,
    { error: { type: "request_too_large", message: "Request exceeds it" } },
  ],
  Gemini: [
    400,
    {
      error: {
        message: "The input token count (9) exceeds the maximum number of tokens allowed (8).",
      },
    },
  ],
  vLLM: [400, { object: "error", message: "This model's maximum context length is 4096 tokens." }],
  OpenRouter: [
    400,
    { error: { message: "This endpoint's maximum context length is 131072 tokens. However, …" } },
  ],
  "llama.cpp": [
    400,
    {
      error: {
        message: "the request exceeds the available context size",
        type: "exceed_context_size_error",
      },
    },
  ],
  "an older llama.cpp": [
    500,
    { error: { message: "the request exceeds the available context size. try" } },
  ],
  Ollama: [400, { error: "prompt too long; exceeded max context length by 7 tokens" }],
  "LM Studio": [
    400,
    {
      error:
        "The number of tokens to keep from the initial prompt is greater than the context length.",
    },
  ],
  Moonshot: [400, { error: { message: "Your request exceeded model token limit: 8192" } }],
  xAI: [
    400,
    { error: "This model's maximum prompt length is 131072 but the request contains 537812" },
  ],
  Qwen: [400, { error: { message: "Range of input length should be [1, 129024]" } }],
  Groq: [413, { error: { message: "Request too large for model on tokens per minute (TPM)" } }],
};

/** What sounds like it and is something else. */
const OTHERWISE: Record<string, [number, Record<string, unknown>, RegExp]> = {
  "a limit on tokens a minute": [
    429,
    {
      error: {
        message: "Request too large: maximum context length, tokens per min",
        code: "rate_limit",
      },
    },
    /overloaded/,
  ],
  "a limit on output tokens": [
    400,
    {
      error: {
        message: "max_tokens: 64000 > 8192, which is the maximum allowed number of output tokens",
      },
    },
    /refused/,
  ],
  "a wrong parameter": [400, { error: { message: "unknown field context_length" } }, /refused/],
  "a wrong key, which Gemini answers with a 400": [
    400,
    {
      error: {
        message: "API key not valid. Please pass a valid API key.",
        details: [{ reason: "API_KEY_INVALID" }],
      },
    },
    /this agent's key/,
  ],
};

describe("a conversation that is too long", () => {
  let server: ModelServer;
  before(async () => {
    server = await startModelServer();
  });
  after(() => server.close());

  async function failureOf(status: number, body: Record<string, unknown>) {
    server.script(refuses(status, body));
    const entry = { api_base: server.base };
    const model = openModel({ entry, defaults: { max_llm_retries: 0 } });
    return await modelFailureOf(collect(model(questionOf())));
  }

  for (const [name, [status, body]] of Object.entries(TOO_LONG)) {
    it(`is known by the words of ${name}`, async () => {
      const failure = await failureOf(status, body);
      assert.ok(isOverflow(failure));
      assert.match(failure.remedy ?? "", /\/clear/);
    });
  }

  for (const [name, [status, body, sentence]] of Object.entries(OTHERWISE)) {
    it(`is not ${name}`, async () => {
      const failure = await failureOf(status, body);
      assert.ok(!isOverflow(failure));
      assert.match(failure.message, sentence);
    });
  }

  it("is told from how long Gemini wants to rest", async () => {
    const details = [{ "@type": "RetryInfo", retryDelay: "90s" }];
    const body = [{ error: { code: 429, message: "Quota exceeded", details } }];
    server.script(refuses(429, JSON.stringify(body)));
    const model = openModel({ entry: { model: "gemini/x", api_base: server.base } });
    const { retryAfter, why } = await modelFailureOf(collect(model(questionOf())));
    assert.equal(retryAfter, 90);
    assert.match(why ?? "", /HTTP 429: Quota exceeded/);
  });
});
