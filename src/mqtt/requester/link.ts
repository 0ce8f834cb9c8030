import { settlesWithin } from "../../base/async.ts";
import type { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { Connection, randomClientId, type ConnectionOptions } from "../client/connection.ts";
import type { Session } from "../client/session.ts";
import type { RequesterOptions, WatchedConnection } from "../contract.ts";
import { ConnectionLost, type Incoming } from "../protocol/message.ts";
import { agentAddressOf, type AgentAddress } from "../protocol/topics.ts";

interface QuietConnection {
  readonly connection: Connection;
  /** Rejects with the first failure to connect, or the first loss. */
  readonly failed: Promise<never>;
}

/** Connects for a caller that reports losses itself. */
export function openQuietConnection(options: ConnectionOptions): QuietConnection {
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});
  const onLoss = (failure: Failure): void => {
    failed.reject(failure);
    options.onLoss?.(failure);
  };
  const connection = new Connection({
    ...options,
    // All nodes together are tried within that time.
    connectTimeoutMs: options.connectTimeoutMs / options.settings.broker.length,
    log: quietLog(options.log),
    onLoss,
  });
  void connection.ended.then((failure) => failure && onLoss(failure));
  return { connection, failed: failed.promise };
}

function quietLog(log: Log): Log {
  const debug: Log["debug"] = (message, fields) => log.debug(message, fields);
  return { ...log, debug, info: debug, warn: debug };
}

/** The address that is connected; none where there is only one. */
type NodeFact = Pick<WatchedConnection, "broker">;

/** A connection to the broker, shared by requests and watches. */
export interface RequesterLink extends QuietConnection {
  readonly node: () => NodeFact;
  readonly options: RequesterOptions;
  readonly address: AgentAddress;
  /** Subscribes now and after each reconnect, until the returned function is called. */
  listen(filters: readonly string[], listener: LinkListener): Promise<() => void>;
}

export interface LinkListener {
  readonly message: (message: Incoming) => void;
  readonly lost: (failure: Failure) => void;
  readonly restored: (node: NodeFact) => void;
  /** Whether filters with wildcards get retained messages; those without always do. */
  readonly retained?: boolean;
}

/** Milliseconds between attempts after a loss; short, because a person waits. */
const RECONNECT_MS = 1_000;
/** Far more than any answer; a larger packet is an attack on our memory. */
const MAXIMUM_PACKET_BYTES = 16_777_216;

/** Subscriptions that nobody needs any more, at which they are ended: brokers bound those of a client. */
const MOST_UNUSED = 32;

/** The subscriptions that nobody needs any more, until they are ended together. */
function createUnused(session: () => Session | undefined) {
  const unused = new Set<string>();
  return {
    add(filters: readonly string[]): void {
      for (const filter of filters) unused.add(filter);
      if (unused.size < MOST_UNUSED) return;
      const all = [...unused];
      unused.clear();
      // A loss ends them, too.
      session()
        ?.unsubscribe(all)
        .catch(() => {});
    },
    remove(filters: readonly string[]): void {
      for (const filter of filters) unused.delete(filter);
    },
    clear: (): void => unused.clear(),
  };
}

/** Connects, and reconnects after each loss. */
export function openLink(options: RequesterOptions): RequesterLink {
  const { settings } = options.channel;
  const listeners = new Map<LinkListener, readonly string[]>();
  const unused = createUnused(() => connection.session());
  let sessions = 0;
  const { connection, failed } = openQuietConnection({
    clientId: randomClientId("picoclaw-cli"),
    settings,
    connectTimeoutMs: options.connectTimeoutMs,
    reconnectMs: RECONNECT_MS,
    maximumPacketBytes: MAXIMUM_PACKET_BYTES,
    log: options.log,
    onMessage(message) {
      for (const listener of listeners.keys()) listener.message(message);
      return undefined;
    },
    async onSession(session) {
      sessions += 1;
      unused.clear();
      for (const [listener, filters] of listeners)
        await session.subscribe(filters, 1, optionsOf(listener));
      if (sessions === 1) return;
      for (const listener of listeners.keys()) listener.restored(nodeOf(session));
    },
    onLoss(failure) {
      for (const listener of listeners.keys()) listener.lost(failure);
    },
  });
  const nodeOf = (session: Session | undefined): NodeFact =>
    session === undefined || settings.broker.length === 1 ? {} : { broker: session.broker };
  return {
    node: () => nodeOf(connection.session()),
    options,
    address: agentAddressOf(settings),
    connection,
    failed,
    async listen(filters, listener) {
      const session = await connection.ready(options.signal);
      listeners.set(listener, filters);
      unused.remove(filters);
      const stop = (): void => {
        listeners.delete(listener);
        const used = new Set([...listeners.values()].flat());
        unused.add(filters.filter((filter) => !used.has(filter)));
      };
      await subscribeNow(session, filters, listener).catch((error: unknown) => {
        stop();
        throw error;
      });
      return stop;
    },
  };
}

/** Subscribes. After a loss the next session does, for every listener. */
async function subscribeNow(
  session: Session,
  filters: readonly string[],
  listener: LinkListener,
): Promise<void> {
  try {
    await session.subscribe(filters, 1, optionsOf(listener));
  } catch (error) {
    if (!(error instanceof ConnectionLost)) throw error;
  }
}

function optionsOf({ retained }: LinkListener) {
  return retained === undefined ? {} : { retained };
}

const QUEUE_SIZE = 10_000;

/** A bounded queue between callbacks and one async reader. */
export interface BoundedQueue<T> {
  /** Never blocks; a full queue drops the item and counts it. */
  put(item: T): void;
  /** The next item; undefined when `ms` pass first. Rejects with the signal's reason. */
  take(ms: number, signal: AbortSignal): Promise<T | undefined>;
  /** Items dropped since the last call. */
  dropped(): number;
}

export function createBoundedQueue<T>(size = QUEUE_SIZE): BoundedQueue<T> {
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
