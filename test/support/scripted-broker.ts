import type { Socket } from "node:net";
import { fakeBroker, polite, politeOn5, type RawPacket } from "./packets.ts";

/** A broker that sends all it has at once, whatever Receive Maximum says, and again after a lost connection. */
export interface FloodingBroker extends AsyncDisposable {
  readonly url: string;
  readonly connections: () => number;
  /** Sends all; what is unacknowledged goes again over each new connection. */
  flood(): void;
  /** Requests that the gateway has not acknowledged. */
  readonly unacknowledged: () => number;
  /** The ends of each request, by its id: `ok`, or the code of an error. */
  readonly ends: ReadonlyMap<string, readonly string[]>;
  /** Sends one more, at QoS 0: all packet ids may be taken. */
  readonly ask: (client: string, id: string) => void;
  /** How those ended. */
  readonly others: ReadonlyMap<string, readonly string[]>;
}

export interface FloodingOptions {
  /** At most 65,535: each has a packet id of its own. */
  readonly count: number;
  readonly clients: number;
  readonly version: 4 | 5;
}

/** With Session Present, MQTT 3.1.1 and 5 section 3.2.2.1. */
const CONNACK = { 4: Buffer.from([0x20, 2, 1, 0]), 5: Buffer.from([0x20, 3, 1, 0, 0]) };

export async function startFloodingBroker(options: FloodingOptions): Promise<FloodingBroker> {
  const { count, clients, version } = options;
  const ends = new Map<string, string[]>();
  const others = new Map<string, string[]>();
  const open = new Set(Array.from({ length: count }, (_, index) => index + 1));
  let current: Socket | undefined;
  let isFlooding = false;
  const flood = (): void => {
    for (const id of open) current?.write(requestPacket(version, `flood${id % clients}`, id));
  };
  const nice = version === 5 ? politeOn5 : polite;
  const broker = await fakeBroker((packet, socket, connection) => {
    // It keeps the session: what is unacknowledged is still under way.
    if (packet.type === 1 && connection > 1) socket.write(CONNACK[version]);
    else nice(packet, socket);
    if (packet.type === 3) hear(packet, version, packet.topic.includes("/flood") ? ends : others);
    if (packet.type === 4) open.delete(packet.id);
    // Only the first SUBSCRIBE of a connection is for requests.
    if (packet.type !== 8 || current === socket) return;
    current = socket;
    if (isFlooding) flood();
  });
  return {
    url: broker.url,
    connections: broker.connections,
    flood() {
      isFlooding = true;
      flood();
    },
    unacknowledged: () => open.size,
    ends,
    others,
    ask: (client, id) => void current?.write(publishPacket(version, { client, id, packetId: 0 })),
    [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose](),
  };
}

function requestPacket(version: 4 | 5, client: string, packetId: number): Buffer {
  return publishPacket(version, { client, id: `r${packetId}`, packetId });
}

/** MQTT 5 section 3.3; at QoS 1 where there is a packet id. */
function publishPacket(
  version: 4 | 5,
  { client, id, packetId }: { client: string; id: string; packetId: number },
): Buffer {
  const topic = Buffer.from(`/picoclaw/assistant/${client}/request`);
  const body = Buffer.concat([
    Buffer.from([topic.length >> 8, topic.length & 255]),
    topic,
    Buffer.from(packetId === 0 ? [] : [packetId >> 8, packetId & 255]),
    Buffer.from(version === 5 ? [0] : []),
    Buffer.from(JSON.stringify({ text: "How warm is it?", id })),
  ]);
  const first = packetId === 0 ? 0x30 : 0x32;
  const length = body.length < 128 ? [body.length] : [(body.length & 127) | 128, body.length >> 7];
  return Buffer.concat([Buffer.from([first, ...length]), body]);
}

function hear(packet: RawPacket, version: 4 | 5, ends: Map<string, string[]>): void {
  if (!packet.topic.endsWith("/response")) return;
  const { id, done, error } = JSON.parse(payloadOf(packet, version));
  if (done !== true) return;
  const all = ends.get(id) ?? [];
  all.push(error?.code ?? "ok");
  ends.set(id, all);
}

function payloadOf({ bytes, length }: RawPacket, version: 4 | 5): string {
  const head = 2 + bytes.readUInt16BE(0) + (length.qos > 0 ? 2 : 0);
  return bytes.toString("utf8", version === 5 ? afterProperties(bytes, head) : head);
}

function afterProperties(bytes: Buffer, at: number): number {
  let length = 0;
  for (let index = 0; index < 4; index += 1) {
    const byte = bytes[at + index] ?? 0;
    length += (byte & 127) * 128 ** index;
    if (byte < 128) return at + index + 1 + length;
  }
  throw new Error("the properties have no length");
}
