import { at, listAt, textAt } from "../../src/base/unknown.ts";
import { piecesOf, SCRIPTED_USAGE } from "./dialects.ts";
import type { HeardMessage, ScriptedAnswer, TestDialect } from "./dialects.ts";
import { event } from "./model-server.ts";
import type { ScriptedCall } from "./model-server.ts";

const SIGNATURE = "signed-by-gemini";
const REASONS = { stop: "STOP", length: "MAX_TOKENS", filter: "SAFETY" };

/** Gemini's content generation, as its own server streams it. */
export const GEMINI: TestDialect = {
  name: "gemini",
  entry: { model: "gemini/gemini-3-test" },
  path: "/v1/models/gemini-3-test:streamGenerateContent?alt=sse",
  keyOf: (headers) => headers["x-goog-api-key"]?.toString(),
  signs: true,
  marksEnd: false,
  usage: SCRIPTED_USAGE,
  events: contentEvents,
  // As without `alt=sse`: a list of chunks.
  whole: contentChunks,
  error: (status, message) => ({ error: { code: status, message, status: nameOf(status) } }),
  errorEvent: event({ error: { code: 503, message: "overloaded", status: "UNAVAILABLE" } }),
  overflow: {
    status: 400,
    message:
      "The input token count (1500000) exceeds the maximum number of tokens allowed (1048576).",
  },
  systemOf: ({ body }) => textAt(listAt(at(body, "systemInstruction"), "parts")[0], "text"),
  heard: ({ body }) => listAt(body, "contents").flatMap(heardIn),
};

/** The same on Vertex AI. */
export const VERTEX: TestDialect = {
  ...GEMINI,
  name: "vertex",
  entry: { provider: "vertex", model: "gemini-3-test" },
};

/** The events of a whole stream. */
function contentEvents(answer: ScriptedAnswer): string[] {
  const { newline = "\n", comments = false } = answer;
  const comment = comments ? `: keep-alive${newline}${newline}` : "";
  return contentChunks(answer).map((json) => comment + event(json, newline));
}

function contentChunks(answer: ScriptedAnswer): unknown[] {
  const { thought, toolCalls = [], finish = "stop" } = answer;
  const calls = toolCalls.map((call, index) =>
    // Of calls side by side only the first is signed.
    callPart(call, index === 0 && thought !== undefined ? SIGNATURE : undefined),
  );
  return [
    ...(thought === undefined ? [] : [chunk([{ text: thought, thought: true }])]),
    ...piecesOf(answer).map((text) => chunk([{ text }])),
    ...(calls.length === 0 ? [] : [chunk(calls)]),
    ...(finish === null ? [] : [chunk([], REASONS[finish])]),
  ];
}

function callPart({ id, name, arguments: words }: ScriptedCall, thoughtSignature?: string) {
  const functionCall = {
    name,
    args: JSON.parse(words || "{}"),
    ...(id === undefined ? {} : { id }),
  };
  return thoughtSignature === undefined ? { functionCall } : { functionCall, thoughtSignature };
}

/** Every chunk tells the tokens so far, thinking apart. */
function chunk(parts: readonly unknown[], finishReason?: string) {
  const usageMetadata = { promptTokenCount: 11, candidatesTokenCount: 2, thoughtsTokenCount: 1 };
  const content = parts.length === 0 ? {} : { content: { role: "model", parts } };
  const finish = finishReason === undefined ? {} : { finishReason };
  return { candidates: [{ ...content, ...finish, index: 0 }], usageMetadata };
}

const NAMES: Readonly<Record<number, string>> = {
  400: "INVALID_ARGUMENT",
  401: "UNAUTHENTICATED",
  404: "NOT_FOUND",
  429: "RESOURCE_EXHAUSTED",
  500: "INTERNAL",
};

function nameOf(status: number): string {
  return NAMES[status] ?? "UNKNOWN";
}

function heardIn(content: unknown): HeardMessage[] {
  const parts = listAt(content, "parts");
  const results = parts.flatMap((part): HeardMessage[] => {
    const response = at(at(part, "functionResponse"), "response");
    return response === undefined ? [] : [{ role: "tool", text: textAt(response, "result") }];
  });
  if (results.length > 0) return results;
  if (textAt(content, "role") === "user")
    return parts.map((part): HeardMessage => ({ role: "user", text: textAt(part, "text") }));
  const text = parts.map((part) => textAt(part, "text")).join("");
  const calls = parts.flatMap((part) => {
    const call = at(part, "functionCall");
    return call === undefined ? [] : [{ name: textAt(call, "name"), arguments: at(call, "args") }];
  });
  const signed = parts.some((part) => textAt(part, "thoughtSignature") === SIGNATURE);
  return [
    {
      role: "assistant",
      ...(text === "" ? {} : { text }),
      ...(calls.length === 0 ? {} : { calls }),
      ...(signed ? { signed } : {}),
    },
  ];
}
