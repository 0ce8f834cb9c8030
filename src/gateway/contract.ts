import type {
  AnswerFormat,
  Allowance,
  Image,
  Part,
  Pushed,
  RequestExtras,
  Usage,
} from "../base/contract.ts";
import type { Failure } from "../base/failure.ts";

/** A request that came through a channel, with the way to answer it. */
export interface Request {
  /** The channel's name in the configuration. */
  readonly channel: string;
  /** The client id. Opaque and case-sensitive; never a path, never trimmed. */
  readonly client: string;
  /** The name of its conversation, bounded in length; the client's own conversation when left out. */
  readonly conversation?: string;
  /** What the client calls that conversation; only kept with the request. */
  readonly context?: string;
  readonly text: string;
  /** What came with the text; absent for most requests. */
  readonly extras?: RequestExtras | undefined;
  /** The client's own id of the request, for the log. */
  readonly id?: string;
  /** Whether the client wants parts as they come (true) or one whole answer (false). */
  readonly stream: boolean;
  /** Two requests with equal keys are the same request; absent when the client gave no key. */
  readonly key?: string;
  /** Hash of topic and payload. Together with `redelivered` it identifies a request without a key. */
  readonly fingerprint: string;
  /** The name under which a former process stored it; replaces `key` and `fingerprint`. */
  readonly name?: string;
  /** Whether this may be a second delivery (MQTT DUP flag). */
  readonly redelivered: boolean;
  /** It has no key and is never delivered again: its answer is not remembered. */
  readonly once?: true;
  /**
   * Where the answer goes, opaque. Requests with equal addresses get the same parts. A later process can
   * answer with it (`GatewayOptions.replyTo`).
   */
  readonly address: string;
  /** In milliseconds since the epoch: until then its name is known, also after the window for duplicates. */
  readonly knownUntil?: number;
  /** QoS 1 and 2: after the transport acknowledged the request, it survives a crash. */
  readonly durable: boolean;
  /** The deadline in milliseconds since the epoch; absent is none. */
  readonly expiresAt?: number;
  /** Not for durable requests. Aborted when nobody waits for the answer any more: then the request is cancelled. */
  readonly signal?: AbortSignal;
  /** The payload was not understood or is too large: the answer is this failure. */
  readonly rejected?: Failure;
  /**
   * Hands one part to the transport, in order. Resolves when the part was delivered, as far as the QoS can
   * tell; waits while the broker is away. Rejects with a `Failure` when the part can never be delivered
   * (expired, refused, channel closed). Rejects with code `no_subscriber` when the topic had no subscriber:
   * the answer may then be delivered again from its first part.
   */
  reply(part: Part): Promise<void>;
}

/** A message that the program sends to a client by itself. */
export type Push = PushFacts & (ReadyPush | PromptPush);

export interface PushFacts extends Pick<Pushed, "from"> {
  readonly channel: string;
  readonly client: string;
  /**
   * Names the push, also to the client; at most 128 characters. The same id of the same client is the same push: until
   * it expires, or, of a message, within the window for duplicates after its delivery.
   */
  readonly id: string;
  /** In milliseconds since the epoch: then it is given up. A day from now if left out. */
  readonly expiresAt?: number;
}

/** It is sent as it is, at once: a turn of its client may run. */
export interface ReadyPush {
  readonly text: string;
  /** It is not cut to the length of its client's answers. */
  readonly whole?: true;
}

/**
 * It is the answer of a turn in the client's conversation, which waits for earlier requests of the client. If that
 * answers `NOTHING`, or nothing, nothing is sent.
 */
export interface PromptPush extends Pick<Pushed, "data" | "confirmation"> {
  readonly prompt: string;
}

/** The port that the agent fits by structure. `M` is a message of the conversation. */
export type Answerer<M> = (turn: {
  /** Reads the conversation so far. Does not reject. */
  readonly history: () => Promise<readonly M[]>;
  readonly text: string;
  readonly format?: AnswerFormat;
  readonly images?: readonly Image[];
  /** Agents that the question has come through. */
  readonly hops?: number;
  /** The program began the turn; if there is nothing to tell the client, the answer is `NOTHING`. */
  readonly pushed?: Pushed;
  readonly client: string;
  readonly channel: string;
  readonly isRemote: true;
  /** Whether the client may change things for everyone. */
  readonly isAdmin: boolean;
  /** The remaining budget of the client, for the turn and all that it starts. */
  readonly allowance: Allowance;
  readonly signal: AbortSignal;
  /** The steps of attempts that a crash cut off, in order; absent on a first attempt. */
  readonly resumed?: readonly M[];
  /** Stores a step of the turn for an attempt after a crash. Resolves when the step is durable. */
  readonly record: (message: M) => Promise<void>;
  /**
   * Runs work without the turn's slot, which other turns may use meanwhile. Settles as the work does, when
   * the turn has a slot again.
   */
  readonly whileWaiting: <T>(work: () => Promise<T>) => Promise<T>;
}) => AsyncGenerator<string, Turned<M>>;

export interface Turned<M> {
  readonly messages: readonly M[];
  readonly usage?: Usage;
  /** The conversation begins anew after this turn. */
  readonly forget?: true;
}
