import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Client } from "@modelcontextprotocol/client";
import { connectAsync } from "mqtt";
import { openTestDevice, retained } from "../support/channel.ts";
import { mcpRpcTopic, MqttTransport } from "../support/mcp-over-mqtt.ts";
import { answers, hangs, startModelServer } from "../support/model-server.ts";
import {
  needsMosquitto,
  startMosquitto,
  withAcl,
  type MosquittoOptions,
} from "../support/mosquitto.ts";
import { quickConfig, startGateway, temporaryHome } from "../support/picoclaw.ts";
import { until } from "../support/until.ts";

const needs = { ...needsMosquitto, timeout: 60_000 };
const SERVER = "picoclaw-mcp-assistant";
const NAME = "picoclaw/assistant";
const CONTROL = `$mcp-server/${SERVER}/${NAME}`;
const PRESENCE = `$mcp-server/presence/${SERVER}/${NAME}`;
const rpcTopic = (client: string): string => mcpRpcTopic(client, "assistant");

async function connect(broker: string, id: string) {
  const mqtt = await connectAsync(broker, { protocolVersion: 5, clientId: id });
  const transport = new MqttTransport(mqtt, id);
  const client = new Client({ name: "test", version: "1" });
  await client.connect(transport);
  return Object.assign(client, { mqtt, packets: transport.packets });
}

/** A broker, a model and a gateway that serves MCP over MQTT. */
async function openPlace(
  tools: object = {},
  { options = {}, limits = {} }: { options?: MosquittoOptions; limits?: object } = {},
) {
  const stack = new AsyncDisposableStack();
  const broker = stack.use(await startMosquitto(options));
  const model = stack.use(await startModelServer());
  const entry = { model_name: "m", model: "openai/m", api_base: model.base, api_keys: ["sk-key"] };
  const mcp = { enabled: true, description: "Knows the house." };
  const settings = { username: "gateway", mcp, ...limits };
  const config = quickConfig(broker.url, settings, {
    agents: { defaults: { model_name: "m" } },
    model_list: [entry],
    tools,
  });
  const home = stack.use(await temporaryHome(config));
  const gateway = stack.use(await startGateway({ home: home.path }));
  const seen = stack.use(await openTestDevice(broker.url, PRESENCE));
  await until("its presence is known", () => seen.messages.length > 0);
  return {
    broker,
    model,
    gateway,
    seen,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

function measure(id: number): string {
  const params = { name: "device", arguments: { facts: ["uptime"] } };
  return JSON.stringify({ jsonrpc: "2.0", id, method: "tools/call", params });
}

/** A message that says so of its sender. */
function as(client: string) {
  const userProperties = { "MCP-MQTT-CLIENT-ID": client };
  return { qos: 1, properties: { userProperties } } as const;
}

/** Rules as `picoclaw acl` prints them, for client ids. */
const ACL = [
  "topic read $mcp-server/presence/#",
  `topic write ${CONTROL}`,
  "user gateway",
  "topic readwrite /picoclaw/assistant/#",
  `topic write ${PRESENCE}`,
  `topic read ${CONTROL}`,
  "topic read $mcp-client/presence/+",
  `topic readwrite ${rpcTopic("+")}`,
  "pattern write $mcp-client/presence/%c",
  "pattern readwrite $mcp-rpc/%c/#",
];

async function namesOf(client: Client): Promise<readonly string[]> {
  return (await client.listTools()).tools.map(({ name }) => name);
}

async function call(client: Client, name: string, given: object) {
  const { content, isError } = await client.callTool({ name, arguments: { ...given } });
  return { text: JSON.stringify(content), isError };
}

describe("MCP over MQTT", () => {
  it("gives each client the tools of its profile, and the agent", needs, async () => {
    const profiles = { kitchen: { tools: ["device", "exec"] }, hall: { tools: ["memory"] } };
    await using place = await openPlace({ profiles });
    const { broker, model, gateway } = place;
    const kitchen = await connect(broker.url, "kitchen");
    const hall = await connect(broker.url, "hall");
    assert.equal(kitchen.getServerVersion()?.title, "picoclaw assistant");
    assert.deepEqual(
      { ...kitchen.packets[0]?.properties?.userProperties },
      { "MCP-COMPONENT-TYPE": "mcp-server", "MCP-MQTT-CLIENT-ID": SERVER },
    );
    assert.deepEqual(await namesOf(kitchen), ["ask", "device"]);
    assert.deepEqual(await namesOf(hall), ["ask"]);
    const uptime = { facts: ["uptime"] };
    assert.match((await call(kitchen, "device", uptime)).text, /Uptime is/);
    const refused = await call(hall, "device", uptime);
    assert.equal(refused.isError, true);
    assert.match(refused.text, /there is no tool/);
    assert.match(gateway.stderr(), /"client":"hall".*"tool":"device","verdict":"refused"/);
    model.script(answers("It is warm."));
    assert.match((await call(hall, "ask", { question: "is it warm?" })).text, /It is warm\./);
    const { body } = await model.received(0);
    assert.ok(body.tools?.every(({ function: { name } }) => name !== "device"));
    await kitchen.close();
    await hall.close();
  });

  it("says why a client that does not name itself is not heard", needs, async () => {
    await using place = await openPlace();
    const kitchen = await connect(place.broker.url, "kitchen");
    const hello = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params: {} });
    await kitchen.mqtt.publishAsync(CONTROL, hello, { qos: 1 });
    await place.gateway.said("it does not say whose it is");
    await place.gateway.said("user property MCP-MQTT-CLIENT-ID");
    await kitchen.close();
  });

  it("cancels the turn of a client that leaves", needs, async () => {
    await using place = await openPlace();
    const { broker, model } = place;
    for (const [index, leave] of [
      (client: Client) => client.close(),
      async (_client: Client, id: string) => {
        await place.seen.client.publishAsync(`$mcp-client/presence/${id}`, "", { qos: 1 });
      },
    ].entries()) {
      const client = await connect(broker.url, `phone${index}`);
      model.script(hangs());
      const asked = call(client, "ask", { question: "wait" }).catch(() => "left");
      const { gone } = await model.received(index);
      await leave(client, `phone${index}`);
      await until("the model's call has ended", () => gone.aborted);
      await client.close();
      await asked;
    }
  });

  it(
    "knows a client by its topic alone, and hears no call on the control topic",
    needs,
    async () => {
      const profiles = { kitchen: { tools: ["device"] }, "*": { tools: ["memory"] } };
      await using place = await openPlace({ profiles });
      await using other = await openTestDevice(place.broker.url, rpcTopic("kitchen"));
      // The calls themselves are among them.
      const answered = (id: number) => other.texts().filter((text) => text.includes(`"id":${id}`));
      await other.client.publishAsync(CONTROL, measure(1), as("kitchen"));
      // The client that the message names is not the one of the topic.
      await other.client.publishAsync(rpcTopic("kitchen"), measure(2), as("hall"));
      await until("the call is answered", () => answered(2).length === 2);
      assert.match(String(answered(2)), /Uptime is/);
      assert.equal(answered(1).length, 0);
      for (const text of ["{", "[]", "\xff", '{"jsonrpc":"2.0","id":{},"method":"ping"}']) {
        await other.client.publishAsync(rpcTopic("kitchen"), text, { qos: 1 });
      }
      await other.client.publishAsync(rpcTopic("kitchen"), measure(3), { qos: 1 });
      await until("the next call is answered", () => answered(3).length === 2);
    },
  );

  it("keeps clients apart with the rules of the documentation", needs, async () => {
    const profiles = { kitchen: { tools: ["device"] }, "*": { tools: ["memory"] } };
    await using place = await openPlace({ profiles }, { options: withAcl(...ACL) });
    const { broker, gateway, model } = place;
    const hall = await connect(broker.url, "hall");
    const refused = hall.mqtt.publishAsync(rpcTopic("kitchen"), measure(1), { qos: 1 });
    await assert.rejects(refused, /Not authorized/);
    assert.deepEqual(await namesOf(hall), ["ask"]);
    assert.doesNotMatch(gateway.stderr(), /"client":"kitchen"/);
    const kitchen = await connect(broker.url, "kitchen");
    assert.match((await call(kitchen, "device", { facts: ["uptime"] })).text, /Uptime is/);
    assert.match(gateway.stderr(), /"client":"kitchen"/);
    model.script(hangs());
    const asked = call(hall, "ask", { question: "wait" }).catch(() => "left");
    const { gone } = await model.received(0);
    await hall.close();
    await until("the model's call has ended", () => gone.aborted);
    await kitchen.close();
    await asked;
  });

  it("sends and takes messages up to the limits of the channel", needs, async () => {
    const limits = { max_message_bytes: 2_000, max_payload_bytes: 2_000 };
    await using place = await openPlace({}, { limits });
    const { broker, model } = place;
    const client = await connect(broker.url, "phone");
    model.script(answers("warm ".repeat(1_000)), answers("It is warm."));
    await assert.rejects(
      call(client, "ask", { question: "how is it, at length?" }),
      /longer than a message of 2000 bytes/,
    );
    const tooLong = JSON.stringify({
      jsonrpc: "2.0",
      id: 1,
      method: "ping",
      more: "x".repeat(2_000),
    });
    await client.mqtt.publishAsync(rpcTopic("phone"), tooLong, { qos: 1 });
    assert.match((await call(client, "ask", { question: "in short?" })).text, /It is warm/);
    assert.equal(client.packets.length, 3);
    await client.close();
  });

  it("says that it is there, and clears that when it ends or is killed", needs, async () => {
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      await using place = await openPlace();
      const { gateway, seen, broker } = place;
      assert.deepEqual(JSON.parse(await retained(broker, PRESENCE)), {
        jsonrpc: "2.0",
        method: "notifications/server/online",
        params: { server_name: NAME, description: "Knows the house.", meta: {} },
      });
      gateway.kill(signal);
      await until("its presence is cleared", () => seen.texts().at(-1) === "");
      await gateway.ended;
      const probe = "$mcp-server/presence/probe/picoclaw/assistant";
      await seen.client.publishAsync(probe, "kept", { retain: true, qos: 1 });
      await using late = await openTestDevice(broker.url, "$mcp-server/presence/#");
      await late.message();
      assert.deepEqual(late.texts(), ["kept"]);
    }
  });
});
