import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { connectAsync } from "mqtt";
import type { SessionOptions } from "../../src/mqtt/client/session.ts";
import type { Outgoing } from "../../src/mqtt/protocol/message.ts";
import { clientIdOf, allowedResponseTopic, publishTopic } from "../../src/mqtt/protocol/topics.ts";
import { codePoint } from "../support/code-point.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { runs } from "../support/runs.ts";

const address = { prefix: "/picoclaw", agent: "edge" };
const allowed = (asked: string): string | undefined => allowedResponseTopic(address, "c1", asked);

/** Where a device could want an answer to go, by what it tries. */
const HOSTILE: Readonly<Record<string, string>> = {
  "speaks to another client": "/picoclaw/edge/c2/response",
  "speaks to a client whose id begins with its own": "/picoclaw/edge/c10/response",
  "speaks to a client whose id ends with its own": "/picoclaw/edge/xc1/response",
  "climbs to another client": "/picoclaw/edge/c1/../c2/response",
  "climbs with a dot on the way": "/picoclaw/edge/c1/./../c2/response",
  "climbs out at the end": "/picoclaw/edge/c1/..",
  "asks itself for ever": "/picoclaw/edge/c1/request",
  "asks an agent that lives under its own level": "/picoclaw/edge/c1/x/request",
  "says that the agent is offline": "/picoclaw/edge/status",
  "replaces what the agent says of itself": "/picoclaw/edge/info",
  "stands for its whole level": "/picoclaw/edge/c1",
  "stands for its whole level with a slash": "/picoclaw/edge/c1/",
  "names every level with a wildcard": "/picoclaw/edge/c1/#",
  "names one level with a wildcard": "/picoclaw/edge/c1/+",
  "hides a wildcard within a level": "/picoclaw/edge/c1/a+b",
  "names every client": "/picoclaw/edge/+/response",
  "ends a text early with NUL": "/picoclaw/edge/c1/a\0/../c2",
  "breaks the broker's lines": "/picoclaw/edge/c1/a\nb",
  "has the broker hang up with a control": "/picoclaw/edge/c1/\u0001",
  "has the broker hang up with a C1 control": "/picoclaw/edge/c1/\u0085",
  "has the broker hang up with a noncharacter": "/picoclaw/edge/c1/\uFFFE",
  "has the broker hang up with another": "/picoclaw/edge/c1/\uFDD0",
  "sends bytes that are no UTF-8": "/picoclaw/edge/c1/\uFFFD",
  "sends half a character": "/picoclaw/edge/c1/\uD800",
  "reaches the broker's own topics": "$SYS/broker/log",
  "takes a share": "$share/g/picoclaw/edge/c1/response",
  "looks like its own level with a Cyrillic c": "/picoclaw/edge/\u04411/response",
  "looks like its own level with a fullwidth slash": "/picoclaw/edge/c1\uFF0Fresponse",
  "looks like its own level with something unseen": "/picoclaw/edge/c\u200B1/response",
  "looks like its own level with a mark for the direction": "/picoclaw/edge/\u202Ec1/response",
  "writes its own level in another form of Unicode": "/picoclaw/edge/c1\u0301/response",
  "writes the prefix in capitals": "/PICOCLAW/edge/c1/response",
  "leaves the first slash out": "picoclaw/edge/c1/response",
  "doubles the first slash": "//picoclaw/edge/c1/response",
  "stands before the prefix": "home/picoclaw/edge/c1/response",
  "unlocks the door": "home/door/unlock",
  "is longer than a topic can be": `/picoclaw/edge/c1/${"x".repeat(65_535)}`,
  "is nothing": "",
};

describe("a response topic that", () => {
  for (const [tries, asked] of Object.entries(HOSTILE)) {
    it(`${tries} is not honoured`, () => assert.equal(allowed(asked), undefined));
  }

  it("is the asker's own in every way is honoured as it is", () => {
    for (const rest of [
      "response",
      "r/17",
      "a b",
      "é",
      "...",
      ".hidden",
      "requests",
      "re/quest/x",
    ]) {
      assert.equal(allowed(`/picoclaw/edge/c1/${rest}`), `/picoclaw/edge/c1/${rest}`);
    }
  });

  it("was made of any pieces is honoured only where it can harm nobody else", () => {
    const pieces =
      "/picoclaw /edge /c1 /c2 /c1/ c1 /.. /. / // /request /response /status + # $ $SYS $share/g é a"
        .split(" ")
        .concat(["\0", "\u0001", "\uFFFD", "\uFFFE", "\uD83D", "\u202E", "\u200B", "\u0441"])
        .concat(["\uFF0F", "e\u0301", "\u{1F600}"]);
    const asked = fc.array(fc.constantFrom(...pieces), { maxLength: 8 }).map((all) => all.join(""));
    const own = asked.map((rest) => `/picoclaw/edge/c1/${rest}`);
    fc.assert(
      fc.property(fc.oneof(asked, own, fc.string({ unit: codePoint })), (topic) => {
        const answer = allowed(topic);
        if (answer === undefined) return;
        assert.equal(answer, topic);
        const [empty, prefix, agent, client, ...rest] = topic.split("/");
        assert.deepEqual([empty, prefix, agent, client], ["", "picoclaw", "edge", "c1"]);
        assert.ok(rest.length > 0 && rest.join("/") !== "");
        assert.ok(!rest.includes("..") && !rest.includes("."));
        assert.notEqual(rest.at(-1), "request");
        assert.doesNotMatch(topic, /[+#\uFFFD]|\p{Cc}|\p{Cs}|\p{Noncharacter_Code_Point}/u);
        assert.equal(publishTopic(topic), topic);
        assert.equal(clientIdOf(address, topic, "request"), undefined);
      }),
      { numRuns: runs(2000) },
    );
  });
});

describe("what is refused to be published to", () => {
  for (const [name, topic] of [
    ["a wildcard", "a/+"],
    ["all wildcards", "a/#"],
    ["a control character", "a/\u0001"],
    ["DEL", "a/\u007F"],
    ["a C1 control", "a/\u0085"],
    ["a noncharacter", "a/\uFFFE"],
    ["a noncharacter of the middle", "a/\uFDD0"],
  ] as const) {
    it(`${name} would have cost the connection`, needsMosquitto, async () => {
      assert.throws(() => publishTopic(topic), { code: "bad_request" });
      await using broker = await startMosquitto();
      const client = await connectAsync(broker.url, { reconnectPeriod: 0, protocolVersion: 5 });
      client.on("error", () => {});
      const closed = new Promise<void>((resolve) => client.once("close", () => resolve()));
      client.publish(topic, "x", { qos: 1 }, () => {});
      await closed;
      await client.endAsync(true);
    });
  }
});

describe("every way out of the program", () => {
  it("takes a checked topic and no text", () => {
    // The compiler refuses these lines where somebody loosens the types.
    // @ts-expect-error a text that nobody has checked
    const topic: Outgoing["topic"] = "a/b";
    // @ts-expect-error the will is published, too
    const will: NonNullable<SessionOptions["will"]> = { topic: "a/b", payload: "" };
    assert.deepEqual([topic, will.topic], ["a/b", "a/b"]);
  });

  it("leads through the one place that makes a PUBLISH, and the one function that checks", async () => {
    const src = join(import.meta.dirname, "../../src");
    const files = (await readdir(src, { recursive: true })).filter((file) => file.endsWith(".ts"));
    const found: string[] = [];
    for (const file of files) {
      const text = await readFile(join(src, file), "utf8");
      // A value becomes a checked topic by a type guard or a cast alone.
      if (/\bas PublishTopic\b|(?<!Promise)<PublishTopic>|is PublishTopic\b/.test(text))
        found.push(`checks: ${file}`);
      if (/\b(?:client|mqtt|broker|aedes)\.publish(?:Async)?\(/.test(text))
        found.push(`publishes: ${file}`);
      if (/cmd: "publish",\s+topic\b/.test(text)) found.push(`publishes: ${file}`);
      if (/\bas (?:any|unknown as|never)\b/.test(text) && file.startsWith("mqtt/"))
        found.push(`casts: ${file}`);
    }
    assert.deepEqual(found.toSorted(), [
      "checks: mqtt/protocol/topics.ts",
      // The built-in broker hands on what came through its own checks.
      "publishes: mqtt/broker/queues.ts",
      "publishes: mqtt/client/publish.ts",
    ]);
  });
});
