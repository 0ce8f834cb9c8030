import type { Duplex, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../../base/failure.ts";
import { keepMemorySmall } from "../../base/memory.ts";
import { Framer, type OpenPacket } from "./framing.ts";
import type { PacketRules } from "./packet-rules.ts";

/** The peer broke the protocol, and the connection was cut. */
export class ProtocolFault extends Error {
  override readonly name = "ProtocolFault";
}

export type LimiterOptions = PacketRules & {
  /** Milliseconds in which a packet must be complete once it has begun; its size adds to them. */
  readonly packetMs?: number;
  /** Called with the number of bytes of an incomplete packet, which its reader buffers. */
  readonly onHeld?: (bytes: number) => void;
  /** Called after each piece; the next one is forwarded when it resolves, undefined is at once. */
  readonly ready?: () => Promise<void> | undefined;
};

const PACKET_MS = 60_000;
/** Acknowledgements per second: each answers a packet of ours, and we never send so many in the long run. */
const MOST_SMALL = 20_000;
/** Burst: PUBREL or PUBCOMP for all that can be in flight (MQTT 5 section 2.2.1). */
const SMALL_AT_ONCE = 65_535;
/** The slowest link over which a packet has time to arrive. */
const LEAST_BYTES_PER_MS = 4;

/**
 * Limits what the library reads from a connection. The library buffers every packet whole, however large,
 * before anything checks it, and throws at some malformed packets. A packet that is not allowed cuts the
 * connection: its stream fails with a `ProtocolFault`.
 */
export function limitIncoming(stream: Duplex, options: LimiterOptions): Duplex {
  const pipe = <Destination extends Writable>(destination: Destination): Destination => {
    const limiter = new PacketLimiter(stream, destination, options);
    stream.on("data", limiter.take);
    stream.once("end", () => limiter.end());
    stream.once("close", () => limiter.stop());
    return destination;
  };
  // The library reads only through pipe(); another stream in between would cost more than all the rest.
  Reflect.set(stream, "pipe", pipe);
  return stream;
}

/**
 * Follows the packets of one connection, and cuts it at the first that is not allowed. Writes piece after
 * piece to the destination, each when the one before was taken. In between it yields to the event loop: a
 * flood must not delay signals and timers.
 */
class PacketLimiter {
  readonly #stream: Duplex;
  readonly #destination: Writable;
  readonly #options: LimiterOptions;
  readonly #framer: Framer;
  readonly #isFlood = createFloodDetector();
  readonly #throttle = createThrottle();
  #isCut = false;
  /** The time limit of the incomplete packet with this number, plus 1; 0 is none. */
  #timed = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #queue: Buffer[] = [];
  /** The average cost of the pieces that came together. */
  #costEach = 0;
  #isBusy = false;
  #isEnding = false;

  constructor(stream: Duplex, destination: Writable, options: LimiterOptions) {
    this.#stream = stream;
    this.#destination = destination;
    this.#options = options;
    this.#framer = new Framer(options);
  }

  /** Forwards what is allowed. */
  readonly take = (chunk: Buffer): void => {
    if (this.#isCut) return;
    const { pieces, cost, small, fault } = this.#framer.take(chunk);
    if (this.#isFlood(small))
      return this.#cut(`more than ${MOST_SMALL} acknowledgements in a second`);
    this.#forward(pieces, cost);
    if (fault !== undefined) return this.#cut(fault);
    const open = this.#framer.open();
    this.#limitTime(open);
    this.#options.onHeld?.(open?.held ?? 0);
  };

  /** Nothing more comes; the destination ends when it has the rest. */
  end(): void {
    this.#isEnding = true;
    if (!this.#isBusy && this.#queue.length === 0) this.#destination.end();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timed = 0;
  }

  #forward(pieces: readonly Buffer[], cost: number): void {
    this.#costEach = cost / Math.max(pieces.length, 1);
    this.#queue.push(...pieces);
    // Bytes that are dropped altogether cost time, too.
    if (pieces.length === 0 && !this.#isBusy) this.#written();
    else this.#writeNext();
    if (this.#isBusy && this.#queue.length > 0) this.#stream.pause();
  }

  #cut(reason: string): void {
    if (this.#isCut) return;
    this.#isCut = true;
    this.stop();
    this.#stream.destroy(new ProtocolFault(reason));
  }

  #limitTime(open: OpenPacket | undefined): void {
    const timed = open === undefined ? 0 : open.number + 1;
    if (timed === this.#timed) return;
    this.stop();
    if (open === undefined) return;
    this.#timed = timed;
    const ms = (this.#options.packetMs ?? PACKET_MS) + open.size / LEAST_BYTES_PER_MS;
    this.#timer = setTimeout(
      () => this.#cut(`a packet that was incomplete after ${ms / 1000} s`),
      ms,
    );
    this.#timer.unref();
  }

  #writeNext(): void {
    if (this.#isBusy || this.#stream.destroyed) return;
    const piece = this.#queue.shift();
    if (piece === undefined) return;
    this.#isBusy = true;
    try {
      this.#destination.write(piece, this.#written);
    } catch (error) {
      this.#cut(`a packet that cannot be read (${messageOf(error)})`);
    }
  }

  readonly #written = (): void => {
    const wait = this.#throttle(this.#costEach);
    const { ready } = this.#options;
    const pause = wait > 0 ? sleep(wait).then(() => ready?.()) : ready?.();
    if (pause === undefined) return this.#resume();
    this.#isBusy = true;
    this.#stream.pause();
    void pause.then(() => this.#resume());
  };

  #resume(): void {
    this.#isBusy = false;
    if (this.#queue.length > 0) setImmediate(() => this.#writeNext());
    else if (this.#isEnding) this.#destination.end();
    else if (this.#stream.isPaused()) this.#stream.resume();
  }
}

function createFloodDetector(): (small: number) => boolean {
  let counted = 0;
  let since = performance.now();
  return (small) => {
    const now = performance.now();
    counted = Math.max(0, counted - ((now - since) / 1000) * MOST_SMALL) + small;
    since = now;
    return counted > MOST_SMALL + SMALL_AT_ONCE;
  };
}

/** Cost per `PACE_MS` above which reading is throttled: several times what a gateway can serve. */
const MOST_COST = 1_250;
const PACE_MS = 62;
/** The same cost in more than this is no flood. */
const BUSY_MS = 1_000;

/**
 * Returns a function that takes the cost of what was read and returns how many milliseconds to wait before
 * more is read: 0 unless it is a flood.
 */
function createThrottle(): (cost: number) => number {
  let counted = 0;
  let since = performance.now();
  return (cost) => {
    counted += cost;
    if (counted < MOST_COST) return 0;
    const now = performance.now();
    const took = now - since;
    counted = 0;
    since = Math.max(now, since + PACE_MS);
    keepMemorySmall(true);
    if (took > BUSY_MS) return 0;
    // However slowly a flood is worked on, everybody else gets a turn in between.
    return Math.max(1, PACE_MS - took);
  };
}
