import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ChannelRequest } from "../../src/mqtt/contract.ts";
import { openTestChannel, openTestDevice } from "../support/channel.ts";
import { startFloodBroker, textOf, type FloodOptions } from "../support/flood-broker.ts";
import { atMost, heldBytes } from "../support/memory.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { until } from "../support/until.ts";

const LONG_MS = 120_000;
const slow = { timeout: LONG_MS };

/** A store that writes in groups: those that wait are stored at once, so many every few milliseconds. */
function openStore(everyMs: number, atOnce = Number.POSITIVE_INFINITY) {
  const waiting: (() => void)[] = [];
  let blocked = false;
  let most = 0;
  const commit = setInterval(() => {
    if (blocked) return;
    for (const stored of waiting.splice(0, atOnce)) stored();
  }, everyMs);
  return {
    take: () =>
      new Promise<void>((resolve) => {
        waiting.push(resolve);
        most = Math.max(most, waiting.length);
      }),
    block: (isBlocked: boolean) => {
      blocked = isBlocked;
    },
    waiting: () => waiting.length,
    /** How many waited at most. */
    most: () => most,
    [Symbol.dispose]: () => clearInterval(commit),
  };
}

/** A channel in front of a store; of its requests only what the test asks about is kept. */
function openFlooded(
  broker: string,
  { version, qos }: Pick<FloodOptions, "version" | "qos">,
  onRequest: (request: ChannelRequest) => Promise<void>,
) {
  return openTestChannel(broker, {
    reconnectMs: 10,
    clientId: "flooded",
    settings: { qos, protocol_version: version },
    discards: true,
    onRequest,
  });
}

const KINDS = [
  { version: 5, qos: 1 },
  { version: 4, qos: 1 },
  { version: 5, qos: 2 },
  { version: 4, qos: 2 },
] as const;

/** As many as can be in flight, where the compiled program's runtime runs this; all that they cost is JavaScript. */
const ALL = "Bun" in globalThis ? 65_535 : 10_000;
/** How often is measured what they hold. */
const SAMPLES = 20;

describe(`${ALL} messages in flight, of 65,535 that can be`, () => {
  for (const { version, qos } of [KINDS[0], KINDS[3]]) {
    it(`are read as they are stored, QoS ${qos} on MQTT ${version}`, slow, async () => {
      await using broker = await startFloodBroker({ version, qos, count: ALL });
      using store = openStore(5);
      const before = heldBytes();
      await using asked = openFlooded(broker.url, { version, qos }, store.take);
      let most = 0;
      let samples = 0;
      await until(
        `all are done; ${asked.log.text()}`,
        () => {
          if (broker.done() * SAMPLES > samples * ALL) {
            samples += 1;
            most = Math.max(most, heldBytes() - before);
          }
          return broker.done() === ALL;
        },
        LONG_MS,
      );
      assert.ok(isInOrder(broker.acknowledged));
      assert.equal(broker.connections(), 1);
      assert.ok(store.most() < 700, `${store.most()} waited at the store`);
      assert.ok(most < atMost(80), `${most / 2 ** 20} MiB`);
    });
  }

  for (const { version, qos } of [KINDS[1], KINDS[2]]) {
    it(`wait for the first of them, QoS ${qos} on MQTT ${version}`, slow, async () => {
      await using broker = await startFloodBroker({ version, qos, count: ALL });
      const first = Promise.withResolvers<void>();
      let handedOver = 0;
      await using asked = openFlooded(broker.url, { version, qos }, () => {
        handedOver += 1;
        return handedOver === 1 ? first.promise : Promise.resolve();
      });
      await until("all are handed over", () => handedOver === ALL, LONG_MS);
      assert.equal(broker.acknowledged.length, 0);
      const held = heldBytes();
      first.resolve();
      await until(`all are done; ${asked.log.text()}`, () => broker.done() === ALL, LONG_MS);
      assert.equal(broker.connections(), 1);
      assert.ok(isInOrder(broker.acknowledged));
      assert.ok(held - heldBytes() < atMost(40), `${(held - heldBytes()) / 2 ** 20} MiB`);
    });
  }
});

function isInOrder(ids: readonly number[]): boolean {
  return ids.length === ALL && ids.every((id, index) => id === index + 1);
}

describe("a broker that answers SUBSCRIBE only after every PUBACK", () => {
  it("is served", async () => {
    const flood = { version: 4, qos: 1 } as const;
    await using broker = await startFloodBroker({ ...flood, count: 500, subackLast: true });
    using store = openStore(5);
    await using asked = openFlooded(broker.url, flood, store.take);
    await asked.ready();
    assert.equal(broker.done(), 500);
    assert.equal(broker.connections(), 1);
  });
});

describe("110 messages of 250 KB at once", () => {
  for (const { version, qos } of KINDS) {
    it(`are read as the store takes them, QoS ${qos} on MQTT ${version}`, slow, async () => {
      const bytes = 250_000;
      await using broker = await startFloodBroker({ version, qos, count: 110, bytes });
      using store = openStore(50);
      let right = 0;
      const before = heldBytes();
      await using asked = openFlooded(broker.url, { version, qos }, ({ text, id }) => {
        if (text === textOf(Number(id?.slice(1)), bytes)) right += 1;
        return store.take();
      });
      await until(`all are done; ${asked.log.text()}`, () => broker.done() === 110, LONG_MS);
      assert.equal(right, 110);
      assert.equal(broker.connections(), 1);
      assert.ok(store.most() <= 36, `${store.most()} waited at the store`);
      assert.ok(heldBytes() - before < atMost(60));
    });
  }
});

describe("a store that cannot write for a while", () => {
  for (const { version, qos } of [KINDS[0], KINDS[3]]) {
    it(`costs nothing but time, QoS ${qos} on MQTT ${version}`, slow, async () => {
      const count = 3_000;
      await using broker = await startFloodBroker({ version, qos, count });
      using store = openStore(5);
      store.block(true);
      const asNew = new Map<string, number>();
      const seen = new Set<string>();
      await using asked = openFlooded(broker.url, { version, qos }, ({ id = "", redelivered }) => {
        seen.add(id);
        if (!redelivered) asNew.set(id, (asNew.get(id) ?? 0) + 1);
        return store.take();
      });
      await asked.ready();
      const says = (words: string): boolean => asked.log.text().includes(words);
      await until("it sheds", () => says("the broker keeps further ones"), 30_000);
      assert.ok(store.waiting() < 700, `${store.waiting()} wait at the store`);
      assert.equal(broker.acknowledged.length, 0);
      // The connection lives on: an answer is published, and acknowledged.
      const reply = asked.channel.replyTo({ client: "c1", address: '["x",null]' });
      await reply?.({ text: "hello", done: true });
      // And what the broker would not hold is handed over.
      broker.sendUnheld("r0");
      await until("QoS 0 is handed over", () => seen.has("r0"));
      store.block(false);
      await until(`all are done; ${asked.log.text()}`, () => broker.done() === count, LONG_MS);
      assert.equal(seen.size, count + 1);
      assert.ok(
        [...asNew.values()].every((times) => times === 1),
        "new once at most",
      );
      const shown = asked.log.lines.filter(({ message }) =>
        message.includes("reconnecting so that"),
      );
      assert.equal(shown.length, 1);
      assert.ok(Number(shown[0]?.fields["messages"]) > 2_000, asked.log.text());
      assert.equal(broker.connections(), 2);
    });
  }

  it("does not end a connection whose keep alive is short", slow, async () => {
    const flood = { version: 5, qos: 1 } as const;
    await using broker = await startFloodBroker({ ...flood, count: 2_000 });
    using store = openStore(5);
    store.block(true);
    await using asked = openTestChannel(broker.url, {
      reconnectMs: 10,
      settings: { qos: 1, protocol_version: 5, keep_alive: 1 },
      onRequest: store.take,
    });
    await until("pings go on", () => broker.pings() > 3, 30_000);
    assert.equal(broker.connections(), 1);
    assert.ok(!asked.log.text().includes("given up"));
  });
});

describe("a slow store", () => {
  it("is waited for, and the connection lives on", slow, async () => {
    const flood = { version: 5, qos: 1 } as const;
    await using broker = await startFloodBroker({ ...flood, count: 900 });
    using store = openStore(250, 25);
    await using asked = openTestChannel(broker.url, {
      settings: { qos: 1, protocol_version: 5, keep_alive: 1 },
      discards: true,
      onRequest: store.take,
    });
    await until(`all are done; ${asked.log.text()}`, () => broker.done() === 900, 30_000);
    assert.equal(broker.connections(), 1);
    assert.ok(!asked.log.text().includes("left with the broker"));
    assert.ok(store.most() < 1_100, `${store.most()} waited at the store`);
  });
});

const RAISED = ["listener {port} 127.0.0.1", "allow_anonymous true", "max_queued_messages 100000"];

describe("a real mosquitto that sends what it kept", needsMosquitto, () => {
  for (const [name, lines] of [
    ["with a longer queue", RAISED],
    ["that leaves any number in flight", [...RAISED, "max_inflight_messages 0"]],
  ] as const) {
    for (const { version, qos } of KINDS) {
      it(`${name} is not cut, QoS ${qos} on MQTT ${version}`, slow, async () => {
        const count = qos === 1 ? 5_000 : 300;
        await using broker = await startMosquitto({ lines });
        const kept = { version, qos };
        {
          await using first = openFlooded(broker.url, kept, () => Promise.resolve());
          await first.ready();
        }
        await queue(broker.url, count, qos);
        const gate = Promise.withResolvers<void>();
        setTimeout(gate.resolve, 2_000);
        const texts: string[] = [];
        await using asked = openFlooded(broker.url, kept, ({ text }) => {
          texts.push(text);
          return gate.promise;
        });
        const acks = new RegExp(`Received ${qos === 1 ? "PUBACK" : "PUBCOMP"} from flooded`, "g");
        await until(
          `all are acknowledged; ${asked.log.text()}`,
          () => (broker.log().match(acks)?.length ?? 0) === count,
          60_000,
        );
        assert.deepEqual(
          texts,
          Array.from({ length: count }, (_, index) => `q${index}`),
        );
        assert.equal(broker.log().split(" as flooded ").length - 1, 2, "two connections in all");
        assert.ok(!asked.log.text().includes("reconnecting so that"));
      });
    }
  }
});

/** Asks so many questions; of QoS 2 mosquitto takes 20 of one client in flight. */
async function queue(broker: string, count: number, qos: 1 | 2): Promise<void> {
  await using device = await openTestDevice(broker, "/nothing");
  const atOnce = qos === 1 ? count : 20;
  for (let begin = 0; begin < count; begin += atOnce) {
    const some = Array.from({ length: Math.min(atOnce, count - begin) }, (_, index) =>
      device.client.publishAsync("/picoclaw/edge/c1/request", `{"text":"q${begin + index}"}`, {
        qos,
      }),
    );
    await Promise.all(some);
  }
}
