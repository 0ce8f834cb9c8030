import assert from "node:assert/strict";
import { chmod } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openTestDevice, run } from "../support/channel.ts";
import {
  type MosquittoOptions,
  needsMosquitto,
  startMosquitto,
  withAcl,
} from "../support/mosquitto.ts";
import { fakeBroker, politeOn5, type RawPacket } from "../support/packets.ts";
import { onceInCi, picoclaw, quickConfig, startGateway, writeConfig } from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { runIn } from "./host.ts";

const needs = { skip: needsMosquitto.skip || onceInCi.skip, timeout: 60_000 };
const PARTS = /^(ok|warn|fail|skip) +(broker\.(?:devices|watch|a2a|mcp)|access\.confirm) +(.*)$/gm;

/** The lines on the parts, as `result code sentence`. */
async function linesFor(home: string): Promise<readonly string[]> {
  const env = { PICOCLAW_GATEWAY_PORT: "0" };
  const { stdout } = await runIn(home, ["doctor", "--offline"], { env });
  return [...stdout.matchAll(PARTS)].map(([, result, code, text]) => `${result} ${code} ${text}`);
}

async function examined(config: unknown): Promise<readonly string[]> {
  await using home = await temporaryFolder();
  await writeConfig(home.path, config);
  await chmod(join(home.path, "config.json"), 0o600);
  return await linesFor(home.path);
}

/** A broker on which the user gw has what every gateway needs, and these lines. */
function withAccess(...lines: readonly string[]): MosquittoOptions {
  return withAcl(
    "user gw",
    "topic readwrite /picoclaw/assistant/#",
    ...lines,
    "user other",
    "topic readwrite #",
  );
}

const A2A = { a2a: { enabled: true, org: "acme", unit: "home" } };
const MCP = { mcp: { enabled: true } };
const GRANTS = "try: give the user gw the rights that picoclaw acl prints";

const ZIGBEE = { read: ["zigbee2mqtt/#"], publish: ["zigbee2mqtt/+/set"] };
const PROFILES = {
  "panel-*": { tools: ["devices", "set_device"], topics: ZIGBEE },
  display: { tools: ["devices"], topics: { read: ["zigbee2mqtt/lamp"], publish: [] } },
  attic: { tools: ["devices"], topics: { read: ["tele/#"], publish: [] } },
  other: { tools: ["memory"] },
};

const withTools = (url: string, tools: object, settings: object = {}) =>
  quickConfig(url, { username: "gw", ...settings }, { tools });

/** Devices that are announced, of which the lamp has reported. */
async function announce(port: number): Promise<void> {
  const retained = async (topic: string, payload: object | string): Promise<void> => {
    const text = typeof payload === "string" ? payload : JSON.stringify(payload);
    await run("mosquitto_pub", "-p", `${port}`, "-u", "other", "-r", "-t", topic, "-m", text);
  };
  await retained("homeassistant/switch/lamp/config", {
    name: "lamp",
    stat_t: "zigbee2mqtt/lamp",
    cmd_t: "zigbee2mqtt/lamp/set",
  });
  await retained("homeassistant/sensor/t/config", { name: "t", stat_t: "zigbee2mqtt/t" });
  await retained("zigbee2mqtt/lamp", "ON");
}

describe("doctor on devices", () => {
  it("says how many there are, and which profile sees them", needs, async () => {
    const read = ["topic read homeassistant/#", "topic read zigbee2mqtt/#"];
    await using broker = await startMosquitto(withAccess(...read));
    await announce(broker.port);
    assert.deepEqual(await examined(withTools(broker.url, { profiles: PROFILES })), [
      "ok broker.devices mqtt: 2 entities of devices are announced: panel-* sees 2 and sets 1, display sees 1, attic sees 0",
      "warn broker.devices mqtt: attic: the topics of no device are within the profile's topics (try: name the base topics of the devices in topics.read and topics.publish, such as zigbee2mqtt/#)",
    ]);
  });

  it("names the right that is missing where a broker drops all in silence", needs, async () => {
    await using broker = await startMosquitto(withAccess());
    await announce(broker.port);
    const [line = "", ...more] = await examined(withTools(broker.url, { profiles: PROFILES }));
    assert.match(
      line,
      /^warn broker\.devices mqtt: no device is announced below homeassistant\/ or tasmota\/discovery\/, or the user gw may not read that /,
    );
    assert.match(
      line,
      /"topic read homeassistant\/\+\/\+\/config" and "topic read .*" under "user gw"/,
    );
    assert.deepEqual(more, []);
  });

  it("warns where the announcements come, and what devices report does not", needs, async () => {
    await using broker = await startMosquitto(withAccess("topic read homeassistant/#"));
    await announce(broker.port);
    const { attic: _, ...profiles } = PROFILES;
    const [, line] = await examined(withTools(broker.url, { profiles }));
    assert.equal(
      line,
      `warn broker.devices mqtt: none of them has reported anything yet, or the user gw may not read their topics (${GRANTS.replace("try: ", "try: if they have, ")})`,
    );
  });

  it("fails where the broker refuses the subscription, and so do watched topics", async () => {
    await using broker = await refusing();
    const watch = [{ topic: "sensors/door", prompt: "p", client: "c" }];
    const lines = await examined(withTools(broker.url, { profiles: PROFILES, mqtt: { watch } }));
    assert.match(
      lines[0] ?? "",
      /^fail broker\.devices mqtt: the broker refused the subscription to homeassistant\/.*: devices are not found \(try: add the lines/,
    );
    assert.equal(
      lines[1],
      `fail broker.watch mqtt: the broker refuses the subscription to sensors/door: the user gw may not read it (${GRANTS})`,
    );
  });

  it("says nothing where no client has the tools", needs, async () => {
    await using broker = await startMosquitto();
    assert.deepEqual(await examined(quickConfig(broker.url)), []);
    const tools = { devices: { enabled: false }, set_device: { enabled: false } };
    assert.deepEqual(await examined(withTools(broker.url, { profiles: PROFILES, ...tools })), []);
  });
});

/** A broker that refuses subscriptions of other topics than the agent's. */
function refusing() {
  return fakeBroker((packet, socket) => {
    const filters = packet.type === 8 ? filtersIn(packet) : [];
    if (filters.every((filter) => filter.startsWith("/picoclaw/"))) {
      const codes = filters.map(() => 0);
      if (packet.type !== 8) return politeOn5(packet, socket);
      return void socket.write(suback(packet, codes));
    }
    socket.write(
      suback(
        packet,
        filters.map(() => 0x87),
      ),
    );
  });
}

/** MQTT 5 section 3.8.3, for packets without properties. */
function filtersIn({ bytes }: RawPacket): readonly string[] {
  const found: string[] = [];
  for (let at = 3; at < bytes.length;) {
    const end = at + 2 + bytes.readUInt16BE(at);
    found.push(bytes.toString("utf8", at + 2, end));
    at = end + 1;
  }
  return found;
}

function suback({ id }: RawPacket, codes: readonly number[]): Buffer {
  return Buffer.from([0x90, 3 + codes.length, id >> 8, id & 255, 0, ...codes]);
}

describe("doctor on watched topics", () => {
  it("says which deliver, and which it cannot know of", needs, async () => {
    await using broker = await startMosquitto();
    await run("mosquitto_pub", "-p", `${broker.port}`, "-r", "-t", "sensors/a/door", "-m", "shut");
    const watch = ["sensors/+/door", "sensors/window", "other"].map((topic) => ({
      topic,
      prompt: "p",
      client: "c",
    }));
    assert.deepEqual(await examined(withTools(broker.url, { mqtt: { watch } })), [
      "ok broker.watch mqtt: sensors/+/door: a message came",
      "skip broker.watch mqtt: sensors/window, other: nothing is stored there that would show whether the broker delivers it",
    ]);
  });
});

describe("doctor on A2A and MCP over MQTT", () => {
  it("proves that both can work, and disturbs nobody", needs, async () => {
    await using broker = await startMosquitto(
      withAccess(
        "topic read $a2a/v1/request/acme/home/assistant",
        "topic write $a2a/v1/reply/acme/home/#",
        "topic readwrite $mcp-rpc/+/picoclaw-mcp-assistant/picoclaw/assistant",
      ),
    );
    await using seen = await openTestDevice(broker.url, "$a2a/#", { username: "other" });
    await seen.client.subscribeAsync("$mcp-server/#");
    assert.deepEqual(await examined(withTools(broker.url, {}, { ...A2A, ...MCP })), [
      "ok broker.a2a mqtt: A2A: the broker lets us hear $a2a/v1/request/acme/home/assistant, and answer",
      "ok broker.mcp mqtt: MCP: a message came through $mcp-rpc/+/picoclaw-mcp-assistant/picoclaw/assistant",
    ]);
    // The connections of a gateway that runs have these client ids.
    assert.doesNotMatch(broker.log(), / as (acme\/home|picoclaw-mcp-)/);
    const topics = seen.messages.map(({ topic }) => topic);
    assert.ok(
      topics.every((topic) => topic.startsWith("$a2a/v1/reply/acme/home/picoclaw-doctor/")),
    );
  });

  it("fails where the broker does not let it answer, or drops what comes", needs, async () => {
    await using broker = await startMosquitto(
      withAccess("topic write $mcp-rpc/+/picoclaw-mcp-assistant/picoclaw/assistant"),
    );
    const [a2a = "", mcp = ""] = await examined(withTools(broker.url, {}, { ...A2A, ...MCP }));
    assert.match(a2a, /^fail broker\.a2a mqtt: A2A: .*[Nn]ot authorized.*\(try: give the user gw/);
    assert.match(mcp, /^fail broker\.mcp mqtt: MCP: .* delivers nothing \(try: give the user gw/);
  });
});

describe("doctor on confirmations", () => {
  it("says who has to allow calls, and whether they may ask and ever have", onceInCi, async () => {
    await using home = await temporaryFolder();
    const settings = { broker: "embedded://127.0.0.1:0", agent_id: "assistant" };
    const configure = async (by: readonly string[]): Promise<void> => {
      const channel = { enabled: true, type: "mqtt", deny_from: ["gone"], settings };
      const kitchen = { tools: ["set_device", "devices"], topics: ZIGBEE, confirm: { by } };
      const tools = { profiles: { kitchen } };
      await writeConfig(home.path, { version: 3, channel_list: { mqtt: channel }, tools });
    };
    await configure(["phone"]);
    const confirmed = async (): Promise<readonly string[]> =>
      (await linesFor(home.path)).filter((line) => line.includes("access.confirm"));
    assert.deepEqual(await confirmed(), [
      "ok access.confirm confirmations: calls wait for phone (has not asked yet)",
    ]);
    await askOnce(home.path, "phone");
    await configure(["phone", "phones", "phone2", "gone"]);
    assert.deepEqual(await confirmed(), [
      "ok access.confirm confirmations: calls wait for phone (has asked before), phones (has not asked yet), phone2 (has not asked yet), gone (has not asked yet)",
      "warn access.confirm confirmations: gone may not ask on any channel, so it cannot allow the calls that wait for it (try: name it in allow_from of the channel, or another client in confirm.by)",
      "warn access.confirm confirmations: phones has never asked, and phone has (try: if it is misspelt, write phone in confirm.by)",
    ]);
  });
});

async function askOnce(home: string, client: string): Promise<void> {
  await using gateway = await startGateway({ home });
  const [, port = ""] = /127\.0\.0\.1:(\d{4,5})/.exec(gateway.stderr()) ?? [];
  const way = ["--broker", `tcp://127.0.0.1:${port}`, "--agent", "assistant"];
  const sent = await picoclaw(["send", client, ...way, "uptime"], { home });
  assert.equal(sent.code, 0, sent.stderr);
}
