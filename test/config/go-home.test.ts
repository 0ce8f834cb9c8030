import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { HOMES, defaults, flatChannels, rest } from "./go-home-files.ts";
import { firstChannel, inHome, warningText } from "./home.ts";

for (const [name, config, secrets] of HOMES) {
  describe(`a home of Go PicoClaw at ${name}`, () => {
    it("loads as it is, and stays as it is", async () => {
      const files = { "config.json": config, ".security.yml": secrets, "workspace/SOUL.md": "" };
      await inHome(files, async (home) => {
        const loaded = await home.loaded();
        const { settings, allow_from } = firstChannel(loaded);
        assert.equal(loaded.config.channels.length, 1);
        assert.deepEqual(settings.broker, ["ssl://broker.lan:8883"]);
        assert.equal(settings.agent_id, "kitchen");
        assert.equal(settings.username?.reveal(), "kitchen");
        assert.equal(settings.password?.reveal(), "0123e5");
        assert.equal(settings.keep_alive, 30);
        assert.equal(settings.qos, 1);
        assert.deepEqual(settings.tls, { verify: false });
        assert.deepEqual(allow_from, ["12345", "phone"]);
        const { agents, model_list, gateway } = loaded.config;
        assert.equal(agents.defaults.workspace, join(home.path, "workspace"));
        assert.equal(agents.defaults.model_name, "gpt");
        assert.equal(agents.defaults.temperature, 0.7);
        assert.equal(agents.defaults.max_tokens, 8192);
        assert.equal(gateway.host, "127.0.0.1");
        assert.deepEqual(
          model_list.map(({ model_name, api_keys, enabled }) => [
            model_name,
            api_keys.map((key) => key.reveal()),
            enabled,
          ]),
          [
            ["gpt", ["sk-1", "sk-2"], true],
            ["gpt", ["sk-3"], true],
            ["claude", [], false],
            ["llama3", [], true],
          ],
        );
      });
    });

    it("warns of what is enabled and missing here, and of nothing else", async () => {
      await inHome({ "config.json": config, ".security.yml": secrets }, async (home) => {
        const loaded = await home.loaded();
        const reloads = JSON.stringify(config).includes('"hot_reload":true');
        assert.equal(loaded.warnings.length, reloads ? 2 : 1);
        assert.match(warningText(loaded), /: channel type pico is not supported/);
        if (reloads) assert.match(warningText(loaded), /: gateway\.hot_reload: has no effect here/);
        assert.equal(loaded.refusal, undefined);
      });
    });
  });
}

describe("examples of Go PicoClaw's documentation", () => {
  it("the README's smallest one, without a version, loads without a warning but for the model", async () => {
    const config = {
      channel_list: {
        mqtt: {
          enabled: true,
          type: "mqtt",
          settings: { broker: "tcp://localhost:1883", agent_id: "assistant" },
        },
      },
    };
    const secrets =
      "channel_list:\n  mqtt:\n    settings:\n      username: user\n      password: pass\n";
    await inHome({ "config.json": config, ".security.yml": secrets }, async (home) => {
      const loaded = await home.loaded();
      assert.equal(firstChannel(loaded).settings.agent_id, "assistant");
      assert.equal(firstChannel(loaded).settings.password?.reveal(), "pass");
      assert.equal(loaded.warnings.length, 1);
      assert.match(warningText(loaded), /no model is configured/);
    });
  });

  it("config.example.json with its comments loads, though Go PicoClaw refuses it", async () => {
    const config = {
      version: 3,
      _comment: "copy me",
      agents: { defaults: { ...defaults, model_name: "gpt", _comment: "x" } },
      model_list: [
        {
          model_name: "gpt",
          model: "openai/gpt-5.4",
          api_keys: ["sk-your-key"],
          api_base: "https://api.openai.com/v1",
        },
        {
          _comment: "local",
          model_name: "local-model",
          model: "vllm/x",
          api_base: "http://localhost:8000/v1",
        },
      ],
      channel_list: Object.fromEntries(
        Object.entries(flatChannels).map(([name, { enabled, ...settings }]) => [
          name,
          { enabled: false, type: name, _comment: `${enabled}`, settings },
        ]),
      ),
      ...rest,
    };
    await inHome({ "config.json": config }, async (home) => {
      const loaded = await home.loaded();
      assert.deepEqual(loaded.config.channels, []);
      assert.equal(warningText(loaded), "");
    });
  });
});
