import { headFault, PUBLISH, sizeFault, type PacketRules } from "./rules.ts";

/** The result of feeding bytes: the slices to forward, and the protocol fault, if any. */
export interface FeedResult {
  readonly pieces: readonly Buffer[];
  /** What they cost to process; a message costs 2. */
  readonly cost: number;
  /** How many packets began that are not PUBLISH. */
  readonly small: number;
  readonly fault?: string;
}

/** Follows the packets of a stream by their fixed headers; payloads are neither read nor copied. */
export interface Framer {
  take(chunk: Buffer): FeedResult;
  /** The incomplete packet; undefined between packets. */
  readonly open: () => OpenPacket | undefined;
}

export interface OpenPacket {
  /** Counted from 1; changes again when the header is complete. */
  readonly number: number;
  /** Bytes of the whole packet, once its header is known, and how many of them were forwarded. */
  readonly size: number;
  readonly held: number;
}

/** A Variable Byte Integer has at most four bytes (MQTT 5 section 1.5.5). */
const MOST_LENGTH_BYTES = 4;

/** A message is answered or refused, which costs far more than an acknowledgement or some bytes. */
const PUBLISH_COST = 2;
const SMALL_COST = 0.25;
const BYTES_A_PACKET = 2048;
/** Packets in one piece: a parsed packet takes far more memory than its two bytes. */
const PACKETS_A_PIECE = 64;

/** How a packet's body is forwarded: bytes to pass, to drop, and to pass again. */
interface Body {
  readonly pass: number;
  readonly drop: number;
  readonly tail: number;
  /** Bytes to forward before it: the fixed header. */
  readonly head: Buffer;
}

/** A packet to truncate that has properties, which must stay complete. */
interface Oversized {
  readonly first: number;
  readonly length: number;
  readonly head: PublishHead;
}

interface State {
  /** An incomplete fixed header. */
  head: number[];
  /** Set while it is not decided where its body ends. */
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
      const splicer = createSplicer(chunk);
      const { cost: before, small: smallBefore } = state;
      let at = 0;
      let fault: string | undefined;
      while (at < chunk.length && fault === undefined) {
        const begin = at;
        if (restOf(state) > 0) at = readBody(state, splicer, chunk.length, at);
        else if (state.oversized) {
          at = state.oversized.head.take(chunk, begin);
          splicer.drop(begin, at);
          fault = truncateBody(state, state.oversized, rules, splicer);
        } else {
          at = readHead(state.head, chunk, begin);
          fault = beginBody(state, rules, splicer, { begin, at });
        }
      }
      if (fault !== undefined) splicer.drop(at, chunk.length);
      const cost = state.cost - before + chunk.length / BYTES_A_PACKET;
      const small = state.small - smallBefore;
      return { pieces: splicer.pieces(), cost, small, ...(fault !== undefined && { fault }) };
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

/** Decides how to forward the packet whose header is there; returns the fault of one that is not allowed. */
function beginBody(
  state: State,
  rules: PacketRules,
  splicer: Splicer,
  { begin, at }: { begin: number; at: number },
): string | undefined {
  const { head } = state;
  if (!isHeaderWhole(head)) {
    // Held back until it is complete: it may be forwarded with another length.
    splicer.drop(begin, at);
    return head.length > MOST_LENGTH_BYTES ? "a length of more than four bytes" : undefined;
  }
  const body = bodyOf(head, rules, state.packets === 0);
  if (typeof body === "string") {
    splicer.drop(begin, at);
    return body;
  }
  if (state.packets % PACKETS_A_PIECE === 0) splicer.drop(begin, begin);
  const isMessage = (head[0] ?? 0) >> 4 === PUBLISH;
  state.cost += isMessage ? PUBLISH_COST : SMALL_COST;
  if (!isMessage) state.small += 1;
  Object.assign(state, { held: head.length, packets: state.packets + 1, head: [] });
  if ("length" in body) {
    splicer.drop(begin, at);
    state.oversized = body;
    state.size = head.length + body.length;
    return undefined;
  }
  const isAsItCame = head.length === at - begin && body.drop === 0;
  if (!isAsItCame) splicer.drop(begin, at, body.head);
  const { pass, drop, tail } = body;
  Object.assign(state, { pass, drop, tail, size: head.length + pass + drop + tail });
  return undefined;
}

/** Decides where the body ends once its head is complete; returns the fault of one that cannot be truncated. */
function truncateBody(
  state: State,
  oversized: Oversized,
  rules: PacketRules,
  splicer: Splicer,
): string | undefined {
  const { first, length, head } = oversized;
  if (head.bytes().length >= length) return "a PUBLISH that ends within its head";
  if (!head.isWhole()) return undefined;
  const room = rules.maximumPacketBytes - 1 - MOST_LENGTH_BYTES;
  const end = head.bytes().length + (head.propertyBytes() ?? Number.POSITIVE_INFINITY);
  // The rest of the payload must still be too large for a request, so large properties are dropped.
  const start = end <= room / 2 ? head.bytes() : head.bare();
  if (start.length >= room) return `a PUBLISH whose topic has ${start.length} bytes`;
  const rest = length - head.bytes().length;
  const pass = Math.min(room - start.length, rest) - 1;
  const digits = digitsOf(start.length + pass + 1);
  splicer.insert(Buffer.concat([Buffer.from([first, ...digits]), start]));
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
  const room = rules.maximumPacketBytes - 1 - MOST_LENGTH_BYTES;
  const head = Buffer.from([first, ...digitsOf(room)]);
  // The last byte completes it, so that it is acknowledged when all of it has come, and not before.
  return { pass: room - 1, drop: length - room, tail: 1, head };
}

function digitsOf(length: number): number[] {
  const digit = length % 128;
  return length < 128 ? [digit] : [digit + 128, ...digitsOf(Math.floor(length / 128))];
}

/** Forwards or drops the available bytes of the body; returns the position after them. */
function readBody(state: State, splicer: Splicer, end: number, begin: number): number {
  const passed = Math.min(state.pass, end - begin);
  state.pass -= passed;
  let at = begin + passed;
  const dropped = state.pass === 0 ? Math.min(state.drop, end - at) : 0;
  state.drop -= dropped;
  if (dropped > 0) splicer.drop(at, at + dropped);
  at += dropped;
  const last = state.pass + state.drop === 0 ? Math.min(state.tail, end - at) : 0;
  state.tail -= last;
  state.held += passed + last;
  return at + last;
}

interface Splicer {
  /** Drops the bytes from `begin` to `end`; forwards `replacement` in their place. */
  drop(begin: number, end: number, replacement?: Buffer): void;
  /** Forwards bytes after those that were dropped last. */
  insert(bytes: Buffer): void;
  pieces(): readonly Buffer[];
}

function createSplicer(chunk: Buffer): Splicer {
  const pieces: Buffer[] = [];
  let start = 0;
  const forward = (end: number): void => {
    if (end > start) pieces.push(end - start === chunk.length ? chunk : chunk.subarray(start, end));
  };
  return {
    drop(begin, end, replacement) {
      forward(begin);
      if (replacement !== undefined) pieces.push(replacement);
      start = end;
    },
    insert: (bytes) => void pieces.push(bytes),
    pieces() {
      forward(chunk.length);
      start = chunk.length;
      return pieces;
    },
  };
}

/** The start of the body of an MQTT 5 PUBLISH, up to and with its Property Length (MQTT 5 section 3.3.2). */
interface PublishHead {
  /** Takes bytes from `at` on; returns the position after them. It is complete if that is not the chunk's end. */
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
        const copied = chunk.copy(held, size, at, Math.min(at + most, chunk.length));
        if (end !== undefined && size >= end) digits += 1;
        size += copied;
        at += copied;
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
