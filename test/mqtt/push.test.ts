import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { PUSH_ADDRESS } from "../../src/base/request-extras.ts";
import { openTestChannel, openTestDevice } from "../support/channel.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { until } from "../support/until.ts";

const RESPONSES = "/picoclaw/edge/+/response";
const TEXT = "The washing machine is done. ".repeat(20);

function recipient(client: string) {
  return { client, address: PUSH_ADDRESS, id: "job-1" };
}

describe("a push", () => {
  it(
    "is marked in each of its messages, has QoS 1 on a channel with QoS 0, and fits",
    needsMosquitto,
    async () => {
      await using broker = await startMosquitto();
      await using test = openTestChannel(broker.url, {
        settings: { qos: 0, max_message_bytes: 200 },
      });
      await test.ready();
      await using device = await openTestDevice(broker.url, RESPONSES);
      await test.channel.replyTo(recipient("c1"))?.({ text: TEXT, done: true });
      await until("its end", () => device.texts().at(-1)?.includes('"done":true') === true);
      const parts = device.texts().map((text) => JSON.parse(text));
      assert.ok(parts.length > 3);
      assert.ok(parts.every(({ id, push }) => id === "job-1" && push === true));
      assert.equal(parts.map(({ text }) => text).join(""), TEXT);
      assert.ok(device.messages.every(({ qos }) => qos === 1));
      assert.ok(device.texts().every((text) => Buffer.byteLength(text) < 200));
    },
  );

  it("is bare text for a client with such answers", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    const clients = [{ pattern: "display-*", accept: "text/plain" }] as const;
    await using test = openTestChannel(broker.url, { settings: { qos: 1, clients } });
    await test.ready();
    await using device = await openTestDevice(broker.url, RESPONSES);
    await test.channel.replyTo(recipient("display-1"))?.({ text: "Done.", done: true });
    await device.message();
    assert.deepEqual(device.texts(), ["Done."]);
  });

  it(
    "without a subscriber is not delivered, also at QoS 0 of the channel",
    needsMosquitto,
    async () => {
      await using broker = await startMosquitto();
      const settings = { qos: 0, protocol_version: 5 } as const;
      await using test = openTestChannel(broker.url, { settings });
      await test.ready();
      const reply = test.channel.replyTo(recipient("c1"));
      assert.ok(reply);
      await assert.rejects(reply({ text: "a", done: true }), { code: "no_subscriber" });
    },
  );

  it("has no way to a client id that is not one level of a topic", async () => {
    await using test = openTestChannel("mqtt://127.0.0.1:1");
    for (const client of ["", "other/c1", "+", "#", "a\u0000", "a\u{fffd}"]) {
      assert.equal(test.channel.replyTo(recipient(client)), undefined);
    }
  });
});
