import type { Readable } from "node:stream";
import type { MqttClient } from "mqtt";

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
