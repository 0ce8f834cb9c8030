import { headFault, PUBLISH, sizeFault, type PacketRules } from "./rules.ts";

/** What follows from some bytes: those of them to be handed on, and what is wrong with what comes next. */
export interface FeedResult {
  readonly pieces: readonly Buffer[];
  /** What reading them costs: a message is 2. */
  readonly cost: number;
  /** How many of the packets that began are no messages. */
  readonly small: number;
  readonly fault?: string;
}

/** Follows the packets of a stream by their fixed headers alone; payloads are neither read nor copied. */
export interface Framer {
  take(chunk: Buffer): FeedResult;
  /** The packet that has begun and is not whole yet; undefined between packets. */
  readonly open: () => OpenPacket | undefined;
}

export interface OpenPacket {
  /** Counted from 1; it changes once more when the header is whole. */
  readonly number: number;
  /** Bytes of the whole packet, where its header is known, and of it those that were handed on. */
  readonly size: number;
  readonly held: number;
}

/** A Variable Byte Integer has at most four bytes (MQTT 5 section 1.5.5). */
const MOST_LENGTH_BYTES = 4;

/** A message is answered, or refused at least: that costs far more than an acknowledgement, or some bytes. */
const PUBLISH_COST = 2;
const SMALL_COST = 0.25;
const BYTES_A_PACKET = 2048;
/** Packets in one piece: what a reader makes of each of them takes far more memory than its two bytes. */
const PACKETS_A_PIECE = 64;

/** What is to become of a packet's body: bytes to hand on, to leave out, and to hand on again. */
interface Body {
  readonly pass: number;
  readonly drop: number;
  readonly tail: number;
  /** What to hand on before it: the fixed header, and what of the body was read already. */
  readonly head: Buffer;
}

/** A packet that is to be shortened and has properties, which must stay whole. */
interface Oversized {
  readonly first: number;
  readonly length: number;
  readonly head: PublishHead;
}

interface State {
  /** A fixed header that is not whole yet. */
  head: number[];
  /** Its end is not decided on yet. */
  oversized: Oversized | undefined;
  pass: number;
  drop: number;
  tail: number;
  size: number;
  held: number;
  packets: number;
  cost: number;
  small: number;
}

export function createFramer(rules: PacketRules): Framer {
  const state: State = {
    head: [],
    oversized: undefined,
    pass: 0,
    drop: 0,
    tail: 0,
    size: 0,
    held: 0,
    packets: 0,
    cost: 0,
    small: 0,
  };
  return {
    open() {
      const { size, held, head, oversized, packets: number } = state;
      if (restOf(state) > 0 || oversized) return { number, size, held };
      return head.length > 0 ? { number, size: head.length, held: 0 } : undefined;
    },
    take(chunk) {
      const cutter = createSplicer(chunk);
      const { cost: before, small: smallBefore } = state;
      let at = 0;
      let fault: string | undefined;
      while (at < chunk.length && fault === undefined) {
        const begin = at;
        if (restOf(state) > 0) at = readBody(state, cutter, chunk.length, at);
        else if (state.oversized) {
          at = state.oversized.head.take(chunk, begin);
          cutter.leaveOut(begin, at);
          fault = truncateBody(state, state.oversized, rules, cutter);
        } else {
          at = readHead(state.head, chunk, begin);
          fault = beginBody(state, rules, cutter, { begin, at });
        }
      }
      if (fault !== undefined) cutter.leaveOut(at, chunk.length);
      const cost = state.cost - before + chunk.length / BYTES_A_PACKET;
      const small = state.small - smallBefore;
      return { pieces: cutter.pieces(), cost, small, ...(fault !== undefined && { fault }) };
    },
  };
}

function restOf({ pass, drop, tail }: State): number {
  return pass + drop + tail;
}

function readHead(head: number[], chunk: Buffer, begin: number): number {
  let at = begin;
  while (at < chunk.length && !isHeaderWhole(head) && head.length <= MOST_LENGTH_BYTES) {
    head.push(chunk[at] ?? 0);
    at += 1;
  }
  return at;
}

function isHeaderWhole(head: readonly number[]): boolean {
  return head.length > 1 && (head.at(-1) ?? 0) < 128;
}

/** Decides what becomes of the packet whose header lies there; gives the fault of one that must not come. */
function beginBody(
  state: State,
  rules: PacketRules,
  cutter: Splicer,
  { begin, at }: { begin: number; at: number },
): string | undefined {
  const { head } = state;
  if (!isHeaderWhole(head)) {
    // Kept back until it is whole: it may be handed on with another length.
    cutter.leaveOut(begin, at);
    return head.length > MOST_LENGTH_BYTES ? "a length of more than four bytes" : undefined;
  }
  const body = bodyOf(head, rules, state.packets === 0);
  if (typeof body === "string") {
    cutter.leaveOut(begin, at);
    return body;
  }
  if (state.packets % PACKETS_A_PIECE === 0) cutter.leaveOut(begin, begin);
  const isMessage = (head[0] ?? 0) >> 4 === PUBLISH;
  state.cost += isMessage ? PUBLISH_COST : SMALL_COST;
  if (!isMessage) state.small += 1;
  Object.assign(state, { held: head.length, packets: state.packets + 1, head: [] });
  if ("length" in body) {
    cutter.leaveOut(begin, at);
    state.oversized = body;
    state.size = head.length + body.length;
    return undefined;
  }
  const isAsItCame = head.length === at - begin && body.drop === 0;
  if (!isAsItCame) cutter.leaveOut(begin, at, body.head);
  const { pass, drop, tail } = body;
  Object.assign(state, { pass, drop, tail, size: head.length + pass + drop + tail });
  return undefined;
}

/** Decides where the body ends once its head is there; gives the fault of one that cannot be shortened. */
function truncateBody(
  state: State,
  oversized: Oversized,
  rules: PacketRules,
  cutter: Splicer,
): string | undefined {
  const { first, length, head } = oversized;
  if (head.bytes().length >= length) return "a PUBLISH that ends within its head";
  if (!head.isWhole()) return undefined;
  const kept = rules.maximumPacketBytes - 1 - MOST_LENGTH_BYTES;
  const end = head.bytes().length + (head.propertyBytes() ?? Number.POSITIVE_INFINITY);
  // What is left of the payload must still be too large for a request. So is the rest without properties.
  const start = end <= kept / 2 ? head.bytes() : head.bare();
  if (start.length >= kept) return `a PUBLISH whose topic has ${start.length} bytes`;
  const rest = length - head.bytes().length;
  const pass = Math.min(kept - start.length, rest) - 1;
  const digits = digitsOf(start.length + pass + 1);
  cutter.insert(Buffer.concat([Buffer.from([first, ...digits]), start]));
  state.held += start.length;
  Object.assign(state, { oversized: undefined, pass, drop: rest - pass - 1, tail: 1 });
  return undefined;
}

function bodyOf(
  bytes: readonly number[],
  rules: PacketRules,
  isFirst: boolean,
): Body | Oversized | string {
  const [first = 0, ...digits] = bytes;
  const length = digits.reduce((sum, digit, index) => sum + (digit & 127) * 128 ** index, 0);
  const found = { first, length, size: bytes.length + length, isFirst };
  const fault = headFault(rules, found);
  const tooLarge = sizeFault(rules, found);
  if (fault !== undefined) return fault;
  if (tooLarge === undefined) return { pass: length, drop: 0, tail: 0, head: Buffer.from(bytes) };
  if (rules.truncateOversizedPublish !== true || first >> 4 !== PUBLISH) return tooLarge;
  if (rules.protocol === 5) return { first, length, head: createPublishHead((first >> 1) & 3) };
  const kept = rules.maximumPacketBytes - 1 - MOST_LENGTH_BYTES;
  const head = Buffer.from([first, ...digitsOf(kept)]);
  // The last byte makes it whole, so that it is acknowledged when all of it has come, and not before.
  return { pass: kept - 1, drop: length - kept, tail: 1, head };
}

function digitsOf(length: number): number[] {
  const digit = length % 128;
  return length < 128 ? [digit] : [digit + 128, ...digitsOf(Math.floor(length / 128))];
}

/** Takes what there is of the body; the position behind it. */
function readBody(state: State, cutter: Splicer, end: number, begin: number): number {
  const passed = Math.min(state.pass, end - begin);
  state.pass -= passed;
  let at = begin + passed;
  const dropped = state.pass === 0 ? Math.min(state.drop, end - at) : 0;
  state.drop -= dropped;
  if (dropped > 0) cutter.leaveOut(at, at + dropped);
  at += dropped;
  const last = state.pass + state.drop === 0 ? Math.min(state.tail, end - at) : 0;
  state.tail -= last;
  state.held += passed + last;
  return at + last;
}

interface Splicer {
  /** Not to be handed on from here to there; `instead` is, in its place. */
  leaveOut(begin: number, end: number, instead?: Buffer): void;
  /** To be handed on behind what was left out last. */
  insert(bytes: Buffer): void;
  pieces(): readonly Buffer[];
}

function createSplicer(chunk: Buffer): Splicer {
  const pieces: Buffer[] = [];
  let start = 0;
  const handOn = (end: number): void => {
    if (end > start) pieces.push(end - start === chunk.length ? chunk : chunk.subarray(start, end));
  };
  return {
    leaveOut(begin, end, instead) {
      handOn(begin);
      if (instead !== undefined) pieces.push(instead);
      start = end;
    },
    insert: (bytes) => void pieces.push(bytes),
    pieces() {
      handOn(chunk.length);
      start = chunk.length;
      return pieces;
    },
  };
}

/** The start of the body of an MQTT 5 PUBLISH, up to and with its Property Length (MQTT 5 section 3.3.2). */
interface PublishHead {
  /** Reads on from there; the position behind what it took. It is whole when that is not the chunk's end. */
  take(chunk: Buffer, at: number): number;
  readonly isWhole: () => boolean;
  readonly bytes: () => Buffer;
  /** The same with a Property Length of 0. */
  readonly bare: () => Buffer;
  /** Property Length; undefined where it is malformed. */
  readonly propertyBytes: () => number | undefined;
}

const LENGTH_BYTES = 2;
const ID_BYTES = 2;
const MOST_DIGITS = 4;

/** Holds no more bytes than the head has: at most 65,543. */
function createPublishHead(qos: number): PublishHead {
  const idBytes = qos > 0 ? ID_BYTES : 0;
  let held = Buffer.alloc(LENGTH_BYTES);
  let size = 0;
  /** Where the Property Length begins; unknown while the topic's length is. */
  let end: number | undefined;
  let digits = 0;
  const isWhole = (): boolean =>
    digits === MOST_DIGITS || (digits > 0 && (held[size - 1] ?? 0) < 128);
  return {
    take(chunk, begin) {
      let at = begin;
      while (at < chunk.length && !isWhole()) {
        const most = end === undefined || size < end ? (end ?? LENGTH_BYTES) - size : 1;
        const taken = chunk.copy(held, size, at, Math.min(at + most, chunk.length));
        if (end !== undefined && size >= end) digits += 1;
        size += taken;
        at += taken;
        if (end !== undefined || size < LENGTH_BYTES) continue;
        end = LENGTH_BYTES + held.readUInt16BE(0) + idBytes;
        held = Buffer.concat([held, Buffer.alloc(end - size + MOST_DIGITS)]);
      }
      return at;
    },
    isWhole,
    bytes: () => held.subarray(0, size),
    bare: () => Buffer.concat([held.subarray(0, end), Buffer.of(0)]),
    propertyBytes() {
      const number = [...held.subarray(end, size)];
      const value = number.reduce((sum, digit, index) => sum + (digit & 127) * 128 ** index, 0);
      return (number.at(-1) ?? 128) < 128 ? value : undefined;
    },
  };
}
