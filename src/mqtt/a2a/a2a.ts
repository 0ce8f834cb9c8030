import type { Part } from "../../base/contract.ts";
import { asFailure, Failure } from "../../base/failure.ts";
import { fromJson } from "../../base/unknown.ts";
import { connectionOptionsOf, createConnectedLog, taggedLog } from "../agent-channel/channel.ts";
import { Connection } from "../client/connection.ts";
import type { Session } from "../client/session.ts";
import type { Channel, ChannelOptions, ChannelRequest, Recipient } from "../contract.ts";
import { ConnectionLost, type Incoming } from "../protocol/message.ts";
import {
  a2aAddressOf,
  a2aReplyTopic,
  a2aTopic,
  type A2aAddress,
  type PublishTopic,
} from "../protocol/topics.ts";
import { cardOf } from "./card.ts";
import { type A2aRecipient, createA2aReply, publishTo, type ReplyDeps } from "./reply.ts";
import * as rpc from "./rpc.ts";
import { Tasks } from "./tasks.ts";

/** The requests of A2A callers, and how a caller has one cancelled. */
export interface A2aOptions extends ChannelOptions {
  /** Cancels a request of that client and key if it has no answer yet; false if there is none. */
  readonly cancel: (request: Pick<ChannelRequest, "channel" | "client" | "key">) => boolean;
}

/** Messages that acknowledge or refuse and are not sent yet; above it no more are made. */
const MOST_PENDING = 256;
/** Bytes of Correlation Data, which each piece of an answer carries. */
const MAX_CORRELATION = 1_024;
/** What an agent asks has come through one. */
const HOPS = 1;
type WayBack = Omit<A2aRecipient, keyof rpc.TaskNames>;

/** Begins the opaque address of a request. */
const MARK = "a2a";

/** The same channel, which also serves A2A callers over a separate connection. */
export function withA2a(channel: Channel, options: A2aOptions): Channel {
  const responder = new Responder(options);
  return {
    ...channel,
    replyTo: (recipient) => responder.replyTo(recipient) ?? channel.replyTo(recipient),
    async close() {
      await Promise.all([channel.close(), responder.close()]);
    },
  };
}

/**
 * An agent of A2A over MQTT 0.1: a retained card, and requests that are answered on their Response Topics. A loss of
 * its connection, or its end, leaves the channel as it is.
 */
class Responder {
  readonly #options: A2aOptions;
  readonly #address: A2aAddress;
  readonly #connection: Connection;
  readonly #tasks = new Tasks();
  readonly #deps: ReplyDeps;
  readonly #log: ReturnType<typeof taggedLog>;
  readonly #card: string;
  readonly #requests: PublishTopic;
  #pending = 0;

  constructor(options: A2aOptions) {
    const { channel, log } = options;
    const { settings } = channel;
    this.#options = options;
    this.#address = a2aAddressOf(settings);
    const { org, unit, agent } = this.#address;
    this.#requests = a2aTopic("request", this.#address);
    this.#log = taggedLog(log, `${channel.name} a2a`);
    this.#card = cardOf(settings, options.info.version);
    const { session_expiry_secs: seconds, max_message_bytes: maxMessageBytes } = settings;
    const logConnected = createConnectedLog(this.#log);
    this.#connection = new Connection({
      ...connectionOptionsOf(options),
      // That would be noted of the client id of the channel.
      onConflict: undefined,
      settings: { ...settings, protocol_version: 5, qos: 1 },
      clientId: `${org}/${unit}/${agent}`,
      sessionExpiry: { seconds, cleanStart: false },
      will: this.#cardMessage("offline", "lwt"),
      log: this.#log,
      onMessage: (message) => this.#receive(message),
      onSession: async (session) => {
        await session.subscribe([this.#requests], 1);
        logConnected(session);
        void this.#announce(session);
      },
    });
    this.#deps = { connection: this.#connection, tasks: this.#tasks, maxMessageBytes };
    void this.#connection.ended.then((failure) => {
      if (failure === undefined) return;
      const { message, why, remedy } = failure;
      this.#log.error("other agents cannot ask this one", { error: message, why, try: remedy });
    });
  }

  /** The way back to an A2A caller; undefined if the request is of another kind. */
  replyTo(recipient: Recipient): ((part: Part) => Promise<void>) | undefined {
    const to = parseAddress(this.#address, recipient);
    return to && createA2aReply(to, this.#deps);
  }

  /** Publishes the card as `offline` and disconnects, within two seconds. */
  async close(): Promise<void> {
    await this.#connection.close(async (session) => {
      await session.publish({ ...this.#cardMessage("offline", "agent"), qos: 1, retain: true });
    });
  }

  #cardMessage(status: "online" | "offline", source: "agent" | "lwt") {
    const userProperties = { "a2a-status": status, "a2a-status-source": source };
    const topic = a2aTopic("discovery", this.#address);
    return { topic, payload: this.#card, properties: { userProperties } };
  }

  /** Never rejects: after a loss the next session announces itself. */
  async #announce(session: Session): Promise<void> {
    try {
      await session.publish({ ...this.#cardMessage("online", "agent"), qos: 1, retain: true });
    } catch (error) {
      if (error instanceof ConnectionLost) return;
      const { message, why } = asFailure(error);
      this.#log.warn("the agent card cannot be published", { error: message, why });
    }
  }

  #receive(message: Incoming): Promise<void> | undefined {
    const to = this.#wayBack(message);
    if (to === undefined) return undefined;
    const asked = this.#decode(message.payload, to.correlationData.length);
    if (asked.is === "error") return this.#say(to, rpc.encodeError(asked));
    if (asked.is !== "send") return this.#say(to, this.#taskOf(asked, to.requester));
    return this.#accept(asked, to, message);
  }

  /** Where the answer may go; undefined if the message is no request, or if it may go nowhere. */
  #wayBack({ topic, payload, retain, properties = {} }: Incoming): WayBack | undefined {
    if (retain || payload.length === 0 || topic !== this.#requests) return undefined;
    const { responseTopic = "", correlationData = Buffer.alloc(0) } = properties;
    const way = a2aReplyTopic(this.#address, responseTopic);
    if (way === undefined) {
      this.#log.debug("a request without an allowed Response Topic is dropped");
      return undefined;
    }
    const { messageExpiryInterval: seconds } = properties;
    const expiresAt = seconds === undefined ? undefined : Date.now() + seconds * 1000;
    return { ...way, correlationData, expiresAt };
  }

  #decode(payload: Uint8Array, correlated: number): rpc.RpcRequest | rpc.RpcError {
    const most = this.#options.channel.settings.max_payload_bytes;
    const is = "error";
    if (payload.length > most) {
      return { is, id: null, code: rpc.INVALID_REQUEST, message: `more than ${most} bytes` };
    }
    const asked = rpc.decodeRpc(payload);
    const isCorrelated = correlated > 0 && correlated <= MAX_CORRELATION;
    if (isCorrelated || asked.is === "error") return asked;
    const message = `Correlation Data of 1 to ${MAX_CORRELATION} bytes is required`;
    return { is, id: asked.id, code: rpc.TRANSPORT_PROTOCOL_ERROR, message };
  }

  /** Says at once that the task is taken, and hands it over. */
  #accept(
    asked: Extract<rpc.RpcRequest, { is: "send" }>,
    to: WayBack,
    { qos, dup }: Incoming,
  ): Promise<void> | undefined {
    const { id, taskId, text, stream } = asked;
    const known = this.#tasks.get(to.requester, taskId);
    if (known !== undefined && asked.contextId !== "" && asked.contextId !== known.contextId) {
      const message = "the task has another contextId";
      return this.#say(to, rpc.encodeError({ id, code: rpc.INVALID_PARAMS, message }));
    }
    const contextId = asked.contextId || known?.contextId || taskId;
    const recipient = { ...to, id, taskId, contextId };
    const { channel, onRequest } = this.#options;
    const { max_hops: most } = channel.settings;
    this.#say(to, rpc.statusEvent(recipient, "SUBMITTED"));
    return onRequest({
      channel: channel.name,
      client: this.#clientOf(to.requester),
      context: contextId,
      text: HOPS > most ? "" : text,
      id: taskId,
      stream: stream && channel.settings.streaming.enabled,
      extras: { hops: HOPS },
      key: keyOf(taskId),
      fingerprint: "",
      redelivered: dup,
      address: encodeAddress(recipient),
      durable: qos > 0,
      ...(to.expiresAt !== undefined && { expiresAt: to.expiresAt }),
      ...(HOPS > most && { rejected: new Failure("forbidden", "No agents are answered.") }),
      reply: createA2aReply(recipient, this.#deps),
    });
  }

  /** What a task is, after it was cancelled if that was asked for. */
  #taskOf(
    { is, id, taskId }: Extract<rpc.RpcRequest, { is: "get" | "cancel" }>,
    requester: string,
  ) {
    const task = this.#tasks.get(requester, taskId);
    if (task === undefined) {
      const message = "this agent does not know the task";
      return rpc.encodeError({ id, code: rpc.TASK_NOT_FOUND, message });
    }
    if (is === "get") return rpc.taskResult(id, task);
    const request = {
      channel: this.#options.channel.name,
      client: this.#clientOf(requester),
      key: keyOf(taskId),
    };
    if (this.#options.cancel(request)) {
      return rpc.taskResult(id, { ...task, state: "CANCELED", updatedAt: new Date(), text: "" });
    }
    const message = "the task has ended";
    return rpc.encodeError({ id, code: rpc.TASK_NOT_CANCELABLE, message });
  }

  /** A requester's name is what it says, unless the broker checks Response Topics. */
  #clientOf(requester: string): string {
    const { verified_requesters: isVerified } = this.#options.channel.settings.a2a;
    return isVerified ? `a2a:${requester}` : `a2a:unverified:${requester}`;
  }

  #say(to: Parameters<typeof publishTo>[1], payload: string): undefined {
    if (this.#pending >= MOST_PENDING) return;
    this.#pending += 1;
    publishTo(this.#deps, to, payload)
      .catch((error: unknown) => {
        this.#log.debug("a message to an agent was not delivered", {
          why: asFailure(error).message,
        });
      })
      .finally(() => (this.#pending -= 1));
  }
}

function keyOf(taskId: string): string {
  return `a2a ${taskId}`;
}

function encodeAddress({ topic, correlationData, id, taskId, contextId }: A2aRecipient): string {
  return JSON.stringify([MARK, topic, correlationData.toString("base64"), id, taskId, contextId]);
}

/** The address of a request of a former process, which may have had another configuration. */
function parseAddress(
  own: A2aAddress,
  { address, expiresAt }: Recipient,
): A2aRecipient | undefined {
  if (!address.startsWith(`["${MARK}",`)) return undefined;
  const found: unknown = fromJson(address);
  if (!Array.isArray(found)) return undefined;
  const [, topic, correlation, id, taskId, contextId] = found.map((one: unknown) =>
    typeof one === "number" ? one : String(one),
  );
  const way = a2aReplyTopic(own, String(topic));
  if (way === undefined || id === undefined) return undefined;
  const correlationData = Buffer.from(String(correlation), "base64");
  return {
    ...way,
    correlationData,
    id,
    taskId: String(taskId),
    contextId: String(contextId),
    expiresAt,
  };
}
