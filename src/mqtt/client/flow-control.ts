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
  /** Called for each message that is shed: its acknowledgement is never sent. */
  readonly withhold: () => void;
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
export function controlFlow(
  client: MqttClient,
  { backlog, keepAlive, log, withhold }: FlowControlOptions,
): FlowControl {
  const keepAliveMs = keepAlive === 0 ? Number.POSITIVE_INFINITY : keepAlive * 1000;
  let isShedding = false;
  let isOver = false;
  let shed = 0;
  client.once("close", () => {
    isOver = true;
  });
  const recover = async (): Promise<void> => {
    while (!(await backlog.room(RECOVERY_MS))) if (isOver) return;
    if (isOver) return;
    isShedding = shed > 0;
    if (!isShedding) return;
    log.warn("reconnecting so that the broker sends the requests again", { messages: shed });
    endWhenWritten(client);
  };
  const wait = async (): Promise<void> => {
    const isStalled = await pauseUntilRoom(backlog, keepAliveMs);
    if (isOver || backlog.level() <= (isStalled ? FULL : OVERFULL)) return;
    isShedding = true;
    log.warn("requests wait too long to be stored: the broker keeps further ones");
    void recover();
  };
  return {
    ready: () => (isShedding || backlog.level() <= FULL ? undefined : wait()),
    sheds() {
      if (!isShedding) return false;
      shed += 1;
      withhold();
      return true;
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

/** Closes the connection when what we sent has left, acknowledgements above all. */
function endWhenWritten({ stream }: MqttClient): void {
  const end = performance.now() + FLUSH_MS;
  const timer = setInterval(() => {
    if (stream.writableLength > 0 && performance.now() < end) return;
    clearInterval(timer);
    stream.destroy();
  }, 10);
}

/** Far more than one group commit of the store. */
const MOST_MESSAGES = 512;
const MOST_BYTES = 8_388_608;

/** Levels of a backlog: reading pauses above 1, goes on below a half, and messages are shed above 2. */
const HALF_FULL = 0.5;
const FULL = 1;
const OVERFULL = 2;

/** Counts the messages of one channel that were handed over and are not stored yet, across its connections. */
export class Backlog {
  #messages = 0;
  #bytes = 0;
  #movedAt = 0;
  readonly #waiting = new Set<() => void>();

  /** Counts a message and the bytes of its payload until `stored` settles. */
  add(stored: Promise<void>, bytes: number): void {
    const wasFull = this.level() > FULL;
    this.#messages += 1;
    this.#bytes += bytes;
    if (!wasFull && this.level() > FULL) this.#movedAt = performance.now();
    const settled = (): void => {
      this.#messages -= 1;
      this.#bytes -= bytes;
      this.#movedAt = performance.now();
      if (this.#waiting.size === 0 || this.level() > HALF_FULL) return;
      for (const wake of this.#waiting) wake();
    };
    stored.then(settled, settled);
  }

  /** How full it is, by messages or by bytes, whichever is more. */
  level(): number {
    return Math.max(this.#messages / MOST_MESSAGES, this.#bytes / MOST_BYTES);
  }

  /** `performance.now()` of the last message that was stored, or of when it became full, whichever is later. */
  movedAt(): number {
    return this.#movedAt;
  }

  /** Resolves with true as soon as it is less than half full, or with false after `ms`. */
  async room(ms: number): Promise<boolean> {
    if (this.level() <= HALF_FULL) return true;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const wake = (): void => resolve(true);
    const timer = setTimeout(resolve, ms, false);
    timer.unref();
    this.#waiting.add(wake);
    const hasRoom = await promise;
    clearTimeout(timer);
    this.#waiting.delete(wake);
    return hasRoom;
  }
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

/**
 * Finds that the broker is gone. The library misses a PINGRESP that waits behind messages, so here any packet
 * is a sign of life. It can also fail to notice: twice the keep alive without a packet aborts the connection.
 */
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
  const timedOut = client.onKeepaliveTimeout.bind(client);
  client.onKeepaliveTimeout = () => {
    if (readingTime() - last > keepAlive * 1000) return timedOut();
    client.sendPing();
    client.reschedulePing(true);
  };
  const timer = setInterval(() => {
    if (readingTime() - last > keepAlive * 2000) abort("no packet for twice the keep alive");
  }, keepAlive * 1000);
  timer.unref();
  client.once("close", () => clearInterval(timer));
}
