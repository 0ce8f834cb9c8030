import type { Part } from "../../base/contract.ts";
import { Failure } from "../../base/failure.ts";
import type { Connection } from "../client/connection.ts";
import type { PublishTopic } from "../protocol/topics.ts";
import { artifactEvent, encodeError, statusEvent, type TaskNames } from "./rpc.ts";
import { endOf } from "./task.ts";

/** Where the answer to one request goes. */
export interface A2aRecipient extends TaskNames {
  readonly requester: string;
  readonly topic: PublishTopic;
  readonly correlationData: Buffer;
  readonly expiresAt?: number | undefined;
}

export interface ReplyDeps {
  readonly connection: Connection;
  /** Bytes of a whole packet; 0 is no limit of ours. */
  readonly maxMessageBytes: number;
  /** Whether the requester has given up this request: then nothing of the answer is sent. */
  readonly isReplaced: () => boolean;
}

/** Bytes of an event besides its text, topic and Correlation Data, generously. */
const EVENT_BYTES = 1_200;
/** Bytes of a UTF-16 unit in JSON at most. */
const BYTES_OF_UNIT = 6;
const LEAST_UNITS = 16;

/** Publishes one message to the requester. Rejects with a `Failure`, `no_subscriber` if it does not listen. */
export async function publishTo(
  { connection }: Pick<ReplyDeps, "connection">,
  { topic, correlationData, expiresAt }: Omit<A2aRecipient, keyof TaskNames | "requester">,
  payload: string,
  signal?: AbortSignal,
): Promise<void> {
  const left = expiresAt === undefined ? undefined : Math.ceil((expiresAt - Date.now()) / 1000);
  const properties = {
    correlationData,
    contentType: "application/json",
    payloadFormatIndicator: true,
    ...(left !== undefined && { messageExpiryInterval: Math.max(left, 1) }),
  };
  const message = { topic, payload, qos: 1, properties } as const;
  const { noMatchingSubscribers } = await connection.publish(message, signal);
  if (noMatchingSubscribers) {
    throw new Failure("no_subscriber", "nobody subscribes to the answer's topic");
  }
}

/**
 * Returns the function that publishes the parts of one answer as pieces of an artifact and states of the task. Rejects
 * as `createReply` of a channel does.
 */
export function createA2aReply(
  address: A2aRecipient,
  deps: ReplyDeps,
): (part: Part) => Promise<void> {
  const reply = new Reply(address, deps);
  return (part) => reply.send(part);
}

class Reply {
  readonly #address: A2aRecipient;
  readonly #deps: ReplyDeps;
  #pieces = 0;

  constructor(address: A2aRecipient, deps: ReplyDeps) {
    this.#address = address;
    this.#deps = deps;
  }

  async send(part: Part): Promise<void> {
    if (this.#deps.isReplaced()) return;
    try {
      if (part.error !== undefined) await this.#fail(part, part.error);
      else if (part.done) await this.#complete(part.text);
      else await this.#progress(part.text);
      if (part.done) this.#restart();
    } catch (error) {
      // It is sent again from its start.
      if (error instanceof Failure && error.code === "no_subscriber") this.#restart();
      throw error;
    }
  }

  async #progress(text: string): Promise<void> {
    if (text === "") await this.#publish(statusEvent(this.#address, "WORKING"));
    else await this.#publishPieces(text, false);
  }

  async #complete(text: string): Promise<void> {
    if (text !== "" || this.#pieces > 0) await this.#publishPieces(text, true);
    await this.#publish(statusEvent(this.#address, "COMPLETED"));
  }

  async #fail({ text }: Part, failure: Failure): Promise<void> {
    const { state, error } = endOf(failure);
    const payload =
      error === undefined
        ? statusEvent(this.#address, state, text)
        : encodeError({ id: this.#address.id, code: error, message: text }, failure.retryAfter);
    await this.#publish(payload);
  }

  async #publishPieces(text: string, isLast: boolean): Promise<void> {
    const chunks = chunksOf(text, unitsOf(this.#address, this.#deps));
    for (const [index, chunk] of chunks.entries()) {
      const lastChunk = isLast && index === chunks.length - 1;
      const append = this.#pieces > 0;
      await this.#publish(artifactEvent(this.#address, chunk, { append, lastChunk }));
      this.#pieces += 1;
    }
  }

  #publish(payload: string): Promise<void> {
    return publishTo(this.#deps, this.#address, payload);
  }

  #restart(): void {
    this.#pieces = 0;
  }
}

/** UTF-16 units of text that fit into one message, whatever they are. */
export function unitsOf(
  { topic, correlationData }: Pick<A2aRecipient, "topic" | "correlationData">,
  { connection, maxMessageBytes }: Omit<ReplyDeps, "isReplaced">,
): number {
  const limits = [maxMessageBytes, connection.session()?.maximumPacketBytes ?? 0];
  const most = Math.min(...limits.map((limit) => limit || Number.POSITIVE_INFINITY));
  const carried = EVENT_BYTES + Buffer.byteLength(topic) + correlationData.length;
  const room = (most - carried) / BYTES_OF_UNIT;
  return Math.max(LEAST_UNITS, Math.floor(room));
}

/** Cuts between code points; at least one piece. */
function chunksOf(text: string, units: number): readonly string[] {
  if (text.length <= units) return [text];
  const chunks: string[] = [];
  for (let begin = 0; begin < text.length;) {
    const end = Math.min(begin + units, text.length);
    const isWithin = /[\ud800-\udbff]/.test(text.charAt(end - 1)) && end < text.length;
    chunks.push(text.slice(begin, isWithin ? end - 1 : end));
    begin = isWithin ? end - 1 : end;
  }
  return chunks;
}
