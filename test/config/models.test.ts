import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { allTextOf, failureFrom, loadedFrom, warningText } from "./home.ts";

describe("an entry of model_list", () => {
  it("has the contract's defaults", async () => {
    const { config } = await loadedFrom({
      model_list: [{ model_name: "m", model: "openai/m", api_keys: ["k"] }],
    });
    const [{ api_keys, ...rest } = assert.fail()] = config.model_list;
    assert.deepEqual(
      api_keys.map((key) => key.reveal()),
      ["k"],
    );
    assert.deepEqual(rest, {
      model_name: "m",
      provider: "",
      model: "openai/m",
      api_base: "",
      enabled: true,
      request_timeout: 0,
      max_tokens_field: "",
      custom_headers: {},
      extra_body: {},
      user_agent: "",
      proxy: "",
      fallbacks: [],
      rpm: 0,
      thinking_level: "",
      tool_schema_transform: "",
      protocol: "",
    });
  });

  it("has its fields as they are written", async () => {
    const entry = {
      model_name: "m",
      provider: "openai",
      model: "m:8b",
      api_base: "http://10.0.0.1/v1",
      request_timeout: 30,
      max_tokens_field: "max_completion_tokens",
      custom_headers: { "X-Team": "a b", "X-Number": 7 },
      extra_body: { a: [1, { b: null, c: true }], d: "x" },
      user_agent: "ua/1",
      proxy: "socks5://10.0.0.2:1080",
      fallbacks: ["other"],
      rpm: 30,
      thinking_level: "high",
      tool_schema_transform: "simple",
      protocol: "responses",
      enabled: true,
    };
    const { config } = await loadedFrom({ model_list: [entry] });
    const { custom_headers = {}, ...read } = config.model_list[0] ?? {};
    const headers = Object.entries(custom_headers).map(([name, value]) => [name, value.reveal()]);
    assert.deepEqual(headers, [
      ["X-Team", "a b"],
      ["X-Number", "7"],
    ]);
    const { custom_headers: _written, ...rest } = entry;
    const extra_body = { a: [1, { c: true }], d: "x" };
    assert.deepEqual(read, { ...rest, api_keys: [], extra_body });
  });

  const means: readonly [entry: object, enabled: boolean][] = [
    [{ model: "openai/m", api_keys: ["k"] }, true],
    [{ model: "openai/m", api_keys: "k" }, true],
    [{ model: "openai/m", api_key: "k" }, true],
    [{ model: "openai/m", api_keys: [] }, false],
    [{ model: "openai/m", api_keys: [" "] }, false],
    [{ model: "openai/m" }, false],
    [{ model: "openai/m", api_base: "http://10.0.0.1/v1" }, true],
    [{ model: "openai/m", api_base: "https://llm.example.com/v1" }, true],
    [{ model: "openai/m", api_base: "https://api.openai.com/v1" }, false],
    [{ model: "openai/m", api_base: "https://api.openai.com/v1", api_keys: ["k"] }, true],
    [{ model: "ollama/llama3" }, true],
    [{ model: "llama3", provider: "Ollama" }, true],
    [{ model: "vllm/x" }, true],
    [{ model: "lmstudio/x" }, true],
    [{ model: "g4f/x" }, true],
    [{ model: "openai/m", api_keys: ["k"], enabled: false }, false],
    [{ model: "openai/m", enabled: true }, true],
    [{ model_name: "local-model", model: "openai/m" }, true],
  ];
  for (const [entry, enabled] of means) {
    it(`${JSON.stringify(entry)} is ${enabled ? "enabled" : "not enabled"}`, async () => {
      const { config } = await loadedFrom({ model_list: [{ model_name: "m", ...entry }] });
      assert.equal(config.model_list[0]?.enabled, enabled);
    });
  }

  it("may have the name of another one", async () => {
    const entry = { model_name: "m", model: "openai/m", api_keys: ["k"] };
    const loaded = await loadedFrom({
      model_list: [entry, entry],
      agents: { defaults: { model_name: "m" } },
    });
    assert.equal(loaded.config.model_list.length, 2);
    assert.equal(warningText(loaded), "");
  });

  const wrong: readonly [entry: object, text: RegExp][] = [
    [{ model: "m" }, /model_list\[0\]: has no model_name/],
    [{ model_name: "m" }, /model_list\[0\]: has no model/],
    [{ model_name: " ", model: "" }, /2 values .*\n.*has no model_name\n.*has no model$/ms],
    [{ model_name: "m", model: "/m" }, /model: found "\/m"/],
    [{ model_name: "m", model: "a//b" }, /model: found "a\/\/b"/],
    [{ model_name: "m", model: "m", request_timeout: -1 }, /request_timeout/],
    [
      { model_name: "m", model: "m", extra_body: [] },
      /extra_body: found a list, allowed is an object/,
    ],
    [
      { model_name: "m", model: "m", custom_headers: { "a b": "x" } },
      /a b is wrong, allowed is an HTTP header/,
    ],
    [{ model_name: "m", model: "m", user_agent: "a\nb" }, /user_agent/],
  ];
  for (const [entry, text] of wrong) {
    it(`${JSON.stringify(entry)} is refused`, async () => {
      const failure = await failureFrom({ model_list: [entry] });
      assert.match([failure.message, failure.why].filter(Boolean).join("\n"), text);
    });
  }

  it("without a name is reported with everything else", async () => {
    const failure = await failureFrom({ model_list: [{ model: "m" }], gateway: { port: -1 } });
    assert.match(failure.message, /^2 values/);
  });
});

describe("agents.defaults.model_name", () => {
  const model_list = [
    { model_name: "big", model: "openai/gpt-5.4", api_keys: ["k"] },
    { model_name: "off", model: "groq/x", api_keys: ["k"], enabled: false },
  ];
  const load = (model_name: string) =>
    loadedFrom({ model_list, agents: { defaults: { model_name } } });

  it("names an entry by its name, or by its model as Go PicoClaw allows", async () => {
    for (const name of ["big", "openai/gpt-5.4", "gpt-5.4", " big "]) {
      assert.equal((await load(name)).config.agents.defaults.model_name, "big");
    }
  });

  it("that names none is an error with the nearest name", async () => {
    const failure = await failureFrom({ model_list, agents: { defaults: { model_name: "bik" } } });
    assert.match(
      failure.message,
      /agents\.defaults\.model_name: found "bik", allowed is a model_name of model_list, or nothing; did you mean big\?/,
    );
  });

  it("that names one which is disabled is a warning", async () => {
    const text = warningText(await load("off"));
    assert.match(text, /names off, which is not enabled in model_list; it is used all the same/);
    const alone = await loadedFrom({
      model_list: [{ model_name: "off", model: "openai/x", enabled: false }],
      agents: { defaults: { model_name: "x" } },
    });
    assert.match(warningText(alone), /is used all the same/);
    assert.doesNotMatch(warningText(alone), /offline/);
  });

  it("with an empty model_list is a warning, and the agent the offline one", async () => {
    const loaded = await loadedFrom({ agents: { defaults: { model_name: "big" } } });
    assert.equal(loaded.config.agents.defaults.model_name, "");
    assert.match(warningText(loaded), /names big, and model_list is empty/);
    assert.match(warningText(loaded), /no model is configured, so the offline agent answers/);
  });

  it("that is empty is none", async () => {
    assert.equal((await load("")).config.agents.defaults.model_name, "");
  });
});

it("a model_list that no one can use is reported", async () => {
  const model_list = [{ model_name: "a", model: "openai/a" }];
  assert.match(
    warningText(await loadedFrom({ model_list })),
    /no entry of model_list is enabled or has a key/,
  );
});

it("an explicit 0 of agents.defaults means what it means to Go PicoClaw", async () => {
  const { config } = await loadedFrom({
    agents: {
      defaults: { max_tokens: 0, max_tool_iterations: 0, temperature: 0, max_llm_retries: 0 },
    },
  });
  const { max_tokens, max_tool_iterations, temperature, max_llm_retries } = config.agents.defaults;
  assert.deepEqual(
    [max_tokens, max_tool_iterations, temperature, max_llm_retries],
    [8192, 20, 0, 0],
  );
});

it("log levels of Go PicoClaw are the nearest that there are", async () => {
  const levels = {
    trace: "debug",
    debug: "debug",
    info: "info",
    warn: "warn",
    WARNING: "warn",
    error: "error",
    fatal: "error",
    panic: "error",
    "": "info",
  };
  for (const [log_level, expected] of Object.entries(levels)) {
    assert.equal((await loadedFrom({ gateway: { log_level } })).config.gateway.log_level, expected);
  }
});

it("keys of api_keys are reported one by one where they are wrong", async () => {
  const failure = await failureFrom({
    model_list: [{ model_name: "m", model: "m", api_keys: ["k", true, ["x"]] }],
  });
  assert.match(allTextOf(failure), /api_keys\[1\]: found a value of type boolean/);
  assert.match(allTextOf(failure), /api_keys\[2\]: found a value of type list/);
});
