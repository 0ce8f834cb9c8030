import { truncate } from "../../../base/truncate.ts";
import type { ToolCall } from "../../contract.ts";
import type { ModelCall, PromptMessage } from "../contract.ts";
import type { Endpoint } from "../endpoint.ts";
import type { ModelError } from "../errors.ts";
import { normalizeHistory, validToolName } from "../http/normalize-history.ts";
import type { RequestSettings } from "../http/protocol.ts";
import { isReasoningEnvelope } from "../http/reasoning-envelope.ts";
import { thinkingFields } from "../thinking.ts";

/** The URL of chat completions under a base, which may already contain the path. */
export function chatUrl(base: string): string {
  const url = new URL(base);
  const path = url.pathname.replace(/\/+$/, "");
  url.pathname = path.endsWith("/chat/completions") ? path : `${path}/chat/completions`;
  return url.href;
}

/** OpenAI refuses longer ids, which vLLM may send. */
const CALL_IDS = /^\S{1,40}$/;

/** The body of one request; `extra_body` overrides it. */
export function chatBody(
  settings: RequestSettings,
  question: ModelCall,
  streaming: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const { endpoint, entry, defaults } = settings;
  const { model, facts } = endpoint;
  const replays = facts.replaysReasoning === true;
  const maxTokens = defaults.max_tokens;
  const field = entry.max_tokens_field || facts.maxTokensField || maxTokensField(model);
  const manner = facts.thinking ?? "effort-to-high";
  const thinking = thinkingFields(manner, { level: entry.thinking_level, model, maxTokens });
  return {
    model,
    messages: [
      ...(question.system === "" ? [] : [{ role: "system", content: question.system }]),
      ...normalizeHistory(question.messages, { ids: facts.callIds ?? CALL_IDS }).map((message) =>
        chatMessage(message, replays),
      ),
    ],
    ...streaming,
    ...toolFields(question),
    ...(maxTokens > 0 ? { [field]: maxTokens } : {}),
    ...(thinking.withoutTemperature ? {} : temperatureField(model, defaults.temperature)),
    ...facts.body,
    ...thinking.fields,
    ...entry.extra_body,
  };
}

function toolFields({ tools }: ModelCall): Record<string, unknown> {
  if (tools.length === 0) return {};
  const listed = tools.map(({ name, description, parameters }) => ({
    type: "function",
    function: { name, description, parameters },
  }));
  return { tools: listed, tool_choice: "auto" };
}

function maxTokensField(model: string): string {
  return /glm|o1|gpt-5/i.test(model) ? "max_completion_tokens" : "max_tokens";
}

/** Kimi K2 accepts no other temperature than 1. */
function temperatureField(model: string, temperature?: number): Record<string, number> {
  if (/kimi/i.test(model) && /k2/i.test(model)) return { temperature: 1 };
  return temperature === undefined ? {} : { temperature };
}

function chatMessage(message: PromptMessage, replays: boolean): Record<string, unknown> {
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
      function: { name: validToolName(name), arguments: isObjectText(words) ? words : "{}" },
    })),
    ...(replays ? { reasoning_content: thoughtBefore(toolCalls, reasoning) } : {}),
  };
}

/**
 * The reasoning before these calls. Some servers refuse a conversation in which a call has none, but reasoning
 * is not stored, and another model's is useless: then a sentence about the calls replaces it. It differs for
 * each call, because models repeat a sentence that they see everywhere.
 */
function thoughtBefore(toolCalls: readonly ToolCall[], reasoning: string | undefined): string {
  if (reasoning !== undefined && reasoning !== "" && !isReasoningEnvelope(reasoning))
    return reasoning;
  const calls = toolCalls.map((call) => `${call.name} ${truncate(call.arguments, 200)}`.trim());
  return `This needs ${calls.join(", and ")}.`;
}

/** Strict servers parse the arguments of earlier calls; malformed ones would make all later requests fail. */
function isObjectText(words: string): boolean {
  try {
    const value: unknown = JSON.parse(words);
    return typeof value === "object" && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

/**
 * The URL of chat completions on Azure, which has two APIs (learn.microsoft.com, "Azure OpenAI v1 API"):
 *
 * - v1, without versions: `<resource>/openai/v1/chat/completions`; the body's `model` names the
 *   deployment. This is what a plain base, `https://<name>.openai.azure.com`, is asked in.
 * - the classic one: `<resource>/openai/deployments/<deployment>/chat/completions?api-version=<date>`.
 *   A base with a deployment in its path, or with `api-version` in its query, is taken as it is; where
 *   such a base names only the resource, the model names the deployment.
 */
export function azureUrl({ base, model }: Pick<Endpoint, "base" | "model">): string {
  const url = new URL(base);
  const path = url.pathname.replace(/\/+$/, "");
  const isClassic = /\/deployments\//.test(path) || url.searchParams.has("api-version");
  const isResource = path === "" || path === "/openai";
  if (isResource) {
    const rest = isClassic ? `deployments/${encodeURIComponent(model)}` : "v1";
    url.pathname = `/openai/${rest}`;
  } else if (!isClassic && !/\/v\d+$|\/chat\/completions$/.test(path)) {
    url.pathname = `${path}/openai/v1`;
  }
  return chatUrl(url.href);
}

/** The way to request an answer: as a stream with usage, as a stream, or in one piece. */
interface Streaming {
  /** The fields of the next request. */
  readonly fields: () => Readonly<Record<string, unknown>>;
  /** Whether a refusal was about one of these fields; the next requests omit it. */
  readonly adapts: (refusal: ModelError, body: Readonly<Record<string, unknown>>) => boolean;
}

interface StreamingOptions {
  readonly withUsage: boolean;
  /** Fields of `extra_body`: they are in every body. */
  readonly fixed: Readonly<Record<string, unknown>>;
}

/** Omits a field from all requests after a server refused it, also with several calls at once. */
export function createStreaming({ withUsage, fixed }: StreamingOptions): Streaming {
  let [isStreamed, hasOptions] = [true, withUsage];
  return {
    fields: () => ({
      ...(isStreamed && { stream: true }),
      ...(isStreamed && hasOptions && { stream_options: { include_usage: true } }),
    }),
    adapts(refusal, body) {
      if (refusal.kind !== "refused" || !REFUSALS.has(refusal.status ?? 0)) return false;
      const isSent = (name: string): boolean => name in body && !(name in fixed);
      if (isSent("stream_options") && isAbout(refusal, "stream_options", OPTIONS)) {
        hasOptions = false;
        return true;
      }
      if (!isSent("stream") || !isAbout(refusal, "stream", STREAM)) return false;
      isStreamed = false;
      return true;
    },
  };
}

/** Statuses for an unknown parameter (FastAPI: 422). */
const REFUSALS: ReadonlySet<number> = new Set([400, 422]);
const OPTIONS = /\bstream_options\b/i;
/** The name of the field, or a message that streaming is not supported. */
const DENIED = "(?:not|disabled|extra|un(?:supported|known|expected|recognized|available))";
const STREAM = new RegExp(
  `["'\`]stream["'\`]|\\bstream(?:ing)?\\b[^.]{0,60}\\b${DENIED}\\b|\\b${DENIED}\\b[^.]{0,60}\\bstream(?:ing)?\\b`,
  "i",
);
function isAbout({ parameter, message }: ModelError, name: string, words: RegExp): boolean {
  return parameter === undefined ? words.test(message) : parameter.split(".")[0] === name;
}
