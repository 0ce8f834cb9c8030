import type { Properties } from "./broker-properties.ts";

/** Whom the broker keeps something for. */
export interface Owner {
  readonly id: string;
}

/** What the broker library makes of a message, or of a PUBREL. */
export interface BrokerPacket {
  brokerId?: string | undefined;
  readonly brokerCounter?: number;
  messageId?: number | undefined;
  readonly topic?: string;
  readonly payload?: Uint8Array | string;
  readonly qos?: 0 | 1 | 2;
  readonly dup?: boolean;
  readonly properties?: Properties;
  /** When it expires, in milliseconds since 1970. */
  readonly messageExpiry?: number;
}

/**
 * Without the broker's numbers, so that it gets new ones; RETAIN is for those who subscribe later. The
 * sender's DUP stays: a gateway knows by it that a request without a name came before.
 */
export function publication({
  topic = "",
  payload = "",
  qos = 1,
  dup = false,
  ...rest
}: BrokerPacket) {
  const { brokerId: _id, brokerCounter: _counter, messageId: _message, ...more } = rest;
  const bytes = typeof payload === "string" ? payload : asBuffer(payload);
  return {
    ...more,
    cmd: "publish" as const,
    topic,
    payload: bytes,
    qos,
    dup,
    retain: false,
  };
}

/** MQTT 5 section 3.3.1.1: DUP is for messages; a PUBREL has no topic. */
export function again(packet: BrokerPacket): BrokerPacket {
  return packet.topic === undefined ? { ...packet } : { ...packet, dup: true };
}

/** Its payload is a piece of what came through the socket, and would hold all of that. */
export function ownCopyOf(packet: BrokerPacket): BrokerPacket {
  const { payload } = packet;
  if (payload === undefined || typeof payload === "string")
    return { ...packet, messageId: undefined };
  const own = payload.byteLength < payload.buffer.byteLength ? new Uint8Array(payload) : payload;
  return { ...packet, messageId: undefined, payload: own };
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function bytesOf({ topic = "", payload = "" }: BrokerPacket): number {
  return Buffer.byteLength(topic) + payload.length;
}
