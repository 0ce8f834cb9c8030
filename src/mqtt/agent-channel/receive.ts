import { createHash } from "node:crypto";
import * as v from "valibot";
import { failpoint } from "../../base/failpoint.ts";
import { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { MqttChannel } from "../../config/contract.ts";
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
): (message: Incoming, connection: Connection) => Promise<void> | undefined {
  const { channel, log } = options;
  const limits = replyLimitsOf(options);
  return (message, connection) => {
    const client = clientIdOf(address, message.topic, "request");
    if (client === undefined || message.payload.byteLength === 0) return undefined;
    if (message.retain) {
      log.debug("a retained request was not run", { channel: channel.name, client });
      return undefined;
    }
    if (message.qos > 0) failpoint("received");
    const way = { connection, limits, log };
    return options.onRequest(requestOf(channel, { address, client }, message, way));
  };
}

/** The client that sent a message, and the agent that it is for. */
interface Sender {
  readonly address: AgentAddress;
  readonly client: string;
}

/** What it takes to answer. */
interface ReplyWay {
  readonly connection: Connection;
  readonly limits: ReplyLimits;
  readonly log: Log;
}

function requestOf(
  { name, settings }: MqttChannel,
  sender: Sender,
  message: Incoming,
  { connection, limits, log }: ReplyWay,
): ChannelRequest {
  const payload = decodeRequest(message.payload, {
    plainText: settings.plain_text,
    maxPayloadBytes: settings.max_payload_bytes,
  });
  const { text, id, stream } = payload instanceof Failure ? readable(payload, message) : payload;
  const maxBytes = packetBytesOf(connection.session(), limits);
  const { to, isRpc, refusal } = replyTargetOf(sender, { message, id, maxBytes }, log);
  const rejected = payload instanceof Failure ? payload : refusal;
  return {
    ...identityOf(message, id),
    address: addressOf(to),
    channel: name,
    client: sender.client,
    text: rejected === undefined ? text : "",
    stream: stream ?? (settings.streaming.enabled && !isRpc),
    durable: message.qos > 0 && settings.qos > 0,
    ...(to.id !== undefined && { id: to.id }),
    ...(to.expiresAt !== undefined && { expiresAt: to.expiresAt }),
    ...(rejected && { rejected }),
    reply: createReply(connection, to, limits),
  };
}

export function replyLimitsOf({
  channel: { settings },
  hasSubscriber,
}: Pick<ChannelOptions, "channel" | "hasSubscriber">): ReplyLimits {
  return { qos: settings.qos, maxMessageBytes: settings.max_message_bytes, hasSubscriber };
}

/** What an invalid request says: perhaps its id. A request that is too large is not read at all. */
function readable({ code }: Failure, { payload }: Incoming): RequestPayload {
  return { text: "", id: code === "bad_request" ? readableId(payload) : undefined };
}

/** Characters of untrusted text in the log. */
const LONGEST_SHOWN = 200;

interface ReplyTarget {
  readonly to: ReplyAddress;
  /** Request/response as in MQTT 5 section 4.10: such clients take the first message as the whole answer. */
  readonly isRpc: boolean;
  /** The request cannot be answered as it asks. */
  readonly refusal: Failure | undefined;
}

function replyTargetOf(
  { address, client }: Sender,
  { message, id, maxBytes }: { message: Incoming; id: string | undefined; maxBytes: number },
  log: Log,
): ReplyTarget {
  const {
    responseTopic: asked,
    correlationData,
    messageExpiryInterval: seconds,
  } = message.properties ?? {};
  const own = responseTopic(address, client);
  const topic = asked === undefined ? own : allowedResponseTopic(address, client, asked);
  const expiresAt = seconds === undefined ? undefined : Date.now() + seconds * 1000;
  // A copy: the original is part of a larger buffer, which would stay in memory.
  const correlation = correlationData && Buffer.from(correlationData);
  const wanted = { topic: topic ?? own, id, correlationData: correlation, expiresAt };
  const fits = leavesRoom(wanted, maxBytes);
  const to = fits ? wanted : reduced(wanted, own, maxBytes);
  const isRpc = asked !== undefined && topic !== undefined && correlation !== undefined;
  if (topic !== undefined) return { to, isRpc, refusal: fits ? undefined : noRoom() };
  log.warn("request rejected: its response topic is not allowed", {
    client: client.slice(0, LONGEST_SHOWN),
    response_topic: asked?.slice(0, LONGEST_SHOWN),
  });
  return { to, isRpc, refusal: topicRefusal(address, client) };
}

/** As much of the address as leaves room for an answer: errors must be publishable. */
function reduced(
  wanted: ReplyAddress,
  topic: ReplyAddress["topic"],
  maxBytes: number,
): ReplyAddress {
  const { id: _, ...nameless } = wanted;
  const { correlationData: __, ...bare } = nameless;
  const ways = [
    { ...wanted, topic },
    { ...nameless, topic },
    { ...bare, topic },
  ];
  return ways.find((way) => leavesRoom(way, maxBytes)) ?? { ...bare, topic };
}

function noRoom(): Failure {
  return new Failure(
    "bad_request",
    "The topic, the id and the correlation data leave too little room for an answer in one message.",
  );
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
  { topic, payload, dup, properties }: Incoming,
  id: string | undefined,
): Pick<ChannelRequest, "key" | "fingerprint" | "redelivered"> {
  const fingerprint = createHash("sha256")
    .update(topic)
    .update("\0")
    .update(payload)
    .digest("base64");
  const correlation = properties?.correlationData?.toString("base64");
  const key =
    id === undefined
      ? correlation && `correlation ${correlation} ${fingerprint}`
      : `id ${topic} ${id}`;
  return { fingerprint, redelivered: dup, ...(key !== undefined && { key }) };
}

/** The opaque text that `parseReplyAddress` reads. */
function addressOf({ topic, correlationData }: ReplyAddress): string {
  return JSON.stringify([topic, correlationData?.toString("base64") ?? null]);
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
    correlationData: correlation === null ? undefined : Buffer.from(correlation, "base64"),
    id,
    expiresAt,
  };
}
