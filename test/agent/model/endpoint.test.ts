import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { endpointOf } from "../../../src/agent/model/endpoint.ts";
import { PROTOCOLS } from "../../../src/agent/model/endpoint.ts";
import { openModels } from "../../../src/agent/model/models.ts";
import { Failure } from "../../../src/base/failure.ts";
import { SILENT } from "../../../src/base/log.ts";
import { agentConfig, modelEntry } from "../../support/agent-config.ts";
import { createMemoryLog } from "../../support/memory-log.ts";
import { openModel } from "../../support/model.ts";

type Entry = NonNullable<Parameters<typeof modelEntry>[0]>;

const dialectOf = (api_base: string) =>
  endpointOf(modelEntry({ model: "anthropic/x", api_base })).facts.dialect;

describe("the endpoint of an entry", () => {
  const rows: [Entry, { protocol: string; base: string; model: string }][] = [
    [{ model: "gpt-x" }, { protocol: "openai", base: "https://api.openai.com/v1", model: "gpt-x" }],
    [
      { model: "openai/gpt-x" },
      { protocol: "openai", base: "https://api.openai.com/v1", model: "gpt-x" },
    ],
    [{ model: "GPT/x" }, { protocol: "openai", base: "https://api.openai.com/v1", model: "x" }],
    [
      { model: "claude/sonnet" },
      { protocol: "anthropic", base: "https://api.anthropic.com/v1", model: "sonnet" },
    ],
    [{ model: "xai/grok-4" }, { protocol: "xai", base: "https://api.x.ai/v1", model: "grok-4" }],
    [{ model: "x-ai/grok-4" }, { protocol: "xai", base: "https://api.x.ai/v1", model: "grok-4" }],
    [
      { provider: "kimi-coding", model: "kimi-for-coding" },
      { protocol: "kimi", base: "https://api.kimi.com/coding/v1", model: "kimi-for-coding" },
    ],
    [
      { model: "hf/moonshotai/Kimi-K2" },
      {
        protocol: "huggingface",
        base: "https://router.huggingface.co/v1",
        model: "moonshotai/Kimi-K2",
      },
    ],
    [
      { provider: "moonshot-intl", model: "kimi-k2.6" },
      { protocol: "moonshot-intl", base: "https://api.moonshot.ai/v1", model: "kimi-k2.6" },
    ],
    [
      { model: "llama.cpp/qwen", api_keys: [] },
      { protocol: "llamacpp", base: "http://localhost:8080/v1", model: "qwen" },
    ],
    [
      { model: "llamacpp/qwen", api_base: "http://box:8080/v1", api_keys: [] },
      { protocol: "llamacpp", base: "http://box:8080/v1", model: "qwen" },
    ],
    [
      { model: "cohere/command-a", api_base: "http://gateway/v1" },
      { protocol: "openai", base: "http://gateway/v1", model: "cohere/command-a" },
    ],
    [
      { provider: "cohere", model: "cohere/command-a", api_base: "http://gateway/v1" },
      { protocol: "cohere", base: "http://gateway/v1", model: "command-a" },
    ],
    [
      { model: "glm/glm-5" },
      { protocol: "zhipu", base: "https://open.bigmodel.cn/api/paas/v4", model: "glm-5" },
    ],
    [
      { model: "meta-llama/llama-4" },
      { protocol: "openai", base: "https://api.openai.com/v1", model: "meta-llama/llama-4" },
    ],
    [
      { model: "openrouter/openai/gpt-x" },
      { protocol: "openrouter", base: "https://openrouter.ai/api/v1", model: "openai/gpt-x" },
    ],
    [
      { model: "openrouter/auto" },
      { protocol: "openrouter", base: "https://openrouter.ai/api/v1", model: "openrouter/auto" },
    ],
    [
      { provider: "openrouter", model: "openai/gpt-x" },
      { protocol: "openrouter", base: "https://openrouter.ai/api/v1", model: "openai/gpt-x" },
    ],
    [
      { provider: "nvidia", model: "nvidia/nemotron" },
      {
        protocol: "nvidia",
        base: "https://integrate.api.nvidia.com/v1",
        model: "nvidia/nemotron",
      },
    ],
    [
      { provider: "openai", model: "openai/gpt-x", api_base: "http://box:8080/v1//" },
      { protocol: "openai", base: "http://box:8080/v1", model: "gpt-x" },
    ],
    [
      { model: "ollama/llama3", api_keys: [] },
      { protocol: "ollama", base: "http://localhost:11434/v1", model: "llama3" },
    ],
    [
      { model: "own", api_base: "http://box/v1", api_keys: [] },
      { protocol: "openai", base: "http://box/v1", model: "own" },
    ],
  ];
  for (const [entry, expected] of rows) {
    it(`${entry.provider ?? ""} ${entry.model} ${entry.api_base ?? ""} → ${expected.protocol}`, () => {
      const { protocol, base, model } = endpointOf(modelEntry(entry));
      assert.deepEqual({ protocol, base, model }, expected);
    });
  }

  const wrong: [Entry, RegExp][] = [
    [{ model: "" }, /names no model/],
    [{ provider: "opnai", model: "x" }, /unknown protocol "opnai".*openai/s],
    [{ provider: "acme", model: "x" }, /unknown protocol "acme".*openai and api_base/],
    [{ model: "perplexity/sonar" }, /perplexity, which is not supported.*openrouter/],
    [{ provider: "azure-openai", model: "x" }, /no usable api_base/],
    [{ model: "copilot/x" }, /github-copilot, which is not supported.*key of your own/],
    [{ model: "google-antigravity/x" }, /antigravity, which is not supported.*gemini/],
    [{ model: "claudecli/x" }, /claude-cli, which is not supported.*anthropic/],
    [{ model: "codex-cli/x" }, /codex-cli, which is not supported.*openai/],
    [{ model: "elevenlabs/x" }, /elevenlabs, which is not supported.*speech/],
    [{ model: "openai/x", api_keys: [] }, /has no key/],
    [{ model: "openai/x", api_keys: [" "] }, /has no key/],
    [{ model: "openai/x", api_keys: ["two words"] }, /invalid key/],
    [{ model: "openai/x", api_keys: ["ключ-secret"] }, /invalid key/],
    [{ model: "openai/x", api_base: "box:8080" }, /no usable api_base/],
    [{ model: "openai/x", api_base: "ftp://box" }, /no usable api_base/],
    [{ model: "openai/x", api_base: "http://me:pw@box/v1" }, /user name or a password/],
  ];
  for (const [entry, message] of wrong) {
    it(`${JSON.stringify(entry)} is a failure of the configuration`, () => {
      assert.throws(
        () => endpointOf(modelEntry(entry)),
        (thrown) => {
          assert.ok(thrown instanceof Failure && thrown.code === "config");
          assert.match(`${thrown.message} ${thrown.remedy}`, message);
          assert.doesNotMatch(
            `${thrown.message} ${thrown.why} ${thrown.remedy}`,
            /secret|pw@|two w/,
          );
          return true;
        },
      );
    });
  }

  it("speaks messages with Anthropic, and chat completions with other hosts under that name", () => {
    assert.equal(dialectOf(""), "anthropic");
    assert.equal(dialectOf("https://api.anthropic.com/v1"), "anthropic");
    assert.equal(dialectOf("http://litellm:4000/v1"), "chat-completions");
  });

  it("has a base for every protocol that is spoken", () => {
    for (const [name, facts] of Object.entries(PROTOCOLS)) {
      if (facts.unsupported !== undefined || name === "azure" || facts.cloud !== undefined)
        continue;
      assert.match(facts.base ?? "", /^https?:\/\/.*[^/]$/, name);
    }
  });

  it("a header that cannot be sent is found at start, without its value", () => {
    const entry = { custom_headers: { "x-key": "secret\nvalue" } };
    assert.throws(
      () => openModel({ entry }),
      (thrown) => thrown instanceof Failure && !JSON.stringify(thrown).includes("secret"),
    );
  });
});

describe("the choice of an entry", () => {
  const entries = [
    modelEntry({ model_name: "off", enabled: false }),
    modelEntry({ model_name: "keyless", api_keys: [] }),
    modelEntry({ model_name: "good", model: "openai/one" }),
    modelEntry({ model_name: "twin", enabled: false, model: "openai/two" }),
    modelEntry({ model_name: "twin", model: "openai/three" }),
  ];
  const chosen = (model_name: string) =>
    openModels({ config: agentConfig(entries, { model_name }), fetch, log: SILENT })?.current();

  it("without a name is the first enabled one that can work", () => {
    assert.deepEqual(chosen(""), { name: "good", provider: "openai", model: "one" });
  });
  it("with a name is that one, enabled ones first", () => {
    assert.equal(chosen("off")?.name, "off");
    assert.equal(chosen("twin")?.model, "three");
    assert.equal(chosen("openai/one")?.name, "good");
  });
  it("with the name of one that cannot work is a failure", () => {
    assert.throws(
      () => chosen("keyless"),
      (thrown) => thrown instanceof Failure && thrown.message === 'model_list "keyless" has no key',
    );
  });
  it("with an unknown name is a failure that knows better", () => {
    assert.throws(
      () => chosen("goood"),
      (thrown) => thrown instanceof Failure && thrown.remedy === "did you mean good?",
    );
    assert.throws(
      () => openModels({ config: agentConfig([], { model_name: "gpt" }), fetch, log: SILENT }),
      (thrown) => thrown instanceof Failure && /empty/.test(thrown.why ?? ""),
    );
  });
  it("among none that can work is none, with a warning", () => {
    const log = createMemoryLog();
    const config = agentConfig([modelEntry({ api_keys: [] })]);
    assert.equal(openModels({ config, fetch, log }), undefined);
    assert.equal(log.lines[0]?.level, "warn");
  });
});
