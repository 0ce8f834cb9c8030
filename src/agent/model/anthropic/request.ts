import { listAt } from "../../../base/unknown.ts";
import type { ModelCall, ToolDefinition, PromptMessage } from "../contract.ts";
import { argumentsOf } from "../http/answer.ts";
import { normalizeHistory, validToolName } from "../http/normalize-history.ts";
import type { RequestSettings } from "../http/protocol.ts";
import { envelopeOwner, unwrapReasoning } from "../http/reasoning-envelope.ts";
import { thinkingFields } from "../thinking.ts";
import type { ThinkingFields } from "../thinking.ts";

/** Sent if no limit is configured: the protocol requires one. */
export const DEFAULT_MAX_TOKENS = 8192;

type Block = Readonly<Record<string, unknown>>;

interface MessageTurn {
  readonly role: "user" | "assistant";
  readonly content: Block[];
}

/** The URL of messages under a base, which may already contain the version or `/messages`. */
export function messagesUrl(base: string): string {
  const url = new URL(base);
  const path = url.pathname.replace(/\/+$/, "");
  if (path.endsWith("/messages")) url.pathname = path;
  else url.pathname = /\/v\d+$/.test(path) ? `${path}/messages` : `${path}/v1/messages`;
  return url.href;
}

export function messagesHeaders(key: string | undefined): Record<string, string> {
  const version = { "anthropic-version": "2023-06-01" };
  return key === undefined ? version : { "x-api-key": key, ...version };
}

const CALL_IDS = /^\S{1,64}$/;

/** The body of one request; `extra_body` overrides it. */
export function messagesBody(
  { endpoint, entry, defaults }: RequestSettings,
  { system, messages, tools }: ModelCall,
): Record<string, unknown> {
  const { model } = endpoint;
  const by = envelopeOwner(endpoint);
  const maxTokens = defaults.max_tokens > 0 ? defaults.max_tokens : DEFAULT_MAX_TOKENS;
  const wish = { level: entry.thinking_level, model, maxTokens };
  const thinking = thinkingHere(thinkingFields("anthropic", wish), messages, by);
  const keeps = ({ reasoning }: PromptMessage): boolean =>
    unwrapReasoning(by, reasoning) !== undefined;
  const hasTemperature = defaults.temperature !== undefined && !thinking.withoutTemperature;
  return {
    model,
    [entry.max_tokens_field || "max_tokens"]: maxTokens,
    ...(system === "" ? {} : { system }),
    messages: turnsOf(normalizeHistory(messages, { ids: CALL_IDS, keeps }), by),
    ...(tools.length === 0 ? {} : { tools: tools.map(toolOf), tool_choice: { type: "auto" } }),
    ...(hasTemperature ? { temperature: defaults.temperature } : {}),
    ...thinking.fields,
    stream: true,
    ...endpoint.facts.body,
    ...entry.extra_body,
  };
}

/**
 * With a budget, a round of tools must begin with its signed thinking. A round of another model, or from before
 * a crash, has none: the rest of that turn runs without thinking.
 */
function thinkingHere(
  thinking: ThinkingFields,
  messages: readonly PromptMessage[],
  by: string,
): ThinkingFields {
  const isBudgeted = JSON.stringify(thinking.fields["thinking"] ?? "").includes("budget_tokens");
  if (!isBudgeted) return thinking;
  const turn = messages.slice(messages.findLastIndex(({ role }) => role === "user") + 1);
  const isUnsigned = turn.some(
    (message) =>
      message.role === "assistant" && unwrapReasoning(by, message.reasoning) === undefined,
  );
  return isUnsigned ? { fields: {}, withoutTemperature: false } : thinking;
}

function toolOf({ name, description, parameters }: ToolDefinition): Block {
  return { name, description, input_schema: { type: "object", ...parameters } };
}

/** The conversation with alternating roles: user first, neighbours of one role merged. */
function turnsOf(messages: readonly PromptMessage[], by: string): MessageTurn[] {
  const turns: MessageTurn[] = [];
  for (const message of messages) {
    const role = message.role === "assistant" ? "assistant" : "user";
    const blocks = blocksOf(message, by);
    const last = turns.at(-1);
    if (blocks.length === 0) continue;
    if (last?.role === role) last.content.push(...blocks);
    else turns.push({ role, content: [...blocks] });
  }
  if (turns[0]?.role === "assistant") {
    turns.unshift({ role: "user", content: [textBlock("(The conversation goes on.)")] });
  }
  return turns.map(withResultsFirst);
}

/** Results must come before the text of their message. */
function withResultsFirst({ role, content }: MessageTurn): MessageTurn {
  if (role === "assistant") return { role, content };
  const words = content.filter((block) => !isResult(block));
  return { role, content: [...content.filter(isResult), ...words] };
}

function isResult({ type }: Block): boolean {
  return type === "tool_result";
}

/** Replaces blank text, which the server refuses. */
const NOTHING = "(nothing was said)";

function blocksOf(message: PromptMessage, by: string): readonly Block[] {
  if (message.role === "user")
    return [textBlock(message.text.trim() === "" ? NOTHING : message.text)];
  if (message.role === "tool") {
    const result = {
      type: "tool_result",
      tool_use_id: idOf(message.callId),
      content: message.text,
    };
    return [message.failed ? { ...result, is_error: true } : result];
  }
  const blocks = blocksIn(unwrapReasoning(by, message.reasoning));
  if (blocks.length > 0) return blocks;
  const { text, toolCalls = [] } = message;
  return [
    ...(text.trim() === "" ? [] : [textBlock(text)]),
    ...toolCalls.map(({ id, name, arguments: words }) => callBlock(id, name, words)),
  ];
}

function blocksIn(blocks: unknown): readonly Block[] {
  return listAt({ blocks }, "blocks").filter(
    (block): block is Block => typeof block === "object" && block !== null,
  );
}

export function textBlock(text: string): Block {
  return { type: "text", text };
}

export function callBlock(id: string, name: string, words: string): Block {
  return { type: "tool_use", id: idOf(id), name: validToolName(name), input: argumentsOf(words) };
}

/** Ids of other providers may contain characters that this protocol refuses. */
function idOf(id: string): string {
  return id.replaceAll(/[^\w-]/g, "_");
}
