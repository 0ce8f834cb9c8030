import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { MqttSettings } from "../../src/config/contract.ts";
import type { KeptSession, BrokerNotes } from "../../src/mqtt/contract.ts";
import { openTestChannel, openTestDevice, type TestChannel } from "../support/channel.ts";
import { needsMosquitto, startMosquitto, type Mosquitto } from "../support/mosquitto.ts";
import { startProxy } from "../support/proxy.ts";
import { until } from "../support/until.ts";

/** Bun ends a test after 5 s unless told otherwise. */
const slow = { ...needsMosquitto, timeout: 30_000 };
const KEPT: Partial<MqttSettings> = { client_id: "fixed", qos: 1 };
const LOST = /warn the broker did not keep our session.*"client_id":"fixed".*persistence true/;
const PERSISTENT = [
  "listener {port} 127.0.0.1",
  "allow_anonymous true",
  "persistence true",
  "persistence_location {folder}/",
];

/** Notes as a file would keep them. */
function openNotes(first?: Partial<KeptSession> & { broker: string }): BrokerNotes & {
  last: () => KeptSession | undefined;
} {
  const made = { clientId: "fixed", seenAt: Date.now() - 1_000, expirySecs: 3600 };
  let kept: KeptSession | undefined = first && { ...made, ...first };
  return {
    read: () => kept,
    write(session) {
      kept = session;
    },
    dropped: () => undefined,
    noteDropped: () => {},
    last: () => kept,
  };
}

async function restart(broker: Mosquitto, asked: TestChannel, way: "SIGTERM" | "SIGKILL") {
  const times = asked.log.lines.filter(({ message }) => message === "connected").length;
  await broker.kill(way);
  await broker.start();
  await until("connected again", () => {
    return asked.log.lines.filter(({ message }) => message === "connected").length > times;
  });
}

async function lostInfo(broker: Mosquitto): Promise<unknown> {
  await using device = await openTestDevice(broker.url, "/picoclaw/edge/info");
  const info: unknown = JSON.parse(String((await device.message()).payload));
  return info instanceof Object && "sessions_lost" in info ? info.sessions_lost : "none";
}

describe("a session that the broker has lost", () => {
  it("is counted, logged with a remedy, and told in info", slow, async () => {
    await using broker = await startMosquitto();
    await using asked = openTestChannel(broker.url, { settings: KEPT, reconnectMs: 50 });
    await asked.ready();
    assert.equal(asked.channel.sessionsLost(), 0);
    assert.equal(await lostInfo(broker), 0);
    for (const count of [1, 2]) {
      await restart(broker, asked, "SIGKILL");
      assert.equal(asked.channel.sessionsLost(), count);
      await until("told", async () => (await lostInfo(broker)) === count);
    }
    assert.match(asked.log.text(), LOST);
    assert.doesNotMatch(asked.log.text(), /several addresses/);
  });

  it("is counted on MQTT 3.1.1, and with several addresses", slow, async () => {
    await using a = await startMosquitto();
    await using b = await startMosquitto();
    const settings = { ...KEPT, protocol_version: 4 as const };
    await using asked = openTestChannel([a.url, b.url], { settings, reconnectMs: 50 });
    await asked.ready();
    await a.kill();
    await until("moved", () => asked.channel.sessionsLost() === 1);
    assert.match(asked.log.text(), /several addresses must be one cluster/);
  });

  it("is found by the next process, from what the last one noted", slow, async () => {
    await using broker = await startMosquitto();
    const brokerNotes = openNotes();
    for (const lost of [0, 0, 1]) {
      if (lost === 1) {
        await broker.kill();
        await broker.start();
      }
      const before = Date.now();
      const asked = openTestChannel(broker.url, { settings: KEPT, brokerNotes });
      await asked.ready();
      assert.equal(asked.channel.sessionsLost(), lost);
      await until("noted", () => (brokerNotes.last()?.seenAt ?? 0) >= before);
      await asked.channel.close();
      assert.equal(brokerNotes.last()?.expirySecs, 3600);
    }
  });
});

const quiet = async (
  asked: TestChannel,
  done: () => Promise<void> = () => Promise.resolve(),
): Promise<void> => {
  await asked.ready();
  await done();
  assert.equal(asked.channel.sessionsLost(), 0, asked.log.text());
  assert.doesNotMatch(asked.log.text(), /did not keep/);
};

describe("no session is taken for lost", () => {
  it("where the broker has it on disk, or the way is lost alone", slow, async () => {
    await using broker = await startMosquitto({ lines: PERSISTENT });
    await using way = await startProxy(broker.port);
    await using asked = openTestChannel(way.url, { settings: KEPT, reconnectMs: 50 });
    await quiet(asked, async () => {
      await restart(broker, asked, "SIGTERM");
      way.reset();
      await until("again", () => asked.log.text().split("info connected").length > 3);
    });
  });

  it("at the very first connection", slow, async () => {
    await using broker = await startMosquitto();
    await using asked = openTestChannel(broker.url, {
      settings: KEPT,
      brokerNotes: openNotes(),
    });
    await quiet(asked);
  });

  const cases: readonly (readonly [string, Partial<KeptSession>])[] = [
    ["that has expired", { seenAt: Date.now() - 3_601_000 }],
    ["from a time when the clock was ahead", { seenAt: Date.now() + 3_600_000 }],
    ["of another client id", { clientId: "former" }],
    ["at another broker", { broker: "tcp://former:1883" }],
    ["that the broker did not mean to keep", { expirySecs: 0 }],
  ];
  for (const [name, note] of cases) {
    it(name, slow, async () => {
      await using broker = await startMosquitto();
      const brokerNotes = openNotes({ broker: broker.url, ...note });
      await using asked = openTestChannel(broker.url, { settings: KEPT, brokerNotes });
      await quiet(asked);
      await until("noted", () => brokerNotes.last()?.broker === broker.url);
    });
  }

  it("that never expires is missed however long ago it was", slow, async () => {
    await using broker = await startMosquitto();
    const note = { broker: broker.url, seenAt: 1, expirySecs: 4_294_967_295 };
    await using asked = openTestChannel(broker.url, {
      settings: KEPT,
      brokerNotes: openNotes(note),
    });
    await asked.ready();
    assert.equal(asked.channel.sessionsLost(), 1);
  });

  it("after a start at QoS 0, which ended it", slow, async () => {
    await using broker = await startMosquitto();
    const brokerNotes = openNotes({ broker: broker.url });
    const settings = { ...KEPT, qos: 0 } as const;
    await using asked = openTestChannel(broker.url, { settings, brokerNotes });
    await quiet(asked);
    assert.equal(brokerNotes.last(), undefined);
  });

  it("where the time without a connection was longer than its expiry", slow, async () => {
    await using broker = await startMosquitto();
    const settings = { ...KEPT, session_expiry_secs: 0 };
    await using asked = openTestChannel(broker.url, { settings, reconnectMs: 50 });
    await quiet(asked, () => restart(broker, asked, "SIGKILL"));
  });
});
