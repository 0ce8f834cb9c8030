import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { connectAsync } from "mqtt";
import { withA2a } from "../../src/mqtt/a2a/a2a.ts";
import { PublishedCard } from "../../src/mqtt/a2a/published-card.ts";
import { Retries } from "../../src/mqtt/a2a/retries.ts";
import { decodeRpc } from "../../src/mqtt/a2a/rpc.ts";
import { ConnectionLost } from "../../src/mqtt/protocol/message.ts";
import { a2aReplyTopic, a2aTopic } from "../../src/mqtt/protocol/topics.ts";
import { a2aOptions, asking } from "../support/a2a.ts";
import { openTestChannel } from "../support/channel.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { needsMosquitto, startMosquitto, withAcl } from "../support/mosquitto.ts";
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

/** A request of the caller's at that topic. */
function sentTo(correlation: string, { taskId = "t", to = "phone/1" } = {}) {
  const topic = a2aReplyTopic(OWN, `$a2a/v1/reply/acme/house/${to}`)?.topic;
  assert.ok(topic !== undefined);
  return { topic, taskId, correlationData: Buffer.from(correlation) };
}

it("a request is replaced by a later one of the same task and topic alone, and not for ever", () => {
  const retries = new Retries();
  const all = [
    sentTo("c1"),
    sentTo("c2"),
    sentTo("c1", { taskId: "u" }),
    sentTo("c1", { to: "phone/2" }),
  ];
  const replaced = () => all.map((each) => retries.isReplaced(each));
  for (const each of all) retries.received(each);
  assert.deepEqual(replaced(), [true, false, false, false]);
  retries.received(sentTo("c1"));
  assert.deepEqual(replaced(), [false, true, false, false]);
  for (let index = 0; index < 3_000; index += 1) {
    retries.received(sentTo(`${index}`, { taskId: `${index >> 1}` }));
  }
  assert.deepEqual(replaced(), [false, false, false, false]);
  assert.equal(retries.isReplaced(sentTo("2998", { taskId: "1499" })), true);
});

const CARD = {
  topic: a2aTopic("discovery", OWN),
  payload: "{}",
  qos: 1,
  retain: true,
} as const;

it("the agent card is not read where the broker ends the connection for that", async () => {
  const kept = new PublishedCard(CARD, "online", createMemoryLog());
  let [published, subscribed] = [0, 0];
  for (let connection = 0; connection < 4; connection += 1) {
    const lost = Promise.withResolvers<never>();
    await kept.announce({
      lost: lost.promise,
      publish: async () => {
        published += 1;
        return { noMatchingSubscribers: false };
      },
      subscribe: async () => {
        subscribed += 1;
        throw new ConnectionLost("cut");
      },
    });
  }
  assert.deepEqual([published, subscribed], [4, 2]);
});

const SAID = { ...CARD, payload: Buffer.from(CARD.payload), dup: false, retain: false } as const;

/** A card that is published, and how often it was. */
async function openCard() {
  const kept = new PublishedCard(CARD, "online", createMemoryLog());
  let published = 0;
  await kept.announce({
    lost: new Promise(() => {}),
    publish: async () => {
      published += 1;
      return { noMatchingSubscribers: false };
    },
    subscribe: async () => {},
  });
  return { kept, published: () => published };
}

it("the agent card is not published again once the agent says offline", async () => {
  const [ending, other] = [await openCard(), await openCard()];
  const offline = { ...SAID, properties: { a2aStatus: "offline" } };
  ending.kept.received(offline);
  ending.kept.close();
  ending.kept.received(offline);
  other.kept.received(offline);
  await until("the other one is published again", () => other.published() === 2);
  assert.equal(ending.published(), 1);
});

it("the agent card is its own where the broker drops properties of retained messages", async () => {
  const [own, other] = [await openCard(), await openCard()];
  own.kept.received({ ...SAID, retain: true, properties: undefined });
  other.kept.received({ ...SAID, properties: { a2aStatus: "offline" } });
  await until("the other one is published again", () => other.published() === 2);
  assert.equal(own.published(), 1);
});

it("who takes its name is no conflict of the channel's client id", needsMosquitto, async () => {
  await using broker = await startMosquitto();
  await using main = openTestChannel(broker.url);
  const log = createMemoryLog();
  let conflicts = 0;
  const agent = withA2a(main.channel, {
    ...a2aOptions(broker.url, log),
    onConflict: () => (conflicts += 1),
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

it("says once why a request that nobody can answer is dropped", needsMosquitto, async () => {
  await using broker = await startMosquitto();
  await using main = openTestChannel(broker.url);
  const log = createMemoryLog();
  const heard: string[] = [];
  const agent = withA2a(main.channel, {
    ...a2aOptions(broker.url, log),
    onRequest: async ({ key = "" }) => void heard.push(key),
  });
  const asker = await connectAsync(broker.url, { protocolVersion: 5 });
  try {
    await until(`it is connected; ${log.text()}`, () => /info connected/.test(log.text()));
    const ask = (taskId: string, responseTopic?: string) =>
      asker.publishAsync(
        "$a2a/v1/request/acme/house/edge",
        JSON.stringify(asking(taskId, "x", undefined, "SendMessage")),
        {
          qos: 1,
          properties: {
            correlationData: Buffer.from("c"),
            ...(responseTopic && { responseTopic }),
          },
        },
      );
    await ask("lost-1");
    await ask("lost-2", "foo/bar");
    await ask("heard", "$a2a/v1/reply/acme/house/phone/1");
    await until("the last one is heard", () => heard.length === 1);
    assert.match(heard[0] ?? "", /heard/);
    const dropped = log.lines.filter(({ message }) => /is dropped/.test(message));
    assert.deepEqual(
      dropped.map(({ level }) => level),
      ["warn", "debug"],
    );
    assert.match(String(dropped[0]?.fields["try"]), /\$a2a\/v1\/reply\/acme\/house\/<its name>\//);
  } finally {
    await asker.endAsync(true);
    await agent.close();
  }
});

it("says how to get the rights for its card", needsMosquitto, async () => {
  await using broker = await startMosquitto(withAcl("topic readwrite #", "topic read $a2a/#"));
  await using main = openTestChannel(broker.url);
  const log = createMemoryLog();
  const agent = withA2a(main.channel, a2aOptions(broker.url, log));
  try {
    await until(`it says so; ${log.text()}`, () =>
      log.lines.some(
        ({ message, fields }) =>
          message === "the agent card cannot be published" &&
          /rights that picoclaw acl prints/.test(String(fields["try"])),
      ),
    );
  } finally {
    await agent.close();
  }
});
