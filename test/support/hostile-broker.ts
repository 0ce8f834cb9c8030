import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { polite, politeOn5, readPackets, type RawPacket } from "./packets.ts";

/** One connection to a hostile broker, seen from the broker. */
export interface Victim {
  readonly socket: Socket;
  /** The protocol level that the CONNECT asked for. */
  readonly version: number;
  /** The level of topics that requests come on: `/picoclaw/hall/`. */
  readonly topics: string;
}

/** What a hostile broker does, and when: as soon as it is asked, or once the subscription stands. */
export interface Misdeed {
  readonly name: string;
  readonly at: "connect" | "subscribed";
  readonly does: (victim: Victim) => void;
  /** It reads nothing from then on. */
  readonly isDeaf?: true;
  /** It speaks 3.1.1 alone. */
  readonly isOld?: true;
}

/** Bytes of a text with its two bytes of length (MQTT 5 section 1.5.4). */
export function field(text: string | Uint8Array): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
}

/** A Variable Byte Integer, also of what does not fit into four bytes. */
export function digits(length: number): Buffer {
  const bytes: number[] = [];
  for (let rest = length; ; rest = Math.floor(rest / 128)) {
    bytes.push((rest % 128) + (rest < 128 ? 0 : 128));
    if (rest < 128) return Buffer.from(bytes);
  }
}

/** A whole packet with the length that it has. */
export function packet(first: number, ...body: readonly (Buffer | readonly number[])[]): Buffer {
  const whole = Buffer.concat(body.map((bytes) => Buffer.from(bytes)));
  return Buffer.concat([Buffer.from([first]), digits(whole.length), whole]);
}

const CONNACK: Readonly<Record<number, Buffer>> = {
  4: packet(0x20, [0, 0]),
  5: packet(0x20, [0, 0, 0]),
};

/** A PUBLISH of any kind; properties are there on MQTT 5 alone. */
export function publish(
  version: number,
  {
    topic,
    payload = '{"text":"hi"}',
    qos = 0,
    id = 1,
    properties = [],
  }: {
    topic: string | Uint8Array;
    payload?: string;
    qos?: number;
    id?: number;
    properties?: Buffer | readonly number[];
  },
): Buffer {
  const ids = qos > 0 ? [id >> 8, id & 255] : [];
  const own = version === 5 ? [digits(properties.length), Buffer.from(properties)] : [];
  return packet(0x30 + qos * 2, field(topic), ids, ...own, Buffer.from(payload));
}

/** Writes without end, as fast as the victim takes it. */
function flood(socket: Socket, next: (index: number) => Buffer): void {
  let index = 0;
  const pour = (): void => {
    for (let count = 0; count < 64; count += 1) {
      if (socket.destroyed) return;
      const many = Array.from({ length: 64 }, () => next((index += 1)));
      if (!socket.write(Buffer.concat(many))) {
        socket.once("drain", pour);
        return;
      }
    }
    setImmediate(pour);
  };
  pour();
}

/** One byte now and then, without end. */
function drip(socket: Socket, start: Buffer): void {
  socket.write(start);
  const timer = setInterval(() => socket.write("x"), 20);
  socket.once("close", () => clearInterval(timer));
}

const connack = ({ socket, version }: Victim): boolean => socket.write(CONNACK[version] ?? "");

function shown(name: string, bytes: string | Buffer | readonly number[]): Misdeed {
  const sent = typeof bytes === "string" ? Buffer.from(bytes) : Buffer.from(bytes);
  return { name, at: "connect", does: ({ socket }) => void socket.write(sent) };
}

function later(name: string, does: Misdeed["does"], more: Partial<Misdeed> = {}): Misdeed {
  return { name, at: "subscribed", does, ...more };
}

function afterwards(name: string, make: (victim: Victim) => Buffer | readonly number[]): Misdeed {
  return later(name, (victim) => victim.socket.write(Buffer.from(make(victim))));
}

function pours(name: string, make: (victim: Victim, index: number) => Buffer): Misdeed {
  return later(name, (victim) => flood(victim.socket, (index) => make(victim, index)));
}

const ids = (index: number): number => (index % 65_535) + 1;
const KILOBYTE = Buffer.alloc(1024, "x");

/** What is wrong before anything has begun. */
const AT_CONNECT: readonly Misdeed[] = [
  shown("says nothing at all", ""),
  shown("speaks HTTP", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
  shown("speaks TLS", [0x15, 0x03, 0x03, 0, 2, 2, 40]),
  shown("publishes before CONNACK", publish(5, { topic: "/picoclaw/x/y/request" })),
  shown("acknowledges before CONNACK", packet(0x40, [0, 1])),
  shown("sends the reserved type 0", [0x00, 0x00]),
  shown("sends a CONNECT", packet(0x10, field("MQTT"), [5, 2, 0, 60, 0], field("you"))),
  shown("asks for authentication", packet(0xf0, [0x18, 0])),
  shown("sends an empty AUTH", [0xf0, 0x00]),
  shown("sends an empty CONNACK", [0x20, 0x00]),
  shown("sends a CONNACK with wrong flags", packet(0x20, [0xff, 0, 0])),
  shown("sends a CONNACK with an unknown code", packet(0x20, [0, 0x42, 0])),
  shown("sends a CONNACK with an unknown property", packet(0x20, [0, 0, 2, 0x7f, 1])),
  shown("sends a CONNACK whose properties end nowhere", packet(0x20, [0, 0, 255, 255, 255, 127])),
  shown("sends a CONNACK with a Receive Maximum of 0", packet(0x20, [0, 0, 3, 0x21, 0, 0])),
  shown("sends a CONNACK with a packet size of 0", packet(0x20, [0, 0, 5, 0x27, 0, 0, 0, 0])),
  shown("sends a CONNACK with alias maximum 65,535", packet(0x20, [0, 0, 3, 0x22, 255, 255])),
  shown("sends a length of five bytes", [0x20, 255, 255, 255, 255, 1]),
  shown("announces a CONNACK of 256 MB", [0x20, 255, 255, 255, 127, 0, 0]),
  {
    name: "sends a CONNACK that never ends",
    at: "connect",
    does: ({ socket }) => {
      socket.write(Buffer.from([0x20, 255, 255, 255, 127]));
      flood(socket, () => KILOBYTE);
    },
  },
  {
    name: "drips a CONNACK",
    at: "connect",
    does: ({ socket }) => drip(socket, Buffer.from([0x20, 80])),
  },
  { name: "hangs up", at: "connect", does: ({ socket }) => socket.end() },
  { name: "resets", at: "connect", does: ({ socket }) => socket.resetAndDestroy() },
  {
    name: "pours noise",
    at: "connect",
    does: ({ socket }) => flood(socket, (index) => noise(index)),
  },
];

/** Bytes that look like nothing, the same ones in each run. */
function noise(seed: number): Buffer {
  let state = seed * 2_654_435_761;
  return Buffer.from(
    Array.from({ length: 48 }, () => {
      state = (Math.imul(state ^ (state >>> 15), 0x2c_1b_3c_6d) + 0x9e_37) >>> 0;
      return state >>> 24;
    }),
  );
}

const at = ({ topics }: Victim, client = "c1"): string => `${topics}${client}/request`;

/** What is wrong with single packets of a connection that stands. */
const MALFORMED: readonly Misdeed[] = [
  afterwards("sends a second CONNACK", ({ version }) => CONNACK[version] ?? []),
  afterwards("acknowledges what never was", () => packet(0x40, [0x12, 0x34])),
  afterwards("sends a PUBREC for what never was", () => packet(0x50, [0x12, 0x34])),
  afterwards("sends a PUBCOMP for what never was", () => packet(0x70, [0x12, 0x34])),
  afterwards("sends a SUBACK for what never was", () => packet(0x90, [0x12, 0x34, 0, 0])),
  afterwards("sends an UNSUBACK for what never was", () => packet(0xb0, [0x12, 0x34, 0, 0])),
  afterwards("sends a PUBREL with wrong flags", () => packet(0x60, [0, 1])),
  afterwards("sends QoS 3", (victim) => publish(victim.version, { topic: at(victim), qos: 3 })),
  afterwards("sends QoS 1 with id 0", (victim) =>
    publish(victim.version, { topic: at(victim), qos: 1, id: 0 }),
  ),
  afterwards("sends QoS 2 with id 0", (victim) =>
    publish(victim.version, { topic: at(victim), qos: 2, id: 0 }),
  ),
  afterwards("sends a topic with wildcards", (victim) =>
    publish(victim.version, { topic: at(victim, "+") }),
  ),
  afterwards("sends a topic with NUL", (victim) =>
    publish(victim.version, { topic: at(victim, "\0") }),
  ),
  afterwards("sends a topic that is no UTF-8", (victim) =>
    publish(victim.version, { topic: Buffer.from(at(victim, "\u00ff"), "latin1") }),
  ),
  afterwards("sends a topic longer than its packet", () => [0x30, 4, 255, 255, 97, 98]),
  afterwards("sends a client id of control characters", (victim) =>
    publish(victim.version, { topic: at(victim, "\u001b]0;evil\u0007\u009b2J\r\n\u202e") }),
  ),
  afterwards("sends a client id of 65,000 bytes", (victim) =>
    publish(victim.version, { topic: at(victim, "a".repeat(65_000)) }),
  ),
  afterwards("sends an empty topic", ({ version }) => publish(version, { topic: "" })),
  afterwards("sends an empty topic with an alias nobody knows", () =>
    publish(5, { topic: "", properties: [0x23, 0, 7] }),
  ),
  afterwards("sends properties that end nowhere", (victim) =>
    packet(0x30, field(at(victim)), [255, 255, 255, 127]),
  ),
  afterwards("sends a property that is none", (victim) =>
    publish(5, { topic: at(victim), properties: [0x7f, 1] }),
  ),
  afterwards("sends a response topic twice", (victim) =>
    publish(5, {
      topic: at(victim),
      properties: Buffer.concat([Buffer.from([8]), field("a"), Buffer.from([8]), field("b")]),
    }),
  ),
  afterwards("sends user properties by the thousand", (victim) =>
    publish(5, {
      topic: at(victim),
      properties: Buffer.concat(
        Array.from({ length: 20_000 }, () =>
          Buffer.concat([Buffer.from([0x26]), field("__proto__"), field("x")]),
        ),
      ),
    }),
  ),
  afterwards("sends a PINGREQ", () => [0xc0, 0]),
  afterwards("sends a SUBSCRIBE", () => packet(0x82, [0, 1], field("#"), [0])),
  ...[0x00, 0x04, 0x55, 0x81, 0x98, 0xff].map((code) =>
    afterwards(`disconnects with reason 0x${code.toString(16)}`, () => packet(0xe0, [code, 0])),
  ),
  afterwards("disconnects without a word", () => [0xe0, 0]),
  ...Array.from({ length: 16 }, (_, type) =>
    afterwards(`sends type ${type} of length zero`, () => [type * 16, 0]),
  ),
  later("answers the subscription with too many codes", ({ socket }) =>
    socket.write(packet(0x90, [0, 1], Buffer.alloc(300))),
  ),
  later("hangs up once subscribed", ({ socket }) => socket.end()),
  later("resets once subscribed", ({ socket }) => socket.resetAndDestroy()),
  later("says nothing more", () => {}, { isDeaf: true }),
];

/** What comes without end. */
const ENDLESS: readonly Misdeed[] = [
  ...[0, 1, 2].map((qos) =>
    pours(`pours nonsense of QoS ${qos}`, (victim, index) =>
      publish(victim.version, { topic: at(victim), qos, id: ids(index), payload: "{" }),
    ),
  ),
  pours("pours what nobody subscribed to", ({ version }) =>
    publish(version, { topic: "somewhere/else" }),
  ),
  pours("pours PUBREL", (_, index) => packet(0x62, [ids(index) >> 8, ids(index) & 255])),
  pours("pours PUBACK", (_, index) => packet(0x40, [ids(index) >> 8, ids(index) & 255])),
  pours("pours PUBREC", (_, index) => packet(0x50, [ids(index) >> 8, ids(index) & 255])),
  pours("pours PINGRESP", () => Buffer.from([0xd0, 0])),
  later(
    "pours requests of QoS 1 and reads no acknowledgement",
    ({ socket, version, topics }) =>
      flood(socket, (index) =>
        publish(version, { topic: `${topics}c1/request`, qos: 1, id: ids(index), payload: "{" }),
      ),
    { isDeaf: true },
  ),
  later(
    "pours PUBREL and reads no PUBCOMP",
    ({ socket }) => flood(socket, (index) => packet(0x62, [ids(index) >> 8, ids(index) & 255])),
    { isDeaf: true },
  ),
  ...([true, false] as const).map((isOld) =>
    later(
      `sends a message of 256 MB${isOld ? ", on 3.1.1" : ""}`,
      (victim) => {
        victim.socket.write(Buffer.from([0x30, 255, 255, 255, 127]));
        victim.socket.write(field(at(victim)));
        flood(victim.socket, () => KILOBYTE);
      },
      isOld ? { isOld } : {},
    ),
  ),
  later("drips a message that never ends", (victim) =>
    drip(victim.socket, Buffer.concat([Buffer.from([0x30, 255, 255, 3]), field(at(victim))])),
  ),
  ...[0, 1, 2].map((qos) =>
    pours(`pours requests of QoS ${qos}, each of another client`, (victim, index) =>
      publish(victim.version, { topic: at(victim, `c${index}`), qos, id: ids(index) }),
    ),
  ),
];

export const MISDEEDS: readonly Misdeed[] = [...AT_CONNECT, ...MALFORMED];
export const FLOODS: readonly Misdeed[] = ENDLESS;

export interface HostileBroker extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
  readonly connections: () => number;
  /** Connections that it has done its misdeed to. */
  readonly struck: () => number;
  /** Connections that wait for the misdeed, because they came while it was `armed`. */
  readonly waiting: () => number;
  /**
   * Cuts every connection, and leads later ones to a broker that can be trusted, or to the misdeed, at once
   * or when it strikes.
   */
  turn(to: "good" | "bad" | "armed"): void;
  strike(): void;
}

/**
 * A broker that does one thing wrong, again at each connection, and knows how to do the rest; `good` is the
 * port of one that does nothing wrong.
 */
export async function startHostileBroker(
  misdeed: Misdeed,
  agent: string,
  good: number,
): Promise<HostileBroker> {
  const sockets = new Set<Socket>();
  let connections = 0;
  let struck = 0;
  let turned: "good" | "bad" | "armed" = "bad";
  const waiting: Victim[] = [];
  const strike = (victim: Victim): void => {
    struck += 1;
    if (misdeed.isDeaf) victim.socket.pause();
    misdeed.does(victim);
  };
  const does = (victim: Victim): void => {
    if (turned === "armed") waiting.push(victim);
    else strike(victim);
  };
  const server = createServer((socket) => {
    connections += 1;
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    if (turned === "good") relay(socket, good);
    else misbehave(socket, { ...misdeed, does }, `/picoclaw/${agent}/`);
  });
  const port = await listening(server);
  return {
    port,
    url: `tcp://127.0.0.1:${port}`,
    connections: () => connections,
    struck: () => struck,
    waiting: () => waiting.length,
    strike() {
      for (const victim of waiting.splice(0)) strike(victim);
    },
    turn(to) {
      turned = to;
      for (const socket of sockets) socket.resetAndDestroy();
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function listening(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return typeof address === "object" ? (address?.port ?? 0) : 0;
}

function misbehave(socket: Socket, misdeed: Misdeed, topics: string): void {
  const { at: when, does, isOld } = misdeed;
  let victim: Victim = { socket, version: 0, topics };
  readPackets(socket, (received: RawPacket) => {
    if (received.type === 1) {
      victim = { socket, version: received.version, topics };
      if (isOld && received.version === 5) socket.end(packet(0x20, [0, 1]));
      else if (when === "connect") does(victim);
      else connack(victim);
      return;
    }
    if (when === "connect") return;
    (victim.version === 5 ? politeOn5 : polite)(received, socket);
    if (received.type === 8) does(victim);
  });
}

function relay(socket: Socket, port: number): void {
  const broker = connect(port, "127.0.0.1");
  broker.on("error", () => socket.destroy());
  socket.once("close", () => broker.destroy());
  broker.once("close", () => socket.destroy());
  socket.pipe(broker).pipe(socket);
}
