import assert from "node:assert/strict";
import { cutIntoPayloads } from "../../../src/mqtt/protocol/parts.ts";
import type { AnswerProperties, PacketFrame } from "../../../src/mqtt/protocol/parts.ts";
import { decodePart } from "../../../src/mqtt/protocol/wire.ts";
import type { WirePart } from "../../../src/mqtt/protocol/wire.ts";
import { sizeOf, textOf } from "../target.ts";
import type { Target } from "../target.ts";

/** A Variable Byte Integer (MQTT 5, 1.5.5) of this value has so many bytes. */
function lengthOf(value: number): number {
  return value.toString(2).length <= 7 ? 1 : Math.ceil(value.toString(2).length / 7);
}

/** Bytes of a whole PUBLISH packet (MQTT 5, 3.3; MQTT 3.1.1, 3.3), counted field by field. */
function packetBytes(payload: string, { topic, qos, properties }: PacketFrame): number {
  let inside = 2 + Buffer.byteLength(topic) + (qos > 0 ? 2 : 0) + Buffer.byteLength(payload);
  if (properties !== undefined) {
    const { correlationData, contentType, messageExpiryInterval } = properties;
    const type = 1 + 2 + Buffer.byteLength(contentType);
    const correlation = correlationData === undefined ? 0 : 1 + 2 + correlationData.length;
    const all = 2 + type + correlation + (messageExpiryInterval === undefined ? 0 : 5);
    inside += lengthOf(all) + all;
  }
  return 1 + lengthOf(inside) + inside;
}

/** The first eight bytes say how it is to be cut, the others are the text. */
function frameOf(head: Uint8Array): PacketFrame {
  const [shape = 0, high = 0, low = 0, topicLength = 0, correlation = 0] = head;
  const properties: AnswerProperties = {
    contentType: "application/json",
    payloadFormatIndicator: true,
    ...(shape & 4 && { correlationData: Buffer.alloc(correlation) }),
    ...(shape & 8 && { messageExpiryInterval: 60 }),
  };
  return {
    topic: `/picoclaw/edge/${"c".repeat(topicLength)}/response`,
    qos: shape % 3 === 0 ? 0 : shape % 3 === 1 ? 1 : 2,
    properties: shape & 16 ? properties : undefined,
    maxBytes: shape & 32 ? 0 : high * 256 + low,
  };
}

function partOf(shape: number, text: string) {
  const seq = shape % 7;
  const id = shape & 64 ? { id: `r"${shape}` } : {};
  return shape & 128
    ? { text, seq, ...id, done: true, error: { code: "busy", retryAfter: 30 } }
    : { text, seq, ...id, done: true };
}

function run(input: Uint8Array): string {
  const frame = frameOf(input);
  const [, , , , , shape = 0, halves = 0] = input;
  const written = textOf(input.subarray(8));
  // Halves of characters, as a model's JSON may hold them.
  const text = halves & 1 ? `${written}\ud83d${written.slice(0, 20)}` : written;
  const part = partOf(shape, text);
  const payloads = [...cutIntoPayloads(part, frame)];
  const parts = payloads.map(readBack);
  assert.equal(parts.map((one) => one.text).join(""), text, "the texts are not the text");
  for (const [index, one] of parts.entries()) {
    const isLast = index === payloads.length - 1;
    assert.equal(one.seq, part.seq + index);
    assert.equal(one.done === true, isLast, "done stands elsewhere than on the last part");
    assert.equal(one.error !== undefined, isLast && "error" in part);
    assert.ok(isLast || one.text !== "", "an empty part");
    checkSize(payloads[index] ?? "", one.text, frame);
  }
  if (text.isWellFormed()) assert.ok(parts.every((one) => one.text.isWellFormed()));
  return `${sizeOf(payloads.length)} ${frame.properties !== undefined} ${text.isWellFormed()}`;
}

function readBack(payload: string): WirePart {
  const read = decodePart(Buffer.from(payload));
  assert.ok(read !== undefined, "a payload cannot be read");
  return read;
}

/** With less room than for a code point or two a packet is as small as it can be. */
function checkSize(payload: string, text: string, frame: PacketFrame): void {
  if (frame.maxBytes === 0 || packetBytes(payload, frame) <= frame.maxBytes) return;
  const envelope = payload.replace(JSON.stringify(text).slice(1, -1), () => "");
  const hasRoom = packetBytes(envelope, frame) + 20 <= frame.maxBytes;
  assert.ok(!hasRoom, `a packet of ${packetBytes(payload, frame)} bytes`);
}

export const CUTS: Target = {
  name: "cuts",
  about: "a part is cut between code points into packets that fit, and put together is the same",
  material: { most: 16_384, words: ["é", "\u{1F600}", '"', "\\", "\n", "\u2028", "\u0001"] },
  async open() {
    return { run };
  },
};
