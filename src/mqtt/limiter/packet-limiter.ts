import type { Duplex, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../../base/failure.ts";
import { collectGarbage, residentBytes } from "../../base/host.ts";
import { createFramer, type OpenPacket } from "./framing.ts";
import type { PacketRules } from "./rules.ts";

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
  const cut = (reason: string): void => void stream.destroy(new ProtocolFault(reason));
  const watch = watchPackets(options, cut);
  stream.once("close", watch.stop);
  const pipe = <Destination extends Writable>(destination: Destination): Destination => {
    const feed = createFeed(stream, destination, { ...options, cut });
    stream.on("data", (chunk: Buffer) => watch.take(chunk, feed.take));
    stream.once("end", feed.end);
    return destination;
  };
  // The library reads only through pipe(); another stream in between would cost more than all the rest.
  Reflect.set(stream, "pipe", pipe);
  return stream;
}

interface Feed {
  readonly take: PacketTaker;
  /** Nothing more comes; the destination ends when it has the rest. */
  readonly end: () => void;
}

/**
 * Writes piece after piece to the destination, each when the one before was taken. In between it yields to
 * the event loop: a flood must not delay signals and timers.
 */
function createFeed(
  stream: Duplex,
  destination: Writable,
  { cut, ready }: Pick<LimiterOptions, "ready"> & { readonly cut: (reason: string) => void },
): Feed {
  const queue: Buffer[] = [];
  const pauseAfter = createPauses(ready);
  let isEnding = false;
  /** The average cost of the pieces that came together. */
  let each = 0;
  let isBusy = false;
  const next = (): void => {
    if (isBusy || stream.destroyed) return;
    const piece = queue.shift();
    if (piece === undefined) return;
    isBusy = true;
    const fault = faultOfWriting(destination, piece, written);
    if (fault !== undefined) cut(fault);
  };
  const written = (): void => {
    const pause = pauseAfter(each);
    if (pause === undefined) resume();
    else {
      isBusy = true;
      stream.pause();
      void pause.then(resume);
    }
  };
  const resume = (): void => {
    isBusy = false;
    if (queue.length > 0) setImmediate(next);
    else if (isEnding) destination.end();
    else if (stream.isPaused()) stream.resume();
  };
  return {
    take(pieces, cost) {
      each = cost / Math.max(pieces.length, 1);
      queue.push(...pieces);
      // Bytes that are dropped altogether cost time, too.
      if (!isBusy && pieces.length === 0) written();
      else next();
      if (isBusy && queue.length > 0) stream.pause();
    },
    end() {
      isEnding = true;
      if (!isBusy && queue.length === 0) destination.end();
    },
  };
}

/** Returns a function that resolves when the next piece may follow one of that cost; undefined is at once. */
function createPauses(ready: LimiterOptions["ready"]): (cost: number) => Promise<void> | undefined {
  const throttle = createThrottle();
  return (cost) => {
    const wait = throttle(cost);
    return wait > 0 ? sleep(wait).then(() => ready?.()) : ready?.();
  };
}

function faultOfWriting(
  destination: Writable,
  piece: Buffer,
  written: () => void,
): string | undefined {
  try {
    destination.write(piece, written);
    return undefined;
  } catch (error) {
    const why = messageOf(error);
    return `a packet that cannot be read (${why})`;
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

type PacketTaker = (pieces: readonly Buffer[], cost: number) => void;

interface PacketWatch {
  /** Forwards what is allowed; cuts the connection at the first packet that is not, and forwards nothing more. */
  take(chunk: Buffer, forward: PacketTaker): void;
  readonly stop: () => void;
}

/** Follows the packets of one connection; calls `cut` once, at the first that is not allowed. */
function watchPackets(
  { packetMs = PACKET_MS, onHeld, ...rules }: LimiterOptions,
  cut: (reason: string) => void,
): PacketWatch {
  const frames = createFramer(rules);
  let isCut = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let timed = 0;
  const stop = (): void => {
    clearTimeout(timer);
    timed = 0;
  };
  const cutNow = (reason: string): void => {
    if (isCut) return;
    isCut = true;
    stop();
    cut(reason);
  };
  const time = (open: OpenPacket | undefined): void => {
    if (open === undefined) {
      if (timed > 0) stop();
    } else if (open.number + 1 !== timed) {
      stop();
      timed = open.number + 1;
      const ms = packetMs + open.size / LEAST_BYTES_PER_MS;
      timer = setTimeout(() => cutNow(`a packet that was incomplete after ${ms / 1000} s`), ms);
      timer.unref();
    }
  };
  const isFlood = createFloodDetector();
  return {
    take(chunk, forward) {
      if (isCut) return;
      const { pieces, cost, small, fault } = frames.take(chunk);
      if (isFlood(small)) cutNow(`more than ${MOST_SMALL} acknowledgements in a second`);
      else forward(pieces, cost);
      if (fault !== undefined) return cutNow(fault);
      const open = frames.open();
      time(open);
      onHeld?.(open?.held ?? 0);
    },
    stop,
  };
}

/** Cost per `PACE_MS` above which reading is throttled: several times what a gateway can serve. */
const MOST_COST = 1_250;
const PACE_MS = 62;
/** The same cost in this time does not throttle, but leaves as much garbage. */
const BUSY_MS = 1_000;
/** How long the messages of a flood are processed and become garbage after it. */
const AFTERMATH_MS = 10_000;
const COLLECT_MS = 100;
/** Growth of resident memory that is worth a collection. */
const GROWN_BYTES = 8 * 2 ** 20;

/**
 * Returns a function that takes the cost of what was read and returns how many milliseconds to wait before
 * more is read: 0 unless it is a flood. During and after a flood garbage is collected at once: the runtimes
 * would let memory grow by tens of megabytes first.
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
    if (took > BUSY_MS) return 0;
    collectIfGrown();
    collectGarbageUntil(now + AFTERMATH_MS);
    // However slowly a flood is worked on, everybody else gets a turn in between.
    return Math.max(1, PACE_MS - took);
  };
}

/** One timer for the process, whose memory it is about. */
const collecting: { until: number; timer?: ReturnType<typeof setInterval> | undefined } = {
  until: 0,
};

function collectGarbageUntil(until: number): void {
  collecting.until = until;
  collecting.timer ??= setInterval(() => {
    collectIfGrown();
    if (performance.now() < collecting.until) return;
    clearInterval(collecting.timer);
    collecting.timer = undefined;
  }, COLLECT_MS);
  collecting.timer.unref();
}

/** Resident memory in bytes after the last collection, or less where some was given back since. */
let resident = 0;

/** A collection holds up everything for milliseconds: without growth there is nothing to gain by it. */
function collectIfGrown(): void {
  const now = residentBytes();
  resident = Math.min(resident, now);
  if (now - resident < GROWN_BYTES) return;
  collectGarbage();
  resident = residentBytes();
}
