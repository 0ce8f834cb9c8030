import type { Duplex, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { collectGarbage } from "../../base/host.ts";
import { createFramer, type OpenPacket } from "./framing.ts";
import type { PacketRules } from "./rules.ts";

/** The other side broke the protocol, and the connection was cut for it. */
export class ProtocolFault extends Error {
  override readonly name = "ProtocolFault";
}

export type LimiterOptions = PacketRules & {
  /** Milliseconds in which a packet must be whole once it has begun, beside those that its size allows. */
  readonly packetMs?: number;
  /** Is told how many bytes there are of a packet that is not whole yet, which its reader holds. */
  readonly onHeld?: (bytes: number) => void;
  /** Is asked after each piece; the next is handed on when it resolves, undefined is at once. */
  readonly ready?: () => Promise<void> | undefined;
};

const PACKET_MS = 60_000;
/** Acknowledgements in a second: each answers something of ours, and we never send so much in the long run. */
const MOST_SMALL = 20_000;
/** What may come at once: PUBREL or PUBCOMP for all that can be in flight (MQTT 5 section 2.2.1). */
const SMALL_AT_ONCE = 65_535;
/** A link that carries less than this for so long is none that a packet gets through on. */
const LEAST_BYTES_PER_MS = 4;

/**
 * Stands between a connection and the library that reads it, which buffers every packet whole, however
 * large, before anything looks at it, and throws at some that are malformed. What must not come cuts the
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
  // The library reads through pipe() alone; a stream of its own in between would cost more than all the rest.
  Reflect.set(stream, "pipe", pipe);
  return stream;
}

interface Feed {
  readonly take: PacketTaker;
  /** Nothing more comes; the destination hears of it when it has the rest. */
  readonly end: () => void;
}

/**
 * Hands piece after piece to the destination, the next when the one before was taken in, and lets others
 * have their turn in between: a flood must not keep signals and timers waiting.
 */
function createFeed(
  stream: Duplex,
  destination: Writable,
  { cut, ready }: Pick<LimiterOptions, "ready"> & { readonly cut: (reason: string) => void },
): Feed {
  const queue: Buffer[] = [];
  const pauseAfter = createPauses(ready);
  let isEnding = false;
  /** The cost of a piece, on average of those that came together. */
  let each = 0;
  let isBusy = false;
  const next = (): void => {
    if (isBusy || stream.destroyed) return;
    const piece = queue.shift();
    if (piece === undefined) return;
    isBusy = true;
    const fault = faultOfWriting(destination, piece, taken);
    if (fault !== undefined) cut(fault);
  };
  const taken = (): void => {
    const pause = pauseAfter(each);
    if (pause === undefined) goOn();
    else {
      isBusy = true;
      stream.pause();
      void pause.then(goOn);
    }
  };
  const goOn = (): void => {
    isBusy = false;
    if (queue.length > 0) setImmediate(next);
    else if (isEnding) destination.end();
    else if (stream.isPaused()) stream.resume();
  };
  return {
    take(pieces, cost) {
      each = cost / Math.max(pieces.length, 1);
      queue.push(...pieces);
      // What was left out altogether costs its time all the same.
      if (!isBusy && pieces.length === 0) taken();
      else next();
      if (isBusy && queue.length > 0) stream.pause();
    },
    end() {
      isEnding = true;
      if (!isBusy && queue.length === 0) destination.end();
    },
  };
}

/** When to go on behind a piece of that cost; undefined is at once. */
function createPauses(ready: LimiterOptions["ready"]): (cost: number) => Promise<void> | undefined {
  const pace = createThrottle();
  return (cost) => {
    const wait = pace(cost);
    return wait > 0 ? sleep(wait).then(() => ready?.()) : ready?.();
  };
}

function faultOfWriting(
  destination: Writable,
  piece: Buffer,
  taken: () => void,
): string | undefined {
  try {
    destination.write(piece, taken);
    return undefined;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
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
  /** Hands on what may be handed on, and cuts the connection for the rest; nothing is handed on after that. */
  take(chunk: Buffer, handOn: PacketTaker): void;
  readonly stop: () => void;
}

/** Follows the packets of one connection; `cut` is called once, at the first that must not come. */
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
      timer = setTimeout(() => cutNow(`a packet that was not whole after ${ms / 1000} s`), ms);
      timer.unref();
    }
  };
  const isFlood = createFloodDetector();
  return {
    take(chunk, handOn) {
      if (isCut) return;
      const { pieces, cost, small, fault } = frames.take(chunk);
      if (isFlood(small)) cutNow(`more than ${MOST_SMALL} acknowledgements in a second`);
      else handOn(pieces, cost);
      if (fault !== undefined) return cutNow(fault);
      const open = frames.open();
      time(open);
      onHeld?.(open?.held ?? 0);
    },
    stop,
  };
}

/** Cost in so many milliseconds: several times what a gateway can serve. */
const MOST_COST = 1_250;
const PACE_MS = 62;
/** As much in so long is no flood that has to wait, but leaves as much to collect. */
const BUSY_MS = 1_000;
/** What was taken in during a flood is worked on, and thrown away, for a while after it. */
const AFTERMATH_MS = 10_000;
const COLLECT_MS = 100;

/**
 * How many milliseconds are to pass before more is taken in: none, but in a flood. What a flood leaves is
 * collected at once: the runtimes would let it grow by tens of megabytes first.
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
    collectGarbage();
    collectGarbageUntil(now + AFTERMATH_MS);
    return Math.max(0, PACE_MS - took);
  };
}

/** One for the process, as its memory is. */
const collecting: { until: number; timer?: ReturnType<typeof setInterval> | undefined } = {
  until: 0,
};

function collectGarbageUntil(until: number): void {
  collecting.until = until;
  collecting.timer ??= setInterval(() => {
    collectGarbage();
    if (performance.now() < collecting.until) return;
    clearInterval(collecting.timer);
    collecting.timer = undefined;
  }, COLLECT_MS);
  collecting.timer.unref();
}
