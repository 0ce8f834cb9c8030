import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { connectAsync, type MqttClient } from "mqtt";
import {
  cutIntoPayloads,
  cutIntoTexts,
  roomFor,
  type AnswerProperties,
} from "../../src/mqtt/protocol/parts.ts";
import { publishTopic } from "../../src/mqtt/protocol/topics.ts";
import { decodePart } from "../../src/mqtt/protocol/wire.ts";
import { codePoint } from "../support/code-point.ts";
import { readPackets, type RawPacket } from "../support/packets.ts";
import { runs } from "../support/runs.ts";
import { until } from "../support/until.ts";

const topic = publishTopic("/picoclaw/edge/c1/response");
const properties: AnswerProperties = {
  contentType: "application/json",
  payloadFormatIndicator: true,
  correlationData: Buffer.from("r-17"),
  messageExpiryInterval: 60,
};
const text = fc.oneof(
  fc.string({ unit: codePoint, maxLength: 400 }),
  fc.string({ unit: fc.constantFrom('"', "\\", "\n", "é", "\u{1F600}", "\uD83D"), maxLength: 300 }),
);
const part = fc.record({
  text,
  id: fc.option(fc.string({ maxLength: 12 }), { nil: undefined }),
  seq: fc.nat(1_000),
  done: fc.boolean(),
  code: fc.option(fc.constantFrom("busy", "model"), { nil: undefined }),
});
const frame = fc.record({
  maxBytes: fc.integer({ min: 128, max: 512 }),
  qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
});

/** `undefined` keys left out, as the program's own callers do. */
function partOf({
  text: words,
  id,
  seq,
  done,
  code,
}: typeof part extends fc.Arbitrary<infer Value> ? Value : never) {
  return {
    text: words,
    seq,
    ...(id !== undefined && { id }),
    ...(done && { done: true }),
    ...(code !== undefined && { error: { code, retryAfter: 30 } }),
  };
}

describe("a part cut into payloads", () => {
  it("loses nothing, cuts no code point, numbers on, and ends with what ends", () => {
    fc.assert(
      fc.property(part, frame, (value, { maxBytes, qos }) => {
        const whole = partOf(value);
        const payloads = [
          ...cutIntoPayloads(whole, { topic, qos, properties: undefined, maxBytes }),
        ];
        const parts = payloads.map((payload) => decodePart(Buffer.from(payload)));
        assert.equal(parts.map((one) => one?.text).join(""), whole.text);
        const { id, done, error } = whole;
        const expected = parts.map((one, index) => ({
          text: one?.text,
          ...(id !== undefined && { id }),
          seq: whole.seq + index,
          ...(index === parts.length - 1 && { ...(error && { error }), ...(done && { done }) }),
        }));
        assert.deepEqual(parts, expected);
        assert.ok(parts.every((one, index) => one?.text !== "" || index === parts.length - 1));
        const cuts = parts.map((one) => one?.text ?? "").join("|");
        assert.doesNotMatch(cuts.replaceAll("||", "|"), /[\uD800-\uDBFF]\|[\uDC00-\uDFFF]/);
      }),
    );
  });

  it("without a limit it is one message, whatever its size", () => {
    const free = { topic, qos: 0 as const, properties: undefined, maxBytes: 0 };
    const payloads = [...cutIntoPayloads({ text: "x".repeat(100_000), seq: 0, done: true }, free)];
    assert.equal(payloads.length, 1);
    assert.equal(roomFor(free), Number.POSITIVE_INFINITY);
  });

  it("is cut as it is asked for, in a time that grows with its length alone", () => {
    const tight = { topic, qos: 1 as const, properties: undefined, maxBytes: 256 };
    const cutting = cutIntoPayloads({ text: "\u0001".repeat(2 ** 21), seq: 0, done: true }, tight);
    const begin = performance.now();
    assert.equal(cutting.next().done, false);
    const first = performance.now() - begin;
    const rest = [...cutting].length;
    const all = performance.now() - begin;
    assert.ok(rest > 60_000);
    assert.ok(first < all / 5 && all < 6_000, `${first} ms, and ${all} ms in all`);
  });

  it("still comes through where the topic alone is over the limit", () => {
    const long = publishTopic(`/picoclaw/edge/${"c".repeat(300)}/response`);
    const tight = { topic: long, qos: 0 as const, properties: undefined, maxBytes: 128 };
    const payloads = [
      ...cutIntoPayloads({ text: "\u{1F600}".repeat(40), seq: 0, done: true }, tight),
    ];
    const parts = payloads.map((payload) => decodePart(Buffer.from(payload)));
    assert.equal(parts.map((one) => one?.text).join(""), "\u{1F600}".repeat(40));
    assert.equal(parts.at(-1)?.done, true);
  });

  it("fits the limit as a whole packet on a real socket, and wastes little of it", async () => {
    await using wire = await openWire();
    await fc.assert(
      fc.asyncProperty(
        part,
        frame,
        fc.boolean(),
        async (value, { maxBytes: least, qos }, modern) => {
          const used = modern ? properties : undefined;
          // The properties of MQTT 5 alone take 47 bytes of a packet.
          const maxBytes = modern ? least + 64 : least;
          const whole = partOf(value);
          const payloads = [...cutIntoPayloads(whole, { topic, qos, properties: used, maxBytes })];
          for (const [index, payload] of payloads.entries()) {
            const length = await wire.lengthOf(modern ? 5 : 4, payload, { qos, used });
            assert.ok(length <= maxBytes, `${length} > ${maxBytes}: ${payload}`);
            // At most one code point (6 bytes as \udXXX) and a spare length byte are left over.
            if (index < payloads.length - 2) assert.ok(length >= maxBytes - 12, `${length}`);
          }
        },
      ),
      { numRuns: runs(60) },
    );
  });
});

/** MQTT clients of both versions on a server that only measures the packets it gets. */
async function openWire() {
  const lengths: number[] = [];
  const server = createServer((socket) => {
    readPackets(socket, (packet) => {
      if (packet.type === 3) lengths.push(packet.length.bytes);
      acknowledge(packet, socket);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" ? (address?.port ?? 0) : 0;
  const clients = new Map<4 | 5, MqttClient>();
  for (const protocolVersion of [4, 5] as const) {
    clients.set(
      protocolVersion,
      await connectAsync(`mqtt://127.0.0.1:${port}`, { protocolVersion }),
    );
  }
  return {
    async lengthOf(
      version: 4 | 5,
      payload: string,
      { qos, used }: { qos: 0 | 1 | 2; used: AnswerProperties | undefined },
    ): Promise<number> {
      await clients
        .get(version)
        ?.publishAsync(topic, payload, { qos, ...(used && { properties: used }) });
      await until("the packet has arrived", () => lengths.length > 0);
      return lengths.shift() ?? 0;
    },
    async [Symbol.asyncDispose]() {
      for (const client of clients.values()) client.end(true);
      server.close();
    },
  };
}

function acknowledge({ type, version, length, id }: RawPacket, socket: Socket): void {
  const answer = (head: number): boolean => socket.write(Buffer.from([head, 2, id >> 8, id & 255]));
  if (type === 1) socket.write(Buffer.from(version === 5 ? [0x20, 3, 0, 0, 0] : [0x20, 2, 0, 0]));
  if (type === 6) answer(0x70);
  if (type === 3 && length.qos > 0) answer(length.qos === 1 ? 0x40 : 0x50);
}

describe("the parts of an answer in bare text", () => {
  const free = { topic: "t", qos: 0, properties: undefined, maxBytes: 0 } as const;
  const texts = (whole: Parameters<typeof cutIntoTexts>[0], maxBytes = 0) => [
    ...cutIntoTexts(whole, { ...free, maxBytes }),
  ];

  it("are the texts alone, and an empty one only if it is the whole answer", () => {
    assert.deepEqual(texts({ text: "21 °C", seq: 0, done: true }), ["21 °C"]);
    assert.deepEqual(texts({ text: "", seq: 1 }), []);
    assert.deepEqual(texts({ text: "", seq: 1, done: true }), []);
    assert.deepEqual(texts({ text: "", seq: 0, done: true }), [""]);
  });

  it("have an error in one line", () => {
    const error = { code: "model" };
    assert.deepEqual(texts({ text: "no\nmodel", seq: 0, done: true, error }), ["no model"]);
  });

  it("fit into the packet, and are the text when joined", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", minLength: 1 }), (answer) => {
        const cut = texts({ text: answer, seq: 0, done: true }, 64);
        assert.equal(cut.join(""), answer);
        for (const one of cut)
          assert.ok(Buffer.byteLength(one) <= roomFor({ ...free, maxBytes: 64 }));
      }),
    );
  });
});
