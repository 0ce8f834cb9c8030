import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import {
  allTextOf,
  failureFrom,
  firstChannel,
  inHome,
  loadedFrom,
  mqttConfig,
  warningText,
} from "./home.ts";

const verify = async (tls: object) => (await settingsWith({ broker: "mqtts://b", tls })).tls.verify;

const settingsWith = async (settings: object) =>
  firstChannel(await loadedFrom(mqttConfig(settings))).settings;

describe("settings of a channel of type mqtt", () => {
  it("have the contract's defaults", async () => {
    assert.deepEqual(await settingsWith({}), {
      broker: ["tcp://broker.lan:1883"],
      agent_id: "kitchen",
      topic_prefix: "/picoclaw",
      client_id: "",
      keep_alive: 60,
      qos: 0,
      protocol_version: "auto",
      tls: { verify: false },
      streaming: { enabled: true, interval_ms: 250, progress_secs: 20 },
      plain_text: false,
      accept: "application/json",
      max_chars: 0,
      clients: [],
      max_hops: 2,
      max_message_bytes: 0,
      max_payload_bytes: 262_144,
      session_expiry_secs: 3600,
      probe_secs: 60,
      homeassistant: { enabled: false, discovery_prefix: "homeassistant" },
      a2a: {
        enabled: false,
        org: "",
        unit: "",
        agent: "",
        name: "",
        description: "",
        verified_requesters: false,
      },
      mcp: { enabled: false, server_id: "", server_name: "", description: "" },
      limits: {
        requests_per_minute: 120,
        burst: 60,
        queued: 32,
        tokens_per_day: 0,
        cost_per_day: 0,
        tool_calls_per_turn: 50,
        total: {
          requests_per_minute: 0,
          burst: 0,
          queued: 0,
          tokens_per_day: 0,
          cost_per_day: 0,
          tool_calls_per_turn: 0,
        },
      },
    });
  });

  const accepted: readonly [key: string, value: unknown, result: unknown][] = [
    ["broker", "embedded", ["embedded"]],
    ["broker", "broker.lan", ["broker.lan"]],
    ["broker", ["broker.lan"], ["broker.lan"]],
    ["broker", ["tcp://a:1", "wss://b/mqtt?x=1,2"], ["tcp://a:1", "wss://b/mqtt?x=1,2"]],
    ["broker", "tcp://a:1 , tls://b,mqtts://c", ["tcp://a:1", "tls://b", "mqtts://c"]],
    ["broker", "a:1883,b", ["a:1883", "b"]],
    ["broker", ["tcp://a,tcp://b", "tcp://a"], ["tcp://a", "tcp://b"]],
    ["broker", "ws://h/mqtt?x=1,2", ["ws://h/mqtt?x=1,2"]],
    ["agent_id", "küche 1", "küche 1"],
    ["topic_prefix", "/a/b//", "/a/b"],
    ["topic_prefix", "a", "a"],
    ["topic_prefix", "", "/picoclaw"],
    ["topic_prefix", "/", "/picoclaw"],
    ["topic_prefix", "///", "/picoclaw"],
    ["client_id", "c".repeat(65_535), "c".repeat(65_535)],
    ["keep_alive", 1, 1],
    ["keep_alive", 65_535, 65_535],
    ["keep_alive", 0, 60],
    ["keep_alive", -5, 60],
    ["qos", 0, 0],
    ["qos", 1, 1],
    ["qos", 2, 2],
    ["protocol_version", "auto", "auto"],
    ["protocol_version", 5, 5],
    ["protocol_version", 4, 4],
    ["protocol_version", "5", 5],
    ["protocol_version", "4", 4],
    ["plain_text", true, true],
    ["max_message_bytes", 128, 128],
    ["max_message_bytes", 0, 0],
    ["max_payload_bytes", 1, 1],
    ["session_expiry_secs", 0, 0],
    ["session_expiry_secs", 4_294_967_295, 4_294_967_295],
    ["probe_secs", 0, 0],
    ["probe_secs", 86_400, 86_400],
    ["streaming", { enabled: false }, { enabled: false, interval_ms: 250, progress_secs: 20 }],
    [
      "homeassistant",
      { enabled: true, discovery_prefix: "ha/dev/" },
      { enabled: true, discovery_prefix: "ha/dev" },
    ],
    ["streaming", { interval_ms: 0 }, { enabled: true, interval_ms: 0, progress_secs: 20 }],
  ];
  for (const [key, value, result] of accepted) {
    it(`${key} ${JSON.stringify(value).slice(0, 40)} is taken`, async () => {
      const settings: Readonly<Record<string, unknown>> = {
        ...(await settingsWith({ [key]: value })),
      };
      assert.deepEqual(settings[key], result);
    });
  }

  const refused: readonly [key: string, value: unknown, text: RegExp][] = [
    ["broker", "", /has no broker/],
    ["broker", "tcp://h:99999", /broker: is not a broker URL: its port/],
    ["broker", 5, /broker: is not a text/],
    ["broker", [], /has no broker/],
    ["broker", ["tcp://a", 5], /broker\[1\]: is not a text/],
    ["broker", ["tcp://a", ""], /broker\[1\]: is not a broker URL: it has no host/],
    ["broker", "tcp://a,mqts://b", /broker\[1\]: is not a broker URL: its scheme is unknown/],
    ["broker", ["embedded", "tcp://a"], /built-in broker, which cannot be one of several/],
    [
      "broker",
      ["tcp://me:hunter2@a", "tcp://you:hunter3@b"],
      /broker: has URLs with different users or passwords/,
    ],
    ["agent_id", "", /has no agent_id/],
    ["agent_id", " ", /levels of a topic/],
    ["agent_id", "a/", /levels of a topic/],
    ["agent_id", "/a", /levels of a topic/],
    ["agent_id", "a// b", /levels of a topic/],
    ["agent_id", "a/+", /levels of a topic/],
    ["agent_id", "#", /levels of a topic/],
    ["agent_id", "$SYS", /levels of a topic/],
    ["agent_id", "a\0", /levels of a topic/],
    ["agent_id", "a\n", /levels of a topic/],
    ["agent_id", "\ud800", /levels of a topic/],
    ["agent_id", 7, /found 7/],
    ["topic_prefix", "a/+", /topic_prefix/],
    ["topic_prefix", "a/#", /topic_prefix/],
    ["topic_prefix", "$share/x", /topic_prefix/],
    ["topic_prefix", "a\0", /topic_prefix/],
    ["topic_prefix", "a\uFFFE", /topic_prefix/],
    ["client_id", "a\0", /65535 bytes without NUL/],
    ["client_id", "ü".repeat(32_768), /65535 bytes/],
    ["keep_alive", 65_536, /keep_alive/],
    ["keep_alive", 1.5, /keep_alive/],
    ["qos", 3, /0, 1 or 2/],
    ["qos", 256, /0, 1 or 2/],
    ["qos", -1, /0, 1 or 2/],
    ["protocol_version", 3, /"auto", 5 or 4/],
    ["protocol_version", "3.1.1", /"auto", 5 or 4/],
    ["max_message_bytes", 127, /from 128/],
    ["max_message_bytes", -1, /from 128/],
    ["max_payload_bytes", 0, /from 1/],
    ["session_expiry_secs", 4_294_967_296, /up to|to 4294967295/],
    ["session_expiry_secs", -1, /from 0/],
    ["probe_secs", 86_401, /to 86400/],
    ["probe_secs", -1, /from 0/],
    ["homeassistant", { discovery_prefix: "a/+" }, /discovery_prefix/],
    ["max_hops", 101, /to 100/],
    ["a2a", { org: "a/b" }, /org/],
    ["a2a", { enabled: true, unit: "house" }, /needs org/],
    ["mcp", { server_id: "a/b" }, /server_id/],
    ["mcp", { server_name: "a//b" }, /server_name/],
    ["streaming", { interval_ms: -1 }, /interval_ms/],
    ["streaming", true, /streaming: found a boolean/],
    ["limits", { burst: -1 }, /limits\.burst/],
    ["limits", { total: { queued: 0.5 } }, /limits\.total\.queued/],
  ];
  for (const [key, value, text] of refused) {
    it(`${key} ${JSON.stringify(value).slice(0, 40)} is refused`, async () => {
      assert.match(allTextOf(await failureFrom(mqttConfig({ [key]: value }))), text);
    });
  }

  it("with MCP and the built-in broker are refused", async () => {
    const mcp = { enabled: true };
    for (const broker of ["embedded", "embedded://:1884"]) {
      assert.match(allTextOf(await failureFrom(mqttConfig({ broker, mcp }))), /No Local/);
    }
    assert.equal((await settingsWith({ mcp })).mcp.enabled, true);
  });

  it("without broker and agent_id are reported, both at once", async () => {
    const failure = await failureFrom({ channel_list: { mqtt: { enabled: true } } });
    assert.match(
      failure.why ?? "",
      /config\.json:3: .*channel mqtt has no broker: set settings\.broker, PICOCLAW_CHANNELS_MQTT_BROKER or --broker/,
    );
    assert.match(failure.why ?? "", /channel mqtt has no agent_id/);
  });

  it("are nobody's concern where the channel is disabled", async () => {
    const channel_list = {
      mqtt: { enabled: false, settings: { qos: 9 } },
      other: { type: "mqtt", settings: { broker: 1 } },
    };
    assert.deepEqual((await loadedFrom({ channel_list })).config.channels, []);
  });

  it("limits have each their own default", async () => {
    const { limits } = await settingsWith({ limits: { burst: 1, total: { queued: 7 } } });
    assert.equal(limits.requests_per_minute, 120);
    assert.equal(limits.burst, 1);
    assert.equal(limits.total.queued, 7);
    assert.equal(limits.total.burst, 0);
  });

  it("limits of the whole gateway stand under gateway, and prices with each model", async () => {
    const model = { model_name: "m", model: "openai/m", api_keys: ["k"] };
    const { config, warnings } = await loadedFrom({
      ...mqttConfig({ limits: { cost_per_day: 0.5 } }),
      gateway: { limits: { tokens_per_day: 1000, requests_per_minute: 9 } },
      model_list: [
        { ...model, prices: { input: 0.15, output: 0.6 } },
        model,
        { ...model, prices: { input: 3, output: 15, cached: 0, cache_write: 3.75 } },
      ],
    });
    assert.equal(config.channels[0]?.settings.limits.cost_per_day, 0.5);
    const { tokens_per_day, requests_per_minute, cost_per_day } = config.gateway.limits;
    assert.deepEqual([tokens_per_day, requests_per_minute, cost_per_day], [1000, 9, 0]);
    assert.deepEqual(config.model_list[0]?.prices, { input: 0.15, output: 0.6 });
    assert.equal(config.model_list[1]?.prices, undefined);
    const caching = { input: 3, output: 15, cached: 0, cache_write: 3.75 };
    assert.deepEqual(config.model_list[2]?.prices, caching);
    assert.deepEqual(warnings, []);
  });

  it("limits and prices are checked, and unknown keys in them reported", async () => {
    const { why = "" } = await failureFrom({
      ...mqttConfig({ limits: { cost_per_day: -1 } }),
      gateway: { limits: { tokens_per_day: "many" } },
      model_list: [{ model_name: "m", model: "openai/m", prices: { input: true } }],
    });
    for (const path of [
      /settings\.limits\.cost_per_day: found -1/,
      /gateway\.limits\.tokens_per_day: found "many"/,
      /model_list\[0\]\.prices\.input: found true/,
    ]) {
      assert.match(why, path);
    }
    const odd = await loadedFrom({
      ...mqttConfig({}),
      gateway: { limits: { token_per_day: 1 } },
      model_list: [{ model_name: "m", model: "openai/m", api_keys: ["k"], prices: { inputs: 1 } }],
    });
    assert.match(warningText(odd), /did you mean tokens_per_day/);
    assert.match(warningText(odd), /did you mean input/);
  });
});

describe("tls", () => {
  it("verifies as soon as a CA is given, and else where `verify` says so", async () => {
    assert.equal(await verify({}), false);
    assert.equal(await verify({ ca_file: "ca.pem" }), true);
    assert.equal(await verify({ ca_file: "ca.pem", verify: false }), false);
    assert.equal(await verify({ verify: true }), true);
    assert.equal(await verify({ ca_file: "" }), false);
  });

  it("has paths relative to the folder of the file", async () => {
    const tls = { ca_file: "ca.pem", cert_file: "~/c.pem", key_file: "/k.pem", server_name: "n" };
    await inHome({ "config.json": mqttConfig({ broker: "mqtts://b", tls }) }, async (home) => {
      assert.deepEqual(firstChannel(await home.loaded()).settings.tls, {
        verify: true,
        ca_file: join(home.path, "ca.pem"),
        cert_file: join(home.user, "c.pem"),
        key_file: "/k.pem",
        server_name: "n",
      });
    });
  });

  it("needs certificate and key together", async () => {
    const failure = await failureFrom(mqttConfig({ broker: "mqtts://b", tls: { cert_file: "c" } }));
    assert.match(failure.message, /tls\.cert_file: needs tls\.key_file/);
    const other = await failureFrom(mqttConfig({ broker: "mqtts://b", tls: { key_file: "k" } }));
    assert.match(other.message, /tls\.key_file: needs tls\.cert_file/);
  });

  it("is reported to have no effect where the broker is not asked over TLS", async () => {
    const loaded = await loadedFrom(mqttConfig({ tls: { ca_file: "ca" } }));
    assert.match(warningText(loaded), /settings\.tls: has no effect.*mqtts:/);
    const quiet = await loadedFrom(mqttConfig({ tls: { verify: false } }));
    assert.doesNotMatch(warningText(quiet), /tls/);
  });

  it("have the form of answers for some clients, in the order of the file", async () => {
    const clients = `{"display-*": {"accept": "text/plain", "max_chars": 80}, "7": {"max_chars": 0}, "*": {}}`;
    const loaded = await loadedFrom(
      `{"channel_list": {"mqtt": {"enabled": true, "settings": {"broker": "tcp://b", "agent_id": "a", "clients": ${clients}}}}}`,
    );
    assert.deepEqual(firstChannel(loaded).settings.clients, [
      { pattern: "display-*", accept: "text/plain", max_chars: 80 },
      { pattern: "7", max_chars: 0 },
      { pattern: "*" },
    ]);
    assert.doesNotMatch(warningText(loaded), /clients/);
  });

  it("name what is wrong in the form of answers for some clients", async () => {
    const clients = { "": {}, d: { accept: "text/html", max_chars: 10_001 }, e: { max_char: 1 } };
    const text = allTextOf(await failureFrom(mqttConfig({ clients })));
    assert.match(text, /settings\.clients\.?: found an empty pattern/);
    assert.match(text, /clients\.d\.accept: .*allowed is "application\/json" or "text\/plain"/);
    assert.match(text, /clients\.d\.max_chars: found 10001/);
    const loaded = await loadedFrom(mqttConfig({ clients: { e: { max_char: 1 } } }));
    assert.match(warningText(loaded), /clients\.e.*max_char.*max_chars/s);
  });
});
