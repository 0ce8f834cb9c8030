import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { modelChecks } from "../../../src/agent/checks.ts";
import type { AgentDefaults, ModelEntry } from "../../../src/config/contract.ts";
import { agentConfig, modelEntry } from "../../support/agent-config.ts";

const OLLAMA = modelEntry({ model_name: "llama3", model: "ollama/llama3", api_keys: [] });
const OFF = modelEntry({
  model_name: "off",
  api_base: "https://llm.example.com/v1",
  enabled: false,
});

async function checksOf(entries: readonly ModelEntry[], defaults: Partial<AgentDefaults> = {}) {
  const checks = await modelChecks(agentConfig([...entries], defaults));
  return checks.filter(({ name }) => name !== "prompt");
}

describe("which model is asked", () => {
  it("is the only one, where it is", async () => {
    assert.deepEqual(await checksOf([OLLAMA, OFF]), [
      {
        name: "model",
        result: "ok",
        message: '"llama3" answers (ollama, llama3) at http://localhost:11434/v1',
      },
    ]);
  });

  it("is the named one, also where it is switched off", async () => {
    const [check, ...more] = await checksOf([OLLAMA, OFF], { model_name: "off" });
    assert.equal(check?.result, "ok");
    assert.match(check.message, /^"off" answers \(openai, gpt-test\) at https:\/\/llm\.example/);
    assert.deepEqual(more, []);
  });

  it("is a guess that is warned of, where none is named and several could be", async () => {
    const keyless = modelEntry({ model_name: "cloud", api_keys: [] });
    const [check] = await checksOf([keyless, OLLAMA, modelEntry()]);
    assert.equal(check?.result, "warn");
    assert.match(check.message, /^"llama3" answers .* the first of 2 usable models/);
    assert.match(check.remedy ?? "", /agents\.defaults\.model_name/);
  });

  it("is none, and why", async () => {
    for (const [entries, why] of [
      [[], /no model is configured/],
      [[OFF], /no entry of model_list is enabled or has a key/],
    ] as const) {
      const [check, ...more] = await checksOf(entries);
      assert.equal(check?.result, "ok");
      assert.match(check.message, why);
      assert.match(check.message, /the offline agent answers/);
      assert.deepEqual(more, []);
    }
  });

  it("is none although one is enabled: a warning with what is wrong with it", async () => {
    for (const [api_keys, why] of [
      [[], /model_list "main" has no key/],
      [["sk- test"], /model_list "main" has an invalid key/],
    ] as const) {
      const [check, ...more] = await checksOf([OFF, modelEntry({ model_name: "main", api_keys })]);
      assert.equal(check?.result, "warn");
      assert.match(check.message, why);
      assert.match(check.remedy ?? "", /key/);
      assert.deepEqual(more, []);
    }
  });
});

describe("a model over plain HTTP", () => {
  it("on another machine is warned of, with its host and without a key", async () => {
    const entry = modelEntry({ api_base: "http://10.1.2.3:8000/v1" });
    const [, check, ...more] = await checksOf([entry, OFF]);
    assert.equal(check?.name, "model test");
    assert.equal(check.result, "warn");
    assert.match(check.message, /^10\.1\.2\.3:8000 is called over plain HTTP/);
    assert.doesNotMatch(check.message, /sk-/);
    assert.deepEqual(more, []);
  });

  it("on this machine, and TLS, are well", async () => {
    for (const api_base of [
      "http://localhost:8000/v1",
      "http://127.0.0.1/v1",
      "http://127.9.9.9/v1",
      "http://[::1]:80/v1",
      "https://10.1.2.3/v1",
    ]) {
      assert.equal((await checksOf([modelEntry({ api_base })])).length, 1, api_base);
    }
  });

  it("that nobody asks is not warned of", async () => {
    const entry = modelEntry({ model_name: "b", api_base: "http://10.1.2.3/v1", enabled: false });
    assert.equal((await checksOf([OLLAMA, entry])).length, 1);
  });
});

describe("how long the prompt is", () => {
  it("is told with the window that it comes from", async () => {
    for (const [context_window, message] of [
      [4096, "short, with few tools (window of 4096 tokens, configured)"],
      [128_000, "full, with all tools (window of 128000 tokens, configured)"],
    ] as const) {
      const checks = await modelChecks(agentConfig([OLLAMA], { context_window }));
      assert.deepEqual(checks[1], { name: "prompt", result: "ok", message });
    }
  });
});
