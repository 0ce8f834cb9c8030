import { abortable, createSerialQueue } from "../../base/async.ts";
import { asFailure, Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { isTopicFilter, matchesFilter } from "../../base/topic-filter.ts";
import type { MqttSettings } from "../../config/contract.ts";
import { Connection, randomClientId } from "../client/connection.ts";
import type { Session } from "../client/session.ts";
import { packetLimit } from "../limiter/framing.ts";
import { FilterTree } from "../protocol/filter-tree.ts";
import { ConnectionLost, type Incoming, type Published } from "../protocol/message.ts";
import { publishTopic } from "../protocol/topics.ts";
import { createMessagePace } from "./message-pace.ts";

export interface TopicFeedOptions {
  readonly settings: MqttSettings;
  readonly connectTimeoutMs: number;
  /** Milliseconds from a loss to the next attempt; 5,000 if left out. */
  readonly reconnectMs?: number;
  /** Prefixes of topics that are neither heard nor published to: the agents' own. */
  readonly reservedPrefixes: () => readonly string[];
  readonly log: Log;
}

/** What hears messages. Nothing of it may throw or block. */
export interface FeedListener {
  /** Messages of the same topic come in order; some are missing after a loss, or in a flood at QoS 0. */
  readonly onMessage: (message: FeedMessage) => void;
  /** Called with each connection but the first, before the retained messages of its subscriptions. */
  readonly onReconnect?: () => void;
}

export interface FeedMessage extends Pick<Incoming, "topic" | "payload"> {
  /** The broker had stored it: it comes at each subscription, and after each reconnect. */
  readonly retained: boolean;
}

/** The filters of one listener. A message that several of them match can come more than once. */
export interface FeedSubscription {
  /**
   * Adds filters. Resolves when the broker has accepted them, on the current or the next connection. Rejects with a
   * `Failure` for a filter that it refused (which is tried again on the next connection) or that is none, if there
   * are too many, and if the feed has ended; and with the signal's reason.
   */
  add(filters: readonly string[], signal?: AbortSignal): Promise<void>;
  remove(filters: readonly string[]): void;
  /** Removes all. */
  close(): void;
}

export interface FeedPublication {
  readonly topic: string;
  readonly payload: string;
  readonly retain: boolean;
  readonly qos: 0 | 1;
}

const RECONNECT_MS = 5_000;
/** Bytes of a payload that is handed on; larger ones are dropped. */
const MAX_PAYLOAD = 128 * 1024;
/** Filters of all listeners. */
const MAX_FILTERS = 30_000;
/** Refused filters that are warned of. */
const MAX_WARNINGS = 5;
/** Filters of one SUBSCRIBE packet. */
const FILTERS_AT_ONCE = 64;
/** A broker may end the connection for a filter with more levels, a longer one, or one with control characters. */
const MAX_LEVELS = 32;
const MAX_FILTER = 1_024;
const CONTROL = /[\p{Cc}\p{Noncharacter_Code_Point}]/u;

interface Listener extends FeedListener {
  readonly qos: 0 | 1;
}

/** A filter that is wanted. */
interface Wanted {
  listeners: readonly Listener[];
  /** The connection on which the broker has accepted or refused it for all of its listeners. */
  session: Session | undefined;
  refusal: Failure | undefined;
}

/**
 * Topics of one broker, over a connection that stays: it reconnects and subscribes again. A flood is read at a pace
 * that leaves time for everything else; what the broker cannot send meanwhile it queues or drops.
 */
export class TopicFeed {
  /** Resolves with the failure that no retry can mend, or with undefined after `close`. */
  readonly ended: Promise<Failure | undefined>;
  readonly #options: TopicFeedOptions;
  readonly #connection: Connection;
  #publisher: Connection | undefined;
  #isOver = false;
  readonly #wanted = new Map<string, Wanted>();
  readonly #wildcards = new FilterTree<string>();
  readonly #listeners = new Set<Listener>();
  readonly #pace = createMessagePace();
  /** Changes of subscriptions, one after the other. */
  readonly #inTurn = createSerialQueue();
  #hasConnected = false;
  #warnings = 0;

  constructor(options: TopicFeedOptions) {
    this.#options = options;
    this.#connection = new Connection({
      ...connectionOptionsOf(options),
      clientId: randomClientId("picoclaw-feed"),
      onMessage: (message) => this.#received(message),
      onSession: (session) => this.#connected(session),
    });
    this.ended = this.#connection.ended.then((failure) => {
      this.#isOver = true;
      void this.#publisher?.close();
      if (failure) {
        const { message, why, remedy } = failure;
        options.log.warn("topics of the broker are no longer heard", {
          error: message,
          why,
          try: remedy,
        });
      }
      return failure;
    });
  }

  get clientId(): string {
    return this.#connection.clientId;
  }

  /** Why nothing is heard; undefined while it is connected. */
  problem(): Failure | undefined {
    return this.#connection.problem();
  }

  /** Hears nothing until filters are added. */
  listen(listener: FeedListener, qos: 0 | 1): FeedSubscription {
    const own: Listener = { ...listener, qos };
    const filters = new Set<string>();
    this.#listeners.add(own);
    const remove = (some: readonly string[]): void => {
      const removed = some.filter((filter) => filters.delete(filter));
      for (const filter of removed) this.#drop(filter, own);
      this.#unsubscribe(removed);
    };
    return {
      add: async (some, signal) => {
        const added = some.filter((filter) => !filters.has(filter));
        const isTooMuch = this.#wanted.size + added.length > MAX_FILTERS;
        if (isTooMuch) throw new Failure("busy", `more than ${MAX_FILTERS} topics to listen to`);
        if (!added.every(isFeedFilter)) throw new Failure("bad_request", "not a topic filter");
        for (const filter of added) {
          filters.add(filter);
          this.#want(filter, own);
        }
        await this.#subscribe(added, signal);
      },
      remove,
      close: () => {
        this.#listeners.delete(own);
        remove([...filters]);
      },
    };
  }

  /**
   * Connects once more, for what is published. A broker with Nagle's algorithm holds back what it sends on a
   * connection that publishes and hears a few messages a second, until the kernel acknowledges its last packet: for
   * 40 ms. Until there is a second connection, messages leave on the first.
   */
  connectToPublish(): void {
    if (this.#publisher !== undefined || this.#isOver) return;
    this.#publisher = new Connection({
      ...connectionOptionsOf(this.#options),
      clientId: randomClientId("picoclaw-commands"),
      onMessage: () => undefined,
      onSession: () => Promise.resolve(),
    });
  }

  /**
   * Publishes on the current connection, or on the next one. Resolves when the broker has the message, as far as the
   * QoS guarantees. Rejects with a `Failure`, and with the signal's reason.
   */
  async publish(message: FeedPublication, signal: AbortSignal): Promise<Published> {
    const topic = publishTopic(message.topic);
    if (this.#isReserved(topic)) {
      throw new Failure("bad_request", "only the agent itself publishes to its topics");
    }
    this.connectToPublish();
    const session = this.#publisher?.session() ?? (await this.#connection.ready(signal));
    try {
      return await abortable(session.publish({ ...message, topic }), signal);
    } catch (error) {
      if (!(error instanceof ConnectionLost)) throw error;
      throw new Failure("unreachable", "the connection to the broker was lost");
    }
  }

  /** Disconnects, within two seconds. */
  async close(): Promise<void> {
    this.#isOver = true;
    await Promise.all([this.#connection.close(), this.#publisher?.close()]);
  }

  #isReserved(topic: string): boolean {
    return this.#options.reservedPrefixes().some((prefix) => matchesFilter(`${prefix}/#`, topic));
  }

  #want(filter: string, listener: Listener): void {
    const wanted = this.#wanted.get(filter);
    if (wanted === undefined) {
      this.#wanted.set(filter, { listeners: [listener], session: undefined, refusal: undefined });
      if (isWildcard(filter)) this.#wildcards.add(filter, filter);
      return;
    }
    wanted.listeners = [...wanted.listeners, listener];
    // Subscribed again: the broker sends the retained message once more, at the higher QoS of both.
    wanted.session = undefined;
  }

  #drop(filter: string, listener: Listener): void {
    const wanted = this.#wanted.get(filter);
    if (wanted === undefined) return;
    wanted.listeners = wanted.listeners.filter((one) => one !== listener);
    if (wanted.listeners.length > 0) return;
    this.#wanted.delete(filter);
    if (isWildcard(filter)) this.#wildcards.remove(filter, filter);
  }

  /** Resolves when the broker has accepted all of them. */
  async #subscribe(filters: readonly string[], signal: AbortSignal | undefined): Promise<void> {
    for (let isDone = filters.length === 0; !isDone;) {
      const session = await this.#connection.ready(signal);
      const subscribed = this.#inTurn(() => this.#subscribeOn(session, filters));
      isDone = await abortable(subscribed, signal).then(() => true, isLoss);
    }
    for (const filter of filters) {
      const refusal = this.#wanted.get(filter)?.refusal;
      if (refusal !== undefined) throw refusal;
    }
  }

  #unsubscribe(filters: readonly string[]): void {
    const session = this.#connection.session();
    if (session === undefined) return;
    for (const some of chunksOf(filters)) {
      const work = this.#inTurn(async () => {
        // Another listener may want it by now.
        const gone = some.filter((filter) => !this.#wanted.has(filter));
        if (gone.length > 0) await session.unsubscribe(gone);
      });
      // A loss ends the subscriptions, too.
      work.catch(() => {});
    }
  }

  async #connected(session: Session): Promise<void> {
    if (this.#hasConnected) for (const { onReconnect } of this.#listeners) onReconnect?.();
    this.#hasConnected = true;
    await this.#inTurn(() => this.#subscribeOn(session, [...this.#wanted.keys()]));
  }

  /** Subscribes to those that are wanted and not subscribed on this connection. Rejects with `ConnectionLost`. */
  async #subscribeOn(session: Session, filters: readonly string[]): Promise<void> {
    const isMissing = (filter: string): boolean => {
      const wanted = this.#wanted.get(filter);
      return wanted !== undefined && wanted.session !== session;
    };
    const missing = filters.filter(isMissing);
    for (const qos of [0, 1] as const) {
      const some = missing.filter((filter) => this.#qosOf(filter) === qos);
      for (const chunk of chunksOf(some)) await this.#subscribeTogether(session, chunk, qos);
    }
  }

  /** The broker may refuse some of them: then each is tried alone. */
  async #subscribeTogether(
    session: Session,
    filters: readonly string[],
    qos: 0 | 1,
  ): Promise<void> {
    const before = filters.map((filter) => this.#wanted.get(filter)?.listeners);
    const refusal = await refusalOf(session.subscribe(filters, qos, { retained: true }));
    if (refusal !== undefined && filters.length > 1) {
      for (const filter of filters) await this.#subscribeTogether(session, [filter], qos);
      return;
    }
    for (const [index, filter] of filters.entries()) {
      const wanted = this.#wanted.get(filter);
      // A listener that came meanwhile needs the retained message as well.
      if (wanted === undefined || wanted.listeners !== before[index]) continue;
      wanted.session = session;
      wanted.refusal = refusal;
    }
    if (refusal === undefined) return;
    // The topics may be thousands, and come from outside.
    const level = this.#warnings < MAX_WARNINGS ? "warn" : "debug";
    this.#warnings += 1;
    this.#options.log[level](refusal.message, { why: refusal.why, try: refusal.remedy });
  }

  #qosOf(filter: string): 0 | 1 {
    return this.#wanted.get(filter)?.listeners.some(({ qos }) => qos === 1) === true ? 1 : 0;
  }

  /** Hands a message on. The promise, if there is one, slows down a flood. */
  #received({ topic, payload, retain }: Incoming): Promise<void> | undefined {
    if (payload.length <= MAX_PAYLOAD && !this.#isReserved(topic)) {
      const message = { topic, payload, retained: retain };
      for (const listener of this.#listenersOf(topic)) listener.onMessage(message);
    }
    return this.#pace();
  }

  #listenersOf(topic: string): Iterable<Listener> {
    const exact = this.#wanted.get(topic)?.listeners ?? [];
    const wild = this.#wildcards.match(topic);
    if (wild.size === 0) return exact;
    const all = new Set(exact);
    for (const filter of wild) {
      for (const listener of this.#wanted.get(filter)?.listeners ?? []) all.add(listener);
    }
    return all;
  }
}

function connectionOptionsOf({
  settings,
  connectTimeoutMs,
  reconnectMs = RECONNECT_MS,
  log,
}: TopicFeedOptions) {
  const debug: Log["debug"] = (message, fields) => log.debug(`topic feed: ${message}`, fields);
  return {
    settings,
    connectTimeoutMs,
    reconnectMs,
    maximumPacketBytes: packetLimit(MAX_PAYLOAD),
    // A larger message, which is perhaps retained, does not end one connection after the other.
    truncateOversizedPublish: true,
    // The channel of the same broker warns of losses.
    log: { debug, info: debug, warn: debug, error: debug },
  };
}

/** Whether a feed can subscribe to it. */
function isFeedFilter(filter: string): boolean {
  return (
    isTopicFilter(filter) &&
    Buffer.byteLength(filter) <= MAX_FILTER &&
    filter.split("/").length <= MAX_LEVELS &&
    !CONTROL.test(filter)
  );
}

function isWildcard(filter: string): boolean {
  return filter.includes("+") || filter.includes("#");
}

function isLoss(thrown: unknown): false {
  if (thrown instanceof ConnectionLost) return false;
  throw thrown;
}

/** Rejects with `ConnectionLost`. */
async function refusalOf(work: Promise<void>): Promise<Failure | undefined> {
  try {
    await work;
    return undefined;
  } catch (thrown) {
    if (thrown instanceof ConnectionLost) throw thrown;
    return asFailure(thrown);
  }
}

function chunksOf(filters: readonly string[]): readonly (readonly string[])[] {
  const count = Math.ceil(filters.length / FILTERS_AT_ONCE);
  return Array.from({ length: count }, (_, index) =>
    filters.slice(index * FILTERS_AT_ONCE, (index + 1) * FILTERS_AT_ONCE),
  );
}
