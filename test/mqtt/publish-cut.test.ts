import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { describe, it } from "node:test";
import { connectAsync } from "mqtt";
import { Connection } from "../../src/mqtt/client/connection.ts";
import { publishTopic } from "../../src/mqtt/protocol/topics.ts";
import { channelFor, openTestDevice } from "../support/channel.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { fakeBroker, politeOn5, readPackets, type RawPacket } from "../support/packets.ts";
import { until } from "../support/until.ts";

const slow = { ...needsMosquitto, timeout: 60_000 };
const PUBLISH = 3;
const PUBACK = 4;
const PUBREC = 5;
const PUBREL = 6;
const PUBCOMP = 7;
const DUP = 8;

interface Cuts {
  /** The packet that does not get through, and with which the connection is cut. */
  readonly type: number;
  /** The how manieth of them, each counted from the cut before. */
  readonly after: readonly number[];
}

/** A way to a broker that is cut under way, seen packet by packet. */
async function startCutter(target: number, { type, after }: Cuts) {
  const sent: RawPacket[] = [];
  const left = [...after];
  let seen = 0;
  let connections = 0;
  const isCutAt = (packet: RawPacket): boolean => {
    if (packet.type !== type || left.length === 0) return false;
    seen += 1;
    if (seen < (left[0] ?? 0)) return false;
    seen = 0;
    left.shift();
    return true;
  };
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    connections += 1;
    const far = connect(target, "127.0.0.1");
    let isOver = false;
    const pass = (packet: RawPacket, to: Socket): void => {
      if (isOver) return;
      isOver = isCutAt(packet);
      if (!isOver) to.write(packet.whole);
      // What was handed on before gets there.
      else for (const socket of [near, far]) socket.end();
    };
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.setNoDelay(true).once("close", () => {
        near.destroy();
        far.destroy();
      });
    }
    readPackets(near, (packet) => {
      if (!isOver) sent.push(packet);
      pass(packet, far);
    });
    readPackets(far, (packet) => pass(packet, near));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return {
    url: `tcp://127.0.0.1:${typeof address === "object" ? address?.port : 0}`,
    sent,
    connections: () => connections,
    cutsLeft: () => left.length,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

function open(url: string, more: { qos?: 1 | 2; protocol?: 4 | 5; keeps?: boolean } = {}) {
  const { qos = 2, protocol = 5, keeps = true } = more;
  const { settings } = channelFor(url, { qos, protocol_version: protocol });
  const log = createMemoryLog();
  const connection = new Connection({
    settings,
    clientId: "sender",
    ...(keeps && { sessionExpiry: { seconds: 60, cleanStart: false } }),
    connectTimeoutMs: 5_000,
    reconnectMs: 30,
    maximumPacketBytes: 1_048_576,
    log,
    onMessage: () => {},
    onSession: (session) => session.subscribe(["in"], qos),
  });
  return {
    connection,
    log,
    async [Symbol.asyncDispose]() {
      await connection.close();
    },
  };
}

function publishAll(connection: Connection, count: number, qos: 1 | 2, name = "m") {
  return Promise.all(
    Array.from({ length: count }, (_, index) =>
      connection.publish({ topic: publishTopic("out"), payload: `${name}${index}`, qos }),
    ),
  );
}

const names = (count: number, name = "m") => Array.from({ length: count }, (_, n) => `${name}${n}`);

describe("40 publishes of QoS 2 whose connection is cut under way arrive once each, in order", () => {
  const cases: readonly [string, Cuts][] = [
    ["after PUBLISH, before PUBREC", { type: PUBREC, after: [1, 5, 14] }],
    ["before PUBLISH", { type: PUBLISH, after: [1, 5, 14] }],
    ["after PUBREC, before PUBREL", { type: PUBREL, after: [1, 5, 14] }],
    ["after PUBREL, before PUBCOMP", { type: PUBCOMP, after: [1, 5, 14] }],
  ];
  for (const protocol of [5, 4] as const) {
    for (const [where, cuts] of cases) {
      it(`${where}, MQTT ${protocol}`, slow, async () => {
        await using broker = await startMosquitto();
        await using device = await openTestDevice(broker.url, "none");
        await device.client.subscribeAsync("out", { qos: 2 });
        await using line = await startCutter(broker.port, cuts);
        await using sender = open(line.url, { protocol });
        await publishAll(sender.connection, 40, 2);
        assert.equal(line.cutsLeft(), 0);
        await until("all arrive", () => device.messages.length >= 40);
        // mosquitto takes 20 unacknowledged: none of them may be left open.
        await publishAll(sender.connection, 40, 2, "n");
        await until("more arrive", () => device.messages.length >= 80);
        assert.deepEqual(device.texts(), [...names(40), ...names(40, "n")]);
        assert.equal(line.connections(), cuts.after.length + 1);
        assert.doesNotMatch(broker.log(), /receive maximum|Reused message ID/i);
      });
    }
  }
});

describe("publishes of QoS 1 whose connection is cut under way", () => {
  for (const protocol of [5, 4] as const) {
    it(`go again under their own ids with DUP, MQTT ${protocol}`, slow, async () => {
      await using broker = await startMosquitto();
      await using device = await openTestDevice(broker.url, "out");
      await using line = await startCutter(broker.port, { type: PUBACK, after: [1, 9] });
      await using sender = open(line.url, { qos: 1, protocol });
      await publishAll(sender.connection, 40, 1);
      await until("all arrive", () => new Set(device.texts()).size === 40);
      assert.deepEqual([...new Set(device.texts())], names(40));
      const ids = new Map<string, Set<number>>();
      let again = 0;
      for (const { type, id, whole } of line.sent) {
        if (type !== PUBLISH) continue;
        const name = /m\d+$/.exec(whole.toString("latin1"))?.[0] ?? "";
        const known = ids.get(name);
        if (known === undefined) ids.set(name, new Set([id]));
        else {
          again += 1;
          assert.ok(known.has(id), `${name} goes again under another id`);
          assert.ok(((whole[0] ?? 0) & DUP) > 0, `${name} goes again without DUP`);
        }
      }
      assert.ok(again > 0);
    });
  }
});

describe("publishes to a broker that forgets", () => {
  for (const qos of [1, 2] as const) {
    it(`its sessions, are made anew: none is lost, QoS ${qos}`, slow, async () => {
      await using broker = await startMosquitto();
      const cuts = { type: qos === 2 ? PUBCOMP : PUBACK, after: [7, 7] };
      await using device = await openTestDevice(broker.url, "out");
      await using line = await startCutter(broker.port, cuts);
      await using sender = open(line.url, { qos, keeps: false });
      await publishAll(sender.connection, 40, qos);
      await until("all arrive", () => new Set(device.texts()).size === 40);
      assert.doesNotMatch(broker.log(), /receive maximum|Reused message ID/i);
    });
  }

  it("end only with an acknowledgement: without it they wait", async () => {
    let isMute = true;
    const publishes: RawPacket[] = [];
    await using broker = await fakeBroker((packet, socket) => {
      if (packet.type === PUBLISH) publishes.push(packet);
      if (packet.type !== PUBLISH || !isMute) politeOn5(packet, socket);
      else socket.end();
    });
    await using sender = open(broker.url, { qos: 1 });
    let isDone = false;
    const said = publishAll(sender.connection, 1, 1).then(() => {
      isDone = true;
    });
    await until("it goes again and again", () => publishes.length > 3);
    assert.equal(isDone, false);
    isMute = false;
    await said;
  });
});

describe("what a process that was killed left at the broker", () => {
  it("does not use up its Receive Maximum", slow, async () => {
    await using broker = await startMosquitto();
    await using device = await openTestDevice(broker.url, "none");
    await device.client.subscribeAsync("out", { qos: 2 });
    const former = await connectAsync(broker.url, {
      protocolVersion: 5,
      clientId: "sender",
      clean: false,
      properties: { sessionExpiryInterval: 60 },
      reconnectPeriod: 0,
    });
    former.on("error", () => {});
    const taken = new Set<number>();
    // It is killed with all that the broker takes received, and nothing released.
    former.on("packetreceive", (packet) => {
      if (packet.cmd === "pubrec") taken.add(packet.messageId ?? 0);
    });
    for (let id = 1; id <= 20; id += 1) {
      const packet = { cmd: "publish", topic: "out", payload: `old${id}`, qos: 2, messageId: id };
      const send: unknown = Reflect.get(former, "_writePacket");
      if (typeof send === "function") send.call(former, { ...packet, retain: false, dup: false });
    }
    await until("all are received", () => taken.size === 20);
    former.stream.destroy();
    await using sender = open(broker.url);
    await publishAll(sender.connection, 40, 2);
    await until("all arrive", () => device.texts().filter((text) => text[0] === "m").length === 40);
    assert.doesNotMatch(broker.log(), /receive maximum|Reused message ID/i);
    assert.deepEqual(
      sender.log.lines.filter(({ level }) => level !== "debug"),
      [],
    );
  });
});
