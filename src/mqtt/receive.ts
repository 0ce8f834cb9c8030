import { createHash } from "node:crypto";
import * as v from "valibot";
import { asFailure, Failure } from "../base/failure.ts";
import { faultPoint } from "../base/faults.ts";
import type { Log } from "../base/log.ts";
import { createReply, type ReplyAddress } from "./answer.ts";
import type { Asker, ChannelOptions, ChannelRequest } from "./channel.ts";
import type { Connection } from "./connection.ts";
import type { Incoming } from "./message.ts";
import { clientIdOf, honouredResponseTopic, responseTopic, type AgentAddress } from "./topics.ts";
import { decodeRequest, readableId } from "./wire.ts";
import type { AskedQuestion } from "./wire.ts";

/** Answers to requests that were not understood, at the same time: a flood of nonsense costs no more. */
const MAX_REFUSALS = 64;

type Receiving = Pick<ChannelOptions, "channel" | "log" | "onRequest" | "isServed">;

/** Turns messages into requests; what is not one is answered with an error or, where it must be, ignored. */
export function createReceiver(
  options: Receiving,
  address: AgentAddress,
  connection: () => Connection,
): (message: Incoming) => Promise<void> | undefined {
  const { settings, name } = options.channel;
  const limits = { qos: settings.qos, maxMessageBytes: settings.max_message_bytes };
  const decoding = { plainText: settings.plain_text, maxPayloadBytes: settings.max_payload_bytes };
  const refuse = createRefusal(options, (to) => createReply(connection(), to, limits));
  return (message) => {
    const client = clientIdOf(address, message.topic, "request");
    if (client === undefined || message.payload.byteLength === 0) return undefined;
    if (message.retain) {
      options.log.debug("a retained request was not run", { channel: name, client });
      return undefined;
    }
    const to = replyAddressOf(address, client, message, options.log);
    const question = orNothing(decodeRequest(message.payload, decoding), client, options);
    if (question instanceof Failure) {
      const id = question.code === "bad_request" ? readableId(message.payload) : undefined;
      return refuse(client, id === undefined ? to : { ...to, id }, question);
    }
    const { text, id, stream = settings.streaming.enabled } = question;
    const named = id === undefined ? to : { ...to, id };
    if (message.qos > 0) faultPoint("received");
    return options.onRequest({
      ...identityOf(message, named),
      channel: name,
      client,
      text,
      stream,
      durable: message.qos > 0,
      ...(id !== undefined && { id }),
      ...(to.expiresAt !== undefined && { expiresAt: to.expiresAt }),
      reply: createReply(connection(), named, limits),
    });
  };
}

/** What is no request is one without words where it is of who may not ask. */
function orNothing(
  question: AskedQuestion | Failure,
  client: string,
  { isServed = () => true }: Receiving,
): AskedQuestion | Failure {
  return question instanceof Failure && !isServed(client) ? { text: "" } : question;
}

/** Answers what was not understood, with a bound on how many such answers are under way. */
function createRefusal(
  { channel, log }: Receiving,
  replyTo: (to: ReplyAddress) => ReturnType<typeof createReply>,
): (client: string, to: ReplyAddress, failure: Failure) => Promise<void> | undefined {
  let refusals = 0;
  return (client, to, failure) => {
    const full = refusals >= MAX_REFUSALS;
    const { code: outcome, message: reason } = failure;
    log[full ? "debug" : "warn"]("request failed", {
      channel: channel.name,
      client: client.slice(0, LONGEST_SHOWN),
      outcome,
      reason,
    });
    if (full) return undefined;
    refusals += 1;
    return replyTo(to)({ text: failure.message, error: failure, done: true })
      .catch((error: unknown) => {
        log.warn("an error answer was not delivered", {
          client: client.slice(0, LONGEST_SHOWN),
          error: asFailure(error).message,
        });
      })
      .finally(() => {
        refusals -= 1;
      });
  };
}

/** Characters of a device's own words in the log: enough to find them again, not to fill a disk. */
const LONGEST_SHOWN = 200;

function replyAddressOf(
  address: AgentAddress,
  client: string,
  { properties }: Incoming,
  log: Log,
): ReplyAddress {
  const { responseTopic: asked, correlationData, messageExpiryInterval } = properties ?? {};
  const honoured = asked === undefined ? undefined : honouredResponseTopic(address, client, asked);
  if (asked !== undefined && honoured === undefined) {
    log.warn("a response topic was not honoured", {
      client: client.slice(0, LONGEST_SHOWN),
      asked: asked.slice(0, LONGEST_SHOWN),
    });
  }
  return {
    topic: honoured ?? responseTopic(address, client),
    ...(correlationData && { correlationData }),
    ...(messageExpiryInterval !== undefined && {
      expiresAt: Date.now() + messageExpiryInterval * 1000,
    }),
  };
}

/**
 * What makes two messages the same request: the `id` the asker chose; else Correlation Data together
 * with the payload, since many clients count it from 0 after each restart.
 */
function identityOf(
  message: Incoming,
  { topic, id, correlationData }: ReplyAddress,
): Pick<ChannelRequest, "key" | "fingerprint" | "redelivered" | "address"> {
  const fingerprint = createHash("sha256")
    .update(message.topic)
    .update("\0")
    .update(message.payload)
    .digest("base64");
  const correlation = correlationData && Buffer.from(correlationData).toString("base64");
  const key =
    id === undefined
      ? correlation && `correlation ${correlation} ${fingerprint}`
      : `id ${message.topic} ${id}`;
  const address = JSON.stringify([topic, correlation ?? null]);
  return { fingerprint, redelivered: message.dup, address, ...(key !== undefined && { key }) };
}

const ADDRESS = v.tuple([v.string(), v.nullable(v.string())]);

/** The address of a request of a former process; it may have been written under another configuration. */
export function replyAddressAgain(
  agent: AgentAddress,
  { client, address, id, expiresAt }: Asker,
): ReplyAddress | undefined {
  const read = v.safeParse(v.pipe(v.string(), v.parseJson(), ADDRESS), address);
  if (!read.success) return undefined;
  const [topic, correlation] = read.output;
  return {
    topic: honouredResponseTopic(agent, client, topic) ?? responseTopic(agent, client),
    ...(correlation !== null && { correlationData: Buffer.from(correlation, "base64") }),
    ...(id !== undefined && { id }),
    ...(expiresAt !== undefined && { expiresAt }),
  };
}
