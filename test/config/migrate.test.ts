import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  allTextOf,
  failureFrom,
  firstChannel,
  loadedFrom,
  mqttConfig,
  originText,
  warningText,
} from "./home.ts";

const modelsOf = async (config: object) => {
  const { config: loaded } = await loadedFrom(config);
  const models = loaded.model_list.map(
    ({ model_name, provider, model, api_base, api_keys, enabled, request_timeout }) => ({
      model_name,
      provider,
      model,
      api_base,
      keys: api_keys.map((key) => key.reveal()),
      enabled,
      request_timeout,
    }),
  );
  return { models, name: loaded.agents.defaults.model_name };
};

describe("the version of config.json", () => {
  for (const version of [undefined, null, 0, 1, 2, 3]) {
    it(`may be ${version}`, async () => {
      const loaded = await loadedFrom({ ...mqttConfig(), version });
      assert.equal(loaded.config.channels.length, 1);
    });
  }

  for (const version of [4, 99]) {
    it(`${version} is reported as too new`, async () => {
      const failure = await failureFrom(`{\n"version": ${version}}`);
      assert.match(failure.message, new RegExp(`config\\.json:2: version ${version} is unknown`));
      assert.match(failure.why ?? "", /versions 0 to 3/);
      assert.match(failure.remedy ?? "", /newer picoclaw/);
    });
  }

  for (const version of ["3", 2.5, -1, true, [3], { a: 1 }]) {
    it(`${JSON.stringify(version)} is no version`, async () => {
      const failure = await failureFrom({ version });
      assert.match(failure.message, /config\.json:2: version /);
      assert.match(allTextOf(failure), /0 to 3/);
    });
  }
});

for (const version of [undefined, 0, 1, 2, 3]) {
  describe(`older forms at version ${version}`, () => {
    it("channels are channel_list, their flat fields settings", async () => {
      const text = `{"version": ${version ?? null}, "channels": {"mqtt": {
        "enabled": true,
        "broker": "tcp://b",
        "agent_id": "a",
        "qos": 1,
        "allow_from": [1],
        "tls": {"ca_file": "ca.pem"},
        "mention_only": true }}}`;
      const loaded = await loadedFrom(text);
      const { settings, allow_from } = firstChannel(loaded);
      assert.deepEqual(settings.broker, ["tcp://b"]);
      assert.equal(settings.qos, 1);
      assert.equal(settings.tls.verify, true);
      assert.deepEqual(allow_from, ["1"]);
      assert.equal(originText(loaded, "channel_list.mqtt.settings.broker"), "config.json:3");
      assert.equal(originText(loaded, "channel_list.mqtt.settings.tls.ca_file"), "config.json:7");
      assert.equal(
        originText(loaded, "channel_list.mqtt.group_trigger.mention_only"),
        "config.json:8",
      );
      assert.doesNotMatch(warningText(loaded), /known key/);
    });

    it("settings that are nested already stay, and win", async () => {
      const channel = {
        enabled: true,
        broker: "tcp://flat",
        agent_id: "flat",
        settings: { broker: "tcp://nested" },
      };
      const loaded = await loadedFrom({ version, channels: { mqtt: channel } });
      assert.deepEqual(firstChannel(loaded).settings.broker, ["tcp://nested"]);
      assert.equal(firstChannel(loaded).settings.agent_id, "flat");
    });

    it("both channels and channel_list count", async () => {
      const config = {
        version,
        channels: { mqtt: { enabled: true, broker: "tcp://old", agent_id: "a" } },
        channel_list: {
          mqtt: { settings: { broker: "tcp://new" } },
          second: { type: "mqtt", enabled: true, settings: { broker: "tcp://2", agent_id: "b" } },
        },
      };
      const { channels } = (await loadedFrom(config)).config;
      assert.deepEqual(
        channels.map(({ name, settings }) => [name, settings.broker]),
        [
          ["mqtt", ["tcp://new"]],
          ["second", ["tcp://2"]],
        ],
      );
    });

    it("agents.defaults.model is model_name, api_key is in api_keys", async () => {
      const text = `{"version": ${version ?? null},
        "agents": {"defaults": {"model": "m"}},
        "model_list": [{"model_name": "m", "model": "openai/m",
          "api_key": "first", "api_keys": ["second", "first", "third"]}]}`;
      const loaded = await loadedFrom(text);
      assert.equal(loaded.config.agents.defaults.model_name, "m");
      assert.equal(originText(loaded, "agents.defaults.model_name"), "config.json:2");
      const [model] = loaded.config.model_list;
      assert.deepEqual(
        model?.api_keys.map((key) => key.reveal()),
        ["first", "second", "third"],
      );
      assert.equal(originText(loaded, "model_list[0].api_keys[0]"), "config.json:4");
      assert.equal(model?.enabled, true);
    });

    it("bindings, comments and what only Go PicoClaw uses are no reason to warn", async () => {
      const config = {
        version,
        _comment: "x",
        $schema: "x",
        bindings: [{ agent_id: "x" }],
        tools: { exec: { enabled: true, _comment: "x" } },
        heartbeat: { enabled: true },
        session: { dm_scope: "global" },
        agents: {
          list: [],
          defaults: { _comment: 1, subturn: { max_depth: 3 }, split_on_marker: false },
        },
        model_list: [
          {
            model_name: "m",
            model: "openai/m",
            rpm: 5,
            thinking_level: "low",
            _comment: "",
            api_keys: ["k"],
          },
        ],
      };
      assert.equal(warningText(await loadedFrom(config)), "");
    });
  });
}

describe("providers of version 0", () => {
  it("become a model each, where they have a key or an address", async () => {
    const { models, name } = await modelsOf({
      providers: {
        ollama: { api_key: "", api_base: "http://localhost:11434/v1" },
        openai: { api_key: "sk-1", api_base: "", request_timeout: 30 },
        groq: { api_key: "", api_base: "" },
      },
    });
    assert.deepEqual(models, [
      {
        model_name: "openai",
        provider: "",
        model: "openai/gpt-5.4",
        api_base: "",
        keys: ["sk-1"],
        enabled: true,
        request_timeout: 30,
      },
      {
        model_name: "ollama",
        provider: "",
        model: "ollama/llama3",
        api_base: "http://localhost:11434/v1",
        keys: [],
        enabled: true,
        request_timeout: 0,
      },
    ]);
    assert.equal(name, "");
  });

  it("give the model of agents.defaults to the provider that is named there", async () => {
    const { models, name } = await modelsOf({
      agents: { defaults: { provider: "GLM", model: "glm-4.7" } },
      providers: { openai: { api_key: "k1" }, zhipu: { api_key: "k2" } },
    });
    assert.equal(name, "glm-4.7");
    assert.deepEqual(
      models.map(({ model_name, model }) => [model_name, model]),
      [
        ["openai", "openai/gpt-5.4"],
        ["glm-4.7", "zhipu/glm-4.7"],
      ],
    );
  });

  it("give it to the first where none is named", async () => {
    const { models, name } = await modelsOf({
      agents: { defaults: { model: "gpt-4o" } },
      providers: { anthropic: { api_key: "k1" }, openai: { api_key: "k2" } },
    });
    assert.equal(name, "gpt-4o");
    assert.equal(models[0]?.model, "openai/gpt-4o");
  });

  it("give it to the one that its prefix names", async () => {
    const { models, name } = await modelsOf({
      agents: { defaults: { model: "anthropic/claude-x" } },
      providers: { openai: { api_key: "k2" }, anthropic: { api_key: "k1" } },
    });
    assert.equal(name, "anthropic/claude-x");
    const chosen = models.find(({ model_name }) => model_name === name);
    assert.deepEqual(chosen?.keys, ["k1"]);
    assert.equal(chosen?.provider, "anthropic");
  });

  it("keep the vendor in the name of a model at openrouter", async () => {
    const { models } = await modelsOf({
      agents: { defaults: { provider: "openrouter", model: "anthropic/claude-opus" } },
      providers: { openrouter: { api_key: "sk-or-1" } },
    });
    assert.equal(models[0]?.provider, "openrouter");
    assert.equal(models[0]?.model, "anthropic/claude-opus");
  });

  it("are nothing where there is a model_list", async () => {
    const { models } = await modelsOf({
      model_list: [{ model_name: "m", model: "openai/m", api_key: "k" }],
      providers: { openai: { api_key: "other" } },
    });
    assert.deepEqual(
      models.map(({ keys }) => keys),
      [["k"]],
    );
  });

  it("can have their keys in .security.yml", async () => {
    const security = "providers:\n  openai:\n    api_key: 0123e5\n";
    const { config, origins } = await loadedFrom(
      { providers: { openai: { api_base: "" } } },
      { security },
    );
    assert.equal(config.model_list[0]?.api_keys[0]?.reveal(), "0123e5");
    const origin = origins.get("model_list[0].api_keys[0]");
    assert.equal(origin?.from === "file" ? origin.line : 0, 3);
  });
});
