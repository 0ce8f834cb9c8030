import { VERSION } from "../../../base/version.ts";
import type { AgentDefaults, ModelEntry } from "../../../config/contract.ts";
import type { Question, Utterance } from "../contract.ts";
import type { Endpoint } from "../endpoint.ts";

/** What of the configuration goes into a request. */
export interface RequestSettings {
  readonly endpoint: Endpoint;
  readonly entry: ModelEntry;
  readonly defaults: Pick<AgentDefaults, "max_tokens" | "temperature">;
}

/** The URL of chat completions under a base, whether or not the base names it already. */
export function chatUrl(base: string): string {
  const url = new URL(base);
  const path = url.pathname.replace(/\/+$/, "");
  url.pathname = path.endsWith("/chat/completions") ? path : `${path}/chat/completions`;
  return url.href;
}

/** The headers of one request; those of `custom_headers` win. */
export function chatHeaders(entry: ModelEntry, key: string | undefined): Headers {
  const headers = new Headers({
    "content-type": "application/json",
    accept: "text/event-stream, application/json",
    "user-agent": entry.user_agent || `PicoClaw/${VERSION}`,
  });
  if (key !== undefined) headers.set("authorization", `Bearer ${key}`);
  for (const [name, value] of Object.entries(entry.custom_headers)) headers.set(name, value);
  return headers;
}

/** The body of one request; what `extra_body` holds wins. */
export function chatBody(settings: RequestSettings, question: Question): Record<string, unknown> {
  const { endpoint, entry, defaults } = settings;
  const { model, facts } = endpoint;
  const replays = facts.replaysReasoning === true;
  return {
    model,
    messages: [
      { role: "system", content: question.system },
      ...question.messages.map((message) => chatMessage(message, replays)),
    ],
    stream: true,
    ...(facts.noStreamOptions === true ? {} : { stream_options: { include_usage: true } }),
    ...toolFields(question),
    ...(defaults.max_tokens > 0
      ? { [entry.max_tokens_field || maxTokensField(model)]: defaults.max_tokens }
      : {}),
    ...temperatureField(model, defaults.temperature),
    ...facts.body,
    ...entry.extra_body,
  };
}

function toolFields({ tools }: Question): Record<string, unknown> {
  if (tools.length === 0) return {};
  const listed = tools.map((tool) => ({ type: "function", function: tool }));
  return { tools: listed, tool_choice: "auto" };
}

function maxTokensField(model: string): string {
  return /glm|o1|gpt-5/i.test(model) ? "max_completion_tokens" : "max_tokens";
}

/** Kimi K2 takes no other temperature than 1. */
function temperatureField(model: string, temperature?: number): Record<string, number> {
  if (/kimi/i.test(model) && /k2/i.test(model)) return { temperature: 1 };
  return temperature === undefined ? {} : { temperature };
}

function chatMessage(message: Utterance, replays: boolean): Record<string, unknown> {
  if (message.role === "user") return { role: "user", content: message.text };
  if (message.role === "tool") {
    return { role: "tool", tool_call_id: message.callId, content: message.text };
  }
  const { text, toolCalls = [], reasoning } = message;
  if (toolCalls.length === 0) return { role: "assistant", content: text };
  return {
    role: "assistant",
    content: text === "" ? null : text,
    tool_calls: toolCalls.map(({ id, name, arguments: words }) => ({
      id,
      type: "function",
      function: { name, arguments: isObjectText(words) ? words : "{}" },
    })),
    ...(replays && reasoning !== undefined ? { reasoning_content: reasoning } : {}),
  };
}

/** Strict servers parse the arguments of earlier calls; malformed ones would spoil every later request. */
function isObjectText(words: string): boolean {
  try {
    const value: unknown = JSON.parse(words);
    return typeof value === "object" && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}
