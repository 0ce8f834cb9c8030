import type { Allowance, Usage } from "../base/contract.ts";

/** What was said in a conversation, in the order it was said; plain data, so that a store can keep it. */
export type Message =
  /** What was said before, in short; only as the first of a history. */
  | { readonly role: "summary"; readonly text: string }
  | { readonly role: "user"; readonly text: string }
  | { readonly role: "assistant"; readonly text: string; readonly toolCalls?: readonly ToolCall[] }
  | {
      readonly role: "tool";
      readonly callId: string;
      readonly name: string;
      readonly text: string;
    };

/** A call as the model asked for it; `arguments` is the model's own JSON text, which may be malformed. */
export interface ToolCall {
  readonly id: string;
  readonly name: string;
  readonly arguments: string;
}

/** One question to answer. */
export interface Turn {
  /** The conversation so far, oldest first, without `text`. */
  readonly history: readonly Message[];
  /** The user's words; they reach the model unchanged as the content of the last user message. */
  readonly text: string;
  /** Who asks: opaque; what is kept for somebody is kept for channel and client together. */
  readonly client: string;
  /** The name of the channel that the question came over. */
  readonly channel?: string;
  /** The question came over a channel, not from someone at this machine; false where it is left out. */
  readonly isRemote?: boolean;
  /** Who asks may change things for everyone. */
  readonly isAdmin?: boolean;
  /** No limit where it is left out. */
  readonly allowance?: Allowance | undefined;
  /** Aborted at the deadline, by /stop and at shutdown; the turn then ends by throwing `signal.reason`. */
  readonly signal: AbortSignal;
  /**
   * What an earlier attempt at this turn had done when the program was cut off: the assistant's messages
   * with their tool calls, and the results that were there. Absent on a first attempt.
   */
  readonly resumed?: readonly Message[];
  /**
   * Keeps one message of the turn (a message with tool calls before they run, each tool's result when it
   * is there) for an attempt after a crash; resolves when it is durable. Absent where nothing is kept.
   */
  readonly record?: (message: Message) => Promise<void>;
  /**
   * Runs work without the turn's slot: others may use it meanwhile. Settles as the work does, when the
   * turn has a slot again. Absent where turns have no slots: the work simply runs.
   */
  readonly whileWaiting?: <T>(work: () => Promise<T>) => Promise<T>;
}

/** What a turn leaves behind. */
export interface Turned {
  /** The messages to append to the conversation: the question first, the answer last. */
  readonly messages: readonly Message[];
  /** Absent where no model was asked. */
  readonly usage?: Usage;
  /** The conversation begins anew: what was said before is not shown to the model any more. */
  readonly forget?: true;
}

/**
 * Answers one turn: yields the answer's text as it comes (concatenated it is the answer; no piece is
 * empty) and returns what to remember. Throws a `Failure` (`model`, `budget`, `timeout`, `cancelled`,
 * `internal`), also after text was yielded. Knows no transport and keeps no state between turns.
 */
export type Answerer = (turn: Turn) => AsyncGenerator<string, Turned>;

/**
 * A stream whose first step is there. Whoever decides how to answer (another model, less of the
 * conversation, the offline agent) does so before the first step, and adds no generator to the stream.
 */
export interface StartedStream<Result> {
  readonly first: IteratorResult<string, Result>;
  /** The steps after the first. */
  readonly rest: AsyncIterableIterator<string, Result>;
}
