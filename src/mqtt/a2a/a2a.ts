import { A2A_CLIENTS, UNVERIFIED_CLIENTS } from "../../base/client-pattern.ts";
import type { Part } from "../../base/contract.ts";
import { asFailure, Failure } from "../../base/failure.ts";
import { truncate } from "../../base/truncate.ts";
import { createConnectedLog, taggedLog } from "../agent-channel/channel.ts";
import {
  FurtherConnection,
  furtherOptionsOf,
  type SharedChannelOptions,
} from "../agent-channel/further-connection.ts";
import { Connection } from "../client/connection.ts";
import type { Session } from "../client/session.ts";
import type { Channel, ChannelRequest, Recipient } from "../contract.ts";
import type { Incoming } from "../protocol/message.ts";
import {
  a2aAddressOf,
  a2aReplies,
  a2aReplyTopic,
  a2aTopic,
  type A2aAddress,
  type PublishTopic,
} from "../protocol/topics.ts";
import { encodeAddress, parseAddress } from "./address.ts";
import { cardOf } from "./card.ts";
import { PublishedCard } from "./published-card.ts";
import { type A2aRecipient, createA2aReply, publishTo, unitsOf } from "./reply.ts";
import { Retries } from "./retries.ts";
import * as rpc from "./rpc.ts";
import { type KnownRequest, taskOf } from "./task.ts";

/** What names a request. */
type RequestName = Pick<ChannelRequest, "channel" | "client" | "key">;

/** The requests of A2A callers, and how a caller hears of one and has one cancelled. Both reject as the store does. */
export interface A2aOptions extends SharedChannelOptions {
  /** Undefined if there is none. */
  readonly find: (request: RequestName) => Promise<KnownRequest | undefined>;
  /** Cancels a request if it has no answer yet; false if there is none. */
  readonly cancel: (request: RequestName) => Promise<boolean>;
}

/** Messages that acknowledge or refuse and are not sent yet; above it no more are made. */
const MOST_PENDING = 256;
/** Bytes of Correlation Data, which each piece of an answer carries. */
const MAX_CORRELATION = 1_024;
/** Above the time in which another gateway takes the lease and connects, so that the card is not `offline` then. */
const WILL_DELAY_SECONDS = 10;
/** For what is said at once: after that the answer may be there, or the requester asks again. */
const SAID_MS = 5_000;
/** What an agent asks has come through one. */
const HOPS = 1;
type WayBack = Omit<A2aRecipient, keyof rpc.TaskNames>;

/** The same channel, which also serves A2A callers over a separate connection. */
export function withA2a(channel: Channel, options: A2aOptions): Channel {
  const responder = new Responder(options);
  return {
    ...channel,
    replyTo: (recipient) => responder.replyTo(recipient) ?? channel.replyTo(recipient),
    async handOver() {
      await Promise.all([channel.handOver?.(), responder.handOver()]);
    },
    async close() {
      await Promise.all([channel.close(), responder.close()]);
    },
  };
}

/**
 * An agent of A2A over MQTT 0.1: a retained card, and requests that are answered on their Response Topics. A loss of
 * its connection, or its end, leaves the channel as it is. Of the gateways that share a store one has the connection of
 * the agent's name; each has one for its answers.
 */
class Responder {
  readonly #options: A2aOptions;
  readonly #address: A2aAddress;
  readonly #agent: FurtherConnection;
  /** For answers; undefined if the agent's own is. */
  readonly #voice: Connection | undefined;
  readonly #maxMessageBytes: number;
  readonly #log: ReturnType<typeof taggedLog>;
  readonly #card: string;
  readonly #requests: PublishTopic;
  readonly #cards: PublishedCard;
  readonly #retries = new Retries();
  #pending = 0;
  #hasDropped = false;
  /** Settles when all earlier requests are handed over. */
  #order: Promise<unknown> = Promise.resolve();

  constructor(options: A2aOptions) {
    const { channel, log, intake } = options;
    const { settings } = channel;
    this.#options = options;
    this.#address = a2aAddressOf(settings);
    const { org, unit, agent } = this.#address;
    this.#requests = a2aTopic("request", this.#address);
    this.#log = taggedLog(log, `${channel.name} a2a`);
    this.#card = cardOf(settings, options.info.version);
    this.#maxMessageBytes = settings.max_message_bytes;
    const online = this.#cardMessage("online", "agent");
    this.#cards = new PublishedCard({ ...online, qos: 1, retain: true }, "online", this.#log);
    const logConnected = createConnectedLog(this.#log);
    this.#voice = intake && this.#openVoice();
    this.#agent = new FurtherConnection({
      channel: options,
      clientId: `${org}/${unit}/${agent}`,
      sessionExpiry: { seconds: settings.session_expiry_secs, cleanStart: false },
      will: {
        ...this.#cardMessage("offline", "lwt"),
        ...(intake && { delaySeconds: WILL_DELAY_SECONDS }),
      },
      log: this.#log,
      onMessage: (message) => this.#receive(message),
      onSession: async (session) => {
        await session.subscribe([this.#requests], 1);
        logConnected(session);
        void this.#cards.announce(session);
      },
      sayOffline: (session) => this.#sayOffline(session),
      onFailure: (failure) => this.#failed(failure),
    });
  }

  /** The way back to an A2A caller; undefined if the request is of another kind. */
  replyTo(recipient: Recipient): ((part: Part) => Promise<void>) | undefined {
    const to = parseAddress(this.#address, recipient);
    return to && this.#replyTo(to);
  }

  /** Another gateway may hear at once; answers still leave. */
  handOver(): Promise<void> {
    return this.#agent.handOver();
  }

  /** Publishes the card as `offline`, unless other gateways serve, and disconnects, within two seconds. */
  async close(): Promise<void> {
    const isUnsaid = await this.#agent.close();
    const sayOffline = (session: Session): Promise<void> => this.#sayOffline(session);
    await this.#voice?.close(isUnsaid ? sayOffline : undefined);
  }

  /** With a client id of its own, and a session that ends with it. */
  #openVoice(): Connection {
    const voice = new Connection({
      ...furtherOptionsOf(this.#options),
      log: this.#log,
      onMessage: () => undefined,
      onSession: () => Promise.resolve(),
    });
    void voice.ended.then((failure) => failure && this.#failed(failure));
    return voice;
  }

  /** Waits through a time without connection. */
  #replyTo(to: A2aRecipient): (part: Part) => Promise<void> {
    const connection = this.#voice ?? this.#agent.current;
    // It is closed.
    if (connection === undefined) return () => Promise.reject(new Failure("unreachable", "closed"));
    const isReplaced = (): boolean => this.#retries.isReplaced(to);
    return createA2aReply(to, { connection, maxMessageBytes: this.#maxMessageBytes, isReplaced });
  }

  #failed({ message, why, remedy }: Failure): void {
    this.#log.error("other agents cannot ask this one", { error: message, why, try: remedy });
  }

  async #sayOffline(session: Session): Promise<void> {
    this.#cards.close();
    await session.publish({ ...this.#cardMessage("offline", "agent"), qos: 1, retain: true });
  }

  #cardMessage(status: "online" | "offline", source: "agent" | "lwt") {
    const userProperties = { "a2a-status": status, "a2a-status-source": source };
    const topic = a2aTopic("discovery", this.#address);
    return { topic, payload: this.#card, properties: { userProperties } };
  }

  #receive(message: Incoming): Promise<void> | undefined {
    if (this.#cards.received(message)) return undefined;
    const to = this.#wayBack(message);
    if (to === undefined) return undefined;
    const asked = this.#decode(message.payload, to.correlationData.length);
    if (asked.is === "error") return this.#say(to, rpc.encodeError(asked));
    if (asked.is !== "send") return this.#tell(asked, to);
    const known = this.#find(to, asked.taskId);
    const handedOver = this.#order.then(async () => {
      const found = await known;
      return { done: this.#accept(asked, to, message, found) };
    });
    this.#order = handedOver;
    return handedOver.then(({ done }) => done);
  }

  /** Undefined also if the store does not say: then it cannot take the request either. */
  #find(to: WayBack, taskId: string): Promise<KnownRequest | undefined> {
    return this.#options.find(this.#named(to, taskId)).catch(() => undefined);
  }

  #named({ requester }: WayBack, taskId: string): RequestName {
    const { channel } = this.#options;
    return { channel: channel.name, client: this.#clientOf(requester), key: `a2a ${taskId}` };
  }

  /** Where the answer may go; undefined if the message is no request, or if it may go nowhere. */
  #wayBack({ topic, payload, retain, properties = {} }: Incoming): WayBack | undefined {
    if (retain || payload.length === 0 || topic !== this.#requests) return undefined;
    const { responseTopic = "", correlationData = Buffer.alloc(0) } = properties;
    const way = a2aReplyTopic(this.#address, responseTopic);
    if (way === undefined) {
      this.#sayDropped(responseTopic);
      return undefined;
    }
    const { messageExpiryInterval: seconds } = properties;
    const expiresAt = seconds === undefined ? undefined : Date.now() + seconds * 1000;
    return { ...way, correlationData, expiresAt };
  }

  /** Warns once: whoever may publish there could fill the log. */
  #sayDropped(responseTopic: string): void {
    const level = this.#hasDropped ? "debug" : "warn";
    this.#hasDropped = true;
    this.#log[level]("a request of another agent is dropped: nobody can be answered on its topic", {
      response_topic: truncate(responseTopic, 128),
      try: `let it ask with a Response Topic of its own name: ${a2aReplies(this.#address, "<its name>")}/…`,
    });
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
    known: KnownRequest | undefined,
  ): Promise<void> | undefined {
    const { id, taskId, text, stream } = asked;
    if (known?.context !== undefined && !["", known.context].includes(asked.contextId)) {
      const message = "the task has another contextId";
      return this.#say(to, rpc.encodeError({ id, code: rpc.INVALID_PARAMS, message }));
    }
    const contextId = asked.contextId || known?.context || taskId;
    const recipient = { ...to, id, taskId, contextId };
    const { channel, onRequest } = this.#options;
    const { max_hops: most } = channel.settings;
    if (!dup) this.#retries.received(recipient);
    this.#say(to, rpc.statusEvent(recipient, "SUBMITTED"));
    return onRequest({
      ...this.#named(to, taskId),
      context: contextId,
      text: HOPS > most ? "" : text,
      id: taskId,
      stream: stream && channel.settings.streaming.enabled,
      extras: { hops: HOPS },
      fingerprint: "",
      redelivered: dup,
      address: encodeAddress(recipient),
      durable: qos > 0,
      ...(to.expiresAt !== undefined && { expiresAt: to.expiresAt }),
      ...(HOPS > most && { rejected: new Failure("forbidden", "No agents are answered.") }),
      reply: this.#replyTo(recipient),
    });
  }

  /** Says what a task is, after it was cancelled if that was asked for. */
  async #tell(
    asked: Extract<rpc.RpcRequest, { is: "get" | "cancel" }>,
    to: WayBack,
  ): Promise<void> {
    const { id } = asked;
    const connection = this.#agent.current;
    if (connection === undefined) return;
    const units = unitsOf(to, { connection, maxMessageBytes: this.#maxMessageBytes });
    try {
      this.#say(to, await this.#taskOf(asked, to, units));
    } catch {
      const message = "the agent cannot read its tasks now";
      this.#say(to, rpc.encodeError({ id, code: rpc.RESPONDER_UNAVAILABLE, message }));
    }
  }

  async #taskOf(
    { is, id, taskId }: Extract<rpc.RpcRequest, { is: "get" | "cancel" }>,
    to: WayBack,
    units: number,
  ): Promise<string> {
    const request = this.#named(to, taskId);
    const known = await this.#options.find(request);
    if (known === undefined) {
      const message = "this agent does not know the task";
      return rpc.encodeError({ id, code: rpc.TASK_NOT_FOUND, message });
    }
    const task = taskOf(taskId, known);
    if (is === "get") return rpc.taskResult(id, task, units);
    if (await this.#options.cancel(request)) {
      return rpc.taskResult(id, { ...task, state: "CANCELED", text: "" }, units);
    }
    const message = "the task has ended";
    return rpc.encodeError({ id, code: rpc.TASK_NOT_CANCELABLE, message });
  }

  /** A requester's name is what it says, unless the broker checks Response Topics. */
  #clientOf(requester: string): string {
    const { verified_requesters: isVerified } = this.#options.channel.settings.a2a;
    return (isVerified ? A2A_CLIENTS : UNVERIFIED_CLIENTS) + requester;
  }

  /** On the connection of the request, so that it is heard before the answer. */
  #say(to: Parameters<typeof publishTo>[1], payload: string): undefined {
    const connection = this.#agent.current;
    if (connection === undefined || this.#pending >= MOST_PENDING) return;
    this.#pending += 1;
    publishTo({ connection }, to, payload, AbortSignal.timeout(SAID_MS))
      .catch((error: unknown) => {
        this.#log.debug("a message to an agent was not delivered", {
          why: asFailure(error).message,
        });
      })
      .finally(() => (this.#pending -= 1));
  }
}
