import { createHash } from "node:crypto";
import * as v from "valibot";
import { failpoint } from "../../base/failpoint.ts";
import { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { Connection } from "../client/connection.ts";
import type { Recipient, ChannelOptions, ChannelRequest } from "../contract.ts";
import type { Incoming } from "../protocol/message.ts";
import { leavesRoom } from "../protocol/parts.ts";
import {
  clientIdOf,
  allowedResponseTopic,
  responseTopic,
  type AgentAddress,
} from "../protocol/topics.ts";
import { decodeRequest, readableId, type RequestPayload } from "../protocol/wire.ts";
import { createReply, packetBytesOf, type ReplyAddress, type ReplyLimits } from "./reply.ts";

/**
 * Calls `onRequest` for each message of a client, also for one that is no valid request. Ignores messages
 * that come from no client, that are empty, or that are retained.
 */
export function createReceiver(
  options: ChannelOptions,
  address: AgentAddress,
  connection: () => Connection,
): (message: Incoming) => Promise<void> | undefined {
  const { settings, name } = options.channel;
  const limits = replyLimitsOf(options);
  const decoding = { plainText: settings.plain_text, maxPayloadBytes: settings.max_payload_bytes };
  return (message) => {
    const client = clientIdOf(address, message.topic, "request");
    if (client === undefined || message.payload.byteLength === 0) return undefined;
    if (message.retain) {
      options.log.debug("a retained request was not run", { channel: name, client });
      return undefined;
    }
    const target = replyTargetOf(address, client, message, options.log);
    const payload = decodeRequest(message.payload, decoding);
    const id = payload instanceof Failure ? idOf(payload, message) : payload.id;
    const wanted = { ...target.address, ...(id !== undefined && { id }) };
    const to = publishable(wanted, responseTopic(address, client), connection(), limits);
    const streams = target.isRpc ? false : settings.streaming.enabled;
    if (message.qos > 0) failpoint("received");
    return options.onRequest({
      ...identityOf(message, wanted),
      ...textOrRejection(payload, target.refusal ?? refusalOfRoom(to === wanted), streams),
      address: addressOf(to),
      channel: name,
      client,
      durable: message.qos > 0 && settings.qos > 0,
      ...(to.id !== undefined && { id: to.id }),
      ...(to.expiresAt !== undefined && { expiresAt: to.expiresAt }),
      reply: createReply(connection(), to, limits),
    });
  };
}

export function replyLimitsOf({
  channel: { settings },
  hasSubscriber,
}: Pick<ChannelOptions, "channel" | "hasSubscriber">): ReplyLimits {
  return { qos: settings.qos, maxMessageBytes: settings.max_message_bytes, hasSubscriber };
}

/** A request that is too large is not read at all. */
function idOf({ code }: Failure, { payload }: Incoming): string | undefined {
  return code === "bad_request" ? readableId(payload) : undefined;
}

/** The text, or why the request must not run; `streams` is the default for requests that do not say. */
function textOrRejection(
  payload: RequestPayload | Failure,
  refusal: Failure | undefined,
  streams: boolean,
): Pick<ChannelRequest, "text" | "stream" | "rejected"> {
  if (payload instanceof Failure) return { text: "", stream: streams, rejected: payload };
  const { text, stream = streams } = payload;
  if (refusal !== undefined) return { text: "", stream, rejected: refusal };
  return { text, stream };
}

function refusalOfRoom(hasRoom: boolean): Failure | undefined {
  if (hasRoom) return undefined;
  return new Failure(
    "bad_request",
    "The topic, the id and the correlation data leave too little room for an answer in one message.",
  );
}

/** The address itself if it leaves room for an answer, else as much of it as does: errors must be publishable. */
function publishable(
  wanted: ReplyAddress,
  topic: ReplyAddress["topic"],
  connection: Connection,
  limits: ReplyLimits,
): ReplyAddress {
  const maxBytes = packetBytesOf(connection.session(), limits);
  const { id: _, ...nameless } = wanted;
  const { correlationData: __, ...bare } = nameless;
  const ways = [wanted, { ...wanted, topic }, { ...nameless, topic }, { ...bare, topic }];
  return ways.find((way) => leavesRoom(way, maxBytes)) ?? { ...bare, topic };
}

/** Characters of untrusted text in the log. */
const LONGEST_SHOWN = 200;

interface ReplyTarget {
  readonly address: Omit<ReplyAddress, "id">;
  /** Request/response as in MQTT 5 section 4.10: such clients take the first message as the whole answer. */
  readonly isRpc: boolean;
  /** The response topic is not allowed. */
  readonly refusal?: Failure;
}

function replyTargetOf(
  address: AgentAddress,
  client: string,
  { properties }: Incoming,
  log: Log,
): ReplyTarget {
  const { responseTopic: asked, correlationData, messageExpiryInterval } = properties ?? {};
  const allowed = asked === undefined ? undefined : allowedResponseTopic(address, client, asked);
  const isRefused = asked !== undefined && allowed === undefined;
  if (isRefused) {
    log.warn("a response topic was not honoured", {
      client: client.slice(0, LONGEST_SHOWN),
      asked: asked.slice(0, LONGEST_SHOWN),
    });
  }
  return {
    address: {
      topic: allowed ?? responseTopic(address, client),
      // A copy: the original is part of a larger buffer, which would stay in memory.
      ...(correlationData && { correlationData: Buffer.from(correlationData) }),
      ...(messageExpiryInterval !== undefined && {
        expiresAt: Date.now() + messageExpiryInterval * 1000,
      }),
    },
    isRpc: allowed !== undefined && correlationData !== undefined,
    ...(isRefused && { refusal: topicRefusal(address, client) }),
  };
}

function topicRefusal({ prefix, agent }: AgentAddress, client: string): Failure {
  const own = `${prefix}/${agent}/${client.slice(0, LONGEST_SHOWN)}/`;
  return new Failure(
    "bad_request",
    `The response topic is not allowed: it must lie under ${own} and not end in /request.`,
  );
}

/**
 * Two messages are the same request if they have the same `id`; without one, the same Correlation Data and
 * payload, because many clients count Correlation Data from 0 after each restart.
 */
function identityOf(
  message: Incoming,
  { id, correlationData }: ReplyAddress,
): Pick<ChannelRequest, "key" | "fingerprint" | "redelivered"> {
  const fingerprint = createHash("sha256")
    .update(message.topic)
    .update("\0")
    .update(message.payload)
    .digest("base64");
  const correlation = base64Of(correlationData);
  const key =
    id === undefined
      ? correlation && `correlation ${correlation} ${fingerprint}`
      : `id ${message.topic} ${id}`;
  return { fingerprint, redelivered: message.dup, ...(key !== undefined && { key }) };
}

/** The opaque text that `parseReplyAddress` reads. */
function addressOf({ topic, correlationData }: ReplyAddress): string {
  return JSON.stringify([topic, base64Of(correlationData) ?? null]);
}

function base64Of(bytes: Buffer | undefined): string | undefined {
  return bytes && Buffer.from(bytes).toString("base64");
}

const ADDRESS = v.tuple([v.string(), v.nullable(v.string())]);

/** The address of a request of a former process, which may have had another configuration. */
export function parseReplyAddress(
  agent: AgentAddress,
  { client, address, id, expiresAt }: Recipient,
): ReplyAddress | undefined {
  const read = v.safeParse(v.pipe(v.string(), v.parseJson(), ADDRESS), address);
  if (!read.success) return undefined;
  const [topic, correlation] = read.output;
  return {
    topic: allowedResponseTopic(agent, client, topic) ?? responseTopic(agent, client),
    ...(correlation !== null && { correlationData: Buffer.from(correlation, "base64") }),
    ...(id !== undefined && { id }),
    ...(expiresAt !== undefined && { expiresAt }),
  };
}
