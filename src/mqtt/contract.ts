import type { Part } from "../base/contract.ts";
import type { Failure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import type { MqttChannel } from "../config/contract.ts";

/** The asking side of the wire, for `send` and `listen`: connects as `picoclaw-cli-<random>`, never as the device. */
export interface Requester {
  /** The protocol that the broker agreed to. */
  readonly protocol: 4 | 5;
  /**
   * Publishes one request and yields the parts of its answer until it is complete. Throws a `Failure`:
   * `unserved` (status `offline`, or PUBACK reason 16), `no_answer` (nothing within `firstPartMs`),
   * `cut_off` (silence of `nextPartMs`, or the broker lost for good, after the first part), `refused`,
   * `unreachable`. An answer that is an error ends normally: its last part carries `error`.
   */
  readonly request: (question: RequestOptions) => AsyncGenerator<AnswerPart, void>;
  /**
   * Publishes one request at QoS 1 and resolves when the broker has it; for `--no-wait`. Throws a `Failure`
   * of code `no_answer` where that takes longer than `firstPartMs`.
   */
  publishRequest(
    question: Pick<RequestOptions, "client" | "text" | "id" | "stream" | "firstPartMs" | "signal">,
  ): Promise<void>;
  /** Requests and responses as they pass, and the state of the connection; ends with `signal`. No clients: all. */
  watch(options: WatchOptions): AsyncGenerator<Watched, void>;
  close(): Promise<void>;
}

export interface RequesterOptions {
  readonly channel: MqttChannel;
  readonly connectTimeoutMs: number;
  readonly log: Log;
  readonly signal: AbortSignal;
}

export interface RequestOptions {
  readonly client: string;
  readonly text: string;
  /** Names the request; at most 128 characters. */
  readonly id: string;
  /** Undefined leaves it to the gateway's configuration. */
  readonly stream?: boolean;
  readonly firstPartMs: number;
  readonly nextPartMs: number;
  readonly signal: AbortSignal;
}

export interface AnswerPart {
  readonly text: string;
  /** Absent from a gateway that does not number its parts. */
  readonly seq?: number;
  /** This part begins the answer anew: forget the parts before it. True for the first one, too. */
  readonly restart: boolean;
  readonly done: boolean;
  readonly error?: { readonly code: string; readonly retryAfter?: number };
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
  /** What the payload says, where it follows the contract; every field from outside is untrusted. */
  readonly text?: string;
  readonly id?: string;
  readonly seq?: number;
  readonly done?: boolean;
  readonly error?: { readonly code: string; readonly retryAfter?: number };
  readonly retained: boolean;
}

export interface WatchedConnection {
  readonly type: "connection";
  readonly time: Date;
  readonly state: "connected" | "lost" | "restored";
  /** Why it was lost. */
  readonly reason?: string;
  /** With `restored`: milliseconds in which messages may have passed unseen. */
  readonly gapMs?: number;
}

/** A question that came over MQTT, with a way back. */
export interface ChannelRequest {
  readonly channel: string;
  readonly client: string;
  readonly text: string;
  readonly id?: string;
  readonly stream: boolean;
  readonly key?: string;
  readonly fingerprint: string;
  readonly redelivered: boolean;
  readonly address: string;
  /** It came with QoS 1 or 2 on a channel that asks for it: it is acknowledged when `onRequest` resolves. */
  readonly durable: boolean;
  readonly expiresAt?: number;
  /** Why it is not to be run, where it is no request (`bad_request`, `too_large`); it has no text then. */
  readonly rejected?: Failure;
  reply(part: Part): Promise<void>;
}

/** Whom a request came from, and where its answer goes. */
export type Recipient = Pick<ChannelRequest, "client" | "address" | "id" | "expiresAt">;

/** The agent's side of one mqtt channel. */
export interface Channel {
  readonly name: string;
  /** Undefined while connected, subscribed and known to deliver, else why not. */
  readonly problem: () => Failure | undefined;
  /** Resolves at the first subscription; rejects when refused for good or aborted. */
  ready(signal: AbortSignal): Promise<{ readonly protocol: 4 | 5 }>;
  /** Resolves with what ended the channel for good, or undefined after `close`. */
  readonly ended: Promise<Failure | undefined>;
  /**
   * The way back to the asker of a request that a former process received, from its opaque `address`;
   * undefined where that cannot be read. Parts are numbered from 0 again.
   */
  replyTo(asker: Recipient): ((part: Part) => Promise<void>) | undefined;
  /** Says `offline`, disconnects; within seconds, whatever the broker does. */
  close(): Promise<void>;
}

export interface ChannelOptions {
  readonly channel: MqttChannel;
  readonly connectTimeoutMs: number;
  /** Milliseconds from a loss to the next attempt; 5,000 as documented. */
  readonly reconnectMs?: number;
  /** Goes into the retained `info` topic. */
  readonly info: { readonly version: string; readonly instance: string };
  /** Connects and subscribes but says neither `online` nor `info` and has no will: for `--check`. */
  readonly quiet?: boolean;
  readonly log: Log;
  /**
   * The client id where the configuration names none; it is the same at each start, so that the broker
   * keeps requests from one start to the next.
   */
  readonly clientId?: string;
  /**
   * Resolves when the request may be acknowledged, if it came with QoS 1 or 2; must not reject. While it
   * does not resolve the broker holds the request, and later ones are handed over all the same.
   */
  readonly onRequest: (request: ChannelRequest) => Promise<void>;
  /**
   * Whether anybody would hear a message of that topic, where the broker can be asked. MQTT 5 brokers say so
   * themselves (PUBACK reason 16).
   */
  readonly hasSubscriber?: (topic: string) => boolean;
  /** Hears of each failed attempt to connect and of each loss. */
  readonly onProblem?: (failure: Failure) => void;
}
