import { at, listAt, textAt } from "../../src/base/unknown.ts";
import { piecesOf, SCRIPTED_USAGE } from "./dialects.ts";
import type { HeardMessage, ScriptedAnswer, TestDialect } from "./dialects.ts";
import { event, streamEvents } from "./model-server.ts";

const REASONS = { stop: "stop", length: "length", filter: "content_filter" };

/** OpenAI's chat completions. */
export const CHAT: TestDialect = {
  name: "chat completions",
  entry: { model: "openai/gpt-test" },
  path: "/v1/chat/completions",
  keyOf: (headers) => headers.authorization?.replace("Bearer ", ""),
  signs: false,
  marksEnd: true,
  usage: SCRIPTED_USAGE,
  events: chatEvents,
  whole(answer) {
    const message = {
      role: "assistant",
      content: piecesOf(answer).join(""),
      ...(answer.thought === undefined ? {} : { reasoning_content: answer.thought }),
      tool_calls: (answer.toolCalls ?? []).map(({ id, name, arguments: words }, index) => ({
        id: id ?? `call-${index}`,
        function: { name, arguments: words },
      })),
    };
    const choices = [{ index: 0, message, finish_reason: reasonOf(answer) }];
    return { choices, usage: { prompt_tokens: 11, completion_tokens: 3 } };
  },
  error: (status, message) => ({ error: { message, type: "error", code: String(status) } }),
  errorEvent: event({ error: { message: "overloaded", type: "server_error", code: null } }),
  overflow: {
    status: 400,
    message: "This model's maximum context length is 8192 tokens. However, your messages had 9000.",
  },
  systemOf: ({ body }) => textAt(body.messages[0], "content"),
  heard: ({ body }) => body.messages.slice(1).map(heardIn),
};

/** The same on Azure, in its v1 API. */
export const AZURE: TestDialect = {
  ...CHAT,
  name: "azure",
  entry: { provider: "azure", model: "my-deployment" },
  path: "/v1/chat/completions",
  keyOf: (headers) => headers["api-key"]?.toString(),
};

function chatEvents(answer: ScriptedAnswer): string[] {
  const { thought, toolCalls = [], finish = "stop", newline = "\n", comments = false } = answer;
  const delta = { reasoning_content: thought };
  const thinking = thought === undefined ? [] : [event({ choices: [{ delta }] }, newline)];
  const events = streamEvents({
    text: piecesOf(answer),
    toolCalls,
    finish: finish === null ? null : reasonOf(answer),
    newline,
    comments,
    ...(finish === null ? { usage: null, done: false } : {}),
  });
  return [...thinking, ...events];
}

function reasonOf({ finish = "stop", toolCalls = [] }: ScriptedAnswer): string {
  if (finish === "stop" && toolCalls.length > 0) return "tool_calls";
  return REASONS[finish ?? "stop"];
}

function heardIn(message: unknown): HeardMessage {
  const [role, text] = [textAt(message, "role"), textAt(message, "content")];
  if (role === "tool" || role === "user") return { role, text };
  const calls = listAt(message, "tool_calls").map((call) => {
    const called = at(call, "function");
    const words: unknown = JSON.parse(textAt(called, "arguments"));
    return { name: textAt(called, "name"), arguments: words };
  });
  return {
    role: "assistant",
    ...(text === "" ? {} : { text }),
    ...(calls.length === 0 ? {} : { calls }),
  };
}
