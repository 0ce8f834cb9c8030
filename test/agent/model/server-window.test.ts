import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openModels } from "../../../src/agent/model/models.ts";
import { SILENT } from "../../../src/base/log.ts";
import { agentConfig, collect, modelEntry, questionOf } from "../../support/agent-config.ts";
import { createMemoryLog } from "../../support/memory-log.ts";
import { answers, startModelServer } from "../../support/model-server.ts";

interface WindowFacts {
  readonly provider?: string;
  readonly model: string;
  readonly facts: Readonly<Record<string, unknown>>;
  /** Undefined if the server does not tell. */
  readonly tokens?: number;
}

const SERVERS: Readonly<Record<string, WindowFacts>> = {
  "llama.cpp": {
    provider: "llamacpp",
    model: "qwen",
    facts: { "/props": { default_generation_settings: { n_ctx: 6144 }, total_slots: 2 } },
    tokens: 6144,
  },
  "llama.cpp with several models": {
    provider: "llamacpp",
    model: "qwen",
    facts: { "/v1/models": { data: [{ id: "qwen", meta: { n_ctx_train: 32768, n_ctx: 8192 } }] } },
    tokens: 8192,
  },
  vLLM: {
    model: "vllm/Qwen/Qwen3-8B",
    facts: { "/v1/models": { data: [{ id: "Qwen/Qwen3-8B", max_model_len: 16384 }] } },
    tokens: 16_384,
  },
  Ollama: {
    model: "ollama/llama3",
    facts: { "/api/ps": { models: [{ name: "llama3:latest", context_length: 4096 }] } },
    tokens: 4096,
  },
  OpenRouter: {
    model: "openrouter/z-ai/glm",
    facts: {
      "/v1/models/z-ai/glm/endpoints": {
        data: { endpoints: [{ context_length: 65_536 }, { context_length: 131_072 }] },
      },
    },
    tokens: 131_072,
  },
  "LM Studio": {
    model: "lmstudio/qwen",
    facts: {
      "/api/v0/models": {
        data: [{ id: "qwen", max_context_length: 32_768, loaded_context_length: 5000 }],
      },
    },
    tokens: 5000,
  },
  "a server that answers something else": {
    model: "vllm/x",
    facts: { "/v1/models": { data: [{ id: "x", max_model_len: "many" }] } },
  },
  "a server without an answer": { provider: "llamacpp", model: "x", facts: {} },
  "OpenAI, which is not asked": {
    model: "openai/qwen",
    facts: { "/v1/models": { data: [{ id: "qwen", max_model_len: 4096 }] } },
  },
};

/** One answer of a model; returns what is known of its window after it, and the log. */
async function windowAfterAnswer({ provider = "", model, facts }: WindowFacts, context_window = 0) {
  await using server = await startModelServer({ facts });
  server.otherwise(answers("Yes."));
  const log = createMemoryLog();
  const { lines } = log;
  const entry = modelEntry({ provider, model, api_base: server.base, api_keys: [] });
  const models = openModels({ config: agentConfig([entry], { context_window }), fetch, log });
  assert.ok(models);
  await collect(models.main(questionOf()));
  await models.close();
  assert.equal(server.requests.length, 1);
  return { window: models.window(), lines };
}

describe("the window of a server's model", () => {
  for (const [name, server] of Object.entries(SERVERS)) {
    it(`is asked of ${name}`, async () => {
      const { window } = await windowAfterAnswer(server);
      const expected =
        server.tokens === undefined
          ? { tokens: 32_768, source: "guess" }
          : { tokens: server.tokens, source: "server" };
      assert.deepEqual(window, expected);
    });
  }

  it("is never larger than configured", async () => {
    const { window } = await windowAfterAnswer(SERVERS["vLLM"] ?? assert.fail(), 8000);
    assert.deepEqual(window, { tokens: 8000, source: "configured" });
  });

  it("is known to the next process, before its first call", async () => {
    let document: unknown;
    const learned = {
      read: async () => document,
      write: async (written: unknown) => {
        document = written;
      },
    };
    await using server = await startModelServer({ facts: SERVERS["Ollama"]?.facts ?? {} });
    server.otherwise(answers("Yes."));
    const open = async (more: object = {}) => {
      const entry = modelEntry({ model: "ollama/llama3", api_base: server.base, ...more });
      const models = openModels({ config: agentConfig([entry]), fetch, log: SILENT, learned });
      assert.ok(models);
      await models.load();
      return models;
    };
    const first = await open();
    await collect(first.main(questionOf()));
    await first.close();
    assert.deepEqual((await open()).window(), { tokens: 4096, source: "server" });
    assert.equal((await open({ user_agent: "other" })).window().source, "guess");
    document = { v: 1, entries: { x: 1, y: { digest: 7 } } };
    assert.equal((await open()).window().source, "guess");
  });

  it("is warned of once where Ollama has a small one", async () => {
    const { lines } = await windowAfterAnswer(SERVERS["Ollama"] ?? assert.fail());
    const warnings = lines.filter(({ level }) => level === "warn");
    assert.equal(warnings.length, 1);
    assert.match(warnings[0]?.message ?? "", /OLLAMA_CONTEXT_LENGTH/);
    assert.equal(warnings[0]?.fields["tokens"], 4096);
  });
});
