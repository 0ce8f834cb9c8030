import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { PassThrough } from "node:stream";
import { describe, it } from "node:test";
import { pause } from "../../src/base/async.ts";
import { Probe } from "../../src/mqtt/agent-channel/channel.ts";
import { openBroker } from "../../src/mqtt/broker/broker.ts";
import { createReadingClock } from "../../src/mqtt/client/flow-control.ts";
import { unreachable, type Refusal } from "../../src/mqtt/client/reasons.ts";
import type { Session } from "../../src/mqtt/client/session.ts";
import type { Incoming } from "../../src/mqtt/protocol/message.ts";
import { publishTopic } from "../../src/mqtt/protocol/topics.ts";
import {
  answering,
  openTestChannel,
  openTestDevice,
  type TestChannel,
} from "../support/channel.ts";
import { field } from "../support/hostile-broker.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { needsMosquitto, startMosquitto, type Mosquitto, withAcl } from "../support/mosquitto.ts";
import { fakeBroker, polite, politeOn5, type RawPacket } from "../support/packets.ts";
import { until } from "../support/until.ts";

const slow = { timeout: 60_000 };
const STATUS = "/picoclaw/edge/status";
const REQUEST = "/picoclaw/edge/c1/request";
const DEAF = /delivers nothing/;
const SUBSCRIBE = 8;
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function publish(
  version: 4 | 5,
  { topic, payload, qos = 0 }: { topic: string; payload: string; qos?: 0 | 1 },
  retain = false,
): Buffer {
  const id = qos === 1 ? [0, 1] : [];
  const properties = version === 5 ? [0] : [];
  const body = Buffer.concat([
    field(topic),
    Buffer.from([...id, ...properties]),
    Buffer.from(payload),
  ]);
  assert.ok(body.length < 128);
  return Buffer.concat([Buffer.from([0x30 | (qos << 1) | (retain ? 1 : 0), body.length]), body]);
}

/** A broker that acknowledges all, and sends the retained status while it is `on`. */
async function startBroker(version: 4 | 5 = 5) {
  const state = { on: true, probes: 0, heard: 0, most: Number.POSITIVE_INFINITY };
  let socket: Socket | undefined;
  const broker = await fakeBroker((packet: RawPacket, from) => {
    (version === 5 ? politeOn5 : polite)(packet, from);
    if (packet.type !== SUBSCRIBE || !packet.bytes.includes(STATUS)) return;
    state.probes += 1;
    socket = from;
    if (!state.on || state.heard >= state.most) return;
    state.heard += 1;
    from.write(publish(version, { topic: STATUS, payload: "online" }, true));
  });
  return Object.assign(state, broker, {
    connections: broker.connections,
    send: (bytes: Buffer) => socket?.write(bytes),
    [Symbol.asyncDispose]: broker[Symbol.asyncDispose],
  });
}

const PROBE_MS = 200;
/** While it waits for a probe to come back, it looks so often. */
const CHECK_MS = PROBE_MS / 20;

interface ProbingChannel extends TestChannel {
  /** How many waits of so many milliseconds began. */
  readonly waits: (milliseconds: number) => number;
}

function open(url: string, settings = {}, more = {}): ProbingChannel {
  const begun: number[] = [];
  const asked = openTestChannel(url, {
    settings: { probe_secs: PROBE_MS / 1000, ...settings },
    reconnectMs: 20,
    pause(milliseconds, signal) {
      begun.push(milliseconds);
      return pause(milliseconds, signal);
    },
    ...more,
  });
  return { ...asked, waits: (ms) => begun.filter((each) => each === ms).length };
}

describe("a connection that has gone deaf", () => {
  for (const protocol_version of [5, 4] as const) {
    it(
      `is made anew, and not ready until something is heard, MQTT ${protocol_version}`,
      slow,
      async () => {
        await using broker = await startBroker(protocol_version);
        await using asked = open(broker.url, { protocol_version });
        await asked.ready();
        await until("it was heard twice", () => broker.heard >= 2);
        assert.equal(asked.channel.problem(), undefined);
        broker.on = false;
        await until("a second connection", () => broker.connections() === 2);
        assert.match(asked.log.text(), /warn connection aborted .*delivers nothing/);
        await asked.ready();
        assert.match(asked.channel.problem()?.message ?? "", DEAF);
        assert.match(asked.channel.problem()?.why ?? "", /\/picoclaw\/edge\/status/);
        broker.on = true;
        await until("it is heard again", () => asked.channel.problem() === undefined);
        await until("logged", () => asked.log.text().includes("delivers again"));
        assert.equal(asked.requests.length, 0);
      },
    );
  }

  it("is known from any message: while others come, and from the first one on", slow, async () => {
    await using broker = await startBroker();
    await using asked = open(broker.url);
    await until("it was heard twice", () => broker.heard >= 2);
    broker.on = false;
    const { probes } = broker;
    const timer = setInterval(() => {
      broker.send(publish(5, { topic: STATUS, payload: "offline" }));
    }, CHECK_MS);
    await until("three more probes", () => broker.probes >= probes + 3);
    assert.equal(broker.connections(), 1);
    assert.equal(asked.channel.problem(), undefined);
    clearInterval(timer);
    await until("a second connection", () => broker.connections() === 2);
    await asked.ready();
    await until("a probe of it", () => broker.probes >= probes + 5);
    assert.match(asked.channel.problem()?.message ?? "", DEAF);
    broker.send(publish(5, { topic: REQUEST, payload: '{"text":"hi"}' }));
    await asked.request();
    assert.equal(asked.channel.problem(), undefined);
  });

  it("is none while a message waits for its acknowledgement", slow, async () => {
    await using broker = await startBroker();
    const stored = Promise.withResolvers<void>();
    await using asked = open(broker.url, { qos: 1 }, { onRequest: () => stored.promise });
    await until("it was heard twice", () => broker.heard >= 2);
    broker.on = false;
    broker.send(publish(5, { topic: REQUEST, payload: '{"text":"hi"}', qos: 1 }));
    await asked.request();
    const waits = asked.waits(CHECK_MS);
    await until("thrice the silence", () => asked.waits(CHECK_MS) > waits + 60);
    assert.equal(broker.connections(), 1);
    stored.resolve();
    await until("a second connection", () => broker.connections() === 2);
  });
});

describe("a connection that cannot be probed stays", () => {
  it("where the broker never sends the status back", slow, async () => {
    await using broker = await startBroker();
    broker.on = false;
    await using asked = open(broker.url);
    await until("three probes", () => broker.probes === 3);
    await until("logged", () => asked.log.text().includes("debug the connection cannot be probed"));
    assert.equal(broker.connections(), 1);
    assert.equal(asked.channel.problem(), undefined);
  });

  it("where it sends it to a new subscription alone", slow, async () => {
    await using broker = await startBroker();
    broker.most = 1;
    await using asked = open(broker.url);
    await until("more probes", () => broker.probes === 4);
    assert.equal(broker.heard, 1);
    assert.equal(broker.connections(), 1);
    assert.equal(asked.channel.problem(), undefined);
  });

  it("where the broker refuses the subscription", slow, async () => {
    let refused = 0;
    await using broker = await fakeBroker((packet, socket) => {
      const isStatus = packet.type === SUBSCRIBE && packet.bytes.includes(STATUS);
      if (isStatus) refused += 1;
      politeOn5(packet, socket, isStatus ? 0x87 : 0);
    });
    await using asked = open(broker.url);
    await asked.ready();
    await until("logged", () => asked.log.text().includes("debug the connection cannot be probed"));
    assert.equal(asked.waits(PROBE_MS) + asked.waits(CHECK_MS), 0);
    assert.deepEqual([refused, broker.connections()], [1, 1]);
    assert.equal(asked.channel.problem(), undefined);
  });

  it(
    "where an access list says so, which mosquitto keeps to itself",
    { ...slow, ...needsMosquitto },
    async () => {
      await using broker = await startMosquitto(
        withAcl(
          "topic readwrite /picoclaw/edge/+/request",
          "topic readwrite /picoclaw/edge/+/response",
          `topic write ${STATUS}`,
        ),
      );
      await using asked = open(broker.url, { qos: 1 }, { onRequest: answering("ok") });
      await asked.ready();
      await until("three probes", () => probesAt(broker) >= 3);
      await until("logged", () =>
        asked.log.text().includes("debug the connection cannot be probed"),
      );
      assert.equal(connectsAt(broker), 1);
      assert.equal(asked.channel.problem(), undefined);
      await using device = await openTestDevice(broker.url, "/picoclaw/edge/c1/response");
      await device.client.publishAsync(REQUEST, '{"text":"hi"}', { qos: 1 });
      await device.message();
    },
  );
});

const probesAt = (broker: Mosquitto): number =>
  [...broker.log().matchAll(/Received SUBSCRIBE from picoclaw-[^\n]*\n[^\n]*\/status \(/g)].length;
const connectsAt = (broker: Mosquitto): number =>
  [...broker.log().matchAll(/as picoclaw-mqtt-edge-/g)].length;

describe("a quiet hour", () => {
  it("makes no new connection", { ...slow, ...needsMosquitto }, async () => {
    const ways = [
      { protocol_version: 5, qos: 0 },
      { protocol_version: 5, qos: 1 },
      { protocol_version: 5, qos: 2 },
      { protocol_version: 4, qos: 1 },
    ] as const;
    const quiet = async (settings: (typeof ways)[number]): Promise<void> => {
      await using broker = await startMosquitto();
      // A broker on a busy machine may be late.
      await using asked = open(broker.url, { ...settings, probe_secs: 1 });
      await asked.ready();
      await until("three answered probes, and another", () => probesAt(broker) >= 4);
      assert.equal(connectsAt(broker), 1);
      assert.equal(asked.channel.problem(), undefined);
      assert.equal(asked.requests.length, 0);
      assert.doesNotMatch(asked.log.text(), /cannot be probed|delivers/);
    };
    await Promise.all(ways.map(quiet));
  });

  it("makes none with the built-in broker", slow, async () => {
    const broker = await openBroker({ broker: "embedded://127.0.0.1:0" });
    await using asked = open(`tcp://127.0.0.1:${broker.port}`, { qos: 1 });
    await asked.ready();
    await until("four answered probes", () => asked.waits(PROBE_MS) >= 4);
    assert.equal(asked.channel.problem(), undefined);
    assert.doesNotMatch(asked.log.text(), /cannot be probed|delivers|given up/);
    await asked.channel.close();
    await broker.close();
  });

  it("is not probed with probe_secs 0", slow, async () => {
    await using broker = await startBroker();
    await using off = open(broker.url, { probe_secs: 0 });
    await off.ready();
    await using probed = open(broker.url, { probe_secs: 60 });
    await until("probes of another", () => probed.waits(60_000) === 1);
    assert.equal(broker.probes, 2);
  });
});

/** A session that acknowledges subscriptions, and whose time the test lets pass. */
function fakeSession() {
  const lost = Promise.withResolvers<Refusal>();
  const aborts: string[] = [];
  let reading = 0;
  let subscriptions = 0;
  let waiting: { milliseconds: number; end: () => void } | undefined;
  const session: Session = {
    broker: "tcp://here",
    protocol: 5,
    resumed: false,
    expirySecs: undefined,
    topicAliasMaximum: 0,
    maximumPacketBytes: 0,
    maximumQos: 2,
    lost: lost.promise,
    publish: () => Promise.resolve({ noMatchingSubscribers: false }),
    subscribe() {
      subscriptions += 1;
      return Promise.resolve();
    },
    unsubscribe: () => Promise.resolve(),
    open: () => {},
    readingTime: () => reading,
    isStoring: () => false,
    end: () => Promise.resolve(),
    abort: (reason) => void aborts.push(reason),
  };
  const echo: Incoming = {
    topic: STATUS,
    payload: Buffer.from("online"),
    qos: 0,
    dup: false,
    retain: true,
    properties: undefined,
  };
  const wait = (milliseconds: number): Promise<void> =>
    new Promise((end) => {
      waiting = { milliseconds, end };
    });
  const probe = new Probe({
    topic: publishTopic(STATUS),
    qos: 0,
    seconds: 1,
    pause: wait,
    log: createMemoryLog(),
  });
  return {
    session,
    probe,
    aborts,
    echo,
    subscriptions: () => subscriptions,
    end: () => lost.resolve(unreachable("over", undefined)),
    /** Lets waits end until the condition holds, so many at the most; the connection is read meanwhile, or not. */
    async pass(holds: () => boolean, { isRead = true, most = 1_000 } = {}): Promise<void> {
      for (let count = 0; count < most && !holds(); count += 1) {
        await new Promise((resolve) => setImmediate(resolve));
        if (isRead) reading += waiting?.milliseconds ?? 0;
        waiting?.end();
        waiting = undefined;
      }
    },
    [Symbol.dispose]: () => lost.resolve(unreachable("over", undefined)),
  };
}

/** A session whose probe came back twice. */
async function provenSession() {
  const fake = fakeSession();
  fake.probe.watch(fake.session);
  for (const count of [1, 2]) {
    await fake.pass(() => fake.subscriptions() === count);
    fake.probe.received(fake.echo);
  }
  return fake;
}

describe("a silence", () => {
  it("does not count while reading is held up", async () => {
    using fake = await provenSession();
    await fake.pass(() => fake.subscriptions() === 3);
    await fake.pass(() => false, { isRead: false, most: 100 });
    assert.equal(fake.subscriptions(), 3);
    assert.deepEqual(fake.aborts, []);
    await fake.pass(() => fake.aborts.length > 0);
    assert.deepEqual(fake.aborts.length, 1);
    assert.match(fake.probe.problem()?.remedy ?? "", /probe_secs/);
  });

  it("does not count at another address, which has not answered yet", async () => {
    using fake = await provenSession();
    const lost = Promise.withResolvers<Refusal>();
    const next: Session = { ...fake.session, broker: "tcp://there", lost: lost.promise };
    fake.end();
    fake.probe.watch(next);
    const before = fake.subscriptions();
    await fake.pass(() => fake.subscriptions() === before + 3);
    assert.deepEqual(fake.aborts, []);
    assert.equal(fake.probe.problem(), undefined);
    lost.resolve(unreachable("over", undefined));
  });

  it("cuts ever less often where a new connection did not help", async () => {
    using fake = await provenSession();
    await fake.pass(() => fake.subscriptions() === 11);
    assert.equal(fake.subscriptions(), 11);
    // After silences 1, 2, 3, 4 and 8.
    assert.equal(fake.aborts.length, 5);
  });
});

describe("the time of reading", () => {
  it("leaves out what passes while a stream is paused", async () => {
    const stream = new PassThrough();
    stream.resume();
    const clock = createReadingClock(stream);
    await sleep(60);
    const before = clock();
    assert.ok(before >= 50, String(before));
    stream.pause();
    const paused = clock();
    await sleep(100);
    assert.ok(clock() - paused < 5);
    // Paused again before anybody is told that it goes on.
    stream.resume();
    stream.pause();
    await sleep(100);
    assert.ok(clock() - paused < 10);
    stream.resume();
    await sleep(60);
    assert.ok(clock() - paused >= 50);
  });
});
