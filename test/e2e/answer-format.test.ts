import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openTestDevice } from "../support/channel.ts";
import { answers, calls, hangs, startModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { picoclaw, quickConfig, startGateway, writeConfig } from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";

const REQUEST = "/picoclaw/assistant/board/request";
const RESPONSE = "/picoclaw/assistant/board/response";
const SCHEMA = {
  type: "object",
  properties: { celsius: { type: "number" } },
  required: ["celsius"],
};
const FORMAT = { type: "json_schema", schema: SCHEMA };

/** A broker, a model and a home whose gateway uses them, with the schema in a file. */
async function setUp() {
  const [broker, model, home] = await Promise.all([
    startMosquitto(),
    startModelServer(),
    temporaryFolder(),
  ]);
  const model_list = [{ model_name: "m", model: "openai/m", api_base: model.base }];
  const defaults = { model_name: "m", workspace: join(home.path, "workspace") };
  const more = { agents: { defaults }, model_list };
  await writeConfig(home.path, quickConfig(broker.url, { qos: 1 }, more));
  const schemaFile = join(home.path, "schema.json");
  await writeFile(schemaFile, JSON.stringify(SCHEMA));
  return {
    broker,
    model,
    schemaFile,
    options: { home: home.path },
    async [Symbol.asyncDispose]() {
      await Promise.all([broker, model, home].map((one) => one[Symbol.asyncDispose]()));
    },
  };
}

describe("a device that parses the answer", () => {
  it("gets JSON of its schema, or an error", needsMosquitto, async () => {
    await using setup = await setUp();
    const { model, options, schemaFile } = setup;
    await using _gateway = await startGateway(options);
    const send = (...args: readonly string[]) =>
      picoclaw(["send", "board", "--format", schemaFile, ...args], options);

    model.script(
      calls({ name: "device", arguments: '{"facts": ["cpu"]}' }),
      answers("It is 61 °C."),
      answers('```json\n{"celsius": 61}\n```'),
    );
    const good = await send("How warm?");
    assert.equal(good.stdout, '{"celsius": 61}\n', good.stderr);

    model.script(answers('{"celsius": "warm"}'), answers('{"kelvin": 334}'));
    const bad = await send("--json", "How warm?");
    assert.equal(bad.code, 1);
    const result: unknown = JSON.parse(bad.stdout.trimEnd().split("\n").at(-1) ?? "");
    assert.equal(Object(result).outcome, "model");
    assert.match(Object(result).message, /format/);

    const said = JSON.stringify(model.requests.at(-1)?.body.messages);
    assert.ok(said.includes('{\\"celsius\\": 61}'), "the history keeps the answer");
    assert.ok(!said.includes("It is 61 °C."), "and not what did not fit");
  });

  it("learns what is wrong with its schema", needsMosquitto, async () => {
    await using setup = await setUp();
    const { broker, options, model } = setup;
    await using _gateway = await startGateway(options);
    await using device = await openTestDevice(broker.url, RESPONSE);
    const schema = { properties: { a: { type: "text" } } };
    const payload = JSON.stringify({ text: "?", format: { ...FORMAT, schema } });
    await device.client.publishAsync(REQUEST, payload, { qos: 1 });
    const message = await device.message();
    const { text, error, done } = JSON.parse(String(message.payload));
    assert.deepEqual([error.code, done], ["bad_request", true]);
    assert.match(text, /the schema of its "format" has a bad type at \/properties\/a;/);
    assert.equal(model.requests.length, 0);
  });

  it("gets JSON after a crash, too", needsMosquitto, async () => {
    await using setup = await setUp();
    const { broker, options, model } = setup;
    await using device = await openTestDevice(broker.url, RESPONSE);
    model.script(hangs(), answers('{"celsius": 61}'));
    {
      await using first = await startGateway(options);
      const payload = JSON.stringify({ text: "How warm?", id: "r1", format: FORMAT });
      await device.client.publishAsync(REQUEST, payload, { qos: 1 });
      await model.received(0);
      first.kill("SIGKILL");
      await first.ended;
    }
    await using second = await startGateway(options);
    await second.said('"msg":"answered"');
    const parts = device.messages.map(({ payload }) => JSON.parse(String(payload)));
    assert.deepEqual(parts, [{ text: '{"celsius": 61}', id: "r1", seq: 0, done: true }]);
    assert.ok(JSON.stringify(model.requests[1]?.body.messages).includes("JSON Schema"));
  });
});

it("the schema of --format must be one", async () => {
  await using home = await temporaryFolder();
  await writeFile(join(home.path, "bad.json"), '{"type": "text"}');
  await writeFile(join(home.path, "none.json"), "type: text");
  for (const [file, words] of [
    ["bad.json", /the schema of --format has a bad type/],
    ["none.json", /cannot be read from none\.json/],
    ["missing.json", /cannot be read from missing\.json/],
  ] as const) {
    for (const args of [
      ["send", "board", "hello"],
      ["try", "hello"],
      ["agent", "-m", "hello"],
    ]) {
      const where = { home: home.path, cwd: home.path };
      const ended = await picoclaw([...args, "--format", file], where);
      assert.equal(ended.code, 2, ended.stderr);
      assert.match(ended.stderr, words);
    }
  }
});
