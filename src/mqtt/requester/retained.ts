import { abortable, settlesWithin } from "../../base/async.ts";
import { asFailure, Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { matchesFilter } from "../../base/topic-filter.ts";
import type { MqttSettings } from "../../config/contract.ts";
import { openConnection, randomClientId } from "../client/connection.ts";
import { quietLog } from "../client/connection.ts";
import type { Session } from "../client/session.ts";
import { dialAddressOf } from "../client/transport.ts";
import { ConnectionLost, type Incoming } from "../protocol/message.ts";
import { publishTopic } from "../protocol/topics.ts";

/** How to reach a broker for something beside the requests and answers of its channel. */
export interface TopicConnection {
  readonly settings: MqttSettings;
  readonly connectTimeoutMs: number;
  /** What topics begin with that are never read or published to this way. */
  readonly reservedPrefixes: readonly string[];
  readonly log: Log;
  readonly signal: AbortSignal;
}

export interface TopicQuery {
  readonly filter: string;
  readonly milliseconds: number;
  /** Messages, and bytes of all their payloads. */
  readonly most: number;
  readonly mostBytes: number;
}

export interface TopicMessage extends Pick<Incoming, "topic" | "payload"> {
  /** It was there before. */
  readonly retained: boolean;
}

export interface TopicMessages {
  readonly messages: readonly TopicMessage[];
  /** There were more than were wanted. */
  readonly isCut: boolean;
}

/** Bytes of the largest packet; an MQTT 5 broker is told so, and keeps larger ones to itself. */
const MAX_PACKET = 256 * 1024;
/** Longer than any use of such a connection: a loss ends it. */
const NEVER_MS = 600_000;

/**
 * Retained and new messages of a filter, over a connection of its own, whose subscription cannot mix
 * with the gateway's. Throws a `Failure` and the signal's reason.
 */
export async function readTopics(
  line: TopicConnection,
  wanted: TopicQuery,
): Promise<TopicMessages> {
  const collected = createCollector(line, wanted);
  const take = (message: Incoming): void => collected.take(message);
  await withSession(line, take, async (session, lost) => {
    await session.subscribe([wanted.filter], 0, { retained: true });
    await waitFor(wanted.milliseconds, [lost, collected.full], line.signal);
  });
  return collected.result();
}

/** Publishes one message over a connection of its own. Throws a `Failure` and the signal's reason. */
export async function publishTo(
  line: TopicConnection,
  message: {
    readonly topic: string;
    readonly payload: string;
    readonly retain: boolean;
    readonly qos: 0 | 1;
  },
): Promise<{ readonly noMatchingSubscribers: boolean }> {
  const topic = publishTopic(message.topic);
  if (isReserved(topic, line)) {
    throw new Failure("bad_request", "only the agent itself publishes to its topics");
  }
  const { payload, retain, qos } = message;
  return await withSession(line, ignored, (session) =>
    session.publish({ topic, payload, retain, qos }),
  );
}

function ignored(): void {
  // Nothing was subscribed to.
}

function isReserved(
  topic: string,
  { reservedPrefixes }: Pick<TopicConnection, "reservedPrefixes">,
): boolean {
  return reservedPrefixes.some((tree) => matchesFilter(`${tree}/#`, topic));
}

function createCollector(line: TopicConnection, { filter, most, mostBytes }: TopicQuery) {
  const messages: TopicMessage[] = [];
  const full = Promise.withResolvers<void>();
  let bytes = 0;
  let isCut = false;
  return {
    full: full.promise,
    take({ topic, payload, retain }: Incoming): void {
      // A broker that sends what nobody asked for is not believed.
      if (isCut || !matchesFilter(filter, topic) || isReserved(topic, line)) return;
      isCut = messages.length === most || bytes + payload.length > mostBytes;
      if (isCut) return full.resolve();
      bytes += payload.length;
      messages.push({ topic, payload, retained: retain });
    },
    result: (): TopicMessages => ({ messages, isCut }),
  };
}

/** Connects as a stranger with a clean session, and is gone again when the work is done. */
async function withSession<T>(
  { settings, connectTimeoutMs, log, signal }: TopicConnection,
  onMessage: (message: Incoming) => void,
  work: (session: Session, lost: Promise<never>) => Promise<T>,
): Promise<T> {
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});
  const connection = openConnection({
    address: dialAddressOf(settings),
    settings,
    clientId: randomClientId("picoclaw-topics"),
    connectTimeoutMs,
    reconnectMs: NEVER_MS,
    maximumPacketBytes: MAX_PACKET,
    log: quietLog(log),
    onMessage(message) {
      onMessage(message);
      return undefined;
    },
    onSession: () => Promise.resolve(),
    onLoss: failed.reject,
  });
  void connection.ended.then((failure) => failure && failed.reject(failure));
  try {
    const session = await Promise.race([connection.ready(signal), failed.promise]);
    return await Promise.race([work(session, failed.promise), failed.promise]);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof ConnectionLost)
      throw new Failure("unreachable", "the broker was lost meanwhile");
    throw asFailure(error);
  } finally {
    await connection.close().catch(() => {});
  }
}

/** Waits for the time to pass, or for the first of some others; rejects with the signal's reason. */
async function waitFor(
  milliseconds: number,
  others: readonly Promise<unknown>[],
  signal: AbortSignal,
): Promise<void> {
  await abortable(settlesWithin(Promise.race(others), milliseconds), signal);
}
