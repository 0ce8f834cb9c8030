import type { AnswerPart } from "../contract.ts";
import type { Incoming } from "./message.ts";
import { type AnswerType, decodePart, encodePart, type WirePart } from "./wire.ts";

/** The properties (MQTT 5 section 3.3.2.3) that an answer's packets carry; undefined on 3.1.1. */
export interface AnswerProperties {
  readonly correlationData?: Buffer;
  readonly contentType: AnswerType;
  /** Payload Format Indicator 1: UTF-8. */
  readonly payloadFormatIndicator: true;
  /** Seconds. */
  readonly messageExpiryInterval?: number;
}

export interface PacketFrame {
  readonly topic: string;
  readonly qos: 0 | 1 | 2;
  readonly properties: AnswerProperties | undefined;
  /** The largest packet in bytes; 0 is no limit. */
  readonly maxBytes: number;
}

/** If the topic is so long that nothing fits, a part still holds a few code points. */
const LEAST_ROOM = 16;

/**
 * Splits one part into payloads whose packets fit into `maxBytes`, between code points, one at a time. `seq`
 * is the number of the first; only the last has `error` and `done`.
 */
export function* cutIntoPayloads(
  part: WirePart & { readonly seq: number },
  frame: PacketFrame,
): Generator<string, void> {
  const room = roomFor(frame);
  const { id, push, text } = part;
  let begin = 0;
  for (let seq = part.seq; ; seq += 1) {
    const last = room - Buffer.byteLength(encodePart({ ...part, text: "", seq }));
    if (endWithin(text, begin, last) === text.length) {
      yield encodePart({ ...part, text: text.slice(begin), seq });
      return;
    }
    const empty = Buffer.byteLength(encodePart({ text: "", seq, id, push }));
    const end = endWithin(text, begin, Math.max(room - empty, LEAST_ROOM));
    yield encodePart({ text: text.slice(begin, end), seq, id, push });
    begin = end;
  }
}

/**
 * The same for a client that takes bare text: the sentence of an error in one line, and nothing for an empty part,
 * unless it is the whole answer.
 */
export function* cutIntoTexts(
  part: WirePart & { readonly seq: number },
  frame: PacketFrame,
): Generator<string, void> {
  const text = part.error === undefined ? part.text : part.text.replaceAll(/\s+/g, " ");
  const room = Math.max(roomFor(frame), LEAST_ROOM);
  if (text === "" && part.done === true && part.seq === 0) yield "";
  for (let begin = 0; begin < text.length;) {
    const end = endWithin(text, begin, room);
    yield text.slice(begin, end);
    begin = end;
  }
}

/** The longest Correlation Data; it is kept in memory until the request is answered. */
const MOST_CORRELATION_BYTES = 8192;

/** Whether what the client chose takes at most half of each packet of its answer; 0 is no limit. */
export function leavesRoom(
  chosen: {
    readonly topic: string;
    readonly id?: string | undefined;
    readonly correlationData?: Buffer | undefined;
  },
  maxBytes: number,
): boolean {
  const { topic, id, correlationData } = chosen;
  const correlation = correlationData?.byteLength ?? 0;
  if (correlation > MOST_CORRELATION_BYTES) return false;
  if (maxBytes === 0) return true;
  const ofId = id === undefined ? 0 : Buffer.byteLength(JSON.stringify(id));
  return Buffer.byteLength(topic) + ofId + correlation <= maxBytes / 2;
}

/** The largest payload, in bytes, whose PUBLISH packet (MQTT 5 section 3.3) fits. */
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

/** The end of the longest run of code points whose JSON text has at most `room` bytes. Reads no further than that. */
function endWithin(text: string, begin: number, room: number): number {
  // The quick way for most answers: no UTF-16 unit takes more than six bytes (\u0000).
  if ((text.length - begin) * 6 <= room) return text.length;
  let bytes = 0;
  let end = begin;
  while (end < text.length) {
    const point = text.codePointAt(end) ?? 0;
    bytes += jsonBytes(point);
    if (bytes > room) return end;
    end += point > 0xff_ff ? 2 : 1;
  }
  return end;
}

/** Characters that JSON writes as a backslash and one character. */
const SHORT_ESCAPES: ReadonlySet<number> = new Set([34, 92, 8, 9, 10, 12, 13]);

/** Bytes of a code point in a JSON text (RFC 8259 section 7), as `JSON.stringify` writes it. */
function jsonBytes(point: number): number {
  if (SHORT_ESCAPES.has(point)) return 2;
  if (point < 0x20) return 6;
  if (point < 0x80) return 1;
  if (point < 0x8_00) return 2;
  if (point >= 0xd8_00 && point <= 0xdf_ff) return 6;
  return point > 0xff_ff ? 4 : 3;
}

/**
 * The part that a message on a response topic is of the answer to the request of that id; undefined if it is none: a
 * push, or of another request.
 */
export function answerPartOf(
  { payload, retain, properties }: Incoming,
  id: string,
): WirePart | undefined {
  const part = retain ? undefined : decodePart(payload);
  if (part === undefined || part.push) return undefined;
  const names = [part.id ?? id, properties?.correlationData?.toString() ?? id];
  return names.every((name) => name === id) ? part : undefined;
}

/** What one more message on the response topic is to an answer that is being collected. */
export type PartResult = AnswerPart | "ignored" | "missing";

/**
 * Puts the parts of one answer in order: a part with `seq` 0 restarts the answer, a repeated part is
 * `ignored`, a gap is `missing`. Parts without `seq` are taken as they come.
 */
export function createPartOrder(): (part: WirePart, payload: Uint8Array) => PartResult {
  let expected = 0;
  let hasBegun = false;
  let last: Uint8Array | undefined;
  return (part, payload) => {
    const { text, seq, done = false, error } = part;
    const rest = { text, done, ...(error && { error }), payload };
    if (seq === undefined) {
      const restart = !hasBegun;
      hasBegun = true;
      return { ...rest, restart };
    }
    // A second delivery of the only part so far (QoS 1) is no restart.
    const isRepeated = expected === 1 && last !== undefined && Buffer.compare(last, payload) === 0;
    if (isRepeated || (seq !== 0 && seq < expected)) return "ignored";
    if (seq > expected) return "missing";
    hasBegun = true;
    expected = seq + 1;
    last = payload;
    return { ...rest, seq, restart: seq === 0 };
  };
}
