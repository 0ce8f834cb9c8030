import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import type { Log } from "../../src/base/log.ts";
import type { MqttSettings } from "../../src/config/contract.ts";
import { BROKER_LIMITS, openBroker } from "../../src/mqtt/broker/broker.ts";
import {
  TopicFeed,
  type FeedMessage,
  type FeedSubscription,
} from "../../src/mqtt/topic-feed/topic-feed.ts";
import { channelFor, openTestDevice } from "../support/channel.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { needsMosquitto, startMosquitto, type MosquittoOptions } from "../support/mosquitto.ts";
import { fakeBroker, politeOn5 } from "../support/packets.ts";
import { until } from "../support/until.ts";

const slow = { ...needsMosquitto, timeout: 60_000 };

function feedOf(url: string, log: Log, settings: Partial<MqttSettings> = {}): TopicFeed {
  return new TopicFeed({
    settings: channelFor(url, settings).settings,
    connectTimeoutMs: 5_000,
    reconnectMs: 50,
    reservedPrefixes: () => ["/picoclaw/edge"],
    log,
  });
}

/** A mosquitto with a feed and a client of somebody else. */
async function openTestFeed(settings: Partial<MqttSettings> = {}, options: MosquittoOptions = {}) {
  const broker = await startMosquitto(options);
  const log = createMemoryLog();
  const feed = feedOf(broker.url, log, settings);
  const device = await openTestDevice(broker.url, "from/us");
  return {
    broker,
    feed,
    log,
    device,
    publish: (topic: string, text: string, retain = false) =>
      device.client.publishAsync(topic, text, { qos: 1, retain }),
    async [Symbol.asyncDispose]() {
      await feed.close();
      await device[Symbol.asyncDispose]();
      await broker[Symbol.asyncDispose]();
    },
  };
}

/** A listener that keeps what it hears. */
function listenerOf(feed: TopicFeed, qos: 0 | 1 = 1) {
  const heard: string[] = [];
  let reconnects = 0;
  const subscription: FeedSubscription = feed.listen(
    {
      onMessage({ topic, payload, retained }: FeedMessage) {
        heard.push(`${topic} ${String(payload)}${retained ? " retained" : ""}`);
      },
      onReconnect() {
        reconnects += 1;
      },
    },
    qos,
  );
  return { heard, subscription, reconnects: () => reconnects };
}

function codeOf(code: string) {
  return (thrown: unknown): boolean => thrown instanceof Failure && thrown.code === code;
}

const { signal } = new AbortController();
const MESSAGE = { topic: "from/us", payload: "x", retain: false, qos: 1 } as const;

describe("a topic feed", () => {
  for (const protocol_version of [5, 4] as const) {
    it(`hears retained and new messages over MQTT ${protocol_version}`, slow, async () => {
      await using set = await openTestFeed({ protocol_version });
      await set.publish("home/lamp", "off", true);
      const { heard, subscription } = listenerOf(set.feed);
      await subscription.add(["home/lamp", "home/+/temp"]);
      await set.publish("home/hall/temp", "19");
      await set.publish("home/lamp", "on", true);
      await set.publish("home/other", "unheard");
      await until("three messages", () => heard.length === 3);
      assert.deepEqual(heard, ["home/lamp off retained", "home/hall/temp 19", "home/lamp on"]);
    });
  }

  it("serves two listeners of one topic, and lets go of it with the last", slow, async () => {
    await using set = await openTestFeed();
    await set.publish("a", "kept", true);
    const [one, two] = [listenerOf(set.feed, 0), listenerOf(set.feed, 1)];
    await one.subscription.add(["a"]);
    await two.subscription.add(["a", "b"]);
    await until("the later one has the retained message, too", () => two.heard.length >= 1);
    one.subscription.close();
    const before = one.heard.length;
    await set.publish("a", "1");
    await until("the other hears on", () => two.heard.includes("a 1"));
    assert.equal(one.heard.length, before);
    assert.doesNotMatch(set.broker.log(), /UNSUBSCRIBE/);
    two.subscription.remove(["a"]);
    await until("unsubscribed", () => set.broker.log().includes("UNSUBACK to picoclaw-feed"));
    await set.publish("a", "2");
    await set.publish("b", "3");
    await until("the rest is heard", () => two.heard.includes("b 3"));
    assert.ok(!two.heard.includes("a 2"));
  });

  it("subscribes again after a loss, also to what was added meanwhile", slow, async () => {
    await using set = await openTestFeed();
    const { heard, subscription, reconnects } = listenerOf(set.feed);
    await subscription.add(["a/#"]);
    await set.broker.kill();
    await until("the loss is seen", () => set.feed.problem() !== undefined);
    const added = subscription.add(["b"]);
    await set.broker.start();
    await added;
    await until("the device is back", () => set.device.client.connected);
    await set.publish("a/1", "x");
    await set.publish("b", "y");
    await until("both are heard", () => heard.length === 2);
    assert.deepEqual(heard, ["a/1 x", "b y"]);
    assert.equal(reconnects(), 1);
    assert.deepEqual(
      set.log.lines.filter(({ level }) => level !== "debug"),
      [],
    );
  });

  it("publishes over a second connection as soon as there is one", slow, async () => {
    await using set = await openTestFeed();
    await set.feed.publish(MESSAGE, signal);
    await until("it is there", () => set.broker.log().includes("CONNACK to picoclaw-commands"));
    // The broker's log comes before its packet.
    const published = (): readonly (string | undefined)[] =>
      [...set.broker.log().matchAll(/Received PUBLISH from (picoclaw-[a-z]+)/g)].map(
        ([, name]) => name,
      );
    await until("it is used", async () => {
      await set.feed.publish(MESSAGE, signal);
      return published().at(-1) === "picoclaw-commands";
    });
    assert.equal(published()[0], "picoclaw-feed");
    await set.feed.close();
    await until("both have gone", () =>
      ["feed", "commands"].every((name) =>
        new RegExp(String.raw`Client picoclaw-${name}\S+ disconnected`).test(set.broker.log()),
      ),
    );
  });

  it("publishes over the first connection where there can be no second", slow, async () => {
    const published: number[] = [];
    let refused = 0;
    await using broker = await fakeBroker((packet, socket, connection) => {
      if (packet.type === 1 && packet.bytes.includes("picoclaw-commands")) {
        refused += 1;
        socket.destroy();
      } else politeOn5(packet, socket);
      if (packet.type === 3) published.push(connection);
    });
    const feed = feedOf(broker.url, createMemoryLog());
    await feed.publish(MESSAGE, signal);
    await until("the second was tried", () => refused > 1);
    await feed.publish(MESSAGE, signal);
    assert.deepEqual(published, [1, 1]);
    await feed.close();
  });

  it("hears and publishes nothing of the agent's own topics", slow, async () => {
    await using set = await openTestFeed();
    const { heard, subscription } = listenerOf(set.feed);
    await subscription.add(["#", "/picoclaw/edge/c1/request"]);
    await set.publish("/picoclaw/edge/c1/request", "own");
    await set.publish("/picoclaw/edges", "other");
    await until("the other one is heard", () => heard.length > 0);
    assert.deepEqual(heard, ["/picoclaw/edges other"]);
    for (const topic of ["/picoclaw/edge/c1/request", "a/+", "$SYS/x", ""]) {
      await assert.rejects(set.feed.publish({ ...MESSAGE, topic }, signal), codeOf("bad_request"));
    }
    await set.feed.publish(MESSAGE, signal);
    assert.equal(String((await set.device.message()).payload), "x");
  });

  it("drops a message that is too large and stays connected", slow, async () => {
    await using set = await openTestFeed();
    await set.publish("a", "x".repeat(1_000_000), true);
    const { heard, subscription, reconnects } = listenerOf(set.feed);
    await subscription.add(["a"]);
    await set.publish("a", "y");
    await until("the next one is heard", () => heard.length === 1);
    assert.deepEqual([heard, reconnects()], [["a y"], 0]);
  });

  it("names a filter that the broker refuses, and keeps the others", slow, async () => {
    const log = createMemoryLog();
    const limits = { ...BROKER_LIMITS, filters: 1 };
    const broker = await openBroker({ broker: "embedded://127.0.0.1:0" }, log, limits);
    const url = `tcp://127.0.0.1:${broker.port}`;
    const feed = new TopicFeed({
      settings: channelFor(url).settings,
      connectTimeoutMs: 5_000,
      reservedPrefixes: () => [],
      log,
    });
    const device = await openTestDevice(url, "none");
    try {
      const { heard, subscription } = listenerOf(feed);
      await assert.rejects(subscription.add(["a", "b", "c"]), codeOf("refused"));
      for (const topic of ["b", "a"]) await device.client.publishAsync(topic, "1", { qos: 1 });
      await until("the first is subscribed", () => heard.length === 1);
      assert.deepEqual(heard, ["a 1"]);
      for (const filter of ["c/#/d", "x/".repeat(200), "x".repeat(2_000), "a\u0007"]) {
        await assert.rejects(subscription.add([filter]), codeOf("bad_request"));
      }
    } finally {
      await device[Symbol.asyncDispose]();
      await feed.close();
      await broker.close();
    }
  });

  it("ends for good where the broker refuses the credentials, and says so", slow, async () => {
    const lines = ["listener {port} 127.0.0.1", "allow_anonymous false"];
    const broker = await startMosquitto({ lines });
    const log = createMemoryLog();
    const feed = new TopicFeed({
      settings: channelFor(broker.url).settings,
      connectTimeoutMs: 5_000,
      reservedPrefixes: () => [],
      log,
    });
    try {
      await assert.rejects(listenerOf(feed).subscription.add(["a"]), codeOf("refused"));
      assert.equal((await feed.ended)?.code, "refused");
      assert.match(log.text(), /warn topics of the broker are no longer heard/);
    } finally {
      await feed.close();
      await broker[Symbol.asyncDispose]();
    }
  });

  it("reads a flood at a pace that leaves time for others", slow, async () => {
    await using set = await openTestFeed();
    let count = 0;
    const subscription = set.feed.listen({ onMessage: () => void (count += 1) }, 0);
    await subscription.add(["flood"]);
    // In a process of its own; of large messages fewer wait on the way.
    const words = `yes ${"x".repeat(1_000)} | mosquitto_pub -p ${set.broker.port} -t flood -l`;
    const flood = spawn("sh", ["-c", words], { detached: true, stdio: "ignore" });
    await until("it floods", () => count > 1_000);
    const [begin, before] = [performance.now(), count];
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const perSecond = ((count - before) / (performance.now() - begin)) * 1_000;
    process.kill(-(flood.pid ?? Number.NaN), "SIGKILL");
    assert.ok(perSecond < 12_000, `${Math.round(perSecond)} messages a second`);
    assert.equal(set.feed.problem(), undefined);
  });
});
