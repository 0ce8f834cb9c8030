import type { Allowance, Usage } from "../../base/contract.ts";
import type { Message, ToolCall } from "../contract.ts";

/** JSON Schema as plain data, as far as the arguments of tools need it. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** What a model is told about a tool. */
export interface ToolDefinition {
  readonly name: string;
  readonly description: string;
  /** Of the arguments: always an object's schema. */
  readonly parameters: JsonSchema;
}

/** A message on its way to a model. */
export type PromptMessage = Exclude<Message, { readonly role: "summary" }> & {
  /** Lives only within a turn: some providers want it back with the results of its tool calls. */
  readonly reasoning?: string;
  /** Of a tool's result: it is in words why there is none. */
  readonly failed?: true;
};

/** One question to a model: the whole conversation, oldest message first. */
export interface ModelCall {
  readonly system: string;
  readonly messages: readonly PromptMessage[];
  readonly tools: readonly ToolDefinition[];
  readonly signal: AbortSignal;
  /** Against which it counts. */
  readonly allowance?: Allowance | undefined;
}

/** The model's whole answer to one question. */
export interface Reply {
  /** All pieces that were yielded, in one. */
  readonly text: string;
  readonly toolCalls: readonly ToolCall[];
  /** The limit of output tokens cut the answer off. */
  readonly truncated: boolean;
  readonly reasoning?: string;
  readonly usage?: Usage;
}

/**
 * Asks a model once: yields the answer's text as it comes (no piece is empty) and returns the whole
 * reply. Tries again by itself where that is safe. Throws a `Failure` of code `model`, or of code `budget`
 * where the allowance is used up, or `signal.reason` as soon as the signal is aborted; never waits without a deadline.
 */
export type Model = (question: ModelCall) => AsyncGenerator<string, Reply>;

/** Global `fetch`, as far as it is used here. */
export type Fetch = (url: string, init: BunFetchRequestInit) => Promise<Response>;

/** One try to ask: what changes from try to try. */
export interface Attempt {
  readonly call: ModelCall;
  /** Absent where the server wants none. */
  readonly key: string | undefined;
  /** Aborted when the question is, and when nothing has moved for too long. */
  readonly signal: AbortSignal;
  /** Something moved: the limit counts anew, and is from now on no longer than `milliseconds`. */
  readonly onActivity: (milliseconds?: number) => void;
  /** A chunk of the answer came: of its text, of a thought, of a tool call; `text` may be empty. */
  readonly onChunk: (text: string) => void;
}

/**
 * One protocol's way to ask a model over HTTP, one request a call. Throws a `ModelFault` for all that
 * can go wrong outside of this program, and whatever `attempt.signal` was aborted with.
 */
export type Protocol = (attempt: Attempt) => AsyncGenerator<string, Reply>;
