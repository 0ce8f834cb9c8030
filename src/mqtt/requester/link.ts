import { settlesWithin } from "../../base/async.ts";
import type { Failure } from "../../base/failure.ts";
import { openConnection, quietLog, randomClientId } from "../client/connection.ts";
import type { Session } from "../client/session.ts";
import { dialAddressOf } from "../client/transport.ts";
import type { RequesterOptions } from "../contract.ts";
import { ConnectionLost, type Incoming } from "../protocol/message.ts";

/** A connection to the broker, shared by requests and watches. */
export interface RequesterLink {
  readonly options: RequesterOptions;
  readonly connection: ReturnType<typeof openConnection>;
  /** Subscribes now and after each reconnect, until the returned function is called. */
  listen(filters: readonly string[], listener: LinkListener): Promise<() => void>;
}

export interface LinkListener {
  readonly message: (message: Incoming) => void;
  readonly lost: (failure: Failure) => void;
  readonly restored: () => void;
}

/** Milliseconds between attempts after a loss; short, because a person waits. */
const RECONNECT_MS = 1_000;
/** Far more than any answer; a larger packet is an attack on our memory. */
const MAXIMUM_PACKET_BYTES = 16_777_216;

/** Connects under a random client id, and reconnects after each loss. `failed` resolves with the first failure. */
export function openLink(
  options: RequesterOptions,
): RequesterLink & { readonly failed: Promise<Failure> } {
  const { channel, connectTimeoutMs, log } = options;
  const { settings } = channel;
  const listeners = new Map<LinkListener, readonly string[]>();
  const failed = Promise.withResolvers<Failure>();
  let sessions = 0;
  const lost = (failure: Failure): void => {
    failed.resolve(failure);
    for (const listener of listeners.keys()) listener.lost(failure);
  };
  const connection = openConnection({
    address: dialAddressOf(settings),
    settings,
    clientId: randomClientId("picoclaw-cli"),
    connectTimeoutMs,
    reconnectMs: RECONNECT_MS,
    maximumPacketBytes: MAXIMUM_PACKET_BYTES,
    log: quietLog(log),
    onMessage(message) {
      for (const listener of listeners.keys()) listener.message(message);
      return undefined;
    },
    async onSession(session) {
      sessions += 1;
      for (const filters of listeners.values()) await session.subscribe(filters, 1);
      if (sessions > 1) for (const listener of listeners.keys()) listener.restored();
    },
    onLoss: lost,
  });
  void connection.ended.then((failure) => failure && lost(failure));
  return {
    options,
    connection,
    failed: failed.promise,
    async listen(filters, listener) {
      const session = await connection.ready(options.signal);
      listeners.set(listener, filters);
      const stop = (): void => void listeners.delete(listener);
      await subscribeNow(session, filters).catch((error: unknown) => {
        stop();
        throw error;
      });
      return stop;
    },
  };
}

/** Subscribes. After a loss the next session does, for every listener. */
async function subscribeNow(session: Session, filters: readonly string[]): Promise<void> {
  try {
    await session.subscribe(filters, 1);
  } catch (error) {
    if (!(error instanceof ConnectionLost)) throw error;
  }
}

/** A bounded queue between callbacks and one async reader. */
export interface BoundedQueue<T> {
  /** Never blocks; a full queue drops the item and counts it. */
  put(item: T): void;
  /** The next item; undefined when `ms` pass first. Rejects with the signal's reason. */
  take(ms: number, signal: AbortSignal): Promise<T | undefined>;
  /** Items dropped since the last call. */
  dropped(): number;
}

export function createBoundedQueue<T>(size: number): BoundedQueue<T> {
  const items: T[] = [];
  let lost = 0;
  let wake: (() => void) | undefined;
  return {
    put(item) {
      if (items.length >= size) lost += 1;
      else items.push(item);
      wake?.();
    },
    async take(ms, signal) {
      signal.throwIfAborted();
      if (items.length === 0) {
        const put = Promise.withResolvers<void>();
        wake = put.resolve;
        await settlesWithin(put.promise, ms, signal);
        wake = undefined;
      }
      return items.shift();
    },
    dropped() {
      const count = lost;
      lost = 0;
      return count;
    },
  };
}
