import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { allTextOf, failureFrom, inHome, loadedFrom, mqttConfig, warningText } from "./home.ts";

describe("wrong values", () => {
  it("are all reported at once, each with file, line, key, what was found and what is allowed", async () => {
    const files = {
      "config.json": `{
  "version": 3,
  "gateway": {"port": 70000, "log_level": "loud"},
  "agents": {"defaults": {
    "max_tokens": "many",
    "temperature": 3
  }},
  "model_list": [{"model_name": "m", "model": "a b"}, {"model": "x"}],
  "channel_list": {"mqtt": {"enabled": true, "settings": {
    "broker": "mqttss://b", "agent_id": "a/+",
    "qos": 3,
    "topic_prefix": ["x"]
  }}, "second": {"type": "mqtt", "enabled": "yes"}}
}`,
      ".security.yml": "channels:\n  mqtt:\n    keep_alive: soon\n",
    };
    await inHome(files, async (home) => {
      const failure = await home.failed();
      const security = home.file.replace("config.json", ".security.yml");
      assert.deepEqual(
        failure.why?.split("\n").toSorted(),
        [
          `${home.file}:10: channel_list.mqtt.settings.agent_id: found "a/+", allowed is one or more levels of a topic, none of them blank, without + and #, not beginning with $`,
          `${home.file}:10: channel_list.mqtt.settings.broker: is not a broker URL: its scheme is unknown (did you mean mqtts?); use tcp, mqtt, ssl, tls, mqtts, mqtt+ssl, tcps, ws, wss, unix, embedded`,
          `${home.file}:11: channel_list.mqtt.settings.qos: found 3, allowed is 0, 1 or 2`,
          `${home.file}:12: channel_list.mqtt.settings.topic_prefix: found a list, allowed is text without + # and control characters that does not begin with $`,
          `${home.file}:13: channel_list.second.enabled: found "yes", allowed is true or false`,
          `${home.file}:3: gateway.log_level: found "loud", allowed is debug, info, warn or error`,
          `${home.file}:3: gateway.port: found 70000, allowed is a whole number from 0 to 65535`,
          `${home.file}:5: agents.defaults.max_tokens: found "many", allowed is a whole number from 0 to 1000000000`,
          `${home.file}:6: agents.defaults.temperature: found 3, allowed is a number from 0 to 2`,
          `${home.file}:8: model_list[0].model: found "a b", allowed is a model without blanks, leading / or //`,
          `${home.file}:8: model_list[1]: has no model_name`,
          `${security}:3: channel_list.mqtt.settings.keep_alive: found "soon", allowed is a number of seconds up to 65535`,
        ].toSorted(),
      );
      assert.equal(failure.message, "12 values of the configuration are wrong");
      assert.match(failure.remedy ?? "", /picoclaw config validate/);
    });
  });

  it("stand in the order of the file", async () => {
    const failure = await failureFrom('{"gateway": {\n"port": -1,\n"host": 3},\n"agents": []}');
    assert.match(failure.message, /^3 values in .*config\.json are wrong$/);
    const lines = failure.why?.split("\n").map((line) => /config\.json:(\d+)/.exec(line)?.[1]);
    assert.deepEqual(lines, ["2", "3", "4"]);
  });

  it("of which there is one are the message itself", async () => {
    const failure = await failureFrom('{"gateway": {"port": 1.5}}');
    assert.match(failure.message, /config\.json:1: gateway\.port: found 1\.5, allowed is a whole/);
    assert.equal(failure.why, undefined);
  });

  const shapes: readonly [config: object, text: RegExp][] = [
    [{ agents: [] }, /agents: found a list, allowed is an object/],
    [{ agents: { defaults: "x" } }, /agents\.defaults: found text, allowed is an object/],
    [{ gateway: 3 }, /gateway: found a number, allowed is an object/],
    [{ model_list: {} }, /model_list: found an object, allowed is a list/],
    [{ model_list: ["x"] }, /model_list\[0\]: found text, allowed is an object/],
    [{ channel_list: [] }, /channel_list: found a list, allowed is an object/],
    [{ channel_list: { mqtt: true } }, /channel_list\.mqtt: found a boolean, allowed is an object/],
    [
      { channel_list: { mqtt: { enabled: true, settings: [] } } },
      /settings: found a list, allowed is an object/,
    ],
    [mqttConfig({ tls: "x" }), /settings\.tls: found text, allowed is an object/],
    [mqttConfig({ limits: { total: [] } }), /limits\.total: found a list, allowed is an object/],
    [mqttConfig({ qos: "1" }), /qos: found "1"/],
    [mqttConfig({ plain_text: 1 }), /plain_text: found 1, allowed is true or false/],
    [{ gateway: { host: true } }, /host: found true/],
    [{ gateway: { port: "18790" } }, /port: found "18790"/],
  ];
  for (const [config, text] of shapes) {
    it(`of another shape are reported: ${text.source}`, async () => {
      assert.match(allTextOf(await failureFrom(config)), text);
    });
  }

  it("are shown in one line, without control characters, and not at length", async () => {
    const failure = await failureFrom({ gateway: { log_level: `\u001b[31m\n${"x".repeat(500)}` } });
    assert.match(failure.message, /found "\\x1b\[31m\\nx+…", allowed/);
    assert.ok(failure.message.length < 300);
  });
});

describe("secrets of the wrong type", () => {
  const table: readonly [config: object, text: RegExp][] = [
    [
      mqttConfig({ password: { x: "hunter2" } }),
      /settings\.password: found a value of type object, allowed is text/,
    ],
    [mqttConfig({ username: ["hunter2"] }), /settings\.username: found a value of type list/],
    [mqttConfig({ password: true }), /settings\.password: found a value of type boolean/],
    [
      { model_list: [{ model_name: "m", model: "m", api_keys: [{ x: "hunter2" }] }] },
      /api_keys\[0\]: found a value of type object/,
    ],
    [
      { model_list: [{ model_name: "m", model: "m", api_keys: { x: "hunter2" } }] },
      /api_keys: found an object, allowed is a list/,
    ],
    [
      { model_list: [{ model_name: "m", model: "m", custom_headers: { "X-Key": "hunter2\n" } }] },
      /"?X-Key"? is wrong, allowed is an HTTP header/,
    ],
  ];
  for (const [config, text] of table) {
    it(`are reported without their value: ${text.source}`, async () => {
      const failure = await failureFrom(config);
      assert.match(allTextOf(failure), text);
      assert.doesNotMatch(allTextOf(failure), /hunter2/);
    });
  }

  it("are taken by their text where they are numbers", async () => {
    const text = `{"channel_list": {"mqtt": {"enabled": true, "settings": {"broker": "b", "agent_id": "a",
      "username": 12345678901234567890, "password": 1.50}}}}`;
    const { settings } = (await loadedFrom(text)).config.channels[0] ?? assert.fail();
    assert.equal(settings.username?.reveal(), "12345678901234567890");
    assert.equal(settings.password?.reveal(), "1.50");
  });
});

describe("unknown keys", () => {
  const table: readonly [config: object, text: string][] = [
    [
      { chanel_list: {} },
      "chanel_list: is not a known key and has no effect; did you mean channel_list?",
    ],
    [
      { agents: { default: {} } },
      "agents.default: is not a known key and has no effect; did you mean defaults?",
    ],
    [{ agents: { defaults: { max_token: 1 } } }, "did you mean max_tokens?"],
    [
      { gateway: { prot: 1 } },
      "gateway.prot: is not a known key and has no effect; did you mean port?",
    ],
    [
      { model_list: [{ model_name: "m", model: "m", apikeys: [] }] },
      "model_list[0].apikeys: is not a known key and has no effect; did you mean api_keys?",
    ],
    [{ channel_list: { mqtt: { enabled: false, allow_form: [] } } }, "did you mean allow_from?"],
    [
      mqttConfig({ borker: "x" }),
      "channel_list.mqtt.settings.borker: is not a known key and has no effect; did you mean broker?",
    ],
    [mqttConfig({ Agent_ID: "x" }), "did you mean agent_id?"],
    [
      mqttConfig({ tls: { cafile: "x" } }),
      "settings.tls.cafile: is not a known key and has no effect; did you mean ca_file?",
    ],
    [mqttConfig({ streaming: { intervall_ms: 1 } }), "did you mean interval_ms?"],
    [mqttConfig({ limits: { brust: 1 } }), "did you mean burst?"],
    [
      mqttConfig({ limits: { total: { queue: 1 } } }),
      "settings.limits.total.queue: is not a known key and has no effect; did you mean queued?",
    ],
  ];
  for (const [config, text] of table) {
    it(`are warnings: ${text}`, async () => {
      const warnings = warningText(await loadedFrom(config));
      assert.ok(warnings.includes(text), warnings);
      assert.match(warnings, /config\.json:\d+: /);
    });
  }

  it("that are near to nothing are reported without a guess", async () => {
    const warnings = warningText(await loadedFrom({ frobnicate: 1 }));
    assert.match(warnings, /frobnicate: is not a known key and has no effect \(\)/);
  });

  it("do not keep the rest from loading", async () => {
    const { config } = await loadedFrom({ gateway: { port: 1, prot: 2 } });
    assert.equal(config.gateway.port, 1);
  });
});

describe("channels of other types", () => {
  it("are named once, and skipped whatever their settings are", async () => {
    const channel_list = {
      telegram: { enabled: true, settings: { token: 5, mqtt: [] }, odd: 1 },
      second: { type: "telegram", enabled: true },
      discord: { enabled: true, settings: "odd" },
      slack: 3,
      qq: { enabled: false },
      matrix: {},
      mqtt: { enabled: true, settings: { broker: "b", agent_id: "a" } },
    };
    const { config, warnings } = await loadedFrom({ channel_list });
    assert.deepEqual(
      config.channels.map(({ name }) => name),
      ["mqtt"],
    );
    const about = warnings.filter(({ message }) => /channel type/.test(message));
    assert.equal(about.length, 1);
    assert.match(about[0]?.message ?? "", /channel types telegram, discord are not supported/);
  });

  it("that nobody knows are reported with the nearest type, and skipped", async () => {
    const channel_list = {
      home: { type: "mqqt", enabled: true, settings: { broker: "b", agent_id: "a" } },
      telegramm: { enabled: false },
      _comment: "x",
    };
    const loaded = await loadedFrom({ channel_list });
    assert.deepEqual(loaded.config.channels, []);
    assert.match(
      warningText(loaded),
      /channel_list\.home: "mqqt" is not a known channel type.* did you mean mqtt\?/,
    );
    assert.match(warningText(loaded), /channel_list\.telegramm: .* did you mean telegram\?/);
    assert.doesNotMatch(warningText(loaded), /_comment/);
  });
});
