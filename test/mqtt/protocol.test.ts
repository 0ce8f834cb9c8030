import assert from "node:assert/strict";
import { createServer } from "node:net";
import { describe, it } from "node:test";
import { Aedes } from "aedes";
import { openBroker } from "../../src/mqtt/broker/broker.ts";
import { answering, openTestChannel, openTestDevice } from "../support/channel.ts";
import { field } from "../support/hostile-broker.ts";
import { fakeBroker, polite, politeOn5 } from "../support/packets.ts";
import { until } from "../support/until.ts";

const REQUEST = "/picoclaw/edge/c1/request";
const RESPONSE = "/picoclaw/edge/c1/response";
const HI = '{"text":"hi"}';

async function assertAnswered(
  url: string,
  qos: 0 | 1 | 2,
  expected: 4 | 5,
  setting: "auto" | 4 | 5 = "auto",
): Promise<void> {
  const settings = { qos, protocol_version: setting };
  await using asked = openTestChannel(url, { settings, onRequest: answering("ok") });
  assert.equal((await asked.ready()).protocol, expected);
  for (const protocolVersion of expected === 4 ? ([4] as const) : ([4, 5] as const)) {
    await using device = await openTestDevice(url, RESPONSE, { protocolVersion });
    await device.client.publishAsync(REQUEST, HI, { qos });
    assert.equal(String((await device.message()).payload), '{"text":"ok","seq":0,"done":true}');
  }
}

describe("the protocol `auto`", () => {
  it("falls back to 3.1.1 against a broker that speaks nothing else, for each QoS", async () => {
    const aedes = await Aedes.createBroker();
    const server = createServer((socket) => void aedes.handle(socket));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    const url = `tcp://127.0.0.1:${typeof address === "object" ? address?.port : 0}`;
    for (const qos of [0, 1, 2] as const) await assertAnswered(url, qos, 4);
    await new Promise<void>((resolve) => aedes.close(resolve));
    server.close();
  });

  for (const [setting, expected] of [
    ["auto", 5],
    [5, 5],
    [4, 4],
  ] as const) {
    it(`is ${expected} with the built-in broker, where the setting is ${setting}, for each QoS`, async () => {
      const broker = await openBroker({ broker: "embedded://127.0.0.1:0" });
      const url = `tcp://127.0.0.1:${broker.port}`;
      for (const qos of [0, 1, 2] as const) await assertAnswered(url, qos, expected, setting);
      await broker.close();
    });
  }

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

  it("falls back where a broker leaves MQTT 5 unanswered", async () => {
    await using broker = await fakeBroker((packet, socket) => {
      if (packet.type !== 1 || packet.version !== 5) polite(packet, socket);
    });
    await using asked = openTestChannel(broker.url, { connectTimeoutMs: 500 });
    assert.equal((await asked.ready()).protocol, 4);
    assert.equal(broker.connections(), 2);
  });

  it("reports a broker that answers neither, and remembers nothing of it", async () => {
    const versions: number[] = [];
    await using broker = await fakeBroker((packet, socket) => {
      if (packet.type === 1) versions.push(packet.version);
      if (versions.length > 4) politeOn5(packet, socket);
    });
    await using asked = openTestChannel(broker.url, { connectTimeoutMs: 100, reconnectMs: 20 });
    await until(
      "it is told",
      () => asked.channel.problem()?.message === "the broker did not answer",
    );
    assert.match(asked.channel.problem()?.why ?? "", /0\.1 s, neither on MQTT 5 nor on 3\.1\.1/);
    assert.equal((await asked.ready()).protocol, 5);
    assert.deepEqual(versions, [5, 4, 5, 4, 5]);
  });

  it("asks for MQTT 5 anew after a guess, once an attempt fails: the network may have been slow", async () => {
    const versions: number[] = [];
    await using broker = await fakeBroker((packet, socket) => {
      if (packet.type === 1) versions.push(packet.version);
      const [, , third] = versions;
      if (versions.length === 1 || (versions.length === 3 && packet.type === 1)) return;
      if (packet.version === 5 || third !== undefined) politeOn5(packet, socket);
      else polite(packet, socket);
      if (packet.type === 8 && third === undefined) setTimeout(() => socket.destroy(), 20);
    });
    await using asked = openTestChannel(broker.url, { connectTimeoutMs: 100, reconnectMs: 20 });
    await until("MQTT 5 after all", () => versions.length === 4);
    await until("ready", () => asked.channel.problem() === undefined);
    assert.deepEqual(versions, [5, 4, 4, 5]);
  });

  it("does not fall back on a broker that spoke MQTT 5 before and is silent for a while", async () => {
    const versions: number[] = [];
    await using broker = await fakeBroker((packet, socket) => {
      if (packet.type === 1) versions.push(packet.version);
      if (versions.length === 2) return;
      politeOn5(packet, socket);
      if (packet.type === 8 && versions.length === 1) setTimeout(() => socket.destroy(), 20);
    });
    await using asked = openTestChannel(broker.url, { connectTimeoutMs: 100, reconnectMs: 20 });
    await until("connected again", () => versions.length === 3);
    await asked.ready();
    assert.deepEqual(versions, [5, 5, 5]);
  });
});

describe("a connection that comes to nothing", () => {
  for (const protocol_version of ["auto", 5, 4] as const) {
    it(`because the broker hangs up without a word names the credentials, on ${protocol_version}`, async () => {
      await using broker = await fakeBroker((packet, socket) => {
        if (packet.type === 1) socket.end();
      });
      const settings = { protocol_version };
      await using asked = openTestChannel(broker.url, { settings, reconnectMs: 20 });
      await until("logged", () => asked.log.text().includes("again_in_s"));
      const problem = asked.channel.problem();
      assert.match(problem?.message ?? "", /closed the connection before it answered/);
      assert.match(problem?.remedy ?? "", /username and password/);
    });
  }

  it("because of what the client library does not take is no word of the broker's", async () => {
    await using broker = await fakeBroker((packet, socket) => {
      politeOn5(packet, socket);
      // A PUBLISH with Topic Alias 1, where none was allowed (MQTT 5 section 3.3.2.3.4).
      if (packet.type === 8) {
        const body = Buffer.concat([field("a"), Buffer.from([3, 0x23, 0, 1]), Buffer.from("x")]);
        socket.write(Buffer.concat([Buffer.from([0x30, body.length]), body]));
      }
    });
    await using asked = openTestChannel(broker.url, { reconnectMs: 20 });
    await until("logged", () => asked.log.text().includes("again_in_s"));
    assert.match(asked.log.text(), /the broker broke the MQTT protocol/);
    assert.doesNotMatch(asked.log.text(), /reason code|refused/);
  });
});
