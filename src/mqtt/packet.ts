import { encodePart, type WirePart } from "./wire.ts";

/** The properties (MQTT 5 section 3.3.2.3) that an answer's packets carry; undefined on 3.1.1. */
export interface AnswerProperties {
  readonly correlationData?: Buffer;
  readonly contentType: "application/json";
  /** Payload Format Indicator 1: UTF-8. */
  readonly payloadFormatIndicator: true;
  /** Seconds. */
  readonly messageExpiryInterval?: number;
}

export interface PacketFrame {
  readonly topic: string;
  readonly qos: 0 | 1 | 2;
  readonly properties: AnswerProperties | undefined;
  /** Bytes that a whole packet may have; 0 is no limit. */
  readonly maxBytes: number;
}

/** Where a topic is so long that nothing fits, a part still carries a code point or two. */
const LEAST_ROOM = 16;

/**
 * One part as the payloads that carry it, each whole packet within `maxBytes`, cut between code points.
 * `seq` is the number of the first; `error` and `done` stand on the last alone.
 */
export function cutIntoPayloads(
  part: WirePart & { readonly seq: number },
  frame: PacketFrame,
): string[] {
  const room = roomFor(frame);
  const { id } = part;
  const payloads: string[] = [];
  let rest = part.text;
  for (let seq = part.seq; ; seq += 1) {
    const last = room - Buffer.byteLength(encodePart({ ...part, text: "", seq }));
    if (endOfPrefix(rest, last) === rest.length) {
      payloads.push(encodePart({ ...part, text: rest, seq }));
      return payloads;
    }
    const empty = Buffer.byteLength(encodePart({ text: "", seq, ...(id !== undefined && { id }) }));
    const end = endOfPrefix(rest, Math.max(room - empty, LEAST_ROOM)) || firstCodePoint(rest);
    payloads.push(encodePart({ text: rest.slice(0, end), seq, ...(id !== undefined && { id }) }));
    rest = rest.slice(end);
  }
}

/** Bytes that a payload may have so that its PUBLISH packet (MQTT 5 section 3.3) fits. */
export function roomFor({ topic, qos, properties, maxBytes }: PacketFrame): number {
  if (maxBytes === 0) return Number.POSITIVE_INFINITY;
  const head = 2 + Buffer.byteLength(topic) + (qos === 0 ? 0 : 2) + propertyBytes(properties);
  return maxBytes - 1 - lengthBytes(maxBytes) - head;
}

function propertyBytes(properties: AnswerProperties | undefined): number {
  if (properties === undefined) return 0;
  const { correlationData, contentType, messageExpiryInterval } = properties;
  const bytes =
    2 +
    3 +
    Buffer.byteLength(contentType) +
    (correlationData === undefined ? 0 : 3 + correlationData.byteLength) +
    (messageExpiryInterval === undefined ? 0 : 5);
  return lengthBytes(bytes) + bytes;
}

/** Bytes of a Variable Byte Integer (MQTT 5 section 1.5.5). */
function lengthBytes(value: number): number {
  if (value < 128) return 1;
  if (value < 16_384) return 2;
  return value < 2_097_152 ? 3 : 4;
}

/** The end of the longest prefix of whole code points whose JSON text has at most `room` bytes. */
function endOfPrefix(text: string, room: number): number {
  // Most answers fit by far: no UTF-16 unit takes more than the six bytes of \u0000.
  if (text.length * 6 <= room) return text.length;
  let bytes = 0;
  let end = 0;
  for (const character of text) {
    bytes += Buffer.byteLength(JSON.stringify(character)) - 2;
    if (bytes > room) return end;
    end += character.length;
  }
  return end;
}

function firstCodePoint(text: string): number {
  return String.fromCodePoint(text.codePointAt(0) ?? 0).length;
}
