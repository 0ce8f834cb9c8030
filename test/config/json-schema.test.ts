import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Ajv } from "ajv";
import { configSchema } from "../../src/config/json-schema.ts";
import { HOMES } from "./go-home-files.ts";
import { loadedFrom, mqttConfig, warningText } from "./home.ts";

const validate = new Ajv({
  allErrors: true,
  allowUnionTypes: true,
  strict: true,
  strictRequired: false,
}).compile(configSchema());

function errorsOf(config: unknown): readonly string[] {
  validate(config);
  return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
}

const CURRENT = HOMES.filter(([, config]) => "version" in config && config.version === 3);

describe("config schema", () => {
  it("has recorded homes to accept", () => assert.ok(CURRENT.length > 0));

  for (const [name, config] of CURRENT) {
    it(`accepts the recorded home ${name}`, () => assert.deepEqual(errorsOf(config), []));
  }

  for (const [name, config] of [
    ["nothing", {}],
    ["comments", { "//": "mine", $schema: "./config.schema.json", _old: 1, gateway: { "//x": 1 } }],
    ["no values", { gateway: null, model_list: null, tools: { allow_read_paths: null } }],
    ["several brokers", mqttConfig({ broker: ["tcp://a:1", "tcp://b:1"], protocol_version: 5 })],
    ["numbers as secrets", mqttConfig({ username: 7, password: 12345, qos: 2 })],
    ["a single text in place of a list", { tools: { profiles: { "*": { tools: "device" } } } }],
    ["other channels", { channel_list: { irc: { server: "x" }, mqtt: { type: "irc", nick: 1 } } }],
    ["headers", { model_list: [{ model_name: "a", model: "b", custom_headers: { A: "b" } }] }],
  ] as const) {
    it(`accepts ${name}, as the reader does`, async () => {
      const loaded = await loadedFrom(config);
      assert.doesNotMatch(warningText(loaded), /is not a known key/);
      assert.deepEqual(errorsOf(config), []);
    });
  }

  for (const [config, error] of [
    [{ gateway: { port: "18790" } }, "/gateway/port must be integer,null"],
    [{ gateway: { port: 70_000 } }, "/gateway/port must be <= 65535"],
    [{ gateway: { prot: 1 } }, "/gateway must NOT have additional properties"],
    [
      mqttConfig({ qos: 3 }),
      "/channel_list/mqtt/settings/qos must be equal to one of the allowed values",
    ],
    [mqttConfig({ streaming: true }), "/channel_list/mqtt/settings/streaming must be object,null"],
    [
      { channel_list: { cellar: { type: "mqtt", setings: {} } } },
      "/channel_list/cellar must NOT have additional properties",
    ],
    [{ model_list: {} }, "/model_list must be array,null"],
    [
      { tools: { exec: { sandbox: "jail" } } },
      "/tools/exec/sandbox must be equal to one of the allowed values",
    ],
  ] as const) {
    it(`finds: ${error}`, () =>
      assert.ok(errorsOf(config).includes(error), errorsOf(config).join()));
  }
});
