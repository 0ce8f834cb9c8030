import { headFault, type PacketRules, PUBLISH, sizeFault } from "./packet-rules.ts";

/** A packet may be so many times larger than the payload limit. */
const PACKET_SLACK = 4;
const LEAST_PACKET_BYTES = 1_048_576;

/** Bytes of the largest packet for this payload limit. */
export function packetLimit(maxPayloadBytes: number): number {
  return Math.min(Math.max(maxPayloadBytes * PACKET_SLACK, LEAST_PACKET_BYTES), 2 ** 28 - 1);
}

/** The result of feeding bytes: the slices to forward, and the protocol fault, if any. */
export interface FeedResult {
  readonly pieces: readonly Buffer[];
  /** What they cost to process; a message costs 2. */
  readonly cost: number;
  /** How many packets began that are not PUBLISH. */
  readonly small: number;
  readonly fault: string | undefined;
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
const SMALL_COST = 0.5;
const BYTES_A_PACKET = 2048;
/** Packets in one piece: a parsed packet takes far more memory than its two bytes. */
const PACKETS_A_PIECE = 64;

/** A PUBLISH to truncate that has properties, which must stay complete. */
interface Oversized {
  readonly first: number;
  readonly length: number;
  readonly head: PublishHead;
}

/** Follows the packets of a stream by their fixed headers; payloads are neither read nor copied. */
export class Framer {
  readonly #rules: PacketRules;
  /** The chunk that is being read, its pieces to forward, and where the next piece begins. */
  #chunk: Buffer = Buffer.alloc(0);
  #pieces: Buffer[] = [];
  #start = 0;
  #fault: string | undefined;
  #cost = 0;
  #small = 0;
  #packets = 0;
  /** An incomplete fixed header. */
  #head: number[] = [];
  /** Set while it is not decided where its body ends. */
  #oversized: Oversized | undefined;
  /** Remaining bytes of the body: to forward, to drop, and to forward again. */
  #pass = 0;
  #drop = 0;
  #tail = 0;
  #size = 0;
  #held = 0;

  constructor(rules: PacketRules) {
    this.#rules = rules;
  }

  /** Must not be called again after a fault. */
  take(chunk: Buffer): FeedResult {
    this.#chunk = chunk;
    this.#pieces = [];
    this.#start = 0;
    this.#cost = chunk.length / BYTES_A_PACKET;
    this.#small = 0;
    let at = 0;
    while (at < chunk.length && this.#fault === undefined) {
      if (this.#pass + this.#drop + this.#tail > 0) at = this.#readBody(at);
      else if (this.#oversized) at = this.#readOversized(this.#oversized, at);
      else at = this.#readHead(at);
    }
    this.#splice(this.#fault === undefined ? chunk.length : at, chunk.length);
    return { pieces: this.#pieces, cost: this.#cost, small: this.#small, fault: this.#fault };
  }

  /** The incomplete packet; undefined between packets. */
  open(): OpenPacket | undefined {
    const isInBody = this.#pass + this.#drop + this.#tail > 0 || this.#oversized !== undefined;
    if (isInBody) return { number: this.#packets, size: this.#size, held: this.#held };
    const { length } = this.#head;
    return length > 0 ? { number: this.#packets, size: length, held: 0 } : undefined;
  }

  /** Reads a fixed header, and begins its packet when it is complete; returns the position after it. */
  #readHead(begin: number): number {
    const head = this.#head;
    let at = begin;
    let isWhole = false;
    while (at < this.#chunk.length && !isWhole && head.length <= MOST_LENGTH_BYTES) {
      const byte = this.#chunk[at] ?? 0;
      isWhole = head.length > 0 && byte < 128;
      head.push(byte);
      at += 1;
    }
    if (isWhole) {
      this.#head = [];
      this.#beginPacket(head, begin, at);
    } else {
      // Held back until it is complete: it may be forwarded with another length.
      this.#splice(begin, at);
      if (head.length > MOST_LENGTH_BYTES) this.#fault = "a length of more than four bytes";
    }
    return at;
  }

  /** Decides how to forward the packet whose header is there; its bytes in this chunk are from `begin` to `at`. */
  #beginPacket(head: readonly number[], begin: number, at: number): void {
    const rules = this.#rules;
    const [first = 0, ...digits] = head;
    const length = numberOf(digits);
    const found = { first, length, size: head.length + length, isFirst: this.#packets === 0 };
    const isMessage = first >> 4 === PUBLISH;
    const tooLarge = sizeFault(rules, found);
    const isTruncated = isMessage && rules.truncateOversizedPublish === true;
    this.#fault = headFault(rules, found) ?? (isTruncated ? undefined : tooLarge);
    if (this.#fault !== undefined) return this.#splice(begin, at);
    if (this.#packets % PACKETS_A_PIECE === 0) this.#splice(begin, begin);
    this.#packets += 1;
    this.#cost += isMessage ? PUBLISH_COST : SMALL_COST;
    if (!isMessage) this.#small += 1;
    this.#size = found.size;
    this.#held = head.length;
    if (tooLarge !== undefined) this.#beginOversized(first, length, begin, at);
    else {
      this.#pass = length;
      const isAsItCame = head.length === at - begin;
      if (!isAsItCame) this.#splice(begin, at, Buffer.from(head));
    }
  }

  #beginOversized(first: number, length: number, begin: number, at: number): void {
    if (this.#rules.protocol === 5) {
      this.#splice(begin, at);
      this.#oversized = { first, length, head: createPublishHead((first >> 1) & 3) };
      return;
    }
    const room = this.#room();
    this.#splice(begin, at, Buffer.from([first, ...digitsOf(room)]));
    // The last byte completes it, so that it is acknowledged when all of it has come, and not before.
    this.#pass = room - 1;
    this.#drop = length - room;
    this.#tail = 1;
  }

  /** The largest body that fits with any header. */
  #room(): number {
    return this.#rules.maximumPacketBytes - 1 - MOST_LENGTH_BYTES;
  }

  /** Reads the head of an MQTT 5 PUBLISH, and decides where the body ends when it is complete. */
  #readOversized({ first, length, head }: Oversized, begin: number): number {
    const at = head.take(this.#chunk, begin);
    this.#splice(begin, at);
    if (head.bytes().length >= length) this.#fault = "a PUBLISH that ends within its head";
    if (this.#fault !== undefined || !head.isWhole()) return at;
    const room = this.#room();
    const end = head.bytes().length + (head.propertyBytes() ?? Number.POSITIVE_INFINITY);
    // The rest of the payload must still be too large for a request, so large properties are dropped.
    const start = end <= room / 2 ? head.bytes() : head.bare();
    if (start.length >= room) {
      this.#fault = `a PUBLISH whose topic has ${start.length} bytes`;
      return at;
    }
    const rest = length - head.bytes().length;
    const pass = Math.min(room - start.length, rest) - 1;
    const fixed = Buffer.from([first, ...digitsOf(start.length + pass + 1)]);
    this.#pieces.push(Buffer.concat([fixed, start]));
    this.#held += start.length;
    this.#oversized = undefined;
    this.#pass = pass;
    this.#drop = rest - pass - 1;
    this.#tail = 1;
    return at;
  }

  /** Forwards or drops the available bytes of the body; returns the position after them. */
  #readBody(begin: number): number {
    const end = this.#chunk.length;
    const passed = Math.min(this.#pass, end - begin);
    this.#pass -= passed;
    let at = begin + passed;
    const dropped = this.#pass === 0 ? Math.min(this.#drop, end - at) : 0;
    this.#drop -= dropped;
    if (dropped > 0) this.#splice(at, at + dropped);
    at += dropped;
    const last = this.#pass + this.#drop === 0 ? Math.min(this.#tail, end - at) : 0;
    this.#tail -= last;
    this.#held += passed + last;
    return at + last;
  }

  /** Forwards the bytes before `begin`, and `replacement` in place of those from `begin` to `end`. */
  #splice(begin: number, end: number, replacement?: Buffer): void {
    const isWhole = begin - this.#start === this.#chunk.length;
    if (isWhole) this.#pieces.push(this.#chunk);
    else if (begin > this.#start) this.#pieces.push(this.#chunk.subarray(this.#start, begin));
    if (replacement !== undefined) this.#pieces.push(replacement);
    this.#start = end;
  }
}

/** The value of a Variable Byte Integer. */
function numberOf(digits: readonly number[]): number {
  let value = 0;
  for (const [index, digit] of digits.entries()) value += (digit & 127) * 128 ** index;
  return value;
}

/** The number as a Variable Byte Integer (MQTT 5 section 1.5.5). */
export function digitsOf(length: number): number[] {
  const digit = length % 128;
  return length < 128 ? [digit] : [digit + 128, ...digitsOf(Math.floor(length / 128))];
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

/** Holds no more bytes than the head has: at most 65,543. */
function createPublishHead(qos: number): PublishHead {
  const idBytes = qos > 0 ? ID_BYTES : 0;
  let held = Buffer.alloc(LENGTH_BYTES);
  let size = 0;
  /** Where the Property Length begins; unknown while the topic's length is. */
  let end: number | undefined;
  let digits = 0;
  const isWhole = (): boolean =>
    digits === MOST_LENGTH_BYTES || (digits > 0 && (held[size - 1] ?? 0) < 128);
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
        held = Buffer.concat([held, Buffer.alloc(end - size + MOST_LENGTH_BYTES)]);
      }
      return at;
    },
    isWhole,
    bytes: () => held.subarray(0, size),
    bare: () => Buffer.concat([held.subarray(0, end), Buffer.of(0)]),
    propertyBytes() {
      const number = [...held.subarray(end, size)];
      return (number.at(-1) ?? 128) < 128 ? numberOf(number) : undefined;
    },
  };
}
