import { at, listAt, textAt } from "../../src/base/unknown.ts";
import { piecesOf, SCRIPTED_USAGE } from "./dialects.ts";
import type { HeardMessage, ScriptedAnswer, TestDialect } from "./dialects.ts";
import { event } from "./model-server.ts";
import type { ScriptedCall } from "./model-server.ts";

const ENCRYPTED = "encrypted-by-openai";
const USAGE = {
  input_tokens: 11,
  input_tokens_details: { cached_tokens: 5 },
  output_tokens: 3,
  output_tokens_details: { reasoning_tokens: 0 },
  total_tokens: 14,
};

/** OpenAI's Responses, with the events that OpenAI streams. */
export const RESPONSES: TestDialect = {
  name: "responses",
  entry: { model: "openai/gpt-test", protocol: "responses" },
  path: "/v1/responses",
  keyOf: (headers) => headers.authorization?.replace("Bearer ", ""),
  signs: true,
  marksEnd: true,
  usage: { ...SCRIPTED_USAGE, cachedTokens: 5 },
  events: responseEvents,
  whole: (answer) => ({ ...endOf(answer), output: itemsOf(answer).map(({ whole }) => whole) }),
  error: (status, message) => ({
    error: { message, type: "error", param: null, code: String(status) },
  }),
  errorEvent: namedEvent({
    type: "error",
    error: { type: "server_error", code: null, message: "overloaded", param: null },
  }),
  overflow: {
    status: 400,
    message:
      "Your input exceeds the context window of this model. Please adjust your input and try again.",
  },
  systemOf: ({ body }) => textAt(body, "instructions"),
  heard: ({ body }) => heardIn(listAt(body, "input")),
};

/** The same on Azure, in its v1 API. */
export const AZURE_RESPONSES: TestDialect = {
  ...RESPONSES,
  name: "responses on azure",
  entry: { provider: "azure", model: "my-deployment", protocol: "responses" },
  keyOf: (headers) => headers["api-key"]?.toString(),
};

/** The events of a whole stream. */
function responseEvents(answer: ScriptedAnswer): string[] {
  const { finish, newline = "\n", comments = false } = answer;
  const begun = { ...endOf(answer), status: "in_progress", usage: null };
  const end = endOf(answer);
  const output = itemsOf(answer).map(({ whole }) => whole);
  const events = [
    { type: "response.created", response: begun },
    { type: "response.in_progress", response: begun },
    ...itemEvents(answer),
    ...(finish === null ? [] : [{ type: `response.${end.status}`, response: { ...end, output } }]),
  ];
  const comment = comments ? `: keep-alive${newline}${newline}` : "";
  return events.map(
    (json, sequence_number) => comment + namedEvent({ ...json, sequence_number }, newline),
  );
}

const REASONS = { stop: null, length: "max_output_tokens", filter: "content_filter" };

function endOf({ finish }: ScriptedAnswer) {
  const reason = REASONS[finish ?? "stop"];
  return {
    id: "resp_1",
    object: "response",
    status: reason === null ? "completed" : "incomplete",
    error: null,
    incomplete_details: reason === null ? null : { reason },
    output: [],
    usage: USAGE,
  };
}

type Json = Readonly<Record<string, unknown>>;

interface SentItem {
  readonly whole: Json;
  /** As it begins. */
  readonly empty: Json;
  readonly deltas: readonly Json[];
  /** The events between the last delta and the end of the item. */
  readonly ends: readonly Json[];
}

/** Items one after another, but calls side by side: all begin, and their pieces come in turns. */
function itemEvents(answer: ScriptedAnswer): Json[] {
  const items = itemsOf(answer).map((item, output_index) => sentItem(item, output_index));
  const calls = items.filter(({ isCall }) => isCall);
  const turns = Math.max(0, ...calls.map(({ deltas }) => deltas.length));
  return [
    ...items
      .filter(({ isCall }) => !isCall)
      .flatMap(({ begin, deltas, end }) => [begin, deltas, end].flat()),
    ...calls.map(({ begin }) => begin),
    ...Array.from({ length: turns }, (_, turn) =>
      calls.flatMap(({ deltas }) => deltas.slice(turn, turn + 1)),
    ).flat(),
    ...calls.flatMap(({ end }) => end),
  ];
}

function sentItem({ whole, empty, deltas, ends }: SentItem, output_index: number) {
  const placed = (json: Json): Json => ({ ...json, output_index });
  return {
    isCall: whole["type"] === "function_call",
    begin: placed({ type: "response.output_item.added", item: empty }),
    deltas: deltas.map(placed),
    end: [...ends, { type: "response.output_item.done", item: whole }].map(placed),
  };
}

function itemsOf(answer: ScriptedAnswer): SentItem[] {
  const { thought, toolCalls = [] } = answer;
  const pieces = piecesOf(answer);
  return [
    ...(thought === undefined ? [] : [reasoningItem(thought)]),
    ...(pieces.length === 0 ? [] : [messageItem(pieces)]),
    ...toolCalls.map(callItem),
  ];
}

function reasoningItem(thought: string): SentItem {
  const item = { id: "rs_1", type: "reasoning" };
  const place = { item_id: "rs_1", summary_index: 0 };
  const part = { type: "summary_text", text: thought };
  return {
    // The beginning of the encrypted text is not yet the whole.
    empty: { ...item, encrypted_content: ENCRYPTED.slice(0, 9), summary: [] },
    whole: { ...item, encrypted_content: ENCRYPTED, summary: [part] },
    deltas: deltasOf("reasoning_summary_text", place, thought.split(/(?<=\s)/)),
    ends: [
      { type: "response.reasoning_summary_text.done", ...place, text: thought },
      { type: "response.reasoning_summary_part.done", ...place, part },
    ],
  };
}

function messageItem(pieces: readonly string[]): SentItem {
  const item = { id: "msg_1", type: "message", role: "assistant" };
  const place = { item_id: "msg_1", content_index: 0 };
  const part = { type: "output_text", annotations: [], logprobs: [], text: pieces.join("") };
  return {
    empty: { ...item, status: "in_progress", content: [] },
    whole: { ...item, status: "completed", content: [part] },
    deltas: [
      { type: "response.content_part.added", ...place, part: { ...part, text: "" } },
      ...deltasOf("output_text", place, pieces),
    ],
    ends: [
      { type: "response.output_text.done", ...place, text: part.text },
      { type: "response.content_part.done", ...place, part },
    ],
  };
}

function callItem({ id, name, arguments: words }: ScriptedCall, index: number): SentItem {
  const item_id = `fc_${index}`;
  const item = { id: item_id, type: "function_call", call_id: id ?? `call-${index}`, name };
  return {
    empty: { ...item, status: "in_progress", arguments: "" },
    whole: { ...item, status: "completed", arguments: words },
    deltas: deltasOf("function_call_arguments", { item_id }, words.match(/[^]{1,5}/g) ?? []),
    ends: [{ type: "response.function_call_arguments.done", item_id, arguments: words }],
  };
}

function deltasOf(what: string, place: Json, pieces: readonly string[]): Json[] {
  const type = `response.${what}.delta`;
  return pieces.map((delta) => Object.assign({ type, delta }, place));
}

function namedEvent(json: Json, newline = "\n"): string {
  return `event: ${textAt(json, "type")}${newline}${event(json, newline)}`;
}

/** The text and the calls of one answer are one message to whoever looks at the conversation. */
function heardIn(input: readonly unknown[]): HeardMessage[] {
  const heard: HeardMessage[] = [];
  let signed = {};
  for (const item of input) {
    if (textAt(item, "type") === "reasoning") {
      signed = textAt(item, "encrypted_content") === ENCRYPTED ? { signed: true } : {};
      continue;
    }
    for (const message of messagesIn(item)) {
      const last = heard.at(-1);
      if (message.role !== "assistant") [signed] = [{}, heard.push(message)];
      else if (last?.role === "assistant") heard.splice(-1, 1, joined(last, message));
      else heard.push({ ...message, ...signed });
    }
  }
  return heard;
}

function joined(last: HeardMessage, next: HeardMessage): HeardMessage {
  return { ...last, ...next, calls: [...(last.calls ?? []), ...(next.calls ?? [])] };
}

function messagesIn(item: unknown): HeardMessage[] {
  const type = textAt(item, "type");
  if (type === "function_call_output") return [{ role: "tool", text: textAt(item, "output") }];
  if (type === "function_call") {
    const words: unknown = JSON.parse(textAt(item, "arguments"));
    return [{ role: "assistant", calls: [{ name: textAt(item, "name"), arguments: words }] }];
  }
  const content = at(item, "content");
  if (typeof content === "string") return [{ role: "assistant", text: content }];
  const role = textAt(item, "role") === "user" ? "user" : "assistant";
  return listAt(item, "content").map((part) => ({ role, text: textAt(part, "text") }));
}
