import { abortable, settlesWithin } from "../../base/async.ts";
import { asFailure, Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { matchesFilter } from "../../base/topic-filter.ts";
import type { MqttSettings } from "../../config/contract.ts";
import { type ConnectionOptions, randomClientId } from "../client/connection.ts";
import type { Session } from "../client/session.ts";
import { ConnectionLost, type Incoming } from "../protocol/message.ts";
import { publishTopic } from "../protocol/topics.ts";
import { openQuietConnection } from "./link.ts";

/** A broker to reach over a new connection. */
export interface BrokerConnection {
  readonly settings: MqttSettings;
  readonly connectTimeoutMs: number;
  /** If the broker keeps the session; otherwise it is clean, under a random client id. */
  readonly session?: Pick<ConnectionOptions, "clientId" | "sessionExpiry">;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** The same for any topics of the broker. */
export interface TopicConnection extends BrokerConnection {
  /** Prefixes of topics that are never read or published to this way. */
  readonly reservedPrefixes: readonly string[];
}

export interface TopicQuery {
  readonly filter: string;
  readonly milliseconds: number;
  /** The most messages, and bytes of all their payloads. */
  readonly most: number;
  readonly mostBytes: number;
}

export interface TopicMessage extends Pick<Incoming, "topic" | "payload"> {
  readonly retained: boolean;
}

export interface TopicMessages {
  readonly messages: readonly TopicMessage[];
  /** There were more. */
  readonly isCut: boolean;
}

/** Bytes of the largest packet; CONNECT announces it to an MQTT 5 broker, which sends no larger ones. */
const MAX_PACKET = 256 * 1024;
/** Longer than any use of such a connection: it ends at a loss. */
const NEVER_MS = 600_000;

/**
 * Returns retained and new messages of a filter. It uses a connection of its own, so that its subscription
 * does not mix with the gateway's. Throws a `Failure` and the signal's reason.
 */
export async function readTopics(
  target: TopicConnection,
  wanted: TopicQuery,
): Promise<TopicMessages> {
  const collected = createCollector(target, wanted);
  const take = (message: Incoming): void => collected.take(message);
  await withSession(target, take, async (session, lost) => {
    await session.subscribe([wanted.filter], 0, { retained: true });
    await settlesWithin(Promise.race([lost, collected.full]), wanted.milliseconds, target.signal);
  });
  return collected.result();
}

/** Publishes one message over a connection of its own. Throws a `Failure` and the signal's reason. */
export async function publishTo(
  target: TopicConnection,
  message: {
    readonly topic: string;
    readonly payload: string;
    readonly retain: boolean;
    readonly qos: 0 | 1;
  },
): Promise<{ readonly noMatchingSubscribers: boolean }> {
  const topic = publishTopic(message.topic);
  if (isReserved(topic, target)) {
    throw new Failure("bad_request", "only the agent itself publishes to its topics");
  }
  const { payload, retain, qos } = message;
  return await withSession(target, undefined, (session) =>
    session.publish({ topic, payload, retain, qos }),
  );
}

function isReserved(topic: string, { reservedPrefixes }: TopicConnection): boolean {
  return reservedPrefixes.some((prefix) => matchesFilter(`${prefix}/#`, topic));
}

function createCollector(target: TopicConnection, { filter, most, mostBytes }: TopicQuery) {
  const messages: TopicMessage[] = [];
  const full = Promise.withResolvers<void>();
  let bytes = 0;
  let isCut = false;
  return {
    full: full.promise,
    take({ topic, payload, retain }: Incoming): void {
      // A broker may send what was not subscribed.
      if (isCut || !matchesFilter(filter, topic) || isReserved(topic, target)) return;
      isCut = messages.length === most || bytes + payload.length > mostBytes;
      if (isCut) return full.resolve();
      bytes += payload.length;
      messages.push({ topic, payload, retained: retain });
    },
    result: (): TopicMessages => ({ messages, isCut }),
  };
}

/** Connects, and disconnects when the work is done. */
export async function withSession<T>(
  { settings, connectTimeoutMs, session: kept, log, signal }: BrokerConnection,
  onMessage: ((message: Incoming) => void) | undefined,
  work: (session: Session, lost: Promise<never>) => Promise<T>,
): Promise<T> {
  const { connection, failed } = openQuietConnection({
    clientId: randomClientId("picoclaw-topics"),
    ...kept,
    settings,
    connectTimeoutMs,
    reconnectMs: NEVER_MS,
    maximumPacketBytes: MAX_PACKET,
    log,
    onMessage(message) {
      onMessage?.(message);
      return undefined;
    },
    onSession: () => Promise.resolve(),
  });
  try {
    const session = await Promise.race([connection.ready(signal), failed]);
    return await abortable(Promise.race([work(session, failed), failed]), signal);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof ConnectionLost)
      throw new Failure("unreachable", "the connection to the broker was lost");
    throw asFailure(error);
  } finally {
    await connection.close().catch(() => {});
  }
}
