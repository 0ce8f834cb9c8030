import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { decodePart } from "../../src/mqtt/protocol/wire.ts";
import { openTestChannel, openTestSetup, openTestDevice, reject, run } from "../support/channel.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
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

  it(
    "is handed over with why it is rejected where it came from a client",
    needsMosquitto,
    async () => {
      await using setup = await openTestSetup({
        settings: { max_payload_bytes: 100, qos: 1 },
      });
      const { asked, device } = setup;
      const payloads = ["hello", '{"text": 1, "id": "r1"}', question("x".repeat(100))];
      for (const [index, payload] of payloads.entries()) {
        await device.client.publishAsync(REQUEST, payload, {
          qos: 1,
          properties: { correlationData: Buffer.from([index]) },
        });
      }
      await asked.request(2);
      for (const request of asked.requests) await reject(request);
      await device.message(2);
      const parts = device.messages.map(({ payload }) => decodePart(Buffer.from(payload)));
      assert.deepEqual(
        parts.map((part) => [part?.error?.code, part?.id]),
        [
          ["bad_request", undefined],
          ["bad_request", "r1"],
          ["too_large", undefined],
        ],
      );
      assert.ok(parts.every((part) => part?.done === true && part.seq === 0));
      assert.deepEqual(
        device.messages.map(({ properties }) => properties?.correlationData?.[0]),
        [0, 1, 2],
      );
      for (const { text, client, durable, key, fingerprint } of asked.requests) {
        assert.deepEqual([text, client, durable], ["", "c1", true]);
        assert.ok(key !== undefined && fingerprint !== "");
      }
    },
  );

  it("is the text itself with plain_text", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using asked = openTestChannel(broker.url, {
      settings: {
        plain_text: true,
        streaming: { enabled: false, interval_ms: 250, progress_secs: 20 },
      },
    });
    await asked.ready();
    await run("mosquitto_pub", "-p", `${broker.port}`, "-t", REQUEST, "-m", "how warm?");
    const { text, stream } = await asked.request();
    assert.deepEqual([text, stream], ["how warm?", false]);
  });
});

describe("a request of more than a mebibyte", () => {
  const huge = "x".repeat(1_500_000);
  const rpc = {
    correlationData: Buffer.from("7"),
    responseTopic: "/picoclaw/edge/c1/rpc",
  };
  const userProperties = { of: Array.from({ length: 90 }, () => "v".repeat(20_000)) };
  const cases: readonly (readonly [string, 4 | 5, string, object, string])[] = [
    ["on MQTT 3.1.1", 4, huge, {}, RESPONSE],
    ["on MQTT 5", 5, huge, rpc, rpc.responseTopic],
    ["whose user properties alone are more", 5, "hi", { ...rpc, userProperties }, RESPONSE],
    ["of ten", 5, huge.repeat(7), rpc, rpc.responseTopic],
  ];
  for (const [name, protocol_version, text, properties, topic] of cases) {
    it(`gets an error that it is too large: ${name}`, needsMosquitto, async () => {
      await using broker = await startMosquitto();
      await using asked = openTestChannel(broker.url, {
        settings: { qos: 1, protocol_version, plain_text: true },
        onRequest: reject,
      });
      await asked.ready();
      await using device = await openTestDevice(broker.url, topic);
      await device.client.publishAsync(REQUEST, text, { qos: 1, properties });
      const { payload } = await device.message();
      assert.equal(decodePart(Buffer.from(payload))?.error?.code, "too_large");
      await device.client.publishAsync(REQUEST, "a small one", { qos: 1 });
      assert.equal((await asked.request(1)).text, "a small one");
      assert.equal(asked.requests.length, 2);
      assert.equal(broker.log().split("New client connected").length - 1, 2);
    });
  }
});

describe("a request whose answer would be all envelope", () => {
  const cases: readonly (readonly [string, object, object, string | undefined, number])[] = [
    ["an id of control characters", { id: "\u0001".repeat(128) }, {}, undefined, 1],
    ["a long response topic", { id: "r1" }, { responseTopic: longTopic() }, "r1", 1],
    ["long correlation data", { id: "r1" }, { correlationData: Buffer.alloc(200) }, undefined, 0],
  ];
  for (const [name, more, properties, id, kept] of cases) {
    it(`is rejected, in an error that can be published: ${name}`, needsMosquitto, async () => {
      await using setup = await openTestSetup({
        settings: { max_message_bytes: 256, qos: 1 },
      });
      const { asked, device } = setup;
      const correlationData = Buffer.from("c");
      await device.client.publishAsync(REQUEST, JSON.stringify({ text: "hi", ...more }), {
        qos: 1,
        properties: { correlationData, ...properties },
      });
      const request = await asked.request();
      assert.deepEqual([request.text, request.rejected?.code], ["", "bad_request"]);
      await reject(request);
      await until("its end", () => device.texts().at(-1)?.includes('"done":true') === true);
      assert.ok(device.messages.length <= 2);
      for (const { payload, properties: seen } of device.messages) {
        assert.equal(decodePart(Buffer.from(payload))?.id, id);
        assert.equal(seen?.correlationData?.length ?? 0, kept);
      }
    });
  }

  it(
    "is rejected for Correlation Data of more than 8 KiB, whatever the limit",
    needsMosquitto,
    async () => {
      await using setup = await openTestSetup();
      const { asked, device } = setup;
      for (const bytes of [8192, 8193]) {
        const properties = { correlationData: Buffer.alloc(bytes) };
        await device.client.publishAsync(REQUEST, '{"text":"hi"}', { qos: 0, properties });
      }
      await until("both have come", () => asked.requests.length === 2);
      assert.deepEqual(
        asked.requests.map(({ rejected }) => rejected?.code),
        [undefined, "bad_request"],
      );
    },
  );

  it("is taken where no limit is in force", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using asked = openTestChannel(broker.url);
    await asked.ready();
    const payload = JSON.stringify({ text: "hi", id: "\u0001".repeat(128) });
    await run("mosquitto_pub", "-p", `${broker.port}`, "-t", REQUEST, "-m", payload);
    assert.equal((await asked.request()).rejected, undefined);
  });
});

function longTopic(): string {
  return `/picoclaw/edge/c1/${"x".repeat(60_000)}`;
}
