/** What the fixed header of a packet may have (MQTT 5 section 2.1). */
export interface PacketRules {
  readonly sender: "server" | "client";
  readonly protocol: 4 | 5;
  /** Bytes of the largest whole packet. */
  readonly maximumPacketBytes: number;
  /** Bytes of the largest first packet, whose sender is not yet authenticated. */
  readonly maximumFirstBytes?: number;
  /** Bytes of the largest packet that is not PUBLISH: each filter of a list costs work. */
  readonly maximumOtherBytes?: number;
  /**
   * A PUBLISH over the limit is forwarded as if it ended there, and does not cut the connection: the device
   * that sent it gets an error answer. Properties (MQTT 5) are forwarded whole or not at all.
   */
  readonly truncateOversizedPublish?: boolean;
}

/** The fixed header of one packet, and its place in the stream. */
interface PacketHead {
  /** The first byte: type and flags. */
  readonly first: number;
  /** Remaining Length. */
  readonly length: number;
  /** Bytes of the whole packet. */
  readonly size: number;
  readonly isFirst: boolean;
}

interface Bounds {
  readonly least: number;
  readonly most: number;
}

type Table = ReadonlyMap<number, Bounds>;

const exactly = (bytes: number): Bounds => ({ least: bytes, most: bytes });
const from = (bytes: number): Bounds => ({ least: bytes, most: Number.POSITIVE_INFINITY });

const CONNECT = 1;
const CONNACK = 2;
export const PUBLISH = 3;
const PUBACK = 4;
const PUBREC = 5;
const PUBREL = 6;
const PUBCOMP = 7;
const SUBSCRIBE = 8;
const SUBACK = 9;
const UNSUBSCRIBE = 10;
const UNSUBACK = 11;
const PINGREQ = 12;
const PINGRESP = 13;
const DISCONNECT = 14;

/** Names by type (MQTT 5 section 2.1.2). */
const NAMES = [
  "packet of the reserved type 0",
  ..."CONNECT CONNACK PUBLISH PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK".split(" "),
  ..."UNSUBSCRIBE UNSUBACK PINGREQ PINGRESP DISCONNECT AUTH".split(" "),
];

function acknowledgements(bounds: Bounds): [number, Bounds][] {
  return [PUBACK, PUBREC, PUBREL, PUBCOMP].map((type) => [type, bounds]);
}

/** Remaining Length of the packets that a server may send. AUTH is never allowed: we never ask for it. */
const FROM_SERVER: Readonly<Record<4 | 5, Table>> = {
  4: new Map([
    [CONNACK, exactly(2)],
    [PUBLISH, from(2)],
    ...acknowledgements(exactly(2)),
    [SUBACK, from(3)],
    [UNSUBACK, exactly(2)],
    [PINGRESP, exactly(0)],
  ]),
  5: new Map([
    // A server that speaks only 3.1.1 refuses MQTT 5 in two bytes.
    [CONNACK, from(2)],
    [PUBLISH, from(3)],
    ...acknowledgements(from(2)),
    [SUBACK, from(4)],
    [UNSUBACK, from(4)],
    [PINGRESP, exactly(0)],
    [DISCONNECT, from(0)],
  ]),
};

/** The same for clients, in either protocol version: the first packet says which one it is. */
const FROM_CLIENT: Table = new Map([
  [CONNECT, from(10)],
  [PUBLISH, from(2)],
  ...acknowledgements(from(2)),
  [SUBSCRIBE, from(5)],
  [UNSUBSCRIBE, from(4)],
  [PINGREQ, exactly(0)],
  [DISCONNECT, from(0)],
]);

/** Why a packet with this header is not allowed; undefined if it is. */
export function headFault(rules: PacketRules, head: PacketHead): string | undefined {
  const type = head.first >> 4;
  const name = NAMES[type] ?? "";
  const bounds = (rules.sender === "server" ? FROM_SERVER[rules.protocol] : FROM_CLIENT).get(type);
  const opening = rules.sender === "server" ? CONNACK : CONNECT;
  if (head.isFirst && type !== opening) return `${name} before ${NAMES[opening]}`;
  if (!head.isFirst && type === opening) return `a second ${name}`;
  if (bounds === undefined) return `${name}, which a ${rules.sender} must not send`;
  if (hasWrongFlags(head.first)) return `${name} with wrong flags`;
  const { length } = head;
  if (length < bounds.least || length > bounds.most) return `${name} of a wrong length (${length})`;
  return undefined;
}

/** Why a packet is too large; undefined if it is not. */
export function sizeFault(
  rules: PacketRules,
  { first, size, isFirst }: PacketHead,
): string | undefined {
  const { maximumFirstBytes = size, maximumOtherBytes = size } = rules;
  let most = rules.maximumPacketBytes;
  if (isFirst) most = Math.min(most, maximumFirstBytes);
  else if (first >> 4 !== PUBLISH) most = Math.min(most, maximumOtherBytes);
  return size > most ? `a packet of ${size} bytes; the limit is ${most}` : undefined;
}

/** MQTT 5 section 2.1.3: flags are reserved, except those of PUBLISH; QoS 3 does not exist. */
function hasWrongFlags(first: number): boolean {
  const type = first >> 4;
  if (type === PUBLISH) return (first & 0b0110) === 0b0110;
  const wanted = type === PUBREL || type === SUBSCRIBE || type === UNSUBSCRIBE ? 0b0010 : 0;
  return (first & 0b1111) !== wanted;
}
