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
  const properties = version === 5 ? [0] : [];
  const socket = connect(port, "127.0.0.1");
  socket.setNoDelay(true);
  const ready = Promise.withResolvers<void>();
  const waiting = new Map<string, (answered: number) => void>();
  const hear = (packet: RawPacket): void => {
    if (packet.length.qos === 1) acknowledge(socket, packet.id);
    if (saysDone && !packet.bytes.includes('"done":true')) return;
    const client = packet.topic.split("/").at(-2) ?? "";
    waiting.get(client)?.(performance.now());
    waiting.delete(client);
  };
  readPackets(socket, (packet) => {
    if (packet.type === CONNACK) {
      const filter = text(`${prefix}/+/response`);
      socket.write(packetOf(0x82, [0, 1, ...properties, ...filter, ownQos]));
    } else if (packet.type === SUBACK) ready.resolve();
    else if (packet.type === PUBLISH) hear(packet);
  });
  const connection = [
    ...text("MQTT"),
    version,
    2,
    0,
    60,
    ...properties,
    ...text(`bench-${contender.name}`),
  ];
  socket.write(packetOf(0x10, connection));
  await ready.promise;

  let id = 1;
  return {
    async ask(client, question, qos = ownQos) {
      const answered = Promise.withResolvers<number>();
      waiting.set(client, answered.resolve);
      id = (id % 65_535) + 1;
      const payload = Buffer.from(JSON.stringify({ text: question }));
      const name = text(`${prefix}/${client}/request`);
      const identifier = qos === 1 ? [id >> 8, id & 255] : [];
      const packet = packetOf(0x30 | (qos << 1), [
        ...name,
        ...identifier,
        ...properties,
        ...payload,
      ]);
      const asked = performance.now();
      socket.write(packet);
      return (await answered.promise) - asked;
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
