import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FULL_ACCESS } from "../../../src/agent/access/permissions.ts";
import type { TopicPermissions } from "../../../src/agent/access/permissions.ts";
import { createMqttTool } from "../../../src/agent/tools/mqtt.ts";
import type { TopicMessage, Topics } from "../../../src/agent/tools/mqtt.ts";
import { runTool } from "../../../src/agent/tools/run.ts";
import { createLeakWatch } from "../../../src/agent/tools/web/secret-leak.ts";
import { Failure } from "../../../src/base/failure.ts";
import { callContext } from "../../support/agent-config.ts";
import { until } from "../../support/until.ts";

const SECRET = "sk-live-0123456789abcdef";

/** A broker of a few words, which knows who asked it for what. */
function createBroker(messages: readonly TopicMessage[] = [], isCut = false) {
  const asked: unknown[] = [];
  const topics: Topics = {
    trees: () => ["/picoclaw/edge", "acme/claw"],
    async read({ channel, filter, milliseconds, most, mostBytes }) {
      asked.push({ channel, filter, milliseconds, most, mostBytes });
      return { messages, isCut };
    },
    async publish({ channel, topic, payload, retain, qos }) {
      asked.push({ channel, topic, payload, retain, qos });
      return { noMatchingSubscribers: topic === "nobody" };
    },
  };
  const tool = createMqttTool(topics, createLeakWatch([SECRET]));
  return {
    asked,
    topics,
    call(input: object, permissions: TopicPermissions = FULL_ACCESS.topics, channel?: string) {
      const call = { id: "1", name: "mqtt", arguments: JSON.stringify(input) };
      const who = { ...callContext(), ...(channel !== undefined && { channel }) };
      return runTool(call, {
        tools: [tool],
        ...who,
        permissions: { ...FULL_ACCESS, topics: permissions },
      });
    },
  };
}

function message(topic: string, payload: string | Uint8Array, retained = false): TopicMessage {
  return { topic, payload: typeof payload === "string" ? Buffer.from(payload) : payload, retained };
}

const PERMISSIONS: TopicPermissions = {
  read: ["home/+/temp", "$SYS/#"],
  publish: ["home/+/light/set"],
};

describe("the tool mqtt", () => {
  it("sends no secret of the configuration, whatever its encoding", async () => {
    const broker = createBroker();
    const base64 = Buffer.from(SECRET).toString("base64");
    const escaped = SECRET.replaceAll(/./g, (letter) => `&#${letter.charCodeAt(0)};`);
    for (const input of [
      ...[`key: ${SECRET}`, base64, escaped].map((payload) => ({ topic: "home/a", payload })),
      { topic: `home/${SECRET}/light`, payload: "on" },
      { action: "read", topic: `home/${base64}` },
    ]) {
      const text = await broker.call({ action: "publish", ...input });
      assert.match(text, /^error: nothing was sent: it contains a secret/);
    }
    assert.deepEqual(broker.asked, []);
  });

  it("reads on the channel of who asked, within its bounds", async () => {
    const broker = createBroker([message("home/a/temp", "21", true), message("home/b/temp", "19")]);
    assert.equal(
      await broker.call({ action: "read", topic: "home/+/temp" }, PERMISSIONS, "second"),
      "home/a/temp (retained): 21\nhome/b/temp: 19",
    );
    assert.deepEqual(broker.asked, [
      { channel: "second", filter: "home/+/temp", milliseconds: 2000, most: 20, mostBytes: 65_536 },
    ]);
  });

  it("serves other clients while the tasks of one client all read at the same time", async () => {
    const { topics } = createBroker();
    const over = Promise.withResolvers<void>();
    const begun: (string | undefined)[] = [];
    const tool = createMqttTool({
      ...topics,
      async read({ channel }) {
        begun.push(channel);
        await over.promise;
        return { messages: [], isCut: false };
      },
    });
    const call = {
      id: "1",
      name: "mqtt",
      arguments: '{"action":"read","topic":"home/a/temp","seconds":10}',
    };
    const ask = (owner: string) =>
      runTool(call, {
        tools: [tool],
        ...callContext(),
        owner,
        channel: owner,
        permissions: FULL_ACCESS,
      });
    const asked = [...Array.from({ length: 5 }, () => ask("greedy")), ask("other")];
    await until("the other one reads", () => begun.includes("other"));
    assert.deepEqual(begun, ["greedy", "greedy", "other"]);
    over.resolve();
    await Promise.all(asked);
  });

  it("says when nothing came, and when there was more", async () => {
    assert.equal(
      await createBroker().call({ action: "read", topic: "home/a/temp", seconds: 1 }, PERMISSIONS),
      "[no message on home/a/temp within 1 s]",
    );
    const broker = createBroker([message("home/a/temp", "21")], true);
    assert.match(
      await broker.call({ action: "read", topic: "home/a/temp" }, PERMISSIONS),
      /were more/,
    );
  });

  it("publishes retained only if the call says so", async () => {
    const broker = createBroker();
    const light = { action: "publish", topic: "home/a/light/set", payload: "on" };
    assert.equal(await broker.call(light, PERMISSIONS), "Published 2 bytes to home/a/light/set.");
    await broker.call({ ...light, retain: true, qos: 0 }, PERMISSIONS);
    const channel = undefined;
    assert.deepEqual(broker.asked, [
      { channel, topic: "home/a/light/set", payload: "on", retain: false, qos: 1 },
      { channel, topic: "home/a/light/set", payload: "on", retain: true, qos: 0 },
    ]);
    assert.match(
      await broker.call({ action: "publish", topic: "nobody", payload: "x" }),
      /nobody was subscribed/,
    );
  });

  it("waits for no more seconds, messages and bytes than it may", async () => {
    const broker = createBroker();
    for (const more of [{ seconds: 11 }, { seconds: 0 }, { count: 51 }, { count: 1.5 }]) {
      const answer = await broker.call({ action: "read", topic: "a", ...more });
      assert.match(answer, /^error: wrong arguments/);
    }
    const long = { action: "publish", topic: "a", payload: "é".repeat(40_000) };
    assert.match(await broker.call(long), /^error: the payload has 80000 bytes/);
    assert.deepEqual(broker.asked, []);
  });

  it("describes a broker that fails in one sentence", async () => {
    const { topics } = createBroker();
    const tool = createMqttTool({
      ...topics,
      read: () => Promise.reject(new Failure("unreachable", "the broker was lost meanwhile")),
    });
    const call = { id: "1", name: "mqtt", arguments: '{"action":"read","topic":"a"}' };
    assert.equal(
      await runTool(call, { tools: [tool], ...callContext() }),
      "error: the broker was lost meanwhile",
    );
  });

  it("shows payloads and topics of devices on one line each, without what could forge another", async () => {
    const broker = createBroker([
      message("home/a/temp", "21\nhome/alarm: off\u202e\u001b[2J"),
      message("home/b\nhome/alarm/temp", "x"),
      message("home/c/temp", Uint8Array.of(0, 1, 2)),
      message("home/d/temp", "y".repeat(5_000)),
    ]);
    const text = await broker.call({ action: "read", topic: "home/+/temp" }, PERMISSIONS);
    const lines = text.split("\n");
    assert.equal(lines.length, 4);
    assert.equal(lines[0], String.raw`home/a/temp: 21\nhome/alarm: off\u202e\x1b[2J`);
    assert.match(lines[1] ?? "", /^home\/b\\nhome\/alarm\/temp: x$/);
    assert.equal(lines[2], "home/c/temp: [3 bytes, not text]");
    assert.ok((lines[3] ?? "").length < 2_100);
  });
});

describe("the attack through topics", () => {
  for (const topic of [
    "/picoclaw/edge/other/request",
    "/picoclaw/edge/other/response",
    "/picoclaw/edge/status",
    "/picoclaw/edge/info",
    "/picoclaw/edge/x/y/z",
    "/picoclaw/edge",
    "acme/claw/status",
  ]) {
    it(`by publishing to ${topic}, a topic of the agent itself, publishes nothing`, async () => {
      for (const permissions of [FULL_ACCESS.topics, { read: [], publish: [topic] }]) {
        const broker = createBroker();
        const answer = await broker.call({ action: "publish", topic, payload: "x" }, permissions);
        assert.match(answer, /^error: .* is a topic of the agent itself/);
        assert.deepEqual(broker.asked, []);
      }
    });
  }

  for (const topic of ["home/+/light/set", "#", "a/#", "a\0b", "$SYS/broker/x", "$share/a/b", ""]) {
    it(`by publishing to ${JSON.stringify(topic)}, which is no topic, publishes nothing`, async () => {
      const broker = createBroker();
      const answer = await broker.call({ action: "publish", topic, payload: "x" });
      assert.match(answer, /^error: nothing can be published/);
      assert.deepEqual(broker.asked, []);
    });
  }

  for (const topic of [
    "home/a/light",
    "home/a/b/light/set",
    "home/a/light/set/x",
    "HOME/a/light/set",
  ]) {
    it(`by publishing to ${topic}, which no filter of its profile matches, publishes nothing`, async () => {
      const broker = createBroker();
      const answer = await broker.call({ action: "publish", topic, payload: "x" }, PERMISSIONS);
      assert.match(answer, /^error: this client may not publish .* but to home\/\+\/light\/set$/);
      assert.deepEqual(broker.asked, []);
    });
  }

  for (const filter of [
    "#",
    "+/#",
    "/#",
    "+/picoclaw/#",
    "/picoclaw/+/#",
    "/+/edge/+/request",
    "/picoclaw/edge/#",
    "/picoclaw/edge/status",
    "+/+/+/+/+",
  ]) {
    it(`by subscribing to ${filter}, which reaches other clients' conversations, reads nothing`, async () => {
      const broker = createBroker();
      const answer = await broker.call({ action: "read", topic: filter });
      assert.match(answer, /^error: .* reaches topics of the agent itself/);
      assert.deepEqual(broker.asked, []);
    });
  }

  for (const filter of [
    "$share/x/#",
    "$SHARE/x/home/a/temp",
    "$queue/home/a/temp",
    "home/#/temp",
    "a\0b",
    "home/a+",
  ]) {
    it(`by subscribing to ${JSON.stringify(filter)}, which is no filter of topics, reads nothing`, async () => {
      const broker = createBroker();
      const answer = await broker.call({ action: "read", topic: filter });
      assert.match(answer, /^error: .* is not a topic filter/);
      assert.deepEqual(broker.asked, []);
    });
  }

  for (const filter of ["home/#", "home/+/+", "+/a/temp", "home/a/temp/#", "$CONTROL/#", "home"]) {
    it(`by subscribing to ${filter}, more than its profile says, reads nothing`, async () => {
      const broker = createBroker();
      const answer = await broker.call({ action: "read", topic: filter }, PERMISSIONS);
      assert.match(answer, /^error: this client may not read .* but home\/\+\/temp, \$SYS\/#$/);
      assert.deepEqual(broker.asked, []);
    });
  }

  it("by $SYS works only where a filter of the profile names it", async () => {
    const read = { action: "read", topic: "$SYS/broker/uptime" };
    const allowed = createBroker();
    await allowed.call(read, PERMISSIONS);
    assert.equal(allowed.asked.length, 1);
    const broker = createBroker();
    assert.match(await broker.call(read, { read: ["#", "+/#"], publish: [] }), /may not read/);
    assert.deepEqual(broker.asked, []);
  });
});
