import type { Allowance, AnswerFormat, Image, Usage } from "../../base/contract.ts";
import type { Message, ToolCall } from "../contract.ts";

/** JSON Schema as plain data. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** A tool, as a model gets it. */
export interface ToolDefinition {
  readonly name: string;
  readonly description: string;
  /** The schema of the arguments: always of an object. */
  readonly parameters: JsonSchema;
}

/** A message in a prompt. */
export type PromptMessage = Exclude<Message, { readonly role: "summary" }> & {
  /** Exists only within a turn: some providers require it back with the results of its tool calls. */
  readonly reasoning?: string;
  /** The tool's result is an error message. */
  readonly failed?: true;
  /** Of a question or a tool result: the model sees them before its text. Never stored. At least one. */
  readonly images?: readonly Image[];
};

/** One call of a model, with the whole conversation, oldest message first. */
export interface ModelCall {
  readonly system: string;
  readonly messages: readonly PromptMessage[];
  readonly tools: readonly ToolDefinition[];
  readonly signal: AbortSignal;
  /** The form that the answer must have; the messages ask for it, too. */
  readonly format?: AnswerFormat;
  /** An answer did not fit the format: the model has to answer now, and no tool has to be called any more. */
  readonly isFormatRepeated?: true;
  /** The owner of the conversation, whose calls mostly begin alike. No provider gets it as it is. */
  readonly owner?: string;
  /** Whether the caller asks again with less: a call that is too long for a known window is refused, not sent. */
  readonly canShorten?: boolean;
  /** The call counts against it. */
  readonly allowance?: Allowance | undefined;
}

/** The model's whole reply to one call. */
export interface Reply {
  /** All yielded pieces, concatenated. */
  readonly text: string;
  readonly toolCalls: readonly ToolCall[];
  /** The limit of output tokens ended the reply. */
  readonly truncated: boolean;
  readonly reasoning?: string;
  readonly usage?: Usage;
}

/**
 * Calls a model: yields the text as it comes, no piece empty, and returns the whole reply. Retries if that is
 * safe. Throws a `Failure` of code `model`, or of code `budget` if the allowance is used up, or
 * `signal.reason` as soon as the signal is aborted. Never waits without a deadline.
 */
export type Model = (question: ModelCall) => AsyncGenerator<string, Reply>;

/** The part of the global `fetch` that is used here. */
export type Fetch = (url: string, init: BunFetchRequestInit) => Promise<Response>;

/** One HTTP request of a call. */
export interface Attempt {
  readonly call: ModelCall;
  /** Absent if the server needs none. */
  readonly key: string | undefined;
  /** Aborted with the call, and after too long a silence. */
  readonly signal: AbortSignal;
  /** Restarts the limit on silence, and lowers it to `milliseconds` if that is less. */
  readonly onActivity: (milliseconds?: number) => void;
  /** A chunk of the answer came: of its text, of a thought, of a tool call; `text` may be empty. */
  readonly onChunk: (text: string) => void;
}

/**
 * One protocol's way to call a model over HTTP, with one request. Throws a `ModelError` for all errors outside
 * of this program, and the reason of `attempt.signal`.
 */
export type Protocol = (attempt: Attempt) => AsyncGenerator<string, Reply>;
