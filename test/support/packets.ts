import { once } from "node:events";
import { createServer, type Socket } from "node:net";

/** What a raw broker or device sees of one MQTT packet. */
export interface RawPacket {
  /** MQTT 5 section 2.1.2: 1 is CONNECT, 3 PUBLISH, 8 SUBSCRIBE. */
  readonly type: number;
  readonly flags: number;
  /** Of a CONNECT: the protocol level. */
  readonly version: number;
  /** Of what has one, else 0. */
  readonly id: number;
  readonly length: { readonly bytes: number; readonly qos: number };
  readonly topic: string;
  readonly bytes: Buffer;
  /** With its fixed header. */
  readonly whole: Buffer;
}

/** Calls back with each whole packet that arrives on a socket: just enough MQTT to play the other side. */
export function readPackets(socket: Socket, take: (packet: RawPacket) => void): void {
  let held = Buffer.alloc(0);
  socket.on("error", () => socket.destroy());
  socket.on("data", (data) => {
    held = Buffer.concat([held, Buffer.from(data)]);
    for (;;) {
      const size = sizeOf(held);
      if (size === undefined || held.length < size.whole) return;
      const bytes = held.subarray(0, size.whole);
      held = held.subarray(size.whole);
      take(packetOf(bytes, size.head));
    }
  });
}

/** The whole packets that the bytes begin with. */
export function packetsIn(bytes: Buffer): RawPacket[] {
  const found: RawPacket[] = [];
  let rest = bytes;
  for (;;) {
    const size = sizeOf(rest);
    if (size === undefined || rest.length < size.whole) return found;
    found.push(packetOf(rest.subarray(0, size.whole), size.head));
    rest = rest.subarray(size.whole);
  }
}

function sizeOf(bytes: Buffer): { head: number; whole: number } | undefined {
  let length = 0;
  for (let index = 1; index <= 4 && index < bytes.length; index += 1) {
    const byte = bytes[index] ?? 0;
    length += (byte & 127) * 128 ** (index - 1);
    if (byte < 128) return { head: index + 1, whole: index + 1 + length };
  }
  return undefined;
}

function packetOf(bytes: Buffer, head: number): RawPacket {
  const first = bytes[0] ?? 0;
  const type = first >> 4;
  const qos = type === 3 ? (first >> 1) & 3 : 0;
  const body = bytes.subarray(head);
  const topicEnd = type === 3 ? 2 + body.readUInt16BE(0) : 0;
  const hasId = type === 3 ? qos > 0 : type !== 1 && body.length >= 2;
  return {
    type,
    flags: first & 15,
    version: type === 1 ? (body[2 + body.readUInt16BE(0)] ?? 0) : 0,
    id: hasId ? body.readUInt16BE(topicEnd) : 0,
    length: { bytes: bytes.length, qos },
    topic: body.toString("utf8", 2, Math.max(topicEnd, 2)),
    bytes: body,
    whole: bytes,
  };
}

/** A broker of a few lines that misbehaves as told. */
export async function fakeBroker(
  react: (packet: RawPacket, socket: Socket, connection: number) => void,
) {
  let connections = 0;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    const connection = (connections += 1);
    sockets.add(socket);
    readPackets(socket, (packet) => react(packet, socket, connection));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return {
    url: `tcp://127.0.0.1:${typeof address === "object" ? address?.port : 0}`,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** The polite part of a 3.1.1 broker: CONNACK, SUBACK, PUBACK, PINGRESP. */
export function polite({ type, id, length }: RawPacket, socket: Socket): void {
  if (type === 1) socket.write(Buffer.from([0x20, 2, 0, 0]));
  if (type === 8) socket.write(Buffer.from([0x90, 3, id >> 8, id & 255, 0]));
  if (type === 3 && length.qos === 1) socket.write(Buffer.from([0x40, 2, id >> 8, id & 255]));
  if (type === 12) socket.write(Buffer.from([0xd0, 0]));
}

/** The same of an MQTT 5 broker; `suback` is the reason code of every subscription. */
export function politeOn5({ type, id, length }: RawPacket, socket: Socket, suback = 0): void {
  if (type === 1) socket.write(Buffer.from([0x20, 3, 0, 0, 0]));
  if (type === 8) socket.write(Buffer.from([0x90, 4, id >> 8, id & 255, 0, suback]));
  if (type === 3 && length.qos === 1) socket.write(Buffer.from([0x40, 2, id >> 8, id & 255]));
  if (type === 12) socket.write(Buffer.from([0xd0, 0]));
}
