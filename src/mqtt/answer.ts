import { Failure } from "../base/failure.ts";
import type { Connection } from "./connection.ts";
import { cutIntoPayloads, type AnswerProperties } from "./packet.ts";
import type { Session } from "./session.ts";
import type { PublishTopic } from "./topics.ts";

/** A piece of an answer, as the gateway hands it over. */
export interface ReplyPart {
  readonly text: string;
  readonly done?: true;
  readonly error?: Failure;
}

/** Where and how one request is answered. */
export interface ReplyAddress {
  readonly topic: PublishTopic;
  readonly id?: string;
  readonly correlationData?: Buffer;
  /** Milliseconds since the epoch after which the answer is of no use. */
  readonly expiresAt?: number;
}

export interface ReplyLimits {
  readonly qos: 0 | 1 | 2;
  /** Bytes of a whole packet; 0 is no limit of ours. */
  readonly maxMessageBytes: number;
}

/**
 * The writer of one answer: numbers its parts from 0 and publishes them in order. Each call resolves
 * when its part is delivered, waits through a loss of the broker, and rejects with a `Failure` once
 * the answer can never be delivered.
 */
export function createReply(
  connection: Connection,
  address: ReplyAddress,
  limits: ReplyLimits,
): (part: ReplyPart) => Promise<void> {
  const { topic, id, expiresAt } = address;
  let seq = 0;
  return async (part) => {
    const timer = deadline(expiresAt, part);
    try {
      const session = await connection.ready(timer.signal);
      const { error } = part;
      const shown = error && {
        code: error.code,
        ...(error.retryAfter !== undefined && { retryAfter: error.retryAfter }),
      };
      const frame = frameOf(session, address, limits);
      const named = { text: part.text, seq, ...(id !== undefined && { id }) };
      const ending = { ...(shown && { error: shown }), ...(part.done && { done: true }) };
      for (const payload of cutIntoPayloads({ ...named, ...ending }, frame)) {
        const properties = propertiesOf(connection.session() ?? session, address);
        const message = { topic, payload, qos: limits.qos, ...(properties && { properties }) };
        await connection.publish(message, timer.signal);
        seq += 1;
      }
      // Whatever is said after an end (an answer after `busy`) begins anew.
      if (part.done) seq = 0;
    } finally {
      timer.stop();
    }
  };
}

/** An answer that has expired is not sent; the word that it has expired still is, for a little while. */
const GRACE_MS = 10_000;

function deadline(
  expiresAt: number | undefined,
  part: ReplyPart,
): { readonly signal: AbortSignal | undefined; stop(): void } {
  if (expiresAt === undefined) return { signal: undefined, stop: () => {} };
  const controller = new AbortController();
  const grace = part.error ? GRACE_MS : 0;
  const left = Math.min(Math.max(expiresAt + grace - Date.now(), 0), 2 ** 31 - 1);
  const expired = new Failure("expired", "The answer came too late to be of use.");
  if (left === 0) controller.abort(expired);
  const timer = setTimeout(() => controller.abort(expired), left);
  return { signal: controller.signal, stop: () => clearTimeout(timer) };
}

function frameOf(
  session: Session,
  address: ReplyAddress,
  { qos, maxMessageBytes }: ReplyLimits,
): Parameters<typeof cutIntoPayloads>[1] {
  const known = [maxMessageBytes, session.maximumPacketBytes].filter((bytes) => bytes > 0);
  const maxBytes = known.length === 0 ? 0 : Math.min(...known);
  return { topic: address.topic, qos, properties: propertiesOf(session, address), maxBytes };
}

/** MQTT 5 section 3.3.2.3; what is left of the request's expiry travels with the answer. */
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
