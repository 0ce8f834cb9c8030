import type { Allowance, Part, Usage } from "../base/contract.ts";
import type { Failure } from "../base/failure.ts";

/** A question that came in through some channel, with a way back. */
export interface Request {
  /** The channel's name in the configuration. */
  readonly channel: string;
  /** Who asks. Opaque and case-sensitive; never a path, never trimmed. */
  readonly client: string;
  /** The name of the conversation that it belongs to, bounded in length; the client's own where it is left out. */
  readonly conversation?: string;
  readonly text: string;
  /** The asker's own name for the request, for the log. */
  readonly id?: string;
  /** Whether the asker wants parts as they come (true) or one answer (false). */
  readonly stream: boolean;
  /** Two requests with equal keys are the same request; absent where the asker named none. */
  readonly key?: string;
  /** Hash over topic and payload: together with `redelivered` it names a request that has no key. */
  readonly fingerprint: string;
  /** What a former process called it; then neither `key` nor `fingerprint` names it. */
  readonly name?: string;
  /** The transport says that this may be a second delivery (MQTT DUP flag). */
  readonly redelivered: boolean;
  /**
   * Where the answer goes, opaque: two requests with equal addresses hear the same parts, and a later
   * process finds the way back from it (`GatewayOptions.replyTo`).
   */
  readonly address: string;
  /** From QoS 1 on: once the transport acknowledged it, it survives a crash. */
  readonly durable: boolean;
  /** Milliseconds since the epoch after which the answer is of no use; absent is never. */
  readonly expiresAt?: number;
  /** It was not understood, or is too large: this is its answer. */
  readonly rejected?: Failure;
  /**
   * Hands one part to the transport, in order: resolves when it was delivered as far as the QoS in
   * force can tell, waits through a loss of the broker, and rejects with a `Failure` when it can
   * never be delivered (expired, refused, channel closed), or of code `no_subscriber` when nobody was
   * there to hear it: then the answer may be given again from its first part.
   */
  reply(part: Part): Promise<void>;
}

/** What the gateway needs of an answerer: structurally the agent's. `M` is a message of the conversation. */
export type Answerer<M> = (turn: {
  readonly history: readonly M[];
  readonly text: string;
  readonly client: string;
  readonly channel: string;
  readonly isRemote: true;
  /** Who asks may change things for everyone. */
  readonly isAdmin: boolean;
  /** What who asks may still use, with all that the turn begins. */
  readonly allowance: Allowance;
  readonly signal: AbortSignal;
  /** What an attempt that a crash cut had done, in order; absent on a first attempt. */
  readonly resumed?: readonly M[];
  /** Keeps a step of the turn for an attempt after a crash: resolves when it is durable. */
  readonly record: (message: M) => Promise<void>;
  /**
   * Runs work without the turn's slot: others may use it meanwhile. Settles as the work does, when the
   * turn has a slot again.
   */
  readonly whileWaiting: <T>(work: () => Promise<T>) => Promise<T>;
}) => AsyncGenerator<string, Turned<M>>;

export interface Turned<M> {
  readonly messages: readonly M[];
  readonly usage?: Usage;
  /** What was said up to and with this turn is not shown any more. */
  readonly forget?: true;
}
