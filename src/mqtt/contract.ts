import type { Part, RequestExtras } from "../base/contract.ts";
import type { Failure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import type { MqttChannel } from "../config/contract.ts";
import type { GatewayFacts, GatewayInfo, ListedGateway } from "./protocol/info.ts";

/** The requesting side of the wire, for `send` and `listen`: connects as `picoclaw-cli-<random>`, never as the device. */
export interface Requester {
  /** The protocol version that the broker accepted. */
  readonly protocol: 4 | 5;
  /**
   * Publishes one request and yields the parts of its answer until it is complete; at QoS 0 if the
   * configuration says 0, else at QoS 1. Throws a `Failure`: `unserved` (status `offline`, or PUBACK reason
   * 16), `no_answer` (nothing within `firstPartMs`, or after an empty part), `cut_off` (silence of `nextPartMs`
   * after text, or the broker lost for good, after the first part), `refused`, `unreachable`. An answer that is an error ends normally: its
   * last part has `error`.
   */
  readonly request: (question: RequestOptions) => AsyncGenerator<AnswerPart, void>;
  /**
   * Publishes one request at QoS 1 and resolves when the broker has acknowledged it; for `--no-wait`. Throws
   * a `Failure`: `unserved` after PUBACK reason 16, `no_answer` if it takes longer than `firstPartMs`.
   */
  publishRequest(question: Omit<RequestOptions, "nextPartMs">): Promise<void>;
  /** Yields requests, responses and changes of the connection until `signal`; without clients, those of all. */
  watch(options: WatchOptions): AsyncGenerator<Watched, void>;
  /**
   * Yields the agents under the channel's prefix, by their retained `status` and `info`: each one when something of it
   * is known, and again when that changes. All of it is untrusted.
   */
  agents(options: AgentsOptions): AsyncGenerator<AgentFacts, void>;
  close(): Promise<void>;
}

export interface AgentsOptions {
  /** Ends after a silence of so many milliseconds; goes on until `signal` if left out. */
  readonly quietMs?: number | undefined;
  readonly signal: AbortSignal;
}

export interface AgentFacts {
  readonly agent: string;
  /** What its `status` says; absent without one. */
  readonly online?: boolean;
  readonly info?: GatewayInfo;
}

export interface RequesterOptions {
  readonly channel: MqttChannel;
  readonly connectTimeoutMs: number;
  readonly log: Log;
  readonly signal: AbortSignal;
}

export interface RequestOptions {
  /** Another agent under the prefix of the channel. */
  readonly agent?: string | undefined;
  readonly client: string;
  readonly text: string;
  /** Names the request; at most 128 characters. */
  readonly id: string;
  /** If undefined, the gateway's configuration decides. */
  readonly stream?: boolean;
  readonly extras?: RequestExtras;
  readonly firstPartMs: number;
  readonly nextPartMs: number;
  readonly signal: AbortSignal;
}

export interface AnswerPart {
  readonly text: string;
  /** Absent from a gateway that does not number its parts. */
  readonly seq?: number;
  /** This part starts the answer again: discard the parts before it. Also true for the first part. */
  readonly restart: boolean;
  readonly done: boolean;
  readonly error?: { readonly code: string; readonly retryAfter?: number | undefined } | undefined;
  /** The message as it came. */
  readonly payload: Uint8Array;
}

export interface WatchOptions {
  readonly clients: readonly string[];
  readonly requests: boolean;
  readonly responses: boolean;
  readonly signal: AbortSignal;
}

export type Watched = WatchedMessage | WatchedConnection;

export interface WatchedMessage {
  readonly type: "message";
  readonly time: Date;
  readonly client: string;
  readonly direction: "request" | "response";
  readonly payload: Uint8Array;
  /** The decoded payload, if it follows the contract; every field is untrusted. */
  readonly text?: string | undefined;
  readonly id?: string | undefined;
  readonly seq?: number | undefined;
  readonly done?: boolean | undefined;
  /** The agent began it by itself. */
  readonly push?: boolean | undefined;
  readonly error?: { readonly code: string; readonly retryAfter?: number | undefined } | undefined;
  readonly retained: boolean;
}

export interface WatchedConnection {
  readonly type: "connection";
  readonly time: Date;
  readonly state: "connected" | "lost" | "restored";
  /** With `connected` and `restored`, if the broker has several addresses: the one in use. */
  readonly broker?: string;
  /** Why it was lost. */
  readonly reason?: string;
  /** With `restored`: milliseconds in which messages may have passed unseen. */
  readonly gapMs?: number;
}

/** A request that came over MQTT, with the way to answer it. */
export interface ChannelRequest {
  readonly channel: string;
  readonly client: string;
  /** One of several conversations of the client; it has one if left out. */
  readonly context?: string;
  readonly text: string;
  readonly extras?: RequestExtras;
  readonly id?: string;
  readonly stream: boolean;
  readonly key?: string;
  readonly fingerprint: string;
  readonly redelivered: boolean;
  /** It has no key, and came at QoS 0, which knows no second delivery (MQTT 5 section 3.3.1.1). */
  readonly once?: true;
  readonly address: string;
  /** It came with QoS 1 or 2, on a channel with at least QoS 1: it is acknowledged when `onRequest` resolves. */
  readonly durable: boolean;
  readonly expiresAt?: number;
  /** Why it must not run, if it is not a valid request (`bad_request`, `too_large`); its text is empty then. */
  readonly rejected?: Failure;
  reply(part: Part): Promise<void>;
}

/** The client that sent a request, and where its answer goes. */
export type Recipient = Pick<ChannelRequest, "client" | "address" | "id" | "expiresAt">;

/** The agent's side of one mqtt channel. */
export interface Channel {
  readonly name: string;
  /** Why it does not work; undefined while it is connected, subscribed and proven to deliver. */
  readonly problem: () => Failure | undefined;
  /**
   * Resolves at the first subscription, in a cluster also when another gateway hears; rejects when refused for good or
   * aborted.
   */
  ready(
    signal?: AbortSignal,
  ): Promise<{ readonly protocol: 4 | 5; readonly maximumQos: 0 | 1 | 2 }>;
  /** Resolves with what ended the channel for good, or undefined after `close`. */
  readonly ended: Promise<Failure | undefined>;
  /**
   * Answers a request that a former process received, by its opaque `address`; undefined if that cannot be
   * read. Parts are numbered from 0 again.
   */
  replyTo(recipient: Recipient): ((part: Part) => Promise<void>) | undefined;
  /** Sessions with requests for us that the broker has lost since this process started. */
  readonly sessionsLost: () => number;
  /** Whether answers can leave now; as `problem` says if left out. */
  readonly canAnswer?: () => boolean;
  /**
   * Stops to hear requests, so that another gateway of the cluster does at once; answers still leave. Does nothing
   * where there is none.
   */
  handOver?(): Promise<void>;
  /** Messages that the broker has dropped from full queues of all its clients, as far as it tells. */
  readonly messagesDropped: () => number;
  /** The gateways of other clusters that serve the same agent id, as far as they can be noticed. */
  readonly otherGateways: () => readonly GatewayFacts[];
  /** Publishes `offline` and disconnects; takes two seconds at most, whatever the broker does. */
  close(): Promise<void>;
}

/** The session that the broker keeps for a client id, as it was known last. */
export interface KeptSession {
  readonly clientId: string;
  /** The node, as the configuration names it. */
  readonly broker: string;
  /** The last moment at which the broker certainly saw us, in milliseconds since the epoch. */
  readonly seenAt: number;
  /** Seconds for which the broker keeps it after that; 4,294,967,295 is for ever. */
  readonly expirySecs: number;
}

/** Where a channel notes for the next process that the broker keeps a session. Must not throw. */
export interface SessionNotes {
  read(): KeptSession | undefined;
  /** Undefined: it keeps none. */
  write(kept: KeptSession | undefined): void;
}

/** And what the broker dropped. */
export interface BrokerNotes extends SessionNotes {
  /** How many messages this node had dropped, for all its clients, when that was noted last. */
  dropped(broker: string): number | undefined;
  noteDropped(broker: string, total: number): void;
}

/** Where a channel notes the topic of its device in Home Assistant, so that it can be removed. Must not throw. */
export interface DiscoveryNotes {
  read(): string | undefined;
  /** Undefined: there is no device. */
  write(topic: string | undefined): void;
}

/** A channel that several gateways serve: one of them hears, all answer. */
export interface ClusterChannelOptions extends ChannelOptions {
  readonly intake: IntakeLease;
  /** Whether no other gateway of the cluster lives. May reject. */
  readonly isAlone: () => Promise<boolean>;
  /** Calls `listener` when other gateways live or hear than before. */
  readonly onGateways?: (listener: () => void) => void;
}

/** The right of one gateway to hear the channel. It is asked for and renewed while this is open. */
export interface IntakeLease {
  /** Tries to take the lease from now on. */
  start(listener: IntakeListener): void;
  /** Tells a further listener, too, from now on; also when the lease is given back for good. */
  follow(listener: Pick<IntakeListener, "taken" | "lost">): void;
  /** Whether this gateway may hear and acknowledge now. */
  isHeld(): boolean;
  /** Why the store could not be asked last time. */
  problem(): Failure | undefined;
  /** Resolves when the lease is renewed by a call that begins now or later. Rejects when it is lost. */
  confirmed(signal: AbortSignal): Promise<void>;
  /** Leaves it to another gateway; this one does not try for so many milliseconds. The listener hears that it is lost. */
  giveBack(milliseconds: number, why: string): Promise<void>;
  /** Gives it back for good, without a word to the listener. */
  close(): Promise<void>;
}

/** What a channel does with its intake. None of it may throw. */
export interface IntakeListener {
  /** Whether the channel could hear now: without a path to the broker the lease is left to others. */
  readonly canHear: () => boolean;
  /**
   * The lease was taken: the channel hears from now on. `identity` names the cluster. With `wasOthers` another
   * gateway had it before, so that the broker should keep a session.
   */
  readonly taken: (identity: string, wasOthers: boolean) => void;
  /** The channel stops to hear and acknowledges nothing more, at once. */
  readonly lost: (why: string) => void;
  /** Another gateway has the lease, and hears. Called with each look that finds it so. */
  readonly elsewhere: () => void;
}

/** What a gateway publishes of itself. */
/** Of today, since local midnight. */
export interface AgentUsage {
  /** Of all model calls, in and out. */
  readonly tokens: number;
  /** In the units of `model_list[].prices`; absent without prices. */
  readonly cost?: number;
}

export interface GatewayOptions {
  readonly version: string;
  readonly instance: string;
  /** When its process began, in ISO 8601; when the channel was opened if left out. */
  readonly since?: string;
  /** The name of its machine, if others may know it. */
  readonly host?: () => string | undefined;
  /** Requests that run or wait. */
  readonly load?: () => number;
  /** What the agent has used today, for Home Assistant; undefined while no model answers. */
  readonly usage?: () => AgentUsage | undefined;
  /** The gateways of its cluster, itself among them; it is alone if left out. */
  readonly gateways?: () => readonly ListedGateway[];
}

export interface ChannelOptions {
  readonly channel: MqttChannel;
  readonly connectTimeoutMs: number;
  /** Milliseconds from a loss to the next attempt; 5,000 as documented. */
  readonly reconnectMs?: number;
  /** Milliseconds between two looks at whether load and usage have changed; a minute if undefined. */
  readonly refreshMs?: number;
  /** Milliseconds from a connection to the look at what the broker dropped; 5,000 if undefined. */
  readonly lookMs?: number;
  /** Waits between attempts and between probes; tests put a clock of their own here. */
  readonly pause?: (milliseconds: number, signal: AbortSignal) => Promise<void>;
  /** Published in the retained `info` topic. */
  readonly info: GatewayOptions;
  /** Ends with a `Failure` (`refused`) if another gateway serves the agent id when this one connects. */
  readonly exclusive?: boolean;
  readonly log: Log;
  /**
   * The client id if the configuration names none. It is the same at each start, so that the broker keeps
   * requests from one start to the next.
   */
  readonly clientId?: string;
  /** Without them, only this process knows what the broker must have kept, and what it had dropped. */
  readonly brokerNotes?: BrokerNotes | undefined;
  /** Without them, only an agent that is a device in Home Assistant now is known to be one. */
  readonly discoveryNotes?: DiscoveryNotes | undefined;
  /**
   * Resolves when the request may be acknowledged, if it came with QoS 1 or 2; must not reject. Until then
   * the broker keeps the request; later requests are handed over meanwhile.
   */
  readonly onRequest: (request: ChannelRequest) => Promise<void>;
  /**
   * Whether the topic has a subscriber, for a broker that can be asked. MQTT 5 brokers tell it themselves
   * (PUBACK reason 16).
   */
  readonly hasSubscriber?: (topic: string) => boolean;
  /** Called when another program uses, or seems to use, the client id of this gateway. */
  readonly onConflict?: () => void;
  /** Called at each failed attempt to connect and at each loss. */
  readonly onProblem?: (failure: Failure) => void;
}
