import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { withA2a } from "../../src/mqtt/a2a/a2a.ts";
import { decodeRpc } from "../../src/mqtt/a2a/rpc.ts";
import { Tasks } from "../../src/mqtt/a2a/tasks.ts";
import { a2aReplyTopic, a2aTopic } from "../../src/mqtt/protocol/topics.ts";
import { channelFor, openTestChannel } from "../support/channel.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { until } from "../support/until.ts";

const OWN = { org: "acme", unit: "house", agent: "assistant" };

describe("a request of A2A", () => {
  it("is read or refused, whatever it is", () => {
    const message = fc.record(
      { taskId: fc.anything(), contextId: fc.anything(), parts: fc.anything() },
      { requiredKeys: [] },
    );
    const request = fc.record(
      {
        jsonrpc: fc.constantFrom<unknown>("2.0", "1.0", null),
        id: fc.oneof(fc.string(), fc.integer(), fc.anything()),
        method: fc.constantFrom<unknown>(
          "SendMessage",
          "message/stream",
          "GetTask",
          "__proto__",
          1,
        ),
        params: fc.oneof(fc.record({ message }), fc.record({ id: fc.anything() }), fc.anything()),
      },
      { requiredKeys: [] },
    );
    const json = fc.oneof(request, fc.jsonValue()).map((value) => JSON.stringify(value) ?? "");
    const bytes = fc.oneof(
      json.map((text) => Buffer.from(text)),
      fc.uint8Array(),
    );
    fc.assert(
      fc.property(bytes, (payload) => {
        const asked = decodeRpc(payload);
        if (asked.is === "error") return assert.ok(asked.code < 0 && asked.message !== "");
        assert.ok(asked.taskId.length > 0 && asked.taskId.length <= 128);
        if (asked.is === "send")
          assert.ok(asked.text.trim() !== "" && asked.contextId.length <= 128);
      }),
    );
  });

  it("may have its answer only on a reply topic of the unit", () => {
    const level = fc.constantFrom(
      "$a2a",
      "v1",
      "reply",
      "request",
      "acme",
      "house",
      "x",
      "",
      ".",
      "..",
      "+",
      "#",
    );
    fc.assert(
      fc.property(fc.array(level, { maxLength: 9 }), fc.boolean(), (levels, isNear) => {
        const asked = `${isNear ? "$a2a/v1/reply/acme/house/" : ""}${levels.join("/")}`;
        const way = a2aReplyTopic(OWN, asked);
        if (way === undefined) return;
        assert.equal(way.topic, asked);
        assert.match(asked, /^\$a2a\/v1\/reply\/acme\/house\/[A-Za-z0-9_.-]+(?:\/|$)/);
        assert.doesNotMatch(asked, /[+#]|\/\/|\/\.{1,2}(?:\/|$)|\/$/);
      }),
    );
    assert.equal(a2aReplyTopic(OWN, "$a2a/v1/reply/acme/house/phone/s1")?.requester, "phone");
    const long = `$a2a/v1/reply/acme/house/phone/${"s".repeat(1_000)}`;
    assert.equal(a2aReplyTopic(OWN, long), undefined);
    assert.throws(() => a2aTopic("request", { ...OWN, unit: "a/+" }), /letters/);
  });
});

it("tasks are kept for each requester, within bounds", () => {
  const tasks = new Tasks();
  const first = tasks.add("a", { taskId: "t", contextId: "c" });
  assert.equal(tasks.add("a", { taskId: "t", contextId: "other" }), first);
  assert.notEqual(tasks.add("b", { taskId: "t", contextId: "c" }), first);
  for (let index = 0; index < 2_000; index += 1)
    tasks.add("a", { taskId: `${index}`, contextId: "" });
  assert.equal(tasks.get("a", "t"), undefined);
  assert.equal(tasks.get("a", "999"), undefined);
  assert.notEqual(tasks.get("a", "1000"), undefined);
  const long = "x".repeat(100_000);
  for (let index = 1_000; index < 2_000; index += 1) {
    const task = tasks.get("a", `${index}`);
    if (task) tasks.change(task, "COMPLETED", long);
  }
  const kept = Array.from({ length: 1_000 }, (_, index) => tasks.get("a", `${1_000 + index}`));
  const units = kept.reduce((sum, task) => sum + (task?.text.length ?? 0), 0);
  assert.ok(units > 0 && units <= 4 * 1024 * 1024, `${units}`);
});

it("tasks that were forgotten while they ran leave room for others", () => {
  const tasks = new Tasks();
  const names = Array.from({ length: 1_100 }, (_, index) => ({
    taskId: `${index}`,
    contextId: "",
  }));
  const slow = names.map((name) => tasks.add("a", name)).slice(0, 100);
  for (const task of slow) tasks.change(task, "COMPLETED", "x".repeat(64 * 1024));
  tasks.add("b", { taskId: "t", contextId: "c" });
  assert.notEqual(tasks.get("b", "t"), undefined);
});

it("who takes its name is no conflict of the channel's client id", needsMosquitto, async () => {
  await using broker = await startMosquitto();
  await using main = openTestChannel(broker.url);
  const a2a = { ...channelFor(broker.url).settings.a2a, enabled: true, org: "acme", unit: "house" };
  const log = createMemoryLog();
  let conflicts = 0;
  const agent = withA2a(main.channel, {
    channel: channelFor(broker.url, { a2a }),
    connectTimeoutMs: 5_000,
    reconnectMs: 20,
    info: { version: "0.0.0-test", instance: "here" },
    log,
    onConflict: () => (conflicts += 1),
    onRequest: async () => {},
    cancel: () => false,
  });
  try {
    await until(`it is connected; ${log.text()}`, () => /info connected/.test(log.text()));
    const settings = { client_id: "acme/house/edge", protocol_version: 5 } as const;
    await using thief = openTestChannel(broker.url, { settings, reconnectMs: 20 });
    await thief.ready();
    await until("it says so", () => /another program connects/.test(log.text()));
    assert.equal(conflicts, 0);
  } finally {
    await agent.close();
  }
});
