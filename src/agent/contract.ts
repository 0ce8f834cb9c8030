import type { Allowance, AnswerFormat, Image, Pushed, Usage } from "../base/contract.ts";

/** One message of a conversation, oldest first. Plain data, so that a store can write it. */
export type Message =
  /** The summary of older messages; only as the first message of a history. */
  | { readonly role: "summary"; readonly text: string }
  | {
      readonly role: "user";
      readonly text: string;
      /**
       * What the model read before the text: the time, the client, its rights. Stored, so that the beginning
       * of the prompt is the same in the next turn. Absent in older conversations.
       */
      readonly preface?: string;
    }
  | { readonly role: "assistant"; readonly text: string; readonly toolCalls?: readonly ToolCall[] }
  | {
      readonly role: "tool";
      readonly callId: string;
      readonly name: string;
      readonly text: string;
    };

/** A tool call as the model wrote it; `arguments` is its JSON text, which may be malformed. */
export interface ToolCall {
  readonly id: string;
  readonly name: string;
  readonly arguments: string;
}

/** One request to answer. */
export interface Turn {
  /** Reads the conversation so far, oldest first, without `text`. Most commands do without it. */
  readonly history: () => Promise<readonly Message[]>;
  /** The user's text; the model gets it unchanged as the last user message. */
  readonly text: string;
  /** The form that the answer must have; any text if left out. */
  readonly format?: AnswerFormat;
  /** Code points of the answer at most, unless it has a format; any number if left out. */
  readonly maxChars?: number;
  /** The images of the question, at least one; none if left out. */
  readonly images?: readonly Image[];
  /** Agents that the question has come through; 0 if left out. */
  readonly hops?: number | undefined;
  /** The program began the turn, and the client did not ask; `NOTHING` as the answer tells it nothing. */
  readonly pushed?: Pushed;
  /** The client id: opaque. Everything stored for a client is stored for its channel and client id together. */
  readonly client: string;
  /** The name of the channel that the request came over. */
  readonly channel?: string | undefined;
  /** The request came over a channel, not from this machine; false if left out. */
  readonly isRemote?: boolean;
  /** The client may change things for everyone. */
  readonly isAdmin?: boolean;
  /** No limit if left out. */
  readonly allowance?: Allowance | undefined;
  /** Aborted at the deadline, by /stop and at shutdown; the turn then ends by throwing `signal.reason`. */
  readonly signal: AbortSignal;
  /**
   * The messages of an attempt that a crash interrupted: the assistant's messages with their tool calls,
   * and the results that were recorded. Absent on the first attempt.
   */
  readonly resumed?: readonly Message[];
  /**
   * Stores one message of the turn for an attempt after a crash: a message with tool calls before they
   * run, and each result as soon as it is there. Resolves when it is durable. Absent if turns are not durable.
   */
  readonly record?: (message: Message) => Promise<void>;
  /**
   * Gives the turn's slot to other turns while the work runs. Settles as the work does, once the turn has a
   * slot again. Absent if turns have no slots.
   */
  readonly whileWaiting?: <T>(work: () => Promise<T>) => Promise<T>;
}

/** The result of a turn. */
export interface Turned {
  /** The messages to append to the conversation: the question first, the answer last. */
  readonly messages: readonly Message[];
  /** Absent if no model was called. */
  readonly usage?: Usage;
  /** The conversation starts again: the model no longer gets the earlier messages. */
  readonly forget?: true;
}

/**
 * Answers one turn: yields the answer in pieces as they come, none of them empty, and returns the messages
 * to store. Throws a `Failure` (`model`, `budget`, `timeout`, `cancelled`, `internal`), also after text was
 * yielded. Knows no transport and has no state between turns.
 */
export type Answerer = (turn: Turn) => AsyncGenerator<string, Turned>;

/**
 * A stream whose first step is there. Retries, fallbacks and trimming decide before the first step, so they
 * add no generator to the stream.
 */
export interface StartedStream<Result> {
  readonly first: IteratorResult<string, Result>;
  /** The steps after the first. */
  readonly rest: AsyncIterableIterator<string, Result>;
}
