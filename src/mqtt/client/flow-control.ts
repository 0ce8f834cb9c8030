import type { Readable } from "node:stream";
import type { MqttClient } from "mqtt";
import type { Log } from "../../base/log.ts";

/** How fast one connection is read. */
export interface FlowControl {
  /** Resolves when more may be read, within seconds; undefined is at once. Never rejects. */
  readonly ready: () => Promise<void> | undefined;
  /** Whether a PUBLISH of QoS 1 or 2 is neither handed over nor acknowledged; counts it then. */
  readonly sheds: () => boolean;
}

interface FlowControlOptions {
  readonly backlog: Backlog;
  /** Seconds; 0 is none. */
  readonly keepAlive: number;
  readonly log: Log;
}

/** A backlog that does not get smaller for so long is of a store that cannot write. */
const STALL_MS = 5_000;
/** Nothing else is read either meanwhile: PINGRESP, SUBACK and the acknowledgements of what we publish. */
const LONGEST_PAUSE_MS = 15_000;

/** How often a connection that sheds looks whether it is still one. */
const RECOVERY_MS = 1_000;
/** A broker that reads nothing gets no acknowledgement either; the rest has this long to leave. */
const FLUSH_MS = 2_000;

/**
 * Reads nothing while the backlog is full, or a little where that takes long. If the backlog does not get
 * smaller, or grows to twice as much nevertheless, reading goes on and messages are shed: the
 * broker holds them, and sends them again on the next connection (MQTT 5 section 4.4), which is made as soon
 * as the backlog has drained. None is handed over behind one that was shed, so that acknowledgements keep
 * the order of receipt (section 4.6).
 */
export function controlFlow(client: MqttClient, options: FlowControlOptions): FlowControl {
  const { backlog, keepAlive, log } = options;
  const keepAliveMs = keepAlive === 0 ? Number.POSITIVE_INFINITY : keepAlive * 1000;
  const state = { isPaused: false, isShedding: false, isOver: false, shed: 0 };
  client.once("close", () => {
    state.isOver = true;
  });
  keepAliveWhile(client, keepAliveMs, () => state.isPaused);
  const recover = async (): Promise<void> => {
    while (!(await backlog.room(RECOVERY_MS))) if (state.isOver) return;
    if (state.isOver) return;
    state.isShedding = state.shed > 0;
    if (!state.isShedding) return;
    log.warn("connecting anew, so that the broker sends what was left with it", {
      messages: state.shed,
    });
    endWhenWritten(client);
  };
  const wait = async (): Promise<void> => {
    state.isPaused = true;
    const isStalled = await pauseUntilRoom(backlog, keepAliveMs);
    state.isPaused = false;
    if (state.isOver || !(isStalled ? backlog.isFull() : backlog.isOverfull())) return;
    state.isShedding = true;
    log.warn("requests wait too long to be stored: further ones are left with the broker");
    void recover();
  };
  return {
    ready: () => (state.isShedding || !backlog.isFull() ? undefined : wait()),
    sheds() {
      if (state.isShedding) state.shed += 1;
      return state.isShedding;
    },
  };
}

/** Resolves when there is room or waiting longer is of no use; says whether the store takes nothing. */
async function pauseUntilRoom(backlog: Backlog, keepAliveMs: number): Promise<boolean> {
  const end = performance.now() + Math.min(LONGEST_PAUSE_MS, keepAliveMs);
  for (;;) {
    const now = performance.now();
    const stalled = backlog.movedAt() + Math.min(STALL_MS, keepAliveMs);
    if (now >= stalled || now >= end) return now >= stalled;
    if (await backlog.room(Math.min(end, stalled) - now)) return false;
  }
}

/** The library takes a PINGRESP that waits behind messages for a lost one: any packet is a sign of life. */
function keepAliveWhile(client: MqttClient, keepAliveMs: number, isPaused: () => boolean): void {
  let heardAt = 0;
  client.on("packetreceive", () => {
    heardAt = performance.now();
  });
  const timedOut = client.onKeepaliveTimeout.bind(client);
  client.onKeepaliveTimeout = () => {
    if (!isPaused() && performance.now() - heardAt > keepAliveMs) timedOut();
    else {
      client.sendPing();
      client.reschedulePing(true);
    }
  };
}

/** Ends the connection when what was said on it has left, acknowledgements above all. */
function endWhenWritten({ stream }: MqttClient): void {
  const end = performance.now() + FLUSH_MS;
  const timer = setInterval(() => {
    if (stream.writableLength > 0 && performance.now() < end) return;
    clearInterval(timer);
    stream.destroy();
  }, 10);
}

/** The messages of one channel that were handed over and are not stored yet. Outlives its connections. */
export interface Backlog {
  /** Counts a message with a payload of so many bytes until `stored` settles. */
  add(stored: Promise<void>, bytes: number): void;
  /** Whether no more messages should be read. */
  readonly isFull: () => boolean;
  /** Whether there are twice as many. */
  readonly isOverfull: () => boolean;
  /** `performance.now()` when a message of it was stored last, or when it became full, whichever is later. */
  readonly movedAt: () => number;
  /** Resolves with true as soon as it is less than half full, with false after `ms`. */
  room(ms: number): Promise<boolean>;
}

/** Far more than one group commit of the store takes. */
const MOST_MESSAGES = 512;
const MOST_BYTES = 8_388_608;

export function createBacklog(): Backlog {
  const waiting = new Set<() => void>();
  let messages = 0;
  let bytes = 0;
  let movedAt = 0;
  const isBeyond = (share: number): boolean =>
    messages > MOST_MESSAGES * share || bytes > MOST_BYTES * share;
  const change = (count: number, size: number): void => {
    const wasFull = isBeyond(1);
    messages += count;
    bytes += size;
    if (count < 0 || (!wasFull && isBeyond(1))) movedAt = performance.now();
  };
  return {
    add(stored, size) {
      change(1, size);
      const settled = (): void => {
        change(-1, -size);
        if (waiting.size > 0 && !isBeyond(0.5)) for (const wake of waiting) wake();
      };
      stored.then(settled, settled);
    },
    isFull: () => isBeyond(1),
    isOverfull: () => isBeyond(2),
    movedAt: () => movedAt,
    room(ms) {
      if (!isBeyond(0.5)) return Promise.resolve(true);
      return new Promise((resolve) => {
        const end = (hasRoom: boolean): void => {
          clearTimeout(timer);
          waiting.delete(wake);
          resolve(hasRoom);
        };
        const wake = (): void => end(true);
        const timer = setTimeout(end, ms, false);
        timer.unref();
        waiting.add(wake);
      });
    },
  };
}

const ACKNOWLEDGE_MS = 30_000;
const SOON_MS = 1_000;

/**
 * Milliseconds for which a stream was not paused: what has not come while nothing was read may be waiting
 * to be read.
 */
export function createReadingClock(stream: Readable): () => number {
  const begin = performance.now();
  let held = 0;
  let pausedAt: number | undefined = stream.isPaused() ? begin : undefined;
  stream.on("pause", () => {
    pausedAt ??= performance.now();
  });
  stream.on("resume", () => {
    // It is told a little later than it happens, when the stream may be paused again.
    if (stream.isPaused()) return;
    if (pausedAt !== undefined) held += performance.now() - pausedAt;
    pausedAt = undefined;
  });
  return () => {
    const now = performance.now();
    const holding = pausedAt === undefined ? 0 : now - pausedAt;
    return now - begin - held - holding;
  };
}

interface Watching {
  readonly abort: (reason: string) => void;
  readonly readingTime: () => number;
}

/** Gives the way to abort the connection unless something comes in time, held-up reading apart. */
export function createDeadlines({ abort, readingTime }: Watching): (what: string) => () => void {
  return (what) => {
    const due = readingTime() + ACKNOWLEDGE_MS;
    const look = (): void => {
      const left = due - readingTime();
      if (left > 0) timer = setTimeout(look, Math.max(left, SOON_MS));
      else abort(`no ${what} within ${ACKNOWLEDGE_MS / 1000} s`);
    };
    let timer = setTimeout(look, ACKNOWLEDGE_MS);
    return () => clearTimeout(timer);
  };
}

/** Trap: a client can stop noticing that its broker is gone; twice the keep alive without a packet is too long. */
export function watchKeepAlive(
  client: MqttClient,
  keepAlive: number,
  { abort, readingTime }: Watching,
): void {
  if (keepAlive === 0) return;
  let last = readingTime();
  client.on("packetreceive", () => {
    last = readingTime();
  });
  const timer = setInterval(() => {
    if (readingTime() - last > keepAlive * 2000) abort("nothing heard for twice the keep alive");
  }, keepAlive * 1000);
  timer.unref();
  client.once("close", () => clearInterval(timer));
}
