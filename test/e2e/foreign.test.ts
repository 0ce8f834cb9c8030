import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openPlace as openFloodPlace } from "../support/flood-run.ts";
import { startModelServer, streamsSlowly, tokenTexts } from "../support/model-server.ts";
import { freePort, needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { needsNodeRed, startNodeRed } from "../support/node-red.ts";
import {
  onceInCi,
  quickConfig,
  startClient,
  startGateway,
  writeConfig,
} from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const TOPIC = "/picoclaw/assistant/device1";
const REQUEST = `${TOPIC}/request`;
const RESPONSE = `${TOPIC}/response`;
const WORDS = tokenTexts(40);
const WHOLE = WORDS.join("").trimEnd();
/** The packages of npm, as `npm ci` installs them. */
const MQTT_CLI = join(import.meta.dirname, "../../node_modules/.bin/mqtt");
const needs = (program: string): { readonly skip: boolean } => {
  const isMissing = !process.env["CI"] && !existsSync(program);
  if (isMissing) process.stderr.write(`${program} is not installed: tests with it are left out\n`);
  return { skip: isMissing || needsMosquitto.skip || onceInCi.skip };
};

/** A broker and a gateway whose model streams its answer over most of a second. */
async function openPlace(settings: object = {}) {
  const stack = new AsyncDisposableStack();
  const broker = stack.use(await startMosquitto());
  const model = stack.use(await startModelServer());
  const { path: home } = stack.use(await temporaryFolder());
  model.otherwise(streamsSlowly(WORDS.length, 900));
  const entry = { model_name: "m", provider: "openai", model: "m-1", api_base: model.base };
  const defaults = { model_name: "m", workspace: join(home, "workspace") };
  const more = { agents: { defaults }, model_list: [{ ...entry, api_key: "sk-foreign" }] };
  await writeConfig(home, quickConfig(broker.url, settings, more));
  stack.use(await startGateway({ home }));
  return { broker, home, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

interface Part {
  readonly id?: string;
  readonly seq: number;
  readonly text: string;
  readonly done?: boolean;
}

const partsIn = (text: string): Part[] =>
  text
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line): Part => JSON.parse(line));

function assertWhole(parts: readonly Part[]): void {
  assert.equal(
    parts
      .map(({ text }) => text)
      .join("")
      .trimEnd(),
    WHOLE,
  );
  assert.deepEqual(
    parts.map(({ seq }) => seq),
    [...parts.keys()],
  );
  assert.deepEqual(
    parts.filter(({ done }) => done),
    [parts.at(-1)],
  );
}

/** Asks once as mosquitto_rr does, with its answers on a topic of the client's own. */
async function askOnce(payload: object, ...more: readonly string[]) {
  await using place = await openPlace();
  const topics = ["-t", REQUEST, "-e", `${TOPIC}/answers`, "-W", "8"];
  const args = ["-V", "5", "-p", `${place.broker.port}`, ...topics, ...more];
  await using asker = startClient("mosquitto_rr", [...args, "-m", JSON.stringify(payload)]);
  return await asker.ended;
}

const CORRELATED = ["-D", "publish", "correlation-data", "c-17", "-F", "%p\n%D"];

describe("mosquitto_rr", () => {
  it("prints the whole answer, which is one message", needs("/usr/bin/mosquitto_rr"), async () => {
    const { stdout, stderr, code } = await askOnce({ text: "tell me" }, ...CORRELATED);
    assert.equal(code, 0, stderr);
    assertWhole(partsIn(stdout));
    assert.match(stdout, /^c-17$/m);
  });

  it(
    "prints the first part where it asks for a stream",
    needs("/usr/bin/mosquitto_rr"),
    async () => {
      const { stdout, code } = await askOnce({ text: "tell me", stream: true }, ...CORRELATED);
      assert.equal(code, 0);
      const [part] = partsIn(stdout);
      assert.equal(part?.seq, 0);
      assert.equal(part?.done, undefined);
    },
  );

  it(
    "that wants its answer on somebody else's topic is told so on its own",
    needs("/usr/bin/mosquitto_rr"),
    async () => {
      await using place = await openPlace();
      const port = `${place.broker.port}`;
      await using heard = startClient("mosquitto_sub", ["-p", port, "-t", RESPONSE]);
      await until("it listens", () => place.broker.log().includes(`${RESPONSE} (QoS 0)`));
      const topics = ["-t", REQUEST, "-e", "/picoclaw/assistant/device2/response", "-W", "8"];
      const payload = JSON.stringify({ text: "tell me", id: "r1" });
      const args = ["-V", "5", "-p", port, ...topics, ...CORRELATED, "-m", payload];
      await using asker = startClient("mosquitto_rr", args);
      await until("something is heard", () => heard.stdout().includes('"done":true'));
      assert.match(heard.stdout(), /"error":\{"code":"\w+"/);
      assert.equal(asker.stdout(), "");
    },
  );
});

const PAHO = String.raw`
import json, sys
import paho.mqtt.client as mqtt
from paho.mqtt.properties import Properties
from paho.mqtt.packettypes import PacketTypes

port, version, topic = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
answers = topic + ("/answers" if version == 5 else "/response")

def ask(client, *ignored):
    properties = None
    if version == 5:
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = answers
        properties.CorrelationData = b"c-17"
    client.publish(topic + "/request", json.dumps({"text": "tell me"}), qos=1, properties=properties)

def heard(client, data, message):
    print(message.payload.decode(), flush=True)
    if version == 5:
        print(message.properties.CorrelationData.decode(), flush=True)
        client.disconnect()
    elif json.loads(message.payload).get("done"):
        client.disconnect()

client = mqtt.Client(protocol=mqtt.MQTTv5 if version == 5 else mqtt.MQTTv311)
client.on_subscribe = ask
client.on_message = heard
client.connect("127.0.0.1", port)
client.subscribe(answers, qos=1)
client.loop_forever()
`;

describe("paho", () => {
  for (const version of [4, 5] as const) {
    const name =
      version === 5
        ? "gets the whole answer in one message, with its correlation, on MQTT 5"
        : "collects the parts of an answer on MQTT 3.1.1";
    it(name, needs("/usr/bin/python3"), async () => {
      await using place = await openPlace({ qos: 1 });
      const args = ["-c", PAHO, `${place.broker.port}`, `${version}`, TOPIC];
      await using paho = startClient("/usr/bin/python3", args);
      const { stdout, stderr, code } = await paho.ended;
      assert.equal(code, 0, stderr);
      const parts = partsIn(stdout);
      assertWhole(parts);
      assert.equal(version === 5, parts.length === 1, stdout);
      if (version === 5) assert.match(stdout, /^c-17$/m);
    });
  }
});

/** As many requests as it may send at once, and many more. */
const PAHO_FLOOD = String.raw`
import json, sys
import paho.mqtt.client as mqtt

port, version, count = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
topic = "/picoclaw/assistant/device1/"
ended = []

def connected(client, *ignored):
    client.subscribe(topic + "response", qos=2)

def ask(client, *ignored):
    for index in range(count):
        client.publish(topic + "request", json.dumps({"text": "tell me", "id": "r%d" % index}), qos=2)

def heard(client, data, message):
    part = json.loads(message.payload)
    if part.get("done"):
        ended.append(part["id"])
    if len(ended) == count:
        print(len(set(ended)))
        client.disconnect()

client = mqtt.Client(protocol=mqtt.MQTTv5 if version == 5 else mqtt.MQTTv311)
client.on_connect = connected
client.on_subscribe = ask
client.on_message = heard
client.on_disconnect = lambda *ignored: print("disconnected")
client.connect("127.0.0.1", port)
client.loop_forever()
`;

describe("with the built-in broker", () => {
  it("mosquitto_rr prints the whole answer", needs("/usr/bin/mosquitto_rr"), async () => {
    await using place = await openFloodPlace({ broker: "embedded", qos: 1, version: 5 });
    await using _gateway = await place.start();
    const port = place.url.slice(place.url.lastIndexOf(":") + 1);
    const topics = ["-t", REQUEST, "-e", `${TOPIC}/answers`, "-W", "8"];
    const args = [
      "-V",
      "5",
      "-p",
      port,
      ...topics,
      ...CORRELATED,
      "-q",
      "2",
      "-m",
      '{"text":"uptime"}',
    ];
    await using asker = startClient("mosquitto_rr", args);
    const { stdout, stderr, code } = await asker.ended;
    assert.equal(code, 0, stderr);
    const [part, ...more] = partsIn(stdout);
    assert.equal(part?.done, true);
    assert.deepEqual(more, []);
    assert.match(stdout, /^c-17$/m);
  });

  for (const version of [4, 5] as const) {
    it(
      `paho hears of each of 600 requests of QoS 2, over one connection, MQTT ${version === 5 ? "5" : "3.1.1"}`,
      needs("/usr/bin/python3"),
      async () => {
        await using place = await openFloodPlace({ broker: "embedded", qos: 2, version: 5 });
        await using _gateway = await place.start();
        const port = place.url.slice(place.url.lastIndexOf(":") + 1);
        const args = ["-c", PAHO_FLOOD, port, `${version}`, "600"];
        await using paho = startClient("/usr/bin/python3", args);
        const { stdout, stderr } = await paho.ended;
        assert.equal(stdout, "600\ndisconnected\n", stderr);
      },
    );
  }
});

describe("the mqtt command of npm", () => {
  it("asks and prints the parts", needs(MQTT_CLI), async () => {
    await using place = await openPlace();
    const where = ["-h", "127.0.0.1", "-p", `${place.broker.port}`];
    await using heard = startClient(MQTT_CLI, ["sub", ...where, "-t", RESPONSE]);
    await until("it listens", () => place.broker.log().includes(`${RESPONSE} (QoS 0)`));
    const payload = JSON.stringify({ text: "tell me", id: "r1" });
    await using asker = startClient(MQTT_CLI, ["pub", ...where, "-t", REQUEST, "-m", payload]);
    assert.equal((await asker.ended).code, 0);
    await heard.said('"done":true');
    const parts = partsIn(heard.stdout());
    assertWhole(parts);
    assert.ok(parts.length > 1);
  });
});

describe("Node-RED", () => {
  it("asks from a flow and keeps what it is answered", needsNodeRed, async () => {
    await using place = await openPlace({ qos: 1 });
    const folder = join(place.home, "node-red");
    const file = join(folder, "answers.jsonl");
    const port = await freePort();
    const flow = flowOf({ broker: place.broker.port, file });
    await using _red = await startNodeRed(folder, { port, flow });
    const response = await fetch(`http://127.0.0.1:${port}/ask`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ text: "tell me", id: "r1" }),
    });
    assert.equal(response.status, 200);
    const kept = (): Promise<string> => readFile(file, "utf8").catch(() => "");
    await until("the flow has the answer", async () => (await kept()).includes('"done":true'));
    assertWhole(partsIn(await kept()));
  });
});

/** HTTP in, MQTT out; MQTT in, to a file. What has no place on the canvas is taken for configuration. */
function flowOf({ broker, file }: { readonly broker: number; readonly file: string }): object[] {
  const node = { z: "n-tab", x: 100, y: 100, wires: [] };
  const mqtt = { ...node, broker: "n-broker", qos: "1" };
  return [
    { id: "n-tab", type: "tab", label: "picoclaw" },
    {
      id: "n-broker",
      type: "mqtt-broker",
      broker: "127.0.0.1",
      port: `${broker}`,
      protocolVersion: "4",
      keepalive: "60",
      cleansession: true,
      autoConnect: true,
    },
    {
      ...node,
      id: "n-in",
      type: "http in",
      url: "/ask",
      method: "post",
      wires: [["n-out", "n-ok"]],
    },
    { ...node, id: "n-ok", type: "http response", statusCode: "200" },
    { ...mqtt, id: "n-out", type: "mqtt out", topic: REQUEST },
    {
      ...mqtt,
      id: "n-heard",
      type: "mqtt in",
      topic: RESPONSE,
      datatype: "utf8",
      wires: [["n-file"]],
    },
    {
      ...node,
      id: "n-file",
      type: "file",
      filename: file,
      filenameType: "str",
      appendNewline: true,
      overwriteFile: "false",
    },
  ];
}
