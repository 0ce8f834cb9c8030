import assert from "node:assert/strict";
import { Failure } from "../../../src/base/failure.ts";
import {
  clientIdOf,
  allowedResponseTopic,
  isDeviceClient,
  publishTopic,
  requestTopic,
  responseTopic,
} from "../../../src/mqtt/protocol/topics.ts";
import { kindOf, textOf } from "../target.ts";
import type { Target } from "../target.ts";

const ADDRESSES = [
  { prefix: "/picoclaw", agent: "edge" },
  { prefix: "a/b", agent: "request" },
  { prefix: "/", agent: "x" },
  { prefix: "$SYS", agent: "x" },
];

/** MQTT 5, 1.5.4 and 4.7: what a PUBLISH may name, and no broker may refuse. */
function canBePublished(topic: string): boolean {
  const bytes = new TextEncoder().encode(topic);
  return bytes.length > 0 && bytes.length <= 65_535 && bytes[0] !== 0x24 && isClean(topic);
}

function isClean(text: string): boolean {
  return Array.from(text, (character) => character.codePointAt(0) ?? 0).every((code) => {
    const isControl = code < 0x20 || (code >= 0x7f && code <= 0x9f);
    const isHalf = code >= 0xd800 && code <= 0xdfff;
    const isNone = (code >= 0xfdd0 && code <= 0xfdef) || (code & 0xfffe) === 0xfffe;
    return !isControl && !isHalf && !isNone && code !== 0x23 && code !== 0x2b;
  });
}

function attempted<T>(work: () => T): T | Failure {
  try {
    return work();
  } catch (thrown) {
    assert.ok(thrown instanceof Failure, `it threw ${String(thrown)}`);
    assert.equal(thrown.code, "bad_request");
    return thrown;
  }
}

/** The first line is a topic as it came, the second one that a device asks to be answered on. */
function run(input: Uint8Array): string {
  const [topic = "", asked = ""] = textOf(input).split("\n");
  const outcomes = ADDRESSES.map((address) => {
    const start = [...address.prefix.split("/"), address.agent];
    const levels = topic.split("/");
    const client = clientIdOf(address, topic, "request");
    const isRequest =
      levels.length === start.length + 2 &&
      start.every((level, index) => levels[index] === level) &&
      levels.at(-1) === "request";
    const own = levels.at(-2) ?? "";
    // Halves of characters cannot come out of a packet.
    const isOwn = own !== "" && !own.includes("\ufffd") && isClean(own.toWellFormed());
    assert.equal(client, isRequest && isOwn ? own : undefined, "the client is another one");
    if (client === undefined) return "none";
    const back = attempted(() => requestTopic(address, client));
    assert.ok(back instanceof Failure || back === topic);
    const answer = attempted(() => responseTopic(address, client));
    const response = topic.replace(/request$/, "response");
    assert.equal(answer instanceof Failure, !canBePublished(response), "the topic's validity");
    return `${allowed(address, client, asked)} ${answer instanceof Failure ? kindOf(answer.message) : "answered"}`;
  });
  const published = attempted(() => publishTopic(asked));
  assert.equal(published instanceof Failure, !canBePublished(asked));
  if (isDeviceClient(asked)) {
    const address = { prefix: "/picoclaw", agent: "edge" };
    assert.equal(clientIdOf(address, requestTopic(address, asked), "request"), asked);
  }
  return [...outcomes, published instanceof Failure ? "refused" : "published"].join("|");
}

function allowed(address: (typeof ADDRESSES)[number], client: string, asked: string): string {
  const topic = allowedResponseTopic(address, client, asked);
  if (topic === undefined) return "not honoured";
  assert.equal(topic, asked);
  assert.ok(canBePublished(topic), "what is honoured cannot be published to");
  const own = [...address.prefix.split("/"), address.agent, client];
  const levels = topic.split("/");
  assert.ok(levels.length > own.length, "it does not lie under the client's own level");
  assert.ok(
    own.every((level, index) => levels[index] === level),
    "it lies under another level",
  );
  assert.notEqual(levels.at(-1), "request", "it is a request");
  assert.ok(!levels.includes("..") && !levels.includes("."), "it climbs");
  return `honoured ${levels.length > own.length + 1}`;
}

export const TOPICS: Target = {
  name: "topics",
  about: "what is honoured can be published to and lies under the client's own level",
  material: {
    lines: true,
    most: 140_000,
    words:
      "/picoclaw/edge/c1/request /picoclaw/edge/c1/response /picoclaw edge /request /response / // + # $ $SYS/ \ufffd a/b/request/ . .. \u0000 \ud83d".split(
        " ",
      ),
  },
  linear: true,
  async open() {
    return { run };
  },
};
