import { connect } from "node:net";
import type { Socket } from "node:net";
import { readPackets } from "./packets.ts";
import type { RawPacket } from "./packets.ts";

/** A client on a bare socket: nothing of its own is in the times that it takes. */
export interface Device extends Disposable {
  /**
   * Asks as that client, at the QoS of the link or another; resolves with the milliseconds until the whole
   * answer is there.
   */
  ask(client: string, text: string, qos?: 0 | 1): Promise<number>;
}

const [CONNACK, PUBLISH, SUBACK] = [2, 3, 9];

/** Who answers. */
export interface Answering {
  readonly name: string;
  /** `{prefix}/{client}/request` and `/response`. */
  readonly prefix: string;
  /** Whether the answer's last part says so; else its first part is the answer. */
  readonly saysDone: boolean;
}

/** The agent of `quickConfig`, with all its clients. */
export const ASSISTANT: Answering = {
  name: "devices",
  prefix: "/picoclaw/assistant",
  saysDone: true,
};

export interface Link {
  readonly port: number;
  readonly qos: 0 | 1;
  /** 4 is MQTT 3.1.1. */
  readonly version: 4 | 5;
}

/** Connects to the broker and hears all that is answered there. */
export async function connectDevice(
  contender: Answering,
  { port, qos: ownQos, version }: Link,
): Promise<Device> {
  const { prefix, saysDone } = contender;
  const waiting = new Map<string, (answered: number) => void>();
  const link = { port, qos: ownQos, version, filter: `${prefix}/+/response` };
  const socket = await connectBare(`bench-${contender.name}`, link, ({ topic, bytes }) => {
    if (saysDone && !bytes.includes('"done":true')) return;
    const client = topic.split("/").at(-2) ?? "";
    waiting.get(client)?.(performance.now());
    waiting.delete(client);
  });
  return {
    async ask(client, question, qos = ownQos) {
      const answered = Promise.withResolvers<number>();
      waiting.set(client, answered.resolve);
      const payload = JSON.stringify({ text: question });
      const asked = socket.publish(`${prefix}/${client}/request`, payload, qos);
      return (await answered.promise) - asked;
    },
    [Symbol.dispose]: () => socket[Symbol.dispose](),
  };
}

/** A connection that is subscribed to one filter. */
export interface BareClient extends Disposable {
  /** At the QoS of the link or another; returns `performance.now()` of the time before the bytes leave. */
  publish(topic: string, payload: string, qos?: 0 | 1): number;
}

/** Connects and subscribes. Acknowledges each message of QoS 1 and hands it on. */
export async function connectBare(
  clientId: string,
  { port, qos: ownQos, version, filter }: Link & { readonly filter: string },
  hear: (packet: RawPacket) => void,
): Promise<BareClient> {
  const properties = version === 5 ? [0] : [];
  const socket = connect(port, "127.0.0.1");
  socket.setNoDelay(true);
  const ready = Promise.withResolvers<void>();
  readPackets(socket, (packet) => {
    if (packet.type === CONNACK) {
      socket.write(packetOf(0x82, [0, 1, ...properties, ...text(filter), ownQos]));
    } else if (packet.type === SUBACK) ready.resolve();
    else if (packet.type === PUBLISH) {
      if (packet.length.qos === 1) acknowledge(socket, packet.id);
      hear(packet);
    }
  });
  const connection = [...text("MQTT"), version, 2, 0, 60, ...properties, ...text(clientId)];
  socket.write(packetOf(0x10, connection));
  await ready.promise;
  let id = 1;
  return {
    publish(topic, payload, qos = ownQos) {
      id = (id % 65_535) + 1;
      const identifier = qos === 1 ? [id >> 8, id & 255] : [];
      const body = [...text(topic), ...identifier, ...properties, ...Buffer.from(payload)];
      const packet = packetOf(0x30 | (qos << 1), body);
      const left = performance.now();
      socket.write(packet);
      return left;
    },
    [Symbol.dispose]: () => void socket.destroy(),
  };
}

/** So many questions in all, each client one after the other. */
export async function askAll(device: Device, questions: number, clients: number): Promise<void> {
  let left = questions;
  const one = async (client: string): Promise<void> => {
    while (left > 0) {
      left -= 1;
      await device.ask(client, "How late is it?");
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, index) => one(`client-${index}`)));
}

function acknowledge(socket: Socket, id: number): void {
  socket.write(packetOf(0x40, [id >> 8, id & 255]));
}

/** MQTT 3.1.1 section 1.5.3. */
function text(value: string): readonly number[] {
  const bytes = Buffer.from(value);
  return [bytes.length >> 8, bytes.length & 255, ...bytes];
}

/** MQTT 3.1.1 section 2.2; up to 16,383 bytes. */
function packetOf(first: number, body: readonly number[]): Buffer {
  const length = body.length < 128 ? [body.length] : [(body.length & 127) | 128, body.length >> 7];
  return Buffer.from([first, ...length, ...body]);
}
