import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { SILENT } from "../../src/base/log.ts";
import { Secret } from "../../src/base/secret.ts";
import type { MqttSettings } from "../../src/config/contract.ts";
import {
  publishTo,
  readTopics,
  type TopicConnection,
} from "../../src/mqtt/requester/topic-session.ts";
import { channelFor, openTestDevice } from "../support/channel.ts";
import { freePort, needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { fakeBroker, politeOn5 } from "../support/packets.ts";
import { until } from "../support/until.ts";

const slow = { ...needsMosquitto, timeout: 30_000 };

function lineTo(
  broker: string,
  settings: Partial<MqttSettings> = {},
  line: Partial<TopicConnection> = {},
): TopicConnection {
  return {
    settings: channelFor(broker, settings).settings,
    connectTimeoutMs: 3_000,
    reservedPrefixes: ["/picoclaw/edge"],
    log: SILENT,
    signal: new AbortController().signal,
    ...line,
  };
}

const WANTED = { milliseconds: 1_000, most: 10, mostBytes: 10_000 };

function codeOf(code: string) {
  return (thrown: unknown): boolean => thrown instanceof Failure && thrown.code === code;
}

describe("reading topics", () => {
  for (const protocol_version of [5, 4] as const) {
    it(
      `finds what the broker keeps and what comes, over MQTT ${protocol_version}`,
      slow,
      async () => {
        await using broker = await startMosquitto();
        await using house = await openTestDevice(broker.url, "nothing/of/interest");
        await house.client.publishAsync("home/kitchen/temp", "21", { retain: true, qos: 1 });
        await house.client.publishAsync("home/hall/temp", "19", { retain: true, qos: 1 });
        await house.client.publishAsync("home/hall/light", "on", { retain: true, qos: 1 });
        const reading = readTopics(lineTo(broker.url, { protocol_version }), {
          ...WANTED,
          filter: "home/+/temp",
          milliseconds: 20_000,
          most: 3,
        });
        await until("it has subscribed", () => broker.log().includes("home/+/temp"));
        for (const text of ["22", "23"]) {
          await house.client.publishAsync("home/kitchen/temp", text, { qos: 1 });
        }
        const { messages, isCut } = await reading;
        assert.deepEqual(
          messages.map((one) => `${one.topic} ${String(one.payload)} ${one.retained}`).toSorted(),
          ["home/hall/temp 19 true", "home/kitchen/temp 21 true", "home/kitchen/temp 22 false"],
        );
        assert.equal(isCut, true);
        await until("it is gone", () => /picoclaw-topics-\w+ disconnected/.test(broker.log()));
      },
    );
  }

  it("ends with its time where nothing comes", slow, async () => {
    await using broker = await startMosquitto();
    const { messages, isCut } = await readTopics(lineTo(broker.url), {
      ...WANTED,
      filter: "#",
      milliseconds: 200,
    });
    assert.deepEqual([messages, isCut], [[], false]);
  });

  it(
    "takes no more bytes than are wanted, and nothing of the agent's own topics",
    slow,
    async () => {
      await using broker = await startMosquitto();
      await using house = await openTestDevice(broker.url, "nothing");
      for (const topic of [
        "/picoclaw/edge/status",
        "/picoclaw/edge/c1/response",
        "/picoclaw/edge",
      ]) {
        await house.client.publishAsync(topic, "own", { retain: true, qos: 1 });
      }
      await house.client.publishAsync("/picoclaw/edges", "other", { retain: true, qos: 1 });
      const own = await readTopics(lineTo(broker.url), {
        ...WANTED,
        filter: "#",
        milliseconds: 500,
      });
      assert.deepEqual(
        own.messages.map(({ topic }) => topic),
        ["/picoclaw/edges"],
      );
      await house.client.publishAsync("big/a", "x".repeat(6_000), { retain: true, qos: 1 });
      await house.client.publishAsync("big/b", "x".repeat(6_000), { retain: true, qos: 1 });
      const big = await readTopics(lineTo(broker.url), { ...WANTED, filter: "big/+" });
      assert.deepEqual([big.messages.length, big.isCut], [1, true]);
    },
  );

  it("is broken off with its signal while the broker acknowledges no subscription", async () => {
    await using broker = await fakeBroker((packet, socket) => {
      if (packet.type !== 8) politeOn5(packet, socket);
      else stop.abort(new Failure("cancelled", "stopped"));
    });
    const stop = new AbortController();
    const startedAt = performance.now();
    const reading = readTopics(lineTo(broker.url, {}, { signal: stop.signal }), {
      ...WANTED,
      filter: "home/#",
    });
    await assert.rejects(reading, codeOf("cancelled"));
    const passed = performance.now() - startedAt;
    assert.ok(passed < 15_000, `${passed} ms`);
  });

  it("is broken off with its signal, and lets go of the broker", slow, async () => {
    await using broker = await startMosquitto();
    const stop = new AbortController();
    const reading = readTopics(lineTo(broker.url, {}, { signal: stop.signal }), {
      ...WANTED,
      filter: "a",
      milliseconds: 60_000,
    });
    await until("it has subscribed", () => broker.log().includes("a (QoS 0)"));
    stop.abort(new Failure("cancelled", "stopped"));
    await assert.rejects(reading, codeOf("cancelled"));
    await until("it is gone", () => /picoclaw-topics-\w+ disconnected/.test(broker.log()));
  });

  it("reports a broker that is down, that refuses it, or that goes away", slow, async () => {
    const nowhere = lineTo(`tcp://127.0.0.1:${await freePort()}`);
    await assert.rejects(readTopics(nowhere, { ...WANTED, filter: "a" }), codeOf("unreachable"));
    await using broker = await startMosquitto({
      lines: ["listener {port} 127.0.0.1", "allow_anonymous false", "password_file {folder}/users"],
      files: { users: "" },
    });
    const wrong = { username: new Secret("x"), password: new Secret("y") };
    await assert.rejects(
      readTopics(lineTo(broker.url, wrong), { ...WANTED, filter: "a" }),
      codeOf("refused"),
    );
    await using other = await startMosquitto();
    const reading = readTopics(lineTo(other.url), { ...WANTED, filter: "a", milliseconds: 60_000 });
    await until("it has subscribed", () => other.log().includes("a (QoS 0)"));
    const rejected = assert.rejects(reading, codeOf("unreachable"));
    await other.kill();
    await rejected;
  });
});

describe("publishing to a topic", () => {
  it("returns whether somebody was subscribed, and retains only what it must", slow, async () => {
    await using broker = await startMosquitto();
    await using lamp = await openTestDevice(broker.url, "home/light/set");
    const message = { topic: "home/light/set", payload: "on", retain: false, qos: 1 } as const;
    const line = lineTo(broker.url, { protocol_version: 5 });
    assert.deepEqual(await publishTo(line, message), { noMatchingSubscribers: false });
    assert.equal(String((await lamp.message()).payload), "on");
    assert.deepEqual(await publishTo(line, { ...message, topic: "x" }), {
      noMatchingSubscribers: true,
    });
    await publishTo(line, { ...message, topic: "kept", retain: true, qos: 0 });
    const { messages } = await readTopics(line, { ...WANTED, filter: "#", milliseconds: 500 });
    assert.deepEqual(
      messages.map(({ topic, retained }) => [topic, retained]),
      [["kept", true]],
    );
  });

  for (const topic of [
    "/picoclaw/edge/status",
    "/picoclaw/edge/c2/request",
    "/picoclaw/edge",
    "a/+",
    "#",
    "a\0b",
    "$SYS/x",
    "",
  ]) {
    it(`is refused for ${JSON.stringify(topic)}, before it reaches the broker`, async () => {
      const nowhere = lineTo(`tcp://127.0.0.1:${await freePort()}`);
      const message = { topic, payload: "x", retain: true, qos: 1 } as const;
      await assert.rejects(publishTo(nowhere, message), codeOf("bad_request"));
    });
  }
});
