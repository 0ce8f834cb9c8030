import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openBroker } from "../../src/mqtt/broker.ts";
import { answering, openTestChannel, openTestDevice } from "../support/channel.ts";
import { fakeBroker, polite } from "../support/packets.ts";
import { until } from "../support/until.ts";

const REQUEST = "/picoclaw/edge/c1/request";
const RESPONSE = "/picoclaw/edge/c1/response";
const HI = '{"text":"hi"}';

describe("the protocol `auto`", () => {
  it("falls back to 3.1.1 against the built-in broker, for each QoS", async () => {
    for (const qos of [0, 1, 2] as const) {
      const broker = await openBroker({ broker: "embedded://127.0.0.1:0" });
      const url = `tcp://127.0.0.1:${broker.port}`;
      await using asked = openTestChannel(url, { settings: { qos }, onRequest: answering("ok") });
      assert.equal((await asked.ready()).protocol, 4);
      await using device = await openTestDevice(url, RESPONSE, { protocolVersion: 4 });
      await device.client.publishAsync(REQUEST, HI, { qos });
      assert.equal(String((await device.message()).payload), '{"text":"ok","seq":0,"done":true}');
      await broker.close();
    }
  });

  for (const how of ["end", "resetAndDestroy"] as const) {
    it(`falls back where a broker hangs up on MQTT 5 without a word (${how})`, async () => {
      await using broker = await fakeBroker((packet, socket) => {
        if (packet.type === 1 && packet.version === 5) socket[how]();
        else polite(packet, socket);
      });
      await using asked = openTestChannel(broker.url);
      assert.equal((await asked.ready()).protocol, 4);
      assert.equal(broker.connections(), 2);
    });
  }

  it("is decided once: after a loss the broker is not asked for MQTT 5 again", async () => {
    const versions: number[] = [];
    await using broker = await fakeBroker((packet, socket, connection) => {
      if (packet.type === 1) versions.push(packet.version);
      if (packet.version === 5) socket.end();
      else polite(packet, socket);
      if (packet.type === 8 && connection === 2) setTimeout(() => socket.destroy(), 20);
    });
    await using asked = openTestChannel(broker.url, { reconnectMs: 50 });
    await asked.ready();
    await until("a third connection", () => broker.connections() === 3);
    await until("ready again", () => asked.channel.problem() === undefined);
    assert.deepEqual(versions, [5, 4, 4]);
  });
});
