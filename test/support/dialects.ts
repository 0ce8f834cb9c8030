import type { Usage } from "../../src/base/contract.ts";
import type { modelEntry } from "./agent-config.ts";
import { sends, sendsEvents } from "./model-server.ts";
import type { Behaviour, ReceivedRequest, ScriptedCall } from "./model-server.ts";

/** An answer as a test wants it, whatever protocol it is told in. */
export interface ScriptedAnswer {
  /** The pieces of the text; a text is cut into words. */
  readonly text?: string | readonly string[];
  readonly toolCalls?: readonly ScriptedCall[];
  /** What the model thinks before it speaks, with a signature where the protocol has some. */
  readonly thought?: string;
  /** null leaves out every sign that the answer is whole. */
  readonly finish?: "stop" | "length" | "filter" | null;
  readonly newline?: "\n" | "\r\n";
  /** Sends comments (or pings) between the events. */
  readonly comments?: boolean;
}

/** What a scripted answer has used without a cache. */
export const SCRIPTED_USAGE = { inputTokens: 11, outputTokens: 3 };

/** One message of a request, whatever protocol it was told in. */
export interface HeardMessage {
  readonly role: "user" | "assistant" | "tool";
  readonly text?: string;
  readonly calls?: readonly { readonly name: string; readonly arguments: unknown }[];
  /** Whether the thinking before the calls came back with them, signature and all. */
  readonly signed?: boolean;
}

/** One protocol from the server's side: how it answers and what it understands. */
export interface TestDialect {
  readonly name: string;
  /** Of an entry of `model_list`. */
  readonly entry: NonNullable<Parameters<typeof modelEntry>[0]>;
  /** Where a request must go under the server's base. */
  readonly path: string;
  readonly keyOf: (headers: ReceivedRequest["headers"]) => string | undefined;
  /** Whether the thinking of a tool round must come back. */
  readonly signs: boolean;
  /** Whether the last event says that nothing follows. */
  readonly marksEnd: boolean;
  /** What every scripted answer has used, with what the cache served where the server tells it. */
  readonly usage: Usage;
  readonly events: (answer: ScriptedAnswer) => string[];
  /** The type of a stream that is no text; each character of its events is a byte. */
  readonly binary?: string;
  /** The same as one JSON document. */
  readonly whole: (answer: ScriptedAnswer) => unknown;
  /** An error's body, by the status that it is sent with. */
  readonly error: (status: number, message: string) => Record<string, unknown>;
  /** An error inside the stream: the server has too much to do. */
  readonly errorEvent: string;
  /** What the provider says of a conversation that is too long. */
  readonly overflow: { readonly status: number; readonly message: string };
  readonly systemOf: (request: ReceivedRequest) => string;
  readonly heard: (request: ReceivedRequest) => HeardMessage[];
}

/** The pieces of an answer's text. */
export function piecesOf({ text = [] }: ScriptedAnswer): readonly string[] {
  return typeof text === "string" ? text.split(/(?<=\s)/) : text;
}

/** Sends events of a dialect, in cuts of bytes. */
export function sendsAll(dialect: TestDialect, events: readonly string[], options = {}): Behaviour {
  if (dialect.binary === undefined) return sendsEvents(events, options);
  return sends(bytesOf(dialect, events), { type: dialect.binary, ...options });
}

/** The bytes of events of a dialect. */
export function bytesOf({ binary }: TestDialect, events: readonly string[]): Uint8Array {
  return Buffer.from(events.join(""), binary === undefined ? "utf8" : "latin1");
}
