import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { firstChannel, loadedFrom, originText, warningText } from "./home.ts";

const flatConfig = {
  channels: {
    mqtt: { enabled: true, broker: "tcp://b", agent_id: "a", username: "old", password: "old" },
  },
};
const nestedConfig = {
  channel_list: {
    mqtt: {
      enabled: true,
      settings: { broker: "tcp://b", agent_id: "a", username: "old", password: "old" },
    },
  },
};

describe("channels in .security.yml", () => {
  const shapes: readonly [name: string, yaml: string, line: number][] = [
    ["flat channels", "channels:\n  mqtt:\n    username: u\n    password: 0123e5\n", 4],
    [
      "nested channel_list",
      "channel_list:\n  mqtt:\n    settings:\n      username: u\n      password: 0123e5\n",
      5,
    ],
    ["nested channels", "channels:\n  mqtt:\n    settings: {username: u, password: 0123e5}\n", 3],
    ["flat channel_list", "channel_list:\n  mqtt: {username: u, password: 0123e5}\n", 2],
  ];
  for (const version of [undefined, 0, 1, 2, 3]) {
    for (const [config, form] of [
      [flatConfig, "flat"],
      [nestedConfig, "nested"],
    ] as const) {
      for (const [name, security, line] of shapes) {
        it(`as ${name} with a ${form} config.json of version ${version}`, async () => {
          const loaded = await loadedFrom({ ...config, version }, { security });
          const { settings } = firstChannel(loaded);
          assert.equal(settings.username?.reveal(), "u");
          assert.equal(settings.password?.reveal(), "0123e5");
          assert.deepEqual(settings.broker, ["tcp://b"]);
          assert.equal(
            originText(loaded, "channel_list.mqtt.settings.password"),
            `.security.yml:${line}`,
          );
          assert.equal(warningText(loaded).includes("known"), false);
        });
      }
    }
  }

  it("are flat under another name than their type, too", async () => {
    const channel = { type: "mqtt", enabled: true, settings: { broker: "tcp://b", agent_id: "a" } };
    const security = "channels: {garden: {username: u, password: 1}}";
    const loaded = await loadedFrom(
      { version: 3, channel_list: { garden: channel } },
      { security },
    );
    assert.equal(firstChannel(loaded).settings.password?.reveal(), "1");
  });

  it("can set more than secrets, read as the setting wants it", async () => {
    const security =
      "channels: {mqtt: {qos: 1, keep_alive: 30, plain_text: true, streaming: {enabled: false}, agent_id: 007}}";
    const { settings } = firstChannel(await loadedFrom(nestedConfig, { security }));
    assert.equal(settings.qos, 1);
    assert.equal(settings.keep_alive, 30);
    assert.equal(settings.plain_text, true);
    assert.deepEqual(settings.streaming, {
      enabled: false,
      interval_ms: 250,
      progress_secs: 20,
    });
    assert.equal(settings.agent_id, "007");
  });

  it("do not take a value away with a placeholder or with nothing", async () => {
    for (const nothing of ['"[NOT_HERE]"', "null", "~", ""]) {
      const security = `channels:\n  mqtt:\n    password: ${nothing}\n`;
      const { settings } = firstChannel(await loadedFrom(nestedConfig, { security }));
      assert.equal(settings.password?.reveal(), "old");
    }
  });

  it("may have a placeholder in config.json", async () => {
    const config = structuredClone(nestedConfig);
    config.channel_list.mqtt.settings.username = "[NOT_HERE]";
    config.channel_list.mqtt.settings.password = "[NOT_HERE]";
    const { settings } = firstChannel(await loadedFrom(config));
    assert.equal(settings.username, undefined);
    assert.equal(settings.password, undefined);
  });
});

describe("models in .security.yml", () => {
  const model_list = [
    { model_name: "a", model: "openai/a", api_keys: ["old"] },
    { model_name: "b:8b", model: "openai/b" },
    { model_name: "a", model: "openai/a2", api_keys: ["old2"] },
  ];
  const keysWith = async (security: string): Promise<{ keys: string[][]; warnings: string }> => {
    const loaded = await loadedFrom({ version: 3, model_list }, { security });
    const keys = loaded.config.model_list.map(({ api_keys }) =>
      api_keys.map((key) => key.reveal()),
    );
    return { keys, warnings: warningText(loaded) };
  };
  const table: readonly [name: string, yaml: string, keys: readonly (readonly string[])[]][] = [
    [
      "by name",
      "model_list:\n  b:8b:\n    api_keys: [k1, 007]",
      [["old"], ["k1", "007"], ["old2"]],
    ],
    [
      "by name:index",
      "model_list: {'a:0': {api_keys: [k0]}, 'a:1': {api_keys: [k1]}}",
      [["k0"], [], ["k1"]],
    ],
    ["by name for all equal ones", "model_list: {a: {api_keys: [k]}}", [["k"], [], ["k"]]],
    [
      "by name and by index",
      "model_list: {a: {api_keys: [k]}, 'a:1': {api_keys: [k1]}}",
      [["k"], [], ["k1"]],
    ],
    ["as a single one", "model_list: {'a:0': {api_keys: k}}", [["k"], [], ["old2"]]],
    ["as api_key", "model_list: {'a:0': {api_key: 0x1F}}", [["0x1F"], [], ["old2"]]],
    ["not at all", "model_list: {'a:0': {}}", [["old"], [], ["old2"]]],
    ["as an empty list", "model_list: {'a:0': {api_keys: []}}", [["old"], [], ["old2"]]],
    [
      "as a placeholder",
      "model_list: {'a:0': {api_keys: ['[NOT_HERE]']}}",
      [["old"], [], ["old2"]],
    ],
    ["with blanks around", "model_list: {'a:0': {api_keys: [' k ', '']}}", [["k"], [], ["old2"]]],
  ];
  for (const [name, security, keys] of table) {
    it(`have their keys ${name}`, async () => {
      const result = await keysWith(security);
      assert.deepEqual(result.keys, keys);
      assert.equal(result.warnings, "");
    });
  }

  it("that are in no model_list are reported, with the nearest name", async () => {
    const { warnings, keys } = await keysWith("model_list:\n  b:8c:\n    api_keys: [k]\n");
    assert.match(
      warnings,
      /\.security\.yml:3: model_list\.b:8c: names no entry of model_list; did you mean b:8b\?/,
    );
    assert.deepEqual(keys, [["old"], [], ["old2"]]);
  });

  it("that have another shape are reported, and take nothing away", async () => {
    for (const shape of ["model_list: [k]", "model_list: {a: k}", "model_list: k"]) {
      const { warnings, keys } = await keysWith(shape);
      assert.match(warnings, /has no effect/);
      assert.deepEqual(keys, [["old"], [], ["old2"]]);
    }
  });
});

describe("searches in .security.yml", () => {
  const tools = {
    web: {
      brave: { enabled: true, api_keys: ["old"] },
      tavily: { enabled: true, base_url: "https://t.test" },
    },
  };
  for (const [what, security, brave, tavily] of [
    [
      "under web",
      "web: {brave: {api_keys: [b1, 007]}, tavily: {api_keys: t}}",
      ["b1", "007"],
      ["t"],
    ],
    [
      "under tools.web",
      "tools: {web: {brave: {api_keys: [b1]}, tavily: {api_keys: [t]}}}",
      ["b1"],
      ["t"],
    ],
    [
      "under both, tools.web first",
      "web: {brave: {api_keys: [b1]}, tavily: {api_keys: [t]}}\ntools: {web: {brave: {api_keys: [b2]}}}",
      ["b2"],
      ["t"],
    ],
    ["not at all", "web: {brave: {api_keys: []}, kagi: {api_keys: [k]}}", ["old"], []],
    ["in another shape", "web: x", ["old"], []],
  ] as const) {
    it(`have their keys ${what}`, async () => {
      const loaded = await loadedFrom({ version: 3, tools }, { security });
      const { web } = loaded.config.tools;
      assert.deepEqual(
        web.brave.api_keys.map((key) => key.reveal()),
        brave,
      );
      assert.deepEqual(
        web.tavily.api_keys.map((key) => key.reveal()),
        tavily,
      );
      assert.equal(web.tavily.base_url, "https://t.test");
      assert.doesNotMatch(warningText(loaded), /web/);
    });
  }
});

it("what .security.yml holds for other parts of Go PicoClaw is no reason to warn", async () => {
  const security =
    "web: {brave: {api_keys: [k]}}\nskills: {github: {token: t}}\nchannels: {telegram: {token: t}}\n";
  assert.doesNotMatch(
    warningText(await loadedFrom(nestedConfig, { security })),
    /web|skills|telegram/,
  );
});
