import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Connection } from "../../src/mqtt/client/connection.ts";
import { statusTopic } from "../../src/mqtt/protocol/topics.ts";
import { channelFor, openTestChannel, openTestDevice } from "../support/channel.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { fakeBroker, polite } from "../support/packets.ts";
import { until } from "../support/until.ts";

describe("what others see", () => {
  it("is online, info, and offline at the end", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using device = await openTestDevice(broker.url, "/picoclaw/edge/status");
    const asked = openTestChannel(broker.url);
    await asked.ready();
    assert.equal(String((await device.message(0)).payload), "online");
    await using late = await openTestDevice(broker.url, "/picoclaw/edge/+");
    await late.message(1);
    assert.ok(late.messages.every(({ retain }) => retain));
    const info: unknown = JSON.parse(late.texts().find((text) => text.startsWith("{")) ?? "");
    assert.deepEqual(Object.keys(info ?? {}), [
      "version",
      "instance",
      "since",
      "protocol",
      "limits",
      "gateways",
    ]);
    await asked.channel.close();
    assert.equal(String((await device.message(1)).payload), "offline");
    assert.equal(await asked.channel.ended, undefined);
    await until("a clean good-bye", () =>
      broker.log().includes("Received DISCONNECT from picoclaw-mqtt-edge-"),
    );
    assert.deepEqual(device.texts(), ["online", "offline"]);
  });

  it("is offline by the will when the connection is cut", needsMosquitto, async () => {
    await using broker = await startMosquitto({
      lines: ["listener {port} 127.0.0.1", "allow_anonymous true"],
    });
    await using device = await openTestDevice(broker.url, "/picoclaw/edge/status");
    const { settings } = channelFor(broker.url);
    const connection = new Connection({
      settings,
      clientId: "cut",
      connectTimeoutMs: 2_000,
      reconnectMs: 100,
      will: { topic: statusTopic({ prefix: "/picoclaw", agent: "edge" }), payload: "offline" },
      maximumPacketBytes: 1_048_576,
      log: createMemoryLog(),
      onMessage: () => {},
      onSession: () => Promise.resolve(),
    });
    const first = await connection.ready();
    first.abort("cut by the test");
    const { payload, retain } = await device.message();
    assert.deepEqual([String(payload), retain], ["offline", false]);
    await until("another session", () => (connection.session() ?? first) !== first);
    await connection.close();
  });

  it("is online again at every connect, whatever the broker forgot", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using asked = openTestChannel(broker.url, { reconnectMs: 100 });
    await asked.ready();
    await broker.kill();
    await until("noticed", () => asked.channel.problem() !== undefined);
    await broker.start();
    await asked.ready();
    await using device = await openTestDevice(broker.url, "/picoclaw/edge/status");
    const { payload, retain } = await device.message();
    assert.deepEqual([String(payload), retain], ["online", true]);
  });

  it("is sent before an answer, which does not wait for its acknowledgement", async () => {
    const topic = "/picoclaw/edge/c/request";
    const payload = Buffer.from(JSON.stringify({ text: "hi" }));
    const length = 2 + topic.length + payload.length;
    const head = Buffer.from([0x30, length, 0, topic.length]);
    const published: string[] = [];
    await using broker = await fakeBroker((packet, socket) => {
      if (packet.type !== 3) polite(packet, socket);
      else published.push(packet.topic);
      if (packet.type === 8) socket.write(Buffer.concat([head, Buffer.from(topic), payload]));
    });
    await using asked = openTestChannel(broker.url, { settings: { protocol_version: 4 } });
    const request = await asked.request();
    await request.reply({ text: "hello", done: true });
    await until("the answer arrives", () => published.length === 2);
    assert.deepEqual(published, ["/picoclaw/edge/status", "/picoclaw/edge/c/response"]);
  });

  it("is put right after the late will of a predecessor", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using asked = openTestChannel(broker.url, { settings: { keep_alive: 1 } });
    await asked.ready();
    await using device = await openTestDevice(broker.url, "/picoclaw/edge/status");
    await device.client.publishAsync("/picoclaw/edge/status", "offline", { qos: 1, retain: true });
    await device.message(2);
    assert.deepEqual(device.texts(), ["online", "offline", "online"]);
  });
});
