import assert from "node:assert/strict";
import { it } from "node:test";
import { Client } from "@modelcontextprotocol/client";
import type { MqttClient } from "mqtt";
import { asking } from "../support/a2a.ts";
import { openTestDevice, type TestDevice } from "../support/channel.ts";
import { emqxRules, startCheckingBroker } from "../support/checking-broker.ts";
import { MqttTransport } from "../support/mcp-over-mqtt.ts";
import { answers, type Behaviour, calls, startModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto, withAcl } from "../support/mosquitto.ts";
import { picoclaw, quickConfig, startGateway, writeConfig } from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const needs = { ...needsMosquitto, timeout: 120_000 };
const slow = { timeout: 120_000 };
const NOWHERE = "tcp://127.0.0.1";
const LAMP = "zigbee2mqtt/hall lamp";
const SET = `${LAMP}/set`;
const RPC = "picoclaw-mcp-house/picoclaw/house";
const A2A = "$a2a/v1";

const KITCHEN = {
  tools: ["devices", "set_device", "mqtt", "ask_agent"],
  agents: ["garden"],
  topics: { read: ["zigbee2mqtt/#"], publish: [SET] },
};

/** The agent of the house, which has all parts, and that of the garden, which it asks. */
function configsOf(broker: string, model: string) {
  const base = {
    agents: { defaults: { model_name: "m", summarize_message_threshold: 0 } },
    model_list: [{ model_name: "m", model: "openai/m", api_base: model, api_keys: ["sk-key"] }],
  };
  const watch = [{ topic: "sensors/+/door", prompt: "Say that it is open.", client: "kitchen" }];
  const edge = {
    agent_id: "house",
    username: "house-gw",
    a2a: { enabled: true, org: "acme", unit: "home" },
    mcp: { enabled: true },
  };
  const profiles = { kitchen: KITCHEN, "a2a:unverified:planner": { tools: ["device"] } };
  return {
    edge: quickConfig(broker, edge, { ...base, tools: { mqtt: { watch }, profiles } }),
    garden: quickConfig(broker, { agent_id: "garden", username: "garden-gw" }, base),
  };
}

/** The rules of the devices' own program, which are not ours. */
const DEVICES = ["user z2m", "topic readwrite zigbee2mqtt/#", "topic readwrite sensors/#"];
const ANNOUNCES = "topic write homeassistant/#";

async function startWithMosquittoLists(lists: readonly string[]) {
  return await startMosquitto(withAcl(...lists, ...DEVICES, ANNOUNCES));
}

async function startWithEmqxLists(lists: readonly string[]) {
  const all = ["zigbee2mqtt/#", "sensors/#", "homeassistant/#"];
  const devices = (["publish", "subscribe"] as const).map((action) => ({
    user: "z2m",
    action,
    topics: all,
  }));
  return await startCheckingBroker([...lists.flatMap(emqxRules), ...devices]);
}

const START = { mosquitto: startWithMosquittoLists, emqx: startWithEmqxLists } as const;

/** Both gateways, at a broker that has only the lists that they print, and the rules of the devices' program. */
async function openPlace(form: keyof typeof START = "mosquitto") {
  const stack = new AsyncDisposableStack();
  const model = stack.use(await startModelServer());
  model.otherwise(answers("It is open."));
  const edgeHome = stack.use(await temporaryFolder()).path;
  const gardenHome = stack.use(await temporaryFolder()).path;
  const configure = async (broker: string): Promise<void> => {
    const { edge, garden } = configsOf(broker, model.base);
    await writeConfig(edgeHome, edge);
    await writeConfig(gardenHome, garden);
  };
  await configure(NOWHERE);
  const lists = [];
  for (const home of [edgeHome, gardenHome]) {
    const { code, stdout, stderr } = await picoclaw(["acl", form], { home });
    assert.equal(code, 0, stderr);
    lists.push(stdout);
  }
  const broker = stack.use(await START[form](lists));
  await configure(broker.url);
  stack.use(await startGateway({ home: gardenHome }));
  const gateway = stack.use(await startGateway({ home: edgeHome }));
  return {
    url: broker.url,
    model,
    gateway,
    doctor: () => picoclaw(["doctor", "--offline", "--json"], { home: edgeHome }),
    refused: () => ("refused" in broker ? broker.refused() : []),
    as: (username: string, topic: string) =>
      openTestDevice(broker.url, topic, { username, protocolVersion: form === "emqx" ? 4 : 5 }),
    send: (client: string, user: string) =>
      picoclaw(["send", client, "--user", user, "do it"], { home: edgeHome }),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

type Place = Awaited<ReturnType<typeof openPlace>>;

/** A lamp that is announced, does what it is told, and reports it. */
async function startLamp({ as }: Place): Promise<TestDevice> {
  const lamp = await as("z2m", SET);
  const { client } = lamp;
  const retained = { qos: 1, retain: true } as const;
  client.on("message", (_topic, payload) => void client.publish(LAMP, payload, retained));
  const device = { name: "hall lamp", ids: ["lamp"] };
  const config = { stat_t: LAMP, cmd_t: SET, avty_t: `${LAMP}/availability`, dev: device };
  await client.publishAsync(`${LAMP}/availability`, "online", retained);
  await client.publishAsync(LAMP, "OFF", retained);
  await client.publishAsync("homeassistant/switch/lamp/config", JSON.stringify(config), retained);
  return lamp;
}

/** What the model reads after it has called the tool for the client kitchen; `meanwhile` it answers other agents. */
async function resultOf(
  { model, send }: Place,
  name: string,
  input: object,
  ...meanwhile: readonly Behaviour[]
): Promise<string> {
  model.script(calls({ name, arguments: JSON.stringify(input) }), ...meanwhile, answers("done"));
  const { code, stderr } = await send("kitchen", "kitchen");
  assert.equal(code, 0, stderr);
  const results = model.requests.at(-1)?.body.messages ?? [];
  return String(results.findLast(({ role }) => role === "tool")?.content);
}

/** Asks by A2A; the events of the answer come to the device. */
async function askByA2a(asker: MqttClient, taskId: string, requester: string): Promise<void> {
  const call = asking(taskId, "hello", undefined, "SendMessage");
  const properties = {
    responseTopic: `${A2A}/reply/acme/home/${requester}/1`,
    correlationData: Buffer.from("c"),
  };
  const topic = `${A2A}/request/acme/home/house`;
  await asker.publishAsync(topic, JSON.stringify(call), { qos: 1, properties });
}

async function toolsOverMcp(url: string, username: string): Promise<readonly string[]> {
  await using device = await openTestDevice(url, "unused", { username, clientId: username });
  const transport = new MqttTransport(device.client, username, "house");
  const client = new Client({ name: "test", version: "1" });
  await client.connect(transport);
  return (await client.listTools()).tools.map(({ name }) => name);
}

async function isRefused({ client }: TestDevice, topic: string): Promise<boolean> {
  return await client.publishAsync(topic, "{}", { qos: 1 }).then(
    () => false,
    (error: unknown) => /Not authorized/.test(String(error)),
  );
}

/** Reads and sets the lamp, asks the other agent, and is told of a door. */
async function useAll(place: Place, lamp: TestDevice): Promise<void> {
  assert.match(await resultOf(place, "devices", { search: "lamp" }), /hall lamp.*: off/);
  const on = { name: "hall lamp", state: "on" };
  assert.match(await resultOf(place, "set_device", on), /Done\. .* reports: on/);
  assert.ok(lamp.texts().includes("ON"));
  const read = { action: "read", topic: "zigbee2mqtt/#" };
  assert.match(await resultOf(place, "mqtt", read), /hall lamp \(retained\): ON/);
  const publish = { action: "publish", topic: SET, payload: "OFF" };
  assert.match(await resultOf(place, "mqtt", publish), /Published 3 bytes/);
  await until("the lamp is off", () => lamp.texts().includes("OFF"));
  assert.match(await resultOf(place, "ask_agent", {}), /garden/);

  await using kitchen = await place.as("kitchen", "/picoclaw/house/kitchen/response");
  await lamp.client.publishAsync("sensors/hall/door", "open", { qos: 1 });
  await until("the watch has begun a turn", () => kitchen.texts().join().includes('"push":true'));
}

it("with the printed list all parts of an agent work at a real mosquitto", needs, async () => {
  await using place = await openPlace();
  await using lamp = await startLamp(place);
  await useAll(place, lamp);
  await using planner = await place.as("planner", `${A2A}/reply/acme/home/planner/#`);
  await planner.client.subscribeAsync(`${A2A}/discovery/#`, { qos: 1 });
  await askByA2a(planner.client, "t1", "planner");
  await until("A2A has answered", () => planner.texts().join().includes("COMPLETED"));
  const cards = planner.messages.filter(({ topic }) => topic.includes("discovery"));
  assert.deepEqual(
    cards.map(({ topic }) => topic),
    [`${A2A}/discovery/acme/home/house`],
  );

  assert.ok((await toolsOverMcp(place.url, "kitchen")).includes("set_device"));
  assert.doesNotMatch(place.gateway.stderr(), /not authorized|refused|may not/i);
});

it("they work at a broker that refuses subscriptions, with the list for EMQX", slow, async () => {
  await using place = await openPlace("emqx");
  await using lamp = await startLamp(place);
  await useAll(place, lamp);
  const gateways = place.refused().filter((one) => !one.includes("picoclaw-doctor"));
  assert.deepEqual(gateways, []);
});

it("doctor finds that all of them can work with the printed list", needs, async () => {
  await using place = await openPlace();
  await using lamp = await startLamp(place);
  await lamp.client.publishAsync("sensors/hall/door", "shut", { qos: 1, retain: true });
  const { stdout } = await place.doctor();
  const checks = stdout
    .trimEnd()
    .split("\n")
    .map((line): Record<string, unknown> => JSON.parse(line));
  const results = checks
    .filter(({ code }) => /^broker\.(?!trust|identity)/.test(String(code)))
    .map(({ code, result }) => `${String(code)} ${String(result)}`);
  assert.deepEqual(results.toSorted(), [
    "broker.a2a ok",
    "broker.connect ok",
    "broker.devices ok",
    "broker.mcp ok",
    "broker.publish ok",
    "broker.queue skip",
    "broker.session skip",
    "broker.subscribe ok",
    "broker.watch ok",
  ]);
});

it("another agent is asked with the printed list", needs, async () => {
  await using place = await openPlace();
  const question = { agent: "garden", question: "how wet is it?" };
  const heard = await resultOf(place, "ask_agent", question, answers("It is wet."));
  assert.match(heard, /It is wet\./);
});

/** What a client that nobody has given rights tries to write. */
const FORBIDDEN = [
  SET,
  LAMP,
  "sensors/hall/door",
  "homeassistant/switch/lamp/config",
  "/picoclaw/house/kitchen/request",
  "/picoclaw/garden/agent:house:kitchen/request",
  `${A2A}/request/acme/home/house`,
  `${A2A}/reply/acme/home/planner/1`,
  `${A2A}/discovery/acme/home/house`,
  `$mcp-rpc/kitchen/${RPC}`,
  `$mcp-server/presence/${RPC}`,
  "$mcp-client/presence/kitchen",
];

it(
  "with the printed list a stranger can use none of them, and the gateway nothing else",
  needs,
  async () => {
    await using place = await openPlace();
    await using lamp = await startLamp(place);
    await using planner = await place.as("planner", `${A2A}/reply/acme/home/planner/#`);
    await using eve = await place.as("eve", "#");
    for (const filter of [
      "$a2a/#",
      "$mcp-rpc/#",
      "$mcp-client/#",
      "/picoclaw/#",
      "zigbee2mqtt/#",
    ]) {
      await eve.client.subscribeAsync(filter, { qos: 1 });
    }
    for (const topic of FORBIDDEN) assert.ok(await isRefused(eve, topic), topic);
    await assert.rejects(askByA2a(eve.client, "t2", "eve"), /Not authorized/);
    const kitchen = await place.send("kitchen", "eve");
    assert.equal(kitchen.code, 5, kitchen.stderr);
    assert.match(await resultOf(place, "set_device", { name: "hall lamp", state: "on" }), /Done/);
    await askByA2a(planner.client, "t3", "planner");
    await until("A2A has answered", () => planner.texts().join().includes("COMPLETED"));
    const heard = new Set(eve.messages.map(({ topic }) => topic));
    assert.deepEqual([...heard].toSorted(), [
      "/picoclaw/garden/info",
      "/picoclaw/garden/status",
      "/picoclaw/house/info",
      "/picoclaw/house/status",
    ]);
    assert.deepEqual(lamp.texts(), ["ON"]);
    assert.ok(!(await toolsOverMcp(place.url, "eve")).includes("set_device"));

    await using gateway = await place.as("house-gw", "sensors/hall/window");
    for (const topic of [
      LAMP,
      "sensors/hall/door",
      "/picoclaw/garden/hall/request",
      `${A2A}/request/acme/home/house`,
    ]) {
      assert.ok(await isRefused(gateway, topic), topic);
    }
    await lamp.client.publishAsync("sensors/hall/window", "open", { qos: 1 });
    await lamp.client.publishAsync("sensors/hall/door", "open", { qos: 1 });
    assert.deepEqual(gateway.messages, []);
  },
);
