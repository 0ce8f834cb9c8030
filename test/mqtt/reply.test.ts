import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { decodePart } from "../../src/mqtt/protocol/wire.ts";
import { openTestChannel, openTestSetup, openTestDevice } from "../support/channel.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { fakeBroker, politeOn5 } from "../support/packets.ts";
import { until } from "../support/until.ts";

const REQUEST = "/picoclaw/edge/c1/request";
const RESPONSE = "/picoclaw/edge/c1/response";

describe("an answer that nobody subscribes to", () => {
  it("rejects, and begins again when it is sent again", needsMosquitto, async () => {
    await using setup = await openTestSetup({ settings: { qos: 1, protocol_version: 5 } });
    const { asked, device } = setup;
    await device.client.publishAsync(REQUEST, '{"text":"hi"}', { qos: 1 });
    const request = await asked.request();
    await request.reply({ text: "a" });
    await request.reply({ text: "b" });
    await device.client.unsubscribeAsync(RESPONSE);
    await assert.rejects(request.reply({ text: "c", done: true }), { code: "no_subscriber" });
    await device.client.subscribeAsync(RESPONSE, { qos: 1 });
    await request.reply({ text: "abc", done: true });
    await until("its end", () => device.texts().at(-1)?.includes("done") === true);
    assert.deepEqual(
      device.messages.map(({ payload }) => decodePart(Buffer.from(payload))),
      [
        { text: "a", seq: 0 },
        { text: "b", seq: 1 },
        { text: "abc", seq: 0, done: true },
      ],
    );
  });

  it("rejects on PUBREC, too, which mosquitto does not send", async () => {
    await using broker = await fakeBroker((packet, socket) => {
      const { type, id, topic } = packet;
      politeOn5(packet, socket);
      if (topic === RESPONSE) socket.write(Buffer.from([0x50, 3, id >> 8, id & 255, 16]));
      if (type === 6) socket.write(Buffer.from([0x70, 2, id >> 8, id & 255]));
    });
    await using asked = openTestChannel(broker.url, { settings: { qos: 2, protocol_version: 5 } });
    await asked.ready();
    const reply = asked.channel.replyTo({
      client: "c1",
      address: JSON.stringify([RESPONSE, null]),
    });
    assert.ok(reply);
    await assert.rejects(reply({ text: "a", done: true }), { code: "no_subscriber" });
  });

  for (const settings of [
    { qos: 0, protocol_version: 5 },
    { qos: 1, protocol_version: 4 },
  ] as const) {
    const { qos, protocol_version } = settings;
    it(`is not reported: QoS ${qos} on MQTT ${protocol_version}`, needsMosquitto, async () => {
      await using broker = await startMosquitto();
      await using asked = openTestChannel(broker.url, { settings });
      await asked.ready();
      await using device = await openTestDevice(broker.url, "/nothing");
      await device.client.publishAsync(REQUEST, '{"text":"hi"}', { qos: 1 });
      await (await asked.request()).reply({ text: "a", done: true });
    });
  }
});

describe("an answer of many parts", () => {
  it(
    "is cut while it is published, and costs no more memory than one of them",
    needsMosquitto,
    async () => {
      await using setup = await openTestSetup({
        settings: { qos: 1, max_message_bytes: 256 },
      });
      const { asked, device } = setup;
      await device.client.publishAsync(REQUEST, '{"text":"hi"}', { qos: 1 });
      const request = await asked.request();
      const answer = request.reply({ text: "\u0001\u{1F600}".repeat(20_000), done: true });
      await device.message(10);
      const longest = await longestWait(answer);
      assert.ok(longest < 500, `others waited ${longest} ms`);
      // The broker acknowledges a part before the device has it.
      await until(
        "the last part is there",
        () => device.texts().at(-1)?.includes('"done":true') === true,
      );
      const texts = device.messages.map(({ payload }) => decodePart(Buffer.from(payload))?.text);
      assert.equal(texts.join(""), "\u0001\u{1F600}".repeat(20_000));
    },
  );
});

/** How many milliseconds timers had to wait at most until that was done. */
async function longestWait(work: Promise<void>): Promise<number> {
  let last = performance.now();
  let longest = 0;
  const timer = setInterval(() => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  }, 5);
  await work;
  clearInterval(timer);
  return longest;
}
