import { startDeadline, type Deadline } from "../../base/async.ts";
import type { Part } from "../../base/contract.ts";
import { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { Connection } from "../client/connection.ts";
import type { Session } from "../client/session.ts";
import type { ChannelOptions } from "../contract.ts";
import { Undeliverable } from "../protocol/message.ts";
import {
  cutIntoPayloads,
  cutIntoTexts,
  type AnswerProperties,
  type PacketFrame,
} from "../protocol/parts.ts";
import type { PublishTopic } from "../protocol/topics.ts";

/** Where and how one request is answered. */
export interface ReplyAddress {
  readonly topic: PublishTopic;
  /** The client's default response topic. */
  readonly own: PublishTopic;
  readonly id?: string | undefined;
  /** The client takes bare text, not JSON. */
  readonly isPlain?: boolean | undefined;
  /** The client did not ask: each message says so, and is acknowledged also on a channel with QoS 0. */
  readonly isPush?: boolean | undefined;
  readonly correlationData?: Buffer | undefined;
  /** When the answer expires, in milliseconds since the epoch. */
  readonly expiresAt?: number | undefined;
}

/** What is the same for all answers of a channel. */
export interface ReplyOptions {
  readonly qos: 0 | 1 | 2;
  /** Bytes of a whole packet; 0 is no limit of ours. */
  readonly maxMessageBytes: number;
  /** Whether the topic has a subscriber, for a broker that can be asked. */
  readonly hasSubscriber?: ((topic: string) => boolean) | undefined;
  readonly restrictions: Restrictions;
  readonly log: Log;
}

export function replyOptionsOf(
  { channel: { settings }, hasSubscriber }: Pick<ChannelOptions, "channel" | "hasSubscriber">,
  log: Log,
): ReplyOptions {
  const { qos, max_message_bytes: maxMessageBytes } = settings;
  return { qos, maxMessageBytes, hasSubscriber, restrictions: new Restrictions(), log };
}

const REFUSED_MS = 3_600_000;
const MOST_REFUSED = 1_000;
/** The broker's limit is never taken to be less. */
const LEAST_PACKET_BYTES = 256;

/** What a broker does not accept and does not announce, as its refusals and lost connections show. */
class Restrictions {
  /** Bytes of the largest packet; 0 is no limit. */
  packetBytes = 0;
  /** It was said that the broker does not tell whether a device was there. */
  isAbsenceWarned = false;
  /** By the default response topic of each client whose other response topics are refused: until when. */
  readonly #refused = new Map<string, number>();

  /** Packets are far smaller from now on: each further attempt would cost everybody the connection. */
  tooLarge(bytes: number): void {
    this.packetBytes = Math.max(LEAST_PACKET_BYTES, Math.floor(bytes / 32));
  }

  /** Remembers the client for an hour; false if it is known. */
  refuse(own: string): boolean {
    const isNew = !this.isRefused(own);
    this.#refused.delete(own);
    this.#refused.set(own, performance.now() + REFUSED_MS);
    const [oldest = ""] = this.#refused.keys();
    if (this.#refused.size > MOST_REFUSED) this.#refused.delete(oldest);
    return isNew;
  }

  /** Whether the broker refuses response topics of this client other than the default one. */
  isRefused(own: string): boolean {
    return (this.#refused.get(own) ?? 0) > performance.now();
  }
}

/**
 * Returns the function that publishes the parts of one answer, numbered from 0. Each call resolves when its
 * part is delivered, waits through a loss of the broker, and rejects with a `Failure` if the answer can
 * never be delivered. After a `Failure` of code `no_subscriber` the answer may be sent again later, from its
 * start; its parts count from 0 again.
 *
 * If the broker does not accept the response topic, the answer goes to the client's default topic. If it does
 * not accept a part because of its size, a short error ends the answer.
 */
export function createReply(
  connection: Connection,
  address: ReplyAddress,
  options: ReplyOptions,
): (part: Part) => Promise<void> {
  const reply = new Reply(connection, address, options);
  return (part) => reply.send(part);
}

class Reply {
  readonly #connection: Connection;
  readonly #address: ReplyAddress;
  readonly #options: ReplyOptions;
  #topic: PublishTopic;
  #seq = 0;

  constructor(connection: Connection, address: ReplyAddress, options: ReplyOptions) {
    this.#connection = connection;
    this.#address = address;
    this.#options = options;
    this.#topic = address.topic;
  }

  async send(part: Part): Promise<void> {
    const { own, expiresAt } = this.#address;
    const expiry = startExpiry(expiresAt, part, this.#seq === 0);
    // The broker may have refused the topic of another request since this one came.
    if (this.#seq === 0 && this.#options.restrictions.isRefused(own)) this.#topic = own;
    try {
      const session = await this.#connection.ready(expiry?.signal);
      const properties = propertiesOf(session, this.#address);
      const maxBytes = packetBytesOf(session, this.#options);
      const frame = { topic: this.#topic, qos: this.#qos(), properties, maxBytes };
      const payloads = this.#payloads(part, frame);
      for (const payload of payloads) await this.#deliver(payload, session, expiry?.signal);
      // What follows after the end (an answer after `busy`) is a new answer.
      if (part.done) this.#seq = 0;
    } catch (error) {
      if (error instanceof Failure && error.code === "no_subscriber") this.#seq = 0;
      throw error;
    } finally {
      expiry?.close();
    }
  }

  #payloads(part: Part, frame: PacketFrame): Iterable<string> {
    const { id, isPlain, isPush: push } = this.#address;
    const wire = { ...part, id, push, seq: this.#seq };
    return isPlain ? cutIntoTexts(wire, frame) : cutIntoPayloads(wire, frame);
  }

  /** Publishes, if need be to the default topic. Rejects with what ended the answer. */
  async #deliver(payload: string, session: Session, signal?: AbortSignal): Promise<void> {
    try {
      await this.#publish(payload, session, signal);
    } catch (error) {
      if (!(error instanceof Undeliverable)) throw error;
      const [short = ""] = this.#payloads(tooLarge(), UNBOUNDED);
      const mayBeTooLarge = error.endsConnection && short.length < payload.length / 2;
      if (mayBeTooLarge && (await isAccepted(this.#publish(short, session, signal)))) {
        warnOfSize(Buffer.byteLength(payload), this.#options);
        this.#seq = 0;
        throw error;
      }
      if (this.#topic === this.#address.own) throw error;
      warnOfTopic(this.#address, error, this.#options);
      // A client that has the beginning cannot have the rest on another topic.
      if (this.#seq > 0) throw error;
      this.#topic = this.#address.own;
      await this.#publish(payload, session, signal);
    }
  }

  async #publish(payload: string, session: Session, signal?: AbortSignal): Promise<void> {
    const { hasSubscriber } = this.#options;
    const topic = this.#topic;
    const isKept = this.#options.qos > 0 || this.#address.isPush;
    if (isKept && hasSubscriber?.(topic) === false) throw noSubscriber();
    const properties = propertiesOf(this.#connection.session() ?? session, this.#address);
    const message = { topic, payload, qos: this.#qos(), properties };
    const { noMatchingSubscribers } = await this.#connection.publish(message, signal);
    if (isKept && noMatchingSubscribers) throw noSubscriber();
    if (this.#address.isPush && !properties) warnOfAbsence(this.#options);
    const shown = topic.slice(0, LONGEST_SHOWN);
    this.#options.log.debug("part published", { topic: shown, bytes: Buffer.byteLength(payload) });
    this.#seq += 1;
  }

  /**
   * At QoS 0 a broker could refuse a response topic that the client chose only by ending the connection, and
   * what is then published on the default topic would be lost with it. A push is kept until it is acknowledged.
   */
  #qos(): 0 | 1 | 2 {
    const { topic, own, isPush } = this.#address;
    return this.#options.qos === 0 && (topic !== own || isPush) ? 1 : this.#options.qos;
  }
}

/** False if the broker does not accept this message either. */
async function isAccepted(published: Promise<void>): Promise<boolean> {
  try {
    await published;
    return true;
  } catch (error) {
    if (error instanceof Undeliverable) return false;
    throw error;
  }
}

const UNBOUNDED: PacketFrame = { topic: "", qos: 0, properties: undefined, maxBytes: 0 };

function tooLarge(): Part {
  const text = "The answer could not be sent: the broker accepts no message of its size.";
  return { text, error: new Failure("internal", text), done: true };
}

function warnOfSize(bytes: number, { restrictions, log }: ReplyOptions): void {
  restrictions.tooLarge(bytes);
  log.warn("the broker ends the connection for a message of this size: answers are cut smaller", {
    bytes,
    bytes_from_now_on: restrictions.packetBytes,
    try: "set max_message_bytes to the broker's limit or less",
  });
}

/** Characters of a topic in the log. */
const LONGEST_SHOWN = 200;

function warnOfTopic(
  { topic, own }: ReplyAddress,
  { message, why }: Failure,
  { restrictions, log }: ReplyOptions,
): void {
  if (!restrictions.refuse(own)) return;
  log.warn("the broker does not accept a response topic: this client gets the default one", {
    response_topic: topic.slice(0, LONGEST_SHOWN),
    default_topic: own.slice(0, LONGEST_SHOWN),
    error: message,
    why,
    try: "let the gateway publish to the response topics that clients ask for, or let them ask for none",
  });
}

/** On MQTT 3.1.1: an acknowledged push counts as delivered, and no device asks for it again. */
function warnOfAbsence({ restrictions, hasSubscriber, log }: ReplyOptions): void {
  if (restrictions.isAbsenceWarned || hasSubscriber !== undefined) return;
  restrictions.isAbsenceWarned = true;
  log.warn("messages that the agent begins are lost for a device that is away", {
    why: "over MQTT 3.1.1 the broker does not tell whether anybody is subscribed",
    try: "use a broker with MQTT 5, or let devices subscribe at QoS 1 in a session that the broker keeps (clean session off)",
  });
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

/** The largest packet by our limit and the broker's limits, in bytes; 0 is no limit. */
export function packetBytesOf(
  session: Session | undefined,
  { maxMessageBytes, restrictions }: ReplyOptions,
): number {
  const limits = [maxMessageBytes, session?.maximumPacketBytes ?? 0, restrictions.packetBytes];
  const least = Math.min(...limits.map((limit) => limit || Number.POSITIVE_INFINITY));
  return Number.isFinite(least) ? least : 0;
}

/** MQTT 5 section 3.3.2.3. The answer carries what is left of the request's expiry. */
function propertiesOf(session: Session, address: ReplyAddress): AnswerProperties | undefined {
  if (session.protocol === 4) return undefined;
  const { correlationData, expiresAt, isPlain } = address;
  const left = expiresAt === undefined ? undefined : Math.ceil((expiresAt - Date.now()) / 1000);
  return {
    contentType: isPlain ? "text/plain" : "application/json",
    payloadFormatIndicator: true,
    ...(correlationData && { correlationData }),
    ...(left !== undefined && { messageExpiryInterval: Math.max(left, 1) }),
  };
}
