import { startDeadline, type Deadline } from "../../base/async.ts";
import type { Part } from "../../base/contract.ts";
import { Failure } from "../../base/failure.ts";
import type { Connection } from "../client/connection.ts";
import type { Session } from "../client/session.ts";
import { cutIntoPayloads, type AnswerProperties } from "../protocol/parts.ts";
import type { PublishTopic } from "../protocol/topics.ts";

/** Where and how one request is answered. */
export interface ReplyAddress {
  readonly topic: PublishTopic;
  readonly id?: string | undefined;
  readonly correlationData?: Buffer | undefined;
  /** When the answer expires, in milliseconds since the epoch. */
  readonly expiresAt?: number | undefined;
}

export interface ReplyLimits {
  readonly qos: 0 | 1 | 2;
  /** Bytes of a whole packet; 0 is no limit of ours. */
  readonly maxMessageBytes: number;
  /** Whether the topic has a subscriber, for a broker that can be asked. */
  readonly hasSubscriber?: ((topic: string) => boolean) | undefined;
}

/**
 * Returns the function that publishes the parts of one answer, numbered from 0. Each call resolves when its
 * part is delivered, waits through a loss of the broker, and rejects with a `Failure` if the answer can
 * never be delivered. After a `Failure` of code `no_subscriber` the answer may be sent again later, from its
 * start; its parts count from 0 again.
 */
export function createReply(
  connection: Connection,
  address: ReplyAddress,
  limits: ReplyLimits,
): (part: Part) => Promise<void> {
  let seq = 0;
  const { topic } = address;
  const { qos, hasSubscriber } = limits;
  const publish = async (payload: string, session: Session, signal?: AbortSignal) => {
    if (qos > 0 && hasSubscriber?.(topic) === false) throw noSubscriber();
    const properties = propertiesOf(connection.session() ?? session, address);
    const message = { topic, payload, qos, properties };
    const { noMatchingSubscribers } = await connection.publish(message, signal);
    if (qos > 0 && noMatchingSubscribers) throw noSubscriber();
    seq += 1;
  };
  return async (part) => {
    const expiry = startExpiry(address.expiresAt, part, seq === 0);
    try {
      const session = await connection.ready(expiry?.signal);
      const properties = propertiesOf(session, address);
      const frame = { topic, qos, properties, maxBytes: packetBytesOf(session, limits) };
      const payloads = cutIntoPayloads({ ...part, id: address.id, seq }, frame);
      for (const payload of payloads) await publish(payload, session, expiry?.signal);
      // What follows after the end (an answer after `busy`) is a new answer.
      if (part.done) seq = 0;
    } catch (error) {
      if (error instanceof Failure && error.code === "no_subscriber") seq = 0;
      throw error;
    } finally {
      expiry?.close();
    }
  };
}

function noSubscriber(): Failure {
  return new Failure("no_subscriber", "nobody subscribes to the answer's topic");
}

/**
 * A whole answer is not sent after its expiry. An error, such as `expired`, and the rest of an answer in parts
 * may be so late: an answer that was begun gets its end.
 */
const GRACE_MS = 10_000;

function startExpiry(
  expiresAt: number | undefined,
  part: Part,
  isFirst: boolean,
): Deadline | undefined {
  if (expiresAt === undefined) return undefined;
  const isWhole = isFirst && part.done && part.error === undefined;
  const left = expiresAt + (isWhole ? 0 : GRACE_MS) - Date.now();
  return startDeadline(left, { reason: expired });
}

function expired(): Failure {
  return new Failure("expired", "The answer came too late to be of use.");
}

/** The largest packet by our limit and the broker's, in bytes; 0 is no limit. */
export function packetBytesOf(
  session: Session | undefined,
  { maxMessageBytes }: ReplyLimits,
): number {
  const brokersMaximum = session?.maximumPacketBytes ?? 0;
  if (maxMessageBytes === 0 || brokersMaximum === 0) return maxMessageBytes || brokersMaximum;
  return Math.min(maxMessageBytes, brokersMaximum);
}

/** MQTT 5 section 3.3.2.3. The answer carries what is left of the request's expiry. */
function propertiesOf(session: Session, address: ReplyAddress): AnswerProperties | undefined {
  if (session.protocol === 4) return undefined;
  const { correlationData, expiresAt } = address;
  const left = expiresAt === undefined ? undefined : Math.ceil((expiresAt - Date.now()) / 1000);
  return {
    contentType: "application/json",
    payloadFormatIndicator: true,
    ...(correlationData && { correlationData }),
    ...(left !== undefined && { messageExpiryInterval: Math.max(left, 1) }),
  };
}
