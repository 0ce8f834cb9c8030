import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { describe, it } from "node:test";
import { openTestChannel, openTestDevice } from "../support/channel.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { fakeBroker, polite, politeOn5, type RawPacket } from "../support/packets.ts";
import { until } from "../support/until.ts";

const TOPIC = "/picoclaw/edge/device/request";
const PUBACK = 4;
const PUBREC = 5;
const PUBCOMP = 7;
const PINGREQ = 12;

/** A PUBLISH from the broker (MQTT 3.1.1 section 3.3). */
function publish(id: number, qos: 1 | 2, dup = false): Buffer {
  const topic = Buffer.from(TOPIC);
  const payload = Buffer.from(JSON.stringify({ text: `question ${id}`, id: `r${id}` }));
  const first = 0x30 | (qos << 1) | (dup ? 8 : 0);
  const head = Buffer.from([first, topic.length + payload.length + 4, 0, topic.length]);
  return Buffer.concat([head, topic, Buffer.from([id >> 8, id & 255]), payload]);
}

/** A PUBLISH to the topic `a` with what is left of its packet; MQTT.js reads an id that is missing as -1. */
const cut = (first: number, ...rest: readonly number[]): Buffer =>
  Buffer.from([first, rest.length + 3, 0, 1, 0x61, ...rest]);

const pubrel = (id: number): Buffer => Buffer.from([0x62, 2, id >> 8, id & 255]);

/** A broker that sends requests, a channel whose requests may be acknowledged when the test says so. */
async function openScene(settings: object = {}) {
  const packets: RawPacket[] = [];
  let socket: Socket | undefined;
  const broker = await fakeBroker((packet, from) => {
    polite(packet, from);
    packets.push(packet);
    if (packet.type === 8) socket = from;
  });
  const gates: PromiseWithResolvers<void>[] = [];
  const asked = openTestChannel(broker.url, {
    reconnectMs: 10,
    settings: { qos: 2, protocol_version: 4, client_id: "me", keep_alive: 1, ...settings },
    onRequest() {
      const gate = Promise.withResolvers<void>();
      gates.push(gate);
      return gate.promise;
    },
  });
  await asked.ready();
  return {
    asked,
    send: (...bytes: readonly Buffer[]) => socket?.write(Buffer.concat(bytes)),
    connects: () => broker.connections(),
    cut: () => socket?.destroy(),
    allow: (index: number) => gates[index]?.resolve(),
    acknowledged: (type: number) =>
      packets.filter((packet) => packet.type === type).map(({ id }) => id),
    packets,
    async [Symbol.asyncDispose]() {
      await asked[Symbol.asyncDispose]();
      await broker[Symbol.asyncDispose]();
    },
  };
}

describe("an acknowledgement", () => {
  it("promises nothing durable for QoS 1 and 2 where the configuration asks for 0", async () => {
    await using scene = await openScene({ qos: 0 });
    scene.send(publish(1, 1), publish(2, 2));
    await scene.asked.request(1);
    assert.deepEqual(
      scene.asked.requests.map(({ durable }) => durable),
      [false, false],
    );
    scene.allow(0);
    scene.allow(1);
    await until("both are acknowledged", () => scene.acknowledged(PUBACK).includes(1));
    await until("both are acknowledged", () => scene.acknowledged(PUBREC).includes(2));
  });

  it("waits until the request is stored, while reading goes on", async () => {
    await using scene = await openScene();
    scene.send(publish(1, 1), publish(2, 1));
    await scene.asked.request(1);
    scene.send(publish(3, 1));
    await scene.asked.request(2);
    await until("a ping is sent", () => scene.acknowledged(PINGREQ).length > 1);
    assert.deepEqual(scene.acknowledged(PUBACK), []);
    scene.allow(0);
    await until("the first is acknowledged", () => scene.acknowledged(PUBACK).length === 1);
    assert.deepEqual(scene.acknowledged(PUBACK), [1]);
  });

  it("leaves in the order of receipt, in whatever order requests are stored", async () => {
    await using scene = await openScene();
    scene.send(publish(1, 1), publish(2, 2), publish(3, 1));
    await scene.asked.request(2);
    for (const index of [2, 1]) scene.allow(index);
    await until("a ping is sent", () => scene.acknowledged(PINGREQ).length > 0);
    assert.deepEqual([...scene.acknowledged(PUBACK), ...scene.acknowledged(PUBREC)], []);
    scene.allow(0);
    await until("all are acknowledged", () => scene.acknowledged(PUBACK).length === 2);
    const order = scene.packets.filter(({ type }) => type === PUBACK || type === PUBREC);
    assert.deepEqual(
      order.map(({ id }) => id),
      [1, 2, 3],
    );
  });

  it("is not sent on another connection than the request's", async () => {
    await using scene = await openScene();
    scene.send(publish(1, 1));
    await scene.asked.request();
    scene.cut();
    await until("connected again", () => scene.acknowledged(8).length === 2);
    scene.allow(0);
    scene.send(publish(1, 1, true));
    const again = await scene.asked.request(1);
    assert.equal(again.redelivered, true);
    assert.deepEqual(scene.acknowledged(PUBACK), []);
    scene.allow(1);
    await until("it is acknowledged", () => scene.acknowledged(PUBACK).length === 1);
  });

  it("of what is no request is sent at once", async () => {
    await using scene = await openScene();
    const empty = Buffer.concat([
      Buffer.from([0x32, TOPIC.length + 4, 0, TOPIC.length]),
      Buffer.from(TOPIC),
      Buffer.from([0, 9]),
    ]);
    scene.send(empty);
    await until("it is acknowledged", () => scene.acknowledged(PUBACK).length === 1);
    assert.equal(scene.asked.requests.length, 0);
  });
});

describe("a request of QoS 2", () => {
  it("is handed over at its PUBLISH, once until its PUBREL, also on the next connection", async () => {
    await using scene = await openScene({ client_id: "kept" });
    scene.send(publish(7, 2));
    await scene.asked.request();
    assert.deepEqual(scene.acknowledged(PUBREC), []);
    scene.send(publish(7, 2, true));
    scene.allow(0);
    await until("both are received", () => scene.acknowledged(PUBREC).length === 2);
    scene.send(pubrel(7));
    await until("it is complete", () => scene.acknowledged(PUBCOMP).length === 1);
    assert.equal(scene.asked.requests.length, 1);
    scene.send(publish(7, 2));
    await scene.asked.request(1);
    scene.send(pubrel(99));
    await until("an unknown one is complete, too", () => scene.acknowledged(PUBCOMP).length === 2);
  });
});

describe("a broker that speaks MQTT 5", () => {
  it("gets no bound but those that are enforced: all may be in flight, whatever its size", async () => {
    let connect: RawPacket | undefined;
    await using broker = await fakeBroker((packet, socket) => {
      if (packet.type === 1) connect = packet;
      politeOn5(packet, socket);
    });
    await using asked = openTestChannel(broker.url, {
      settings: { qos: 1, session_expiry_secs: 7 },
    });
    await asked.ready();
    // MQTT 5 section 3.1.2.11: behind the keep alive of 60 s the Session Expiry Interval alone.
    assert.ok(connect?.bytes.includes(Buffer.from([0, 60, 5, 0x11, 0, 0, 0, 7])));
  });
});

describe("a client id that the caller stores", () => {
  for (const protocol_version of [5, 4] as const) {
    it(
      `finds what was asked between two processes: MQTT ${protocol_version}`,
      needsMosquitto,
      async () => {
        await using broker = await startMosquitto();
        const settings = { qos: 1, protocol_version } as const;
        const clientId = "picoclaw-mqtt-edge-0badcafe";
        {
          await using first = openTestChannel(broker.url, { settings, clientId });
          await first.ready();
        }
        await using device = await openTestDevice(broker.url, "/picoclaw/edge/device/response");
        await device.client.publishAsync(TOPIC, JSON.stringify({ text: "meanwhile" }), { qos: 1 });
        await using second = openTestChannel(broker.url, { settings, clientId });
        assert.equal((await second.request()).text, "meanwhile");
        assert.equal((await second.request()).durable, true);
      },
    );
  }

  it("is as long with the broker as the configuration says", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    const settings = { qos: 1, session_expiry_secs: 0 } as const;
    {
      await using first = openTestChannel(broker.url, { settings, clientId: "brief" });
      await first.ready();
    }
    await using device = await openTestDevice(broker.url, "/picoclaw/edge/device/response");
    await device.client.publishAsync(TOPIC, JSON.stringify({ text: "lost" }), { qos: 1 });
    await using second = openTestChannel(broker.url, { settings, clientId: "brief" });
    await second.ready();
    await device.client.publishAsync(TOPIC, JSON.stringify({ text: "heard" }), { qos: 1 });
    assert.equal((await second.request()).text, "heard");
  });
});

describe("a broker that leaves out the id of a packet", () => {
  for (const [name, bytes] of [
    ["a PUBLISH of QoS 1 that ends behind its topic", cut(0x32)],
    ["a PUBLISH of QoS 2 that ends behind its topic", cut(0x34)],
    ["a PUBLISH of QoS 2 that ends within its id", cut(0x34, 0)],
    ["a PUBLISH whose id is 0", cut(0x34, 0, 0)],
    ["a PUBREL whose id is 0", Buffer.from([0x62, 2, 0, 0])],
  ] as const) {
    it(`loses the connection and no more: ${name}`, async () => {
      await using scene = await openScene();
      const before = scene.connects();
      scene.send(bytes);
      await until("it connects anew", () => scene.connects() > before);
      await scene.asked.ready();
      assert.equal(scene.asked.channel.problem(), undefined);
    });
  }
});

describe("the reply address of a request of a former process", () => {
  const cases: readonly [string, string, string][] = [
    ["its own topic", '["/picoclaw/edge/device/answers","YWJj"]', "/picoclaw/edge/device/answers"],
    ["the default", '["/picoclaw/edge/device/response",null]', "/picoclaw/edge/device/response"],
    [
      "the default, for a topic of another client",
      '["/picoclaw/edge/other/response",null]',
      "/picoclaw/edge/device/response",
    ],
    [
      "the default, for a topic of another prefix",
      '["/old/edge/device/response",null]',
      "/picoclaw/edge/device/response",
    ],
  ];
  for (const [name, address, topic] of cases) {
    it(`is ${name}`, needsMosquitto, async () => {
      await using broker = await startMosquitto();
      await using asked = openTestChannel(broker.url, { settings: { qos: 1 } });
      await asked.ready();
      await using device = await openTestDevice(broker.url, "/picoclaw/edge/+/+");
      const reply = asked.channel.replyTo({ client: "device", address, id: "r1" });
      await reply?.({ text: "42", done: true });
      const message = await device.message();
      assert.equal(message.topic, topic);
      assert.deepEqual(JSON.parse(String(message.payload)), {
        text: "42",
        id: "r1",
        seq: 0,
        done: true,
      });
      const correlation = message.properties?.correlationData;
      assert.equal(
        correlation && String(correlation),
        address.includes("YWJj") ? "abc" : undefined,
      );
    });
  }

  it("is none where its address cannot be read", async () => {
    await using asked = openTestChannel("tcp://127.0.0.1:1");
    for (const address of ["", "{", "[]", '["a"]', "[1,2]", '[null,"a"]']) {
      assert.equal(asked.channel.replyTo({ client: "device", address }), undefined, address);
    }
  });
});
