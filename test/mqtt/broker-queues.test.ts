import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { MqttClient } from "mqtt";
import { attacked, subscribe } from "../support/attacked-broker.ts";
import { cpuTimeOf } from "../support/cpu-time.ts";
import { packet, publish } from "../support/hostile-broker.ts";
import { packetsIn, readPackets, type RawPacket } from "../support/packets.ts";
import { runs } from "../support/runs.ts";
import { until } from "../support/until.ts";

const FILTER = "/picoclaw/edge/+/request";
const TOPIC = "/picoclaw/edge/hall/request";
/** What takes long and is JavaScript alone. */
const underBun = { skip: !("Bun" in globalThis) };
const MANY = runs(3_000);

type Attacked = Awaited<ReturnType<typeof attacked>>;

function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${index}`);
}

/** The session of a gateway that acknowledges at once; what it heard is in `heard`. */
async function gateway(broker: Attacked, heard: string[], qos: 1 | 2 = 1): Promise<MqttClient> {
  const client = await broker.enter({ clientId: "gateway", clean: false }, (_topic, payload) => {
    heard.push(payload.toString());
  });
  await client.subscribeAsync(FILTER, { qos });
  return client;
}

/** The same, that acknowledges nothing by itself. */
async function rawGateway(broker: Attacked) {
  const raw = await broker.rawEntered("gateway", { flags: 0 });
  const packets = () => packetsIn(raw.got);
  const published = () => packets().filter(({ type }) => type === 3);
  return {
    raw,
    isKnown: raw.isKnown,
    packets,
    published,
    texts: () => published().map(textOf),
    ids: () => published().map(({ id }) => id),
  };
}

function textOf({ topic, bytes }: RawPacket): string {
  return bytes.subarray(4 + Buffer.byteLength(topic)).toString();
}

function acknowledge(first: number, id: number): Buffer {
  return packet(first, [id >> 8, id & 255]);
}

/** Publishes all at once; counts those that are acknowledged. */
function publishAll(client: MqttClient, texts: readonly string[], qos: 1 | 2 = 1) {
  const state = { acknowledged: 0 };
  for (const text of texts) {
    client.publishAsync(TOPIC, text, { qos }).then(
      () => (state.acknowledged += 1),
      () => {},
    );
  }
  return state;
}

describe("the built-in broker loses nothing, QoS 1 and 2:", () => {
  for (const qos of [1, 2] as const) {
    it(`${MANY} requests of QoS ${qos} at once, the gateway away`, async () => {
      await using broker = await attacked();
      const heard: string[] = [];
      await (await gateway(broker, heard, qos)).endAsync();
      const device = await broker.enter();
      const sent = publishAll(device, numbered(MANY), qos);
      await broker.stillServes();
      assert.deepEqual([heard.length, sent.acknowledged], [0, 0]);
      await gateway(broker, heard, qos);
      await until("all are heard", () => heard.length === MANY);
      await until("all are acknowledged", () => sent.acknowledged === MANY);
      assert.deepEqual(heard, numbered(MANY));
      assert.equal(broker.log.text(), "");
    });
  }

  it("messages of QoS 2 by the thousand that are unreleased, each once, sent again or not", async () => {
    await using broker = await attacked();
    const heard: string[] = [];
    await gateway(broker, heard, 2);
    const device = await broker.rawEntered("device");
    const packets: RawPacket[] = [];
    readPackets(device.socket, (one) => packets.push(one));
    const of = (type: number) => packets.filter((one) => one.type === type).length;
    const count = runs(2_000);
    const ids = Array.from({ length: count }, (_, index) => index + 1);
    const all = ids.map((id) => publish(4, { topic: TOPIC, payload: `${id}`, qos: 2, id }));
    device.socket.write(Buffer.concat(all));
    await until("PUBRECs", () => of(5) === count);
    device.socket.write(Buffer.concat(all));
    await until("PUBRECs again", () => of(5) === 2 * count);
    device.socket.write(Buffer.concat(ids.map((id) => acknowledge(0x62, id))));
    await until("PUBCOMPs", () => of(7) === count);
    await until("all are heard", () => heard.length >= count);
    assert.deepEqual(heard, ids.map(String));
    assert.ok(!device.isCut);
  });

  it("a client leaves unacknowledged no more than it may, and has the rest as it acknowledges", async () => {
    await using broker = await attacked({ inflight: 20 });
    const slow = await rawGateway(broker);
    slow.raw.socket.write(subscribe(1, [FILTER], 1));
    await until("SUBACK", () => slow.packets().length === 1);
    const sent = publishAll(await broker.enter(), numbered(100));
    await until("20 have come", () => slow.published().length >= 20);
    await broker.stillServes();
    assert.equal(slow.published().length, 20);
    let acknowledged = 0;
    await until("all have come", () => {
      for (const id of slow.ids().slice(acknowledged)) {
        slow.raw.socket.write(acknowledge(0x40, id));
        acknowledged += 1;
      }
      return acknowledged === 100;
    });
    assert.deepEqual(slow.texts(), numbered(100));
    await until("all are acknowledged", () => sent.acknowledged === 100);
  });

  it("what a gateway reads slowly: no byte is left out", async () => {
    await using broker = await attacked({ unreadBytes: 262_144, unreadMs: 5_000 });
    const slow = await rawGateway(broker);
    slow.raw.socket.write(subscribe(1, [FILTER], 1));
    await until("SUBACK", () => slow.packets().length === 1);
    slow.raw.socket.pause();
    const texts = numbered(320).map((text) => text.padEnd(65_536, "x"));
    publishAll(await broker.enter(), texts);
    await broker.stillServes();
    slow.raw.socket.resume();
    await until("all have come", () => slow.published().length === 320);
    assert.deepEqual(
      slow.texts().map((text) => text.replace(/x+$/, "")),
      numbered(320),
    );
  });

  it("what was on its way when the connection was lost comes again under its id, with DUP, and PUBREL too", async () => {
    await using broker = await attacked();
    const first = await rawGateway(broker);
    first.raw.socket.write(subscribe(1, [FILTER], 2));
    await until("SUBACK", () => first.packets().length === 1);
    publishAll(await broker.enter(), numbered(6), 2);
    await until("all have come", () => first.published().length === 6);
    const ids = first.ids();
    first.raw.socket.write(Buffer.concat(ids.slice(0, 3).map((id) => acknowledge(0x50, id))));
    await until("PUBRELs", () => first.packets().filter(({ type }) => type === 6).length === 3);
    first.raw.socket.write(acknowledge(0x70, ids[0] ?? 0));
    await broker.stillServes();
    first.raw.socket.destroy();
    const second = await rawGateway(broker);
    assert.ok(second.isKnown);
    await until("what is open comes again", () => second.packets().length === 5);
    const came = second.packets().map(({ type, flags, id }) => [type, flags, id]);
    const [, one, two, ...rest] = ids;
    assert.deepEqual(came, [[6, 2, one], [6, 2, two], ...rest.map((id) => [3, 0b1100, id])]);
  });

  it("nor stops where another filter of the client's has them sent at QoS 0", async () => {
    await using broker = await attacked({ inflight: 5 });
    const heard: string[] = [];
    const client = await broker.enter({ clientId: "both", clean: false }, (_topic, payload) => {
      heard.push(payload.toString());
    });
    await client.subscribeAsync("news", { qos: 0 });
    await client.subscribeAsync("#", { qos: 1 });
    const sender = await broker.enter();
    for (const text of numbered(20)) await sender.publishAsync("news", text, { qos: 1 });
    await until("all are heard", () => new Set(heard).size === 20);
  });

  it("messages of QoS 0 in between come as well", async () => {
    await using broker = await attacked();
    const heard: string[] = [];
    await gateway(broker, heard);
    const device = await broker.enter();
    for (const text of numbered(500)) {
      device.publish(TOPIC, text, { qos: Number(text) % 2 === 0 ? 0 : 1 });
    }
    await until("all are heard", () => heard.length >= 500);
    assert.equal(new Set(heard).size, 500);
    assert.equal(heard.length, 500);
  });
});

describe("the built-in broker does not acknowledge requests that it has no room for", () => {
  it("while the gateway is away, and takes them when it is back; others are served", async () => {
    await using broker = await attacked({ requests: 10 });
    const heard: string[] = [];
    await (await gateway(broker, heard)).endAsync();
    const device = await broker.enter();
    const sent = publishAll(device, numbered(2_000));
    await broker.stillServes();
    assert.equal(sent.acknowledged, 0);
    await gateway(broker, heard);
    await until("all are heard", () => heard.length === 2_000 && sent.acknowledged === 2_000);
    assert.deepEqual(heard, numbered(2_000));
  });

  it("for no longer than the time for a stall, and logs what it drops then", underBun, async () => {
    await using broker = await attacked({ requests: 10, stallMs: 200 });
    const heard: string[] = [];
    await (await gateway(broker, heard)).endAsync();
    const sent = publishAll(await broker.enter(), numbered(12_000));
    await until("all are acknowledged", () => sent.acknowledged === 12_000);
    assert.match(broker.log.text(), /wait for a client/);
    await gateway(broker, heard);
    await until("what was kept is heard", () => heard.length >= 10_010);
    assert.deepEqual(heard, numbered(heard.length));
  });

  it("nor holds what a client wanted to say that has left", async () => {
    await using broker = await attacked({ requests: 10 });
    const heard: string[] = [];
    await (await gateway(broker, heard)).endAsync();
    const device = await broker.enter();
    publishAll(device, numbered(500));
    await broker.stillServes();
    await device.endAsync(true);
    await gateway(broker, heard);
    const other = await broker.enter();
    await other.publishAsync(TOPIC, "last", { qos: 1 });
    await until("the last is heard", () => heard.includes("last"));
    assert.ok(heard.length < 500, `${heard.length}`);
  });

  it("and lets others wait for nobody: a device whose queue is full costs its own messages alone", async () => {
    await using broker = await attacked({ queued: 10, requests: 10 });
    const device = await broker.enter({ clientId: "device", clean: false });
    await device.subscribeAsync("/picoclaw/edge/hall/response", { qos: 1 });
    await device.endAsync();
    const answering = await broker.enter();
    for (const text of numbered(100)) {
      await answering.publishAsync("/picoclaw/edge/hall/response", text, { qos: 1 });
    }
    assert.match(broker.log.text(), /wait for a client/);
  });
});

describe("the built-in broker acknowledges a request", () => {
  for (const qos of [1, 2] as const) {
    for (const protocolVersion of [4, 5] as const) {
      it(`of QoS ${qos} when a gateway has it, and not before (MQTT ${protocolVersion})`, async () => {
        await using broker = await attacked();
        const slow = await rawGateway(broker);
        slow.raw.socket.write(subscribe(1, [FILTER], qos));
        await until("SUBACK", () => slow.packets().length === 1);
        const away = await broker.enter({ clientId: "other", clean: false });
        await away.subscribeAsync(FILTER, { qos });
        await away.endAsync();
        const device = await broker.enter({ protocolVersion });
        const sent = publishAll(device, ["a", "b"], qos);
        await until("both have come", () => slow.published().length === 2);
        await broker.stillServes();
        assert.equal(sent.acknowledged, 0);
        const [first = 0, second = 0] = slow.ids();
        slow.raw.socket.write(acknowledge(qos === 1 ? 0x40 : 0x50, second));
        await until("one is acknowledged", () => sent.acknowledged === 1);
        await broker.stillServes();
        assert.equal(sent.acknowledged, 1);
        slow.raw.socket.write(acknowledge(qos === 1 ? 0x40 : 0x50, first));
        await until("both are acknowledged", () => sent.acknowledged === 2);
      });
    }
  }

  it("that its sender, without an acknowledgement, sends again; the gateway sees DUP", async () => {
    await using broker = await attacked();
    const slow = await rawGateway(broker);
    slow.raw.socket.write(subscribe(1, [FILTER], 1));
    await until("SUBACK", () => slow.packets().length === 1);
    const first = await broker.rawEntered("device", { flags: 0 });
    const request = publish(4, { topic: TOPIC, payload: "once", qos: 1, id: 7 });
    first.socket.write(request);
    await until("it has come", () => slow.published().length === 1);
    first.socket.destroy();
    const second = await broker.rawEntered("device", { flags: 0 });
    request[0] = (request[0] ?? 0) | 8;
    second.socket.write(request);
    await until("it has come again", () => slow.published().length === 2);
    assert.deepEqual(
      slow.published().map(({ flags }) => flags & 8),
      [0, 8],
    );
    for (const id of slow.ids()) slow.raw.socket.write(acknowledge(0x40, id));
    await until("PUBACK", () => second.got.equals(acknowledge(0x40, 7)));
  });

  it("at once where no session of a gateway is kept", async () => {
    await using broker = await attacked();
    const device = await broker.enter();
    const reader = await broker.enter();
    await reader.subscribeAsync(FILTER, { qos: 1 });
    await device.publishAsync(TOPIC, "a", { qos: 1 });
    await device.publishAsync(TOPIC, "b", { qos: 2 });
  });
});

describe("the built-in broker has a gateway that is not subscribed yet: requests", () => {
  for (const qos of [1, 2] as const) {
    for (const protocolVersion of [4, 5] as const) {
      it(`of QoS ${qos} wait for it, in order, and are acknowledged by it (MQTT ${protocolVersion})`, async () => {
        await using broker = await attacked();
        broker.awaitGateway(1);
        const device = await broker.enter({ protocolVersion });
        const reasons: unknown[] = [];
        device.on("packetreceive", (taken) => {
          if (taken.cmd === "puback" || taken.cmd === "pubrec") reasons.push(taken.reasonCode);
        });
        const sent = publishAll(device, ["a", "b", "c"], qos);
        await broker.stillServes();
        assert.equal(sent.acknowledged, 0);
        const heard: string[] = [];
        await gateway(broker, heard, qos);
        const later = publishAll(device, ["d"], qos);
        await until("all are acknowledged", () => sent.acknowledged + later.acknowledged === 4);
        assert.deepEqual(heard, ["a", "b", "c", "d"]);
        assert.ok(!reasons.includes(0x10), String(reasons));
      });
    }
  }

  it("do not wait longer than for a stall, nor at QoS 0, nor do others", async () => {
    await using broker = await attacked({ stallMs: 200 });
    broker.awaitGateway(1);
    const device = await broker.enter();
    await device.publishAsync("/picoclaw/other/hall/request", "not ours", { qos: 1 });
    await device.publishAsync(TOPIC, "a", { qos: 0 });
    await device.publishAsync(TOPIC, "b", { qos: 1 });
    await device.publishAsync(TOPIC, "c", { qos: 1 });
  });

  it("do not wait for a gateway with QoS 0", async () => {
    await using broker = await attacked();
    broker.awaitGateway(0);
    const device = await broker.enter();
    await device.publishAsync(TOPIC, "a", { qos: 1 });
  });

  it("go on when it subscribes without a session, too", async () => {
    await using broker = await attacked();
    broker.awaitGateway(1);
    const device = await broker.enter();
    const sent = publishAll(device, ["a"]);
    const heard: string[] = [];
    const clean = await broker.enter({}, (_topic, payload) => heard.push(payload.toString()));
    await clean.subscribeAsync(FILTER, { qos: 1 });
    await until("it is acknowledged", () => sent.acknowledged === 1);
  });
});

describe("the built-in broker knows whether anybody gets a message", () => {
  const topic = "/picoclaw/edge/hall/response";

  it("of clients that are connected, by any filter that matches", async () => {
    await using broker = await attacked();
    assert.equal(broker.hasSubscriber(topic), false);
    for (const filter of [topic, "/picoclaw/+/hall/response", "/picoclaw/#", "#"]) {
      const client = await broker.enter();
      await client.subscribeAsync(["something/else", filter]);
      assert.equal(broker.hasSubscriber(topic), true, filter);
      await client.unsubscribeAsync(filter);
      assert.equal(broker.hasSubscriber(topic), false, filter);
      await client.subscribeAsync(filter);
      await client.endAsync();
      await until("it is gone", () => !broker.hasSubscriber(topic));
    }
  });

  it("of those that are away, where their session is kept and the subscription has a QoS", async () => {
    await using broker = await attacked();
    for (const [clientId, qos, expected] of [
      ["one", 0, false],
      ["two", 1, true],
    ] as const) {
      const client = await broker.enter({ clientId, clean: false });
      await client.subscribeAsync(topic, { qos });
      assert.equal(broker.hasSubscriber(topic), true);
      await client.endAsync();
      await until(`${expected}`, () => broker.hasSubscriber(topic) === expected);
    }
    await (await broker.enter({ clientId: "two", clean: true })).endAsync();
    await until("its session is over", () => !broker.hasSubscriber(topic));
  });

  it("and is quick among thousands of subscriptions", underBun, async () => {
    await using broker = await attacked();
    for (let index = 0; index < 50; index += 1) {
      const client = await broker.enter({ clientId: `c${index}`, clean: index % 2 === 0 });
      const filters = numbered(100).map((name) => `/picoclaw/edge/c${index}-${name}/response`);
      await client.subscribeAsync(filters, { qos: 1 });
    }
    const took = await cpuTimeOf(() => {
      for (let index = 0; index < 1_000; index += 1) {
        assert.equal(broker.hasSubscriber(`/picoclaw/edge/c${index % 50}-7/response`), true);
        assert.equal(broker.hasSubscriber(`/picoclaw/edge/x${index}/response`), false);
      }
    });
    assert.ok(took < 1_000, `${took} ms`);
  });
});
