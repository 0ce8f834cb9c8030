import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { decodePart } from "../../src/mqtt/wire.ts";
import { openTestChannel, openTestDevice, run } from "../support/channel.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { fakeBroker, polite } from "../support/packets.ts";
import { until } from "../support/until.ts";

const REQUEST = "/picoclaw/edge/c1/request";
const RESPONSE = "/picoclaw/edge/c1/response";
const question = (text: string): string => JSON.stringify({ text });

describe("what is no request", () => {
  it(
    "is never run: retained before and while away, empty, other levels, an empty client",
    needsMosquitto,
    async () => {
      await using broker = await startMosquitto();
      for (const protocol_version of [5, 4] as const) {
        await using device = await openTestDevice(broker.url, "/nothing");
        await device.client.publishAsync(REQUEST, question("retained before"), {
          qos: 1,
          retain: true,
        });
        await using asked = openTestChannel(broker.url, {
          settings: { protocol_version },
          reconnectMs: 300,
        });
        await asked.ready();
        await broker.kill();
        await broker.start();
        await until("the device is back", () => device.client.connected);
        await device.client.publishAsync(REQUEST, question("retained while away"), {
          qos: 1,
          retain: true,
        });
        await until(
          "back",
          () =>
            asked.channel.problem() === undefined && asked.log.text().split("connected").length > 2,
        );
        await device.client.publishAsync(REQUEST, "", { qos: 1 });
        await device.client.publishAsync("/picoclaw/edge//request", question("no client"), {
          qos: 1,
        });
        await device.client.publishAsync("/picoclaw/edge/a/b/request", question("levels"), {
          qos: 1,
        });
        await device.client.publishAsync("/picoclaw/edge/request", question("levels"), { qos: 1 });
        await device.client.publishAsync(REQUEST, question("the only one"), { qos: 1 });
        const { text } = await asked.request();
        assert.equal(text, "the only one");
        // On MQTT 5 the broker does not even send them; on 3.1.1 the flag tells.
        assert.equal(asked.log.text().includes("a retained request"), protocol_version === 4);

        assert.equal(asked.requests.length, 1);
      }
    },
  );

  it("gets one error answer where it came from a client", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using asked = openTestChannel(broker.url, { settings: { max_payload_bytes: 100 } });
    await asked.ready();
    await using device = await openTestDevice(broker.url, RESPONSE);
    const payloads = ["hello", '{"text": 1}', question("x".repeat(100))];
    for (const [index, payload] of payloads.entries()) {
      await device.client.publishAsync(REQUEST, payload, {
        properties: { correlationData: Buffer.from([index]) },
      });
    }
    await device.message(2);
    const parts = device.messages.map(({ payload }) => decodePart(Buffer.from(payload)));
    assert.deepEqual(
      parts.map((part) => part?.error?.code),
      ["bad_request", "bad_request", "too_large"],
    );
    assert.ok(parts.every((part) => part?.done === true && part.seq === 0));
    assert.deepEqual(
      device.messages.map(({ properties }) => properties?.correlationData?.[0]),
      [0, 1, 2],
    );
    assert.equal(asked.requests.length, 0);
  });

  it(
    "is handed over as a request without words where it came from who may not ask",
    needsMosquitto,
    async () => {
      await using broker = await startMosquitto();
      await using asked = openTestChannel(broker.url, { isServed: () => false });
      await asked.ready();
      await using device = await openTestDevice(broker.url, RESPONSE);
      await device.client.publishAsync(REQUEST, "hello", { qos: 1 });
      const { text, client } = await asked.request();
      assert.deepEqual([text, client, device.messages.length], ["", "c1", 0]);
    },
  );

  it("is the text itself with plain_text", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using asked = openTestChannel(broker.url, {
      settings: { plain_text: true, streaming: { enabled: false, interval_ms: 250 } },
    });
    await asked.ready();
    await run("mosquitto_pub", "-p", `${broker.port}`, "-t", REQUEST, "-m", "how warm?");
    const { text, stream } = await asked.request();
    assert.deepEqual([text, stream], ["how warm?", false]);
  });

  it("does not pile up answers: 64 are under way at most, the rest of a flood is passed over", async () => {
    const nonsense = Buffer.concat([
      Buffer.from([0x30, 2 + REQUEST.length + 2, 0, REQUEST.length]),
      Buffer.from(`${REQUEST}{}`),
    ]);
    const held: (() => void)[] = [];
    let answers = 0;
    await using broker = await fakeBroker((packet, socket) => {
      if (packet.topic === RESPONSE) {
        answers += 1;
        held.push(() => polite(packet, socket));
      } else polite(packet, socket);
      if (packet.type === 3 && packet.topic.endsWith("/info")) {
        for (let index = 0; index < 100; index += 1) socket.write(nonsense);
      }
    });
    await using asked = openTestChannel(broker.url, { settings: { protocol_version: 4, qos: 1 } });
    const told = (level: string): number =>
      asked.log.lines.filter((line) => line.message === "request failed" && line.level === level)
        .length;
    await until("all have come", () => told("warn") + told("debug") === 100);
    assert.deepEqual([told("warn"), told("debug")], [64, 36]);
    const acknowledged = setInterval(() => held.shift()?.(), 1);
    await until("64 answers", () => answers === 64);
    await new Promise((resolve) => setTimeout(resolve, 100));
    clearInterval(acknowledged);
    assert.equal(answers, 64);
  });
});
