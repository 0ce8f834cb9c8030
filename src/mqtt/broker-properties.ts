import { isTopicName } from "../base/topic-filter.ts";

/** Properties of a message as the broker library parses them (MQTT 5 section 3.3.2.3); all untrusted. */
export type Properties = Readonly<Record<string, unknown>>;

/** Those that the receiver gets as they are, but for Message Expiry Interval. */
const FORWARDED: readonly [name: string, encode: (value: unknown) => Buffer][] = [
  ["payloadFormatIndicator", (value) => byte(0x01, value)],
  ["messageExpiryInterval", (value) => number(0x02, value)],
  ["contentType", (value) => text(0x03, value)],
  ["responseTopic", (value) => (isTopic(value) ? text(0x08, value) : NOTHING)],
  ["correlationData", (value) => text(0x09, value)],
  ["userProperties", userProperties],
];

const NOTHING = Buffer.alloc(0);
const MOST_BYTES = 65_535;

/**
 * The properties of a message as they stand before its payload in a PUBLISH of MQTT 5, with their length.
 * What is not valid is left out.
 */
export function encodeProperties(properties: Properties): Buffer {
  const parts = FORWARDED.map(([name, encode]) => encode(properties[name]));
  return withLength(Buffer.concat(parts));
}

/** Preceded by its length as a Variable Byte Integer (section 1.5.5). */
export function withLength(bytes: Buffer): Buffer {
  const digits: number[] = [];
  let rest = bytes.length;
  do {
    digits.push((rest % 128) + (rest < 128 ? 0 : 128));
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return Buffer.concat([Buffer.from(digits), bytes]);
}

function byte(id: number, value: unknown): Buffer {
  return value === undefined ? NOTHING : Buffer.from([id, value === true || value === 1 ? 1 : 0]);
}

export function number(id: number, value: unknown): Buffer {
  if (typeof value !== "number" || !(value >= 0)) return NOTHING;
  const bytes = Buffer.alloc(5, id);
  bytes.writeUInt32BE(value, 1);
  return bytes;
}

export function text(id: number, value: unknown): Buffer {
  const bytes = bytesOf(value);
  return bytes === undefined ? NOTHING : Buffer.concat([Buffer.from([id]), field(bytes)]);
}

function userProperties(value: unknown): Buffer {
  if (typeof value !== "object" || value === null) return NOTHING;
  const pairs = Object.entries(value).flatMap(([name, each]) =>
    (Array.isArray(each) ? each : [each]).map((one) => [bytesOf(name), bytesOf(one)] as const),
  );
  const parts = pairs.flatMap(([name, one]) =>
    name === undefined || one === undefined ? [] : [Buffer.from([0x26]), field(name), field(one)],
  );
  return Buffer.concat(parts);
}

function isTopic(value: unknown): boolean {
  return typeof value === "string" && isTopicName(value);
}

/** A text with NUL would end the connection of whoever gets it (section 1.5.4). */
function bytesOf(value: unknown): Buffer | undefined {
  const isText = typeof value === "string" && !value.includes("\0");
  const isBytes = isText || value instanceof Uint8Array;
  const bytes = isBytes ? Buffer.from(value) : undefined;
  return bytes !== undefined && bytes.length <= MOST_BYTES ? bytes : undefined;
}

function field(bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
}
