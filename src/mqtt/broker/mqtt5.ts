import { randomUUID } from "node:crypto";
import type { Duplex } from "node:stream";
import type { AedesOptions, Client } from "aedes";
import { isTopicName } from "../../base/topic-filter.ts";
import { digitsOf } from "../limiter/framing.ts";

/** What an MQTT 5 client asked for in its CONNECT, and what its next answers must say. */
export interface Mqtt5Session extends SessionLifetime {
  readonly receiveMaximum: number;
  readonly maximumPacketBytes: number;
  readonly assignedId: string | undefined;
  /** The number of filters of each unanswered UNSUBSCRIBE. */
  readonly unsubscribed: number[];
  /** Packet ids of messages without subscribers (section 3.4.2.1). */
  readonly noMatchingSubscribers: Set<number>;
}

export interface Mqtt5Options {
  /** Bytes of the largest packet that a client may send. */
  readonly packetBytes: number;
  /** Applies the function to all that is sent to the client. */
  readonly translate: (stream: Duplex, change: (bytes: Buffer) => Buffer) => void;
  /** Whether a PUBACK or PUBREC must not be sent now. */
  readonly defersAck: (stream: Duplex, id: number, encode: () => Buffer) => boolean;
}

/**
 * MQTT 5 for a library that speaks 3.1.1. The library itself parses packets of MQTT 5 and copies the
 * properties of messages. Packets to clients are the same in both versions, except CONNACK, SUBACK, UNSUBACK,
 * reason codes, and the properties before a payload.
 */
export interface Mqtt5 {
  readonly preConnect: NonNullable<AedesOptions["preConnect"]>;
  /** Undefined for a client of 3.1.1. */
  readonly sessionOf: (client: Client) => Mqtt5Session | undefined;
  /** Whether the client begins a new session, and for how many seconds its session outlives the connection. */
  readonly lifetimeOf: (client: Client) => SessionLifetime;
  /** Whether it is a client of 3.1.1 with Clean Session: nothing of its session is ever taken over. */
  readonly isCleanSession: (client: Client) => boolean;
  /** The next acknowledgement of the message says that there is no subscriber. */
  readonly refused: (sender: Client, messageId: number) => void;
  /** Notes when the message expires, and whether its acknowledgement says that there is no subscriber. */
  readonly published: (sender: Client, packet: Published, hasSubscriber: () => boolean) => void;
  /** Whether the message has not expired and is not too large for the client. */
  readonly isWanted: (client: Client, packet: Message) => boolean;
  /** The message, for MQTT 5 with its properties before the payload; null if it has expired or is too large. */
  readonly forwarded: <Packet extends Message>(client: Client, packet: Packet) => Packet | null;
}

/** Of a client of MQTT 5 or 3.1.1. */
export interface SessionLifetime {
  readonly isCleanStart: boolean;
  /** Session Expiry Interval in seconds. */
  readonly expirySecs: number;
}

const CLEAN_SESSION: SessionLifetime = { isCleanStart: true, expirySecs: 0 };
const KEPT_SESSION: SessionLifetime = {
  isCleanStart: false,
  expirySecs: Number.POSITIVE_INFINITY,
};

interface Message {
  readonly topic?: string;
  payload?: Uint8Array | string;
  readonly properties?: Properties;
  /** When it expires, in milliseconds since 1970. */
  messageExpiry?: number;
}

type Published = Message & { readonly qos: 0 | 1 | 2; readonly messageId?: number | undefined };

type Connect = Parameters<Mqtt5["preConnect"]>[1];

/** Fixed header, length of the topic and packet id of a PUBLISH. */
const MOST_HEAD_BYTES = 9;
const UNSUPPORTED_VERSION = 0x84;
const PROTOCOL_ERROR = 0x82;
const BAD_AUTHENTICATION_METHOD = 0x8c;

export function createMqtt5(options: Mqtt5Options): Mqtt5 {
  const sessions = new WeakMap<object, Mqtt5Session>();
  const cleanSessions = new WeakSet<object>();
  const isCleanSession = ({ conn }: Client): boolean => cleanSessions.has(conn);
  const sessionOf = ({ conn }: Client): Mqtt5Session | undefined => sessions.get(conn);
  const isWanted = (client: Client, packet: Message): boolean => {
    const { topic = "", payload = "", messageExpiry = Number.POSITIVE_INFINITY } = packet;
    const most = sessionOf(client)?.maximumPacketBytes ?? Number.POSITIVE_INFINITY;
    if (messageExpiry <= Date.now()) return false;
    if (most === Number.POSITIVE_INFINITY) return true;
    const body = Buffer.byteLength(topic) + propertiesOf(packet).length + payload.length;
    return body + MOST_HEAD_BYTES <= most;
  };
  return {
    preConnect(client, packet, done) {
      if (packet.protocolVersion !== 5) {
        outgoing(client.conn, unchanged, options);
        if (packet.clean === true) cleanSessions.add(client.conn);
        // All messages of QoS 1 and 2 go through the queue of a session, which notes what is acknowledged.
        Object.assign(packet, { clean: false });
        return done(null, true);
      }
      const reason = faultOf(packet) ?? (parseAsMqtt5(client, packet) ? 0 : UNSUPPORTED_VERSION);
      if (reason !== 0) {
        const refuse = (): void => done(new Error(`refused with reason ${reason}`), false);
        return void client.conn.write(Buffer.from([0x20, 3, 0, reason, 0]), refuse);
      }
      const session = sessionFor(packet);
      sessions.set(client.conn, session);
      outgoing(client.conn, (first, body) => toMqtt5(first, body, session, options), options);
      Object.assign(packet, { protocolVersion: 4, clean: false });
      if (session.assignedId !== undefined) packet.clientId = session.assignedId;
      return done(null, true);
    },
    sessionOf,
    lifetimeOf: (client) =>
      sessionOf(client) ?? (isCleanSession(client) ? CLEAN_SESSION : KEPT_SESSION),
    isCleanSession,
    refused(sender, messageId) {
      sessionOf(sender)?.noMatchingSubscribers.add(messageId);
    },
    published(sender, packet, hasSubscriber) {
      const { messageExpiryInterval: seconds } = packet.properties ?? {};
      if (typeof seconds === "number") packet.messageExpiry = Date.now() + seconds * 1000;
      const session = packet.qos > 0 ? sessionOf(sender) : undefined;
      if (session && !hasSubscriber()) session.noMatchingSubscribers.add(packet.messageId ?? 0);
    },
    isWanted,
    forwarded(client, packet) {
      if (!isWanted(client, packet)) return null;
      const { payload = "" } = packet;
      // The packet is a copy for this client.
      if (sessionOf(client))
        packet.payload = Buffer.concat([propertiesOf(packet), asBytes(payload)]);
      return packet;
    },
  };
}

function faultOf({ properties = {} }: Connect): number | undefined {
  if (properties.authenticationMethod !== undefined) return BAD_AUTHENTICATION_METHOD;
  if (properties.authenticationData !== undefined) return PROTOCOL_ERROR;
  const { receiveMaximum, maximumPacketSize } = properties;
  return receiveMaximum === 0 || maximumPacketSize === 0 ? PROTOCOL_ERROR : undefined;
}

/**
 * The library's parser takes the version from the CONNECT; this keeps it at 5 when the CONNECT is changed.
 * Returns false if this version of the library has no such parser.
 */
function parseAsMqtt5(client: Client, packet: Connect): boolean {
  const parser: unknown = Reflect.get(client, "_parser");
  if (typeof parser !== "object" || parser === null) return false;
  if (Reflect.get(parser, "settings") !== packet) return false;
  return Reflect.set(parser, "settings", { protocolVersion: 5 });
}

function sessionFor({ clientId, clean, properties = {} }: Connect): Mqtt5Session {
  return {
    isCleanStart: clean === true,
    expirySecs: properties.sessionExpiryInterval ?? 0,
    receiveMaximum: properties.receiveMaximum ?? 65_535,
    maximumPacketBytes: properties.maximumPacketSize ?? Number.POSITIVE_INFINITY,
    assignedId: clientId === "" ? `auto-${randomUUID()}` : undefined,
    unsubscribed: [],
    noMatchingSubscribers: new Set(),
  };
}

function propertiesOf({ properties = {}, messageExpiry }: Message): Buffer {
  if (messageExpiry === undefined) return encodeProperties(properties);
  const messageExpiryInterval = Math.max(Math.ceil((messageExpiry - Date.now()) / 1000), 1);
  return encodeProperties({ ...properties, messageExpiryInterval });
}

const CONNACK = 2;
const PUBACK = 4;
const PUBREC = 5;
const SUBACK = 9;
const UNSUBACK = 11;
const CHANGED = new Set([CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK]);

type Change = (first: number, body: Buffer) => Buffer;

/** Applies the change to all packets to the client, and defers acknowledgements. */
function outgoing(stream: Duplex, change: Change, { translate, defersAck }: Mqtt5Options): void {
  translate(
    stream,
    createTranslation((first, body) => {
      if (first >> 4 === PUBACK || first >> 4 === PUBREC) {
        const own = Buffer.from(body);
        const encode = (): Buffer => change(first, own);
        if (defersAck(stream, own.readUInt16BE(0), encode)) return Buffer.alloc(0);
      }
      return change(first, body);
    }),
  );
}

const unchanged: Change = (first, body) => Buffer.concat([Buffer.from([first]), withLength(body)]);

/** Translates packets of 3.1.1 to MQTT 5; a PUBLISH has its properties already. */
function createTranslation(change: Change): (bytes: Buffer) => Buffer {
  let held: Buffer = Buffer.alloc(0);
  /** Remaining bytes of a packet that is not changed. */
  let passing = 0;
  return (bytes) => {
    const out: Buffer[] = [];
    held = held.length === 0 ? bytes : Buffer.concat([held, bytes]);
    while (held.length > 0) {
      if (passing === 0) {
        const size = sizeOf(held);
        if (size === undefined) break;
        const type = (held[0] ?? 0) >> 4;
        if (!CHANGED.has(type)) passing = size.whole;
        else if (held.length < size.whole) break;
        else {
          const body = held.subarray(size.head, size.whole);
          out.push(change(held[0] ?? 0, body));
          held = held.subarray(size.whole);
        }
      }
      const passed = Math.min(passing, held.length);
      if (passed > 0) out.push(held.subarray(0, passed));
      held = held.subarray(passed);
      passing -= passed;
    }
    return out.length === 1 ? (out[0] ?? held) : Buffer.concat(out);
  };
}

function sizeOf(bytes: Buffer): { head: number; whole: number } | undefined {
  let length = 0;
  for (let index = 1; index < bytes.length && index <= 4; index += 1) {
    const digit = bytes[index] ?? 0;
    length += (digit & 127) * 128 ** (index - 1);
    if (digit < 128) return { head: index + 1, whole: index + 1 + length };
  }
  return undefined;
}

function toMqtt5(
  first: number,
  body: Buffer,
  session: Mqtt5Session,
  { packetBytes }: Mqtt5Options,
): Buffer {
  const type = first >> 4;
  if (type === CONNACK) return connack(body, session, packetBytes);
  const id = body.readUInt16BE(0);
  const packet = (...parts: Buffer[]): Buffer =>
    Buffer.concat([
      Buffer.from([first]),
      withLength(Buffer.concat([body.subarray(0, 2), ...parts])),
    ]);
  if (type === PUBACK || type === PUBREC) {
    return session.noMatchingSubscribers.delete(id)
      ? packet(Buffer.from([NO_MATCHING_SUBSCRIBERS]))
      : packet();
  }
  const noProperties = Buffer.alloc(1);
  if (type === SUBACK) return packet(noProperties, body.subarray(2));
  return packet(noProperties, Buffer.alloc(session.unsubscribed.shift() ?? 1));
}

const NO_MATCHING_SUBSCRIBERS = 0x10;
/** Section 3.2.2.2, by the return codes of 3.1.1. */
const CONNACK_REASONS = [0, UNSUPPORTED_VERSION, 0x85, 0x88, 0x86, 0x87];

function connack(
  [present = 0, code = 0]: Buffer,
  session: Mqtt5Session,
  packetBytes: number,
): Buffer {
  const properties = [
    number(0x27, packetBytes),
    text(0x12, session.assignedId),
    // Subscription identifiers and shared subscriptions are not available.
    Buffer.from([0x29, 0, 0x2a, 0]),
  ];
  const said = code === 0 ? Buffer.concat(properties) : Buffer.alloc(0);
  const head = Buffer.from([present, CONNACK_REASONS[code] ?? 0x80]);
  return Buffer.concat([Buffer.from([0x20]), withLength(Buffer.concat([head, withLength(said)]))]);
}

function asBytes(payload: Uint8Array | string): Uint8Array {
  return typeof payload === "string" ? Buffer.from(payload) : payload;
}

/** Properties of a message as the broker library parses them (MQTT 5 section 3.3.2.3); all untrusted. */
export type Properties = Readonly<Record<string, unknown>>;

/** Properties that are forwarded unchanged, except Message Expiry Interval. */
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

/** The properties before the payload of an MQTT 5 PUBLISH, with their length; invalid ones are dropped. */
function encodeProperties(properties: Properties): Buffer {
  const parts = FORWARDED.map(([name, encode]) => encode(properties[name]));
  return withLength(Buffer.concat(parts));
}

/** Preceded by its length as a Variable Byte Integer (section 1.5.5). */
function withLength(bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from(digitsOf(bytes.length)), bytes]);
}

function byte(id: number, value: unknown): Buffer {
  return value === undefined ? NOTHING : Buffer.from([id, value === true || value === 1 ? 1 : 0]);
}

function number(id: number, value: unknown): Buffer {
  if (typeof value !== "number" || !(value >= 0)) return NOTHING;
  const bytes = Buffer.alloc(5, id);
  bytes.writeUInt32BE(value, 1);
  return bytes;
}

function text(id: number, value: unknown): Buffer {
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

/** A text with NUL would end the receiver's connection (section 1.5.4). */
function bytesOf(value: unknown): Buffer | undefined {
  const isText = typeof value === "string" && !value.includes("\0");
  const isBytes = isText || value instanceof Uint8Array;
  const bytes = isBytes ? Buffer.from(value) : undefined;
  return bytes !== undefined && bytes.length <= MOST_BYTES ? bytes : undefined;
}

function field(bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
}
