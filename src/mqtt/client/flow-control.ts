import type { Readable } from "node:stream";
import type { MqttClient } from "mqtt";
import type { Log } from "../../base/log.ts";

/** How fast one connection is read. */
export interface FlowControl {
  /** Resolves when more may be read, within seconds; undefined is at once. Never rejects. */
  readonly ready: () => Promise<void> | undefined;
  /** Whether a PUBLISH of QoS 1 or 2 is left with the broker: neither handed over nor acknowledged. Counts it. */
  readonly sheds: () => boolean;
}

interface FlowControlOptions {
  readonly backlog: Backlog;
  /** Seconds; 0 is none. */
  readonly keepAlive: number;
  readonly log: Log;
}

/** If the backlog does not get smaller for so long, the store cannot write. */
const STALL_MS = 5_000;
/** While reading is paused nothing else is read either: PINGRESP, SUBACK, and acknowledgements of our publishes. */
const LONGEST_PAUSE_MS = 15_000;

/** How often a connection that sheds checks whether it has been closed. */
const RECOVERY_MS = 1_000;
/** How long acknowledgements have to leave before the connection is closed. */
const FLUSH_MS = 2_000;

/**
 * Pauses reading while the backlog is full; if that takes long, reads a little in between. If the backlog
 * does not get smaller, or grows to twice its limit, reading goes on and messages are shed: the broker keeps
 * them and sends them again on the next connection (MQTT 5 section 4.4), which is made as soon as the
 * backlog has drained. After the first message that is shed none is handed over, so that acknowledgements
 * keep the order of receipt (section 4.6).
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
    log.warn("reconnecting so that the broker sends the requests again", { messages: state.shed });
    endWhenWritten(client);
  };
  const wait = async (): Promise<void> => {
    state.isPaused = true;
    const isStalled = await pauseUntilRoom(backlog, keepAliveMs);
    state.isPaused = false;
    if (state.isOver || !(isStalled ? backlog.isFull() : backlog.isOverfull())) return;
    state.isShedding = true;
    log.warn("requests wait too long to be stored: the broker keeps further ones");
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

/** Resolves when there is room, or when the time is over; with true if the store makes no progress. */
async function pauseUntilRoom(backlog: Backlog, keepAliveMs: number): Promise<boolean> {
  const end = performance.now() + Math.min(LONGEST_PAUSE_MS, keepAliveMs);
  for (;;) {
    const now = performance.now();
    const stalled = backlog.movedAt() + Math.min(STALL_MS, keepAliveMs);
    if (now >= stalled || now >= end) return now >= stalled;
    if (await backlog.room(Math.min(end, stalled) - now)) return false;
  }
}

/** The library misses a PINGRESP that waits behind messages, so here any packet is a sign of life. */
function keepAliveWhile(client: MqttClient, keepAliveMs: number, isPaused: () => boolean): void {
  let lastPacketAt = 0;
  client.on("packetreceive", () => {
    lastPacketAt = performance.now();
  });
  const timedOut = client.onKeepaliveTimeout.bind(client);
  client.onKeepaliveTimeout = () => {
    if (!isPaused() && performance.now() - lastPacketAt > keepAliveMs) timedOut();
    else {
      client.sendPing();
      client.reschedulePing(true);
    }
  };
}

/** Closes the connection when what we sent has left, acknowledgements above all. */
function endWhenWritten({ stream }: MqttClient): void {
  const end = performance.now() + FLUSH_MS;
  const timer = setInterval(() => {
    if (stream.writableLength > 0 && performance.now() < end) return;
    clearInterval(timer);
    stream.destroy();
  }, 10);
}

/** Counts the messages of one channel that were handed over and are not stored yet, across its connections. */
export interface Backlog {
  /** Counts a message and the bytes of its payload until `stored` settles. */
  add(stored: Promise<void>, bytes: number): void;
  /** Whether reading should pause. */
  readonly isFull: () => boolean;
  /** Whether there is twice as much as `isFull` says. */
  readonly isOverfull: () => boolean;
  /** `performance.now()` of the last message that was stored, or of when it became full, whichever is later. */
  readonly movedAt: () => number;
  /** Resolves with true as soon as it is less than half full, or with false after `ms`. */
  room(ms: number): Promise<boolean>;
}

/** Far more than one group commit of the store. */
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

/** Counts the milliseconds in which a stream was not paused: data may wait unread while it is paused. */
export function createReadingClock(stream: Readable): () => number {
  const begin = performance.now();
  let pausedMs = 0;
  let pausedAt: number | undefined = stream.isPaused() ? begin : undefined;
  stream.on("pause", () => {
    pausedAt ??= performance.now();
  });
  stream.on("resume", () => {
    // The event comes a little later than the resume, when the stream may be paused again.
    if (stream.isPaused()) return;
    if (pausedAt !== undefined) pausedMs += performance.now() - pausedAt;
    pausedAt = undefined;
  });
  return () => {
    const now = performance.now();
    const pausing = pausedAt === undefined ? 0 : now - pausedAt;
    return now - begin - pausedMs - pausing;
  };
}

interface Liveness {
  readonly abort: (reason: string) => void;
  readonly readingTime: () => number;
}

/**
 * Returns a function that aborts the connection unless the function that it returns is called in time. The
 * time in which reading is paused does not count.
 */
export function createDeadlines({ abort, readingTime }: Liveness): (what: string) => () => void {
  return (what) => {
    const due = readingTime() + ACKNOWLEDGE_MS;
    const check = (): void => {
      const left = due - readingTime();
      if (left > 0) timer = setTimeout(check, Math.max(left, SOON_MS));
      else abort(`no ${what} within ${ACKNOWLEDGE_MS / 1000} s`);
    };
    let timer = setTimeout(check, ACKNOWLEDGE_MS);
    return () => clearTimeout(timer);
  };
}

/** Aborts after twice the keep alive without a packet: the library can fail to notice that its broker is gone. */
export function watchKeepAlive(
  client: MqttClient,
  keepAlive: number,
  { abort, readingTime }: Liveness,
): void {
  if (keepAlive === 0) return;
  let last = readingTime();
  client.on("packetreceive", () => {
    last = readingTime();
  });
  const timer = setInterval(() => {
    if (readingTime() - last > keepAlive * 2000) abort("no packet for twice the keep alive");
  }, keepAlive * 1000);
  timer.unref();
  client.once("close", () => clearInterval(timer));
}
