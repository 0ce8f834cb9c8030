import { at, listAt, textAt } from "../../src/base/unknown.ts";
import { piecesOf, SCRIPTED_USAGE } from "./dialects.ts";
import type { HeardMessage, ScriptedAnswer, TestDialect } from "./dialects.ts";

const SIGNATURE = "signed-by-anthropic";
const REASONS = { stop: "end_turn", length: "max_tokens", filter: "refusal" };

/** Anthropic's messages, as its own server streams them. */
export const ANTHROPIC: TestDialect = {
  name: "anthropic",
  entry: { model: "anthropic-messages/claude-test" },
  path: "/v1/messages",
  keyOf: (headers) => headers["x-api-key"]?.toString(),
  signs: true,
  marksEnd: true,
  usage: { ...SCRIPTED_USAGE, cachedTokens: 5, cacheWriteTokens: 2 },
  events: messageEvents,
  whole(answer) {
    const content = blocksOf(answer).map(({ block }) => block);
    return {
      ...START,
      content,
      stop_reason: reasonOf(answer),
      usage: { ...CACHED, output_tokens: 3 },
    };
  },
  error: (status, message) => ({ type: "error", error: { type: nameOf(status), message } }),
  errorEvent: namedEvent("error", {
    type: "error",
    error: { type: "overloaded_error", message: "Overloaded" },
  }),
  overflow: { status: 400, message: "prompt is too long: 210000 tokens > 200000 maximum" },
  systemOf: ({ body }) => textAt(body, "system"),
  heard: ({ body }) => listAt(body, "messages").flatMap(heardIn),
};

const CACHED = { input_tokens: 4, cache_creation_input_tokens: 2, cache_read_input_tokens: 5 };
const START = { id: "msg_1", type: "message", role: "assistant", model: "claude-test" };

/** The events of a whole stream, with the names that Anthropic gives them. */
function messageEvents(answer: ScriptedAnswer): string[] {
  const { newline = "\n", comments = false } = answer;
  const usage = { ...CACHED, output_tokens: 1 };
  const message = { ...START, content: [], stop_reason: null, usage };
  const events = [
    { type: "message_start", message },
    ...blocksOf(answer).flatMap(blockEvents),
    ...endEvents(answer),
  ];
  const ping = comments ? namedEvent("ping", { type: "ping" }, newline) : "";
  return events.map((event) => ping + namedEvent(event.type, event, newline));
}

function blockEvents({ empty, deltas }: SentBlock, index: number) {
  const start = { type: "content_block_start", index, content_block: empty };
  const grown = deltas.map((delta) => ({ type: "content_block_delta", index, delta }));
  return [start, ...grown, { type: "content_block_stop", index }];
}

function endEvents(answer: ScriptedAnswer): { readonly type: string }[] {
  if (answer.finish === null) return [];
  const delta = { stop_reason: reasonOf(answer), stop_sequence: null };
  const end = { type: "message_delta", delta, usage: { output_tokens: 3 } };
  return [end, { type: "message_stop" }];
}

function reasonOf({ finish = "stop", toolCalls = [] }: ScriptedAnswer): string | null {
  if (finish === "stop" && toolCalls.length > 0) return "tool_use";
  return finish === null ? null : REASONS[finish];
}

interface SentBlock {
  readonly block: unknown;
  readonly empty: unknown;
  readonly deltas: readonly unknown[];
}

function blocksOf(answer: ScriptedAnswer): SentBlock[] {
  const { thought, toolCalls = [] } = answer;
  const pieces = piecesOf(answer);
  return [
    ...(thought === undefined ? [] : [thinkingBlock(thought)]),
    ...(pieces.length === 0 ? [] : [textBlock(pieces)]),
    ...toolCalls.map(({ id, name, arguments: words }, index) => {
      const head = { type: "tool_use", id: id ?? `toolu_${index}`, name };
      return {
        block: { ...head, input: JSON.parse(words || "{}") },
        empty: { ...head, input: {} },
        deltas: ["", ...(words.match(/[^]{1,5}/g) ?? [])].map((partial_json) => ({
          type: "input_json_delta",
          partial_json,
        })),
      };
    }),
  ];
}

function thinkingBlock(thinking: string): SentBlock {
  const words = thinking.split(/(?<=\s)/);
  return {
    block: { type: "thinking", thinking, signature: SIGNATURE },
    empty: { type: "thinking", thinking: "", signature: "" },
    deltas: [
      ...words.map((word) => ({ type: "thinking_delta", thinking: word })),
      { type: "signature_delta", signature: SIGNATURE },
    ],
  };
}

function textBlock(pieces: readonly string[]): SentBlock {
  return {
    block: { type: "text", text: pieces.join("") },
    empty: { type: "text", text: "" },
    deltas: pieces.map((text) => ({ type: "text_delta", text })),
  };
}

function namedEvent(name: string, json: unknown, newline = "\n"): string {
  return `event: ${name}${newline}data: ${JSON.stringify(json)}${newline}${newline}`;
}

const NAMES: Readonly<Record<number, string>> = {
  400: "invalid_request_error",
  401: "authentication_error",
  402: "billing_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  529: "overloaded_error",
};

function nameOf(status: number): string {
  return NAMES[status] ?? "api_error";
}

/** The results of one turn are messages of their own to whoever looks at the conversation. */
function heardIn(turn: unknown): HeardMessage[] {
  const blocks = listAt(turn, "content");
  const ofType = (type: string): unknown[] =>
    blocks.filter((block) => textAt(block, "type") === type);
  const text = ofType("text").map((block) => textAt(block, "text"));
  if (textAt(turn, "role") === "user") {
    const results = ofType("tool_result").map((block) => textAt(block, "content"));
    return [
      ...results.map((result): HeardMessage => ({ role: "tool", text: result })),
      ...text.map((words): HeardMessage => ({ role: "user", text: words })),
    ];
  }
  const calls = ofType("tool_use").map((block) => ({
    name: textAt(block, "name"),
    arguments: at(block, "input"),
  }));
  const signed = textAt(blocks[0], "signature") === SIGNATURE;
  return [
    {
      role: "assistant",
      ...(text.length === 0 ? {} : { text: text.join("") }),
      ...(calls.length === 0 ? {} : { calls }),
      ...(signed ? { signed } : {}),
    },
  ];
}
