import { createHash } from "node:crypto";
import * as v from "valibot";
import { matchesPattern } from "../../base/client-pattern.ts";
import type { RequestExtras } from "../../base/contract.ts";
import { failpoint } from "../../base/failpoint.ts";
import { Failure } from "../../base/failure.ts";
import { PUSH_ADDRESS } from "../../base/request-extras.ts";
import { traceParentOf } from "../../base/trace-context.ts";
import type { MqttChannel } from "../../config/contract.ts";
import type { Connection } from "../client/connection.ts";
import type { Recipient, ChannelOptions, ChannelRequest } from "../contract.ts";
import type { Incoming } from "../protocol/message.ts";
import { leavesRoom } from "../protocol/parts.ts";
import {
  clientIdOf,
  isClientId,
  allowedResponseTopic,
  responseTopic,
  type AgentAddress,
  type PublishTopic,
} from "../protocol/topics.ts";
import { decodeRequest, readableFacts, type RequestPayload } from "../protocol/wire.ts";
import { createReply, packetBytesOf, type ReplyAddress, type ReplyOptions } from "./reply.ts";

/**
 * Calls `onRequest` for each message of a client, also for one that is no valid request. Ignores messages
 * that come from no client, that are empty, or that are retained copies. A request that is published with
 * the retain flag comes to us without it (MQTT 5 section 3.3.1.3), and runs this one time.
 */
export function createReceiver(
  options: ChannelOptions,
  address: AgentAddress,
  replyOptions: ReplyOptions,
): (message: Incoming, connection: Connection) => Promise<void> | undefined {
  const { channel, log } = options;
  return (message, connection) => {
    const client = clientIdOf(address, message.topic, "request");
    if (client === undefined || message.payload.byteLength === 0) return undefined;
    if (message.retain) {
      log.debug("a retained request was not run", { channel: channel.name, client });
      return undefined;
    }
    const { topic, qos, payload } = message;
    const shown = topic.slice(0, LONGEST_SHOWN);
    log.debug("request received", { topic: shown, qos, bytes: payload.byteLength });
    if (qos > 0) failpoint("received");
    const way = { connection, options: replyOptions };
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
  readonly options: ReplyOptions;
}

function requestOf(
  { name, settings }: MqttChannel,
  sender: Sender,
  message: Incoming,
  { connection, options }: ReplyWay,
): ChannelRequest {
  const payload = payloadOf(settings, message);
  const { text, id, stream, extras, accept } =
    payload instanceof Failure ? readable(payload, message) : payload;
  const form = answerForm(settings, sender.client);
  const isPlain = (accept ?? form.accept) === "text/plain";
  const maxBytes = packetBytesOf(connection.session(), options);
  const { to, isRpc, refusal } = replyTargetOf(sender, { message, id, isPlain, maxBytes }, options);
  const rejected = payload instanceof Failure ? payload : refusal;
  return {
    ...identityOf(message, id),
    address: addressOf(to),
    channel: name,
    client: sender.client,
    text: rejected === undefined ? text : "",
    stream: stream ?? streams(settings, isRpc || isPlain),
    durable: message.qos > 0 && settings.qos > 0,
    ...(to.id !== undefined && { id: to.id }),
    ...(to.expiresAt !== undefined && { expiresAt: to.expiresAt }),
    ...(rejected ? { rejected } : withDefaults(extras, form.max_chars, message)),
    reply: createReply(connection, to, options),
  };
}

/** The payload, or why it is refused; agents that ask each other come to an end. */
function payloadOf(
  {
    plain_text: plainText,
    max_payload_bytes: maxPayloadBytes,
    max_hops: most,
  }: MqttChannel["settings"],
  { payload, properties }: Incoming,
): RequestPayload | Failure {
  const { contentType } = properties ?? {};
  const decoded = decodeRequest(payload, { plainText, maxPayloadBytes, contentType });
  const { hops = 0 } = decoded instanceof Failure ? {} : (decoded.extras ?? {});
  if (hops <= most) return decoded;
  return new Failure(
    "forbidden",
    `The question has come through ${hops} agents; at most ${most} are allowed.`,
  );
}

/** The form of answers for requests that ask for none: that of the client, else the channel's. */
export function answerForm(
  { clients, accept, max_chars }: MqttChannel["settings"],
  client: string,
): Pick<MqttChannel["settings"], "accept" | "max_chars"> {
  const own = clients.find(({ pattern }) => matchesPattern(pattern, client));
  return { accept: own?.accept ?? accept, max_chars: own?.max_chars ?? max_chars };
}

/** Clients that take the first message as the whole answer get it in one. */
function streams({ streaming }: MqttChannel["settings"], takesOne: boolean): boolean {
  return streaming.enabled && !takesOne;
}

/** The extras of a request, with this limit if it has none, and with the span of the client. */
function withDefaults(
  extras: RequestExtras | undefined,
  maxChars: number,
  { properties: { traceparent = "" } = {} }: Incoming,
): Pick<ChannelRequest, "extras"> {
  const isTraced = traceparent.length <= LONGEST_SHOWN && traceParentOf(traceparent) !== undefined;
  if (extras === undefined && maxChars === 0 && !isTraced) return {};
  const more = { ...(maxChars > 0 && { maxChars }), ...(isTraced && { traceparent }) };
  return { extras: { ...more, ...extras } };
}

/** What an invalid request says: perhaps its id. A request that is too large is not read at all. */
function readable({ code }: Failure, { payload }: Incoming): RequestPayload {
  return { text: "", ...(code !== "too_large" && readableFacts(payload)) };
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

interface Wanted {
  readonly message: Incoming;
  readonly id: string | undefined;
  readonly isPlain: boolean;
  readonly maxBytes: number;
}

function replyTargetOf(
  { address, client }: Sender,
  { message, id, isPlain, maxBytes }: Wanted,
  options: ReplyOptions,
): ReplyTarget {
  const {
    responseTopic: asked,
    correlationData,
    messageExpiryInterval: seconds,
  } = message.properties ?? {};
  const own = responseTopic(address, client);
  const chosen = asked === undefined ? own : chosenTopic({ address, client }, asked, options);
  const isRefused = chosen instanceof Failure;
  const expiresAt = seconds === undefined ? undefined : Date.now() + seconds * 1000;
  // A copy: the original is part of a larger buffer, which would stay in memory.
  const correlation = correlationData && Buffer.from(correlationData);
  const topic = isRefused ? own : chosen;
  const wanted = { topic, own, id, isPlain, correlationData: correlation, expiresAt };
  const fits = leavesRoom(wanted, maxBytes);
  return {
    to: fits ? wanted : reduced(wanted, own, maxBytes),
    isRpc: asked !== undefined && !isRefused && correlation !== undefined,
    refusal: isRefused ? chosen : fits ? undefined : noRoom(),
  };
}

/** The response topic that the client asks for, or why it cannot have it. */
function chosenTopic(
  { address, client }: Sender,
  asked: string,
  { log, restrictions }: ReplyOptions,
): PublishTopic | Failure {
  const own = responseTopic(address, client);
  const topic = allowedResponseTopic(address, client, asked);
  if (topic === undefined) {
    log.warn("request rejected: its response topic is not allowed", {
      client: client.slice(0, LONGEST_SHOWN),
      response_topic: asked.slice(0, LONGEST_SHOWN),
    });
    return topicRefusal(address, client);
  }
  // The broker's refusal was logged when it came.
  return topic !== own && restrictions.isRefused(own) ? brokersRefusal(own) : topic;
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

function brokersRefusal(own: string): Failure {
  return new Failure(
    "bad_request",
    `The broker does not accept answers on the response topic; answers are on ${own.slice(0, LONGEST_SHOWN)}.`,
  );
}

/**
 * Two messages are the same request if they have the same `id`; without one, the same Correlation Data and
 * payload, because many clients count Correlation Data from 0 after each restart.
 */
function identityOf(
  { topic, payload, qos, dup, properties }: Incoming,
  id: string | undefined,
): Pick<ChannelRequest, "key" | "fingerprint" | "redelivered" | "once"> {
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
  if (key !== undefined) return { key, fingerprint, redelivered: dup };
  return { fingerprint, redelivered: dup, ...(qos === 0 && { once: true }) };
}

/** The opaque text that `parseReplyAddress` reads. */
function addressOf({ topic, correlationData, isPlain }: ReplyAddress): string {
  const way = [topic, correlationData?.toString("base64") ?? null];
  return JSON.stringify(isPlain ? [...way, PLAIN] : way);
}

const PLAIN = "text/plain";
const ADDRESS = v.tuple([v.string(), v.nullable(v.string()), v.optional(v.string())]);

/** The address of a push, or of a request of a former process, which may have had another configuration. */
export function parseReplyAddress(
  agent: AgentAddress,
  { client, address, id, expiresAt }: Recipient,
  settings: MqttChannel["settings"],
): ReplyAddress | undefined {
  // A device that asked had such an id; one that the agent writes to may have any.
  if (!isClientId(client)) return undefined;
  const own = responseTopic(agent, client);
  if (address === PUSH_ADDRESS) {
    const isPlain = answerForm(settings, client).accept === PLAIN;
    return { topic: own, own, id, expiresAt, isPush: true, isPlain };
  }
  const read = v.safeParse(v.pipe(v.string(), v.parseJson(), ADDRESS), address);
  if (!read.success) return undefined;
  const [topic, correlation, accept] = read.output;
  return {
    topic: allowedResponseTopic(agent, client, topic) ?? own,
    own,
    isPlain: accept === PLAIN,
    correlationData: correlation === null ? undefined : Buffer.from(correlation, "base64"),
    id,
    expiresAt,
  };
}
