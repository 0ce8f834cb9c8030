import type { Socket } from "node:net";
import { packet, publish } from "./hostile-broker.ts";
import { fakeBroker, type RawPacket } from "./packets.ts";

export interface FloodOptions {
  readonly version: 4 | 5;
  readonly qos: 1 | 2;
  readonly count: number;
  /** Of each payload, about. */
  readonly bytes?: number;
  /** SUBACK comes when all messages are acknowledged, as rumqttd does. */
  readonly subackLast?: boolean;
}

export interface FloodBroker extends AsyncDisposable {
  readonly url: string;
  readonly connections: () => number;
  /** Packet ids as they were acknowledged: PUBACK, or PUBREC for QoS 2. */
  readonly acknowledged: readonly number[];
  /** Messages that are wholly done: PUBACK, or PUBCOMP for QoS 2. */
  readonly done: () => number;
  readonly pings: () => number;
  /** Sends one more message, of QoS 0. */
  sendUnheld(id: string): void;
}

/** The text of the message with this packet id. */
export const textOf = (id: number, bytes = 0): string => `question ${id} `.padEnd(bytes, "x");

function question({ version, qos, bytes }: FloodOptions, id: number, isAgain: boolean): Buffer {
  const payload = JSON.stringify({ text: textOf(id, bytes), id: `r${id}` });
  const sent = publish(version, { topic: `/picoclaw/edge/c${id % 50}/request`, payload, qos, id });
  // The DUP flag (MQTT 5 section 3.3.1.1).
  if (isAgain) sent[0] = (sent[0] ?? 0) | 8;
  return sent;
}

const CONNACK = { 4: packet(0x20, [1, 0]), 5: packet(0x20, [1, 0, 0]) };

/**
 * A broker that knows no Receive Maximum: it sends all its messages at once as soon as somebody subscribes,
 * and on each later connection with the DUP flag what was not acknowledged before.
 */
export async function startFloodBroker(options: FloodOptions): Promise<FloodBroker> {
  const { version, qos, count, subackLast = false } = options;
  const acknowledged: number[] = [];
  const sent = new Set<number>();
  const open = new Set(Array.from({ length: count }, (_, index) => index + 1));
  const released = new Set<number>();
  let completed = 0;
  let pings = 0;
  let current: Socket | undefined;
  let suback: Buffer | undefined;
  const pour = (socket: Socket): void => {
    // What was received is released first, as brokers do.
    for (const id of released) socket.write(pubrel(id));
    const rest = open.values();
    const next = (): void => {
      for (const id of rest) {
        const more = socket.write(question(options, id, sent.has(id)));
        sent.add(id);
        if (more) continue;
        socket.once("drain", next);
        return;
      }
    };
    next();
  };
  const acknowledge = (id: number, socket: Socket): void => {
    acknowledged.push(id);
    open.delete(id);
    if (qos === 1) completed += 1;
    else {
      released.add(id);
      socket.write(pubrel(id));
    }
    if (open.size === 0 && suback !== undefined) socket.write(suback);
  };
  const broker = await fakeBroker((received: RawPacket, socket) => {
    const { type, id } = received;
    if (type === 1) socket.write(CONNACK[version]);
    if (type === 3 && received.length.qos > 0) socket.write(packet(0x40, [id >> 8, id & 255]));
    if (type === 4 || type === 5) acknowledge(id, socket);
    if (type === 7 && released.delete(id)) completed += 1;
    if (type === 12) {
      pings += 1;
      socket.write(Buffer.from([0xd0, 0]));
    }
    if (type !== 8) return;
    current = socket;
    suback = packet(0x90, [id >> 8, id & 255], version === 5 ? [0, qos] : [qos]);
    if (!subackLast) socket.write(suback);
    pour(socket);
  });
  return {
    url: broker.url,
    connections: broker.connections,
    acknowledged,
    done: () => completed,
    pings: () => pings,
    sendUnheld(id) {
      const payload = `{"text":"hi","id":"${id}"}`;
      current?.write(publish(version, { topic: "/picoclaw/edge/c1/request", payload }));
    },
    [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose](),
  };
}

const pubrel = (id: number): Buffer => packet(0x62, [id >> 8, id & 255]);
