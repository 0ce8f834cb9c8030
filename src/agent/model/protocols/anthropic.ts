import type { AnswerFormat, Usage } from "../../../base/contract.ts";
import { listAt, at, textAt } from "../../../base/unknown.ts";
import type { ToolCall } from "../../contract.ts";
import { closedSchema } from "../answer-schema.ts";
import type { Fetch, ModelCall, PromptMessage, Protocol, ToolDefinition } from "../contract.ts";
import { ModelError } from "../errors.ts";
import { countOf, createTextBuffer, usageOf } from "../http/answer.ts";
import type { AnswerBuilder } from "../http/answer.ts";
import { errorIn } from "../http/error-response.ts";
import { normalizeHistory } from "../http/normalize-history.ts";
import { createHttpProtocol } from "../http/protocol.ts";
import type { RequestSettings } from "../http/protocol.ts";
import { envelopeOwner, unwrapReasoning } from "../http/reasoning-envelope.ts";
import { DEFAULT_MAX_TOKENS, thinkingFields } from "../thinking.ts";
import type { ThinkingFields } from "../thinking.ts";
import {
  type Block,
  type BlockCollector,
  callBlock,
  createBlockCollector,
  idOf,
  textBlock,
} from "./message-blocks.ts";

/** Anthropic's Messages API, streamed; also for compatible servers. */
export function createMessagesProtocol(settings: RequestSettings, fetch: Fetch): Protocol {
  const { endpoint, entry } = settings;
  const isCached = new URL(endpoint.base).hostname === "api.anthropic.com";
  const dialect = {
    memory: settings.memory,
    url: messagesUrl(endpoint.base),
    headers: messagesHeaders,
    body: (call: ModelCall) => messagesBody(settings, call, isCached),
    answer: () => createMessageAnswer(envelopeOwner(endpoint)),
    requiresLimit: true as const,
    format: outputFormat,
    formatsWithTools: true,
  };
  return createHttpProtocol(dialect, entry, fetch);
}

interface MessageTurn {
  readonly role: "user" | "assistant";
  readonly content: Block[];
}

/** The URL of messages under a base, which may already contain the version or `/messages`. */
function messagesUrl(base: string): string {
  const url = new URL(base);
  const path = url.pathname.replace(/\/+$/, "");
  if (path.endsWith("/messages")) url.pathname = path;
  else url.pathname = /\/v\d+$/.test(path) ? `${path}/messages` : `${path}/v1/messages`;
  return url.href;
}

function messagesHeaders(key: string | undefined): Record<string, string> {
  const version = { "anthropic-version": "2023-06-01" };
  return key === undefined ? version : { "x-api-key": key, ...version };
}

const CALL_IDS = /^\S{1,64}$/;

/** The body of one request; `extra_body` overrides it. */
export function messagesBody(
  { endpoint, entry, defaults }: RequestSettings,
  { system, messages, tools }: ModelCall,
  isCached: boolean,
): Record<string, unknown> {
  const { model } = endpoint;
  const by = envelopeOwner(endpoint);
  const maxTokens = defaults.max_tokens || DEFAULT_MAX_TOKENS;
  const asked = thinkingFields("anthropic", { level: entry.thinking_level, model, maxTokens });
  const thinking = thinkingHere(asked, messages, by);
  const keeps = ({ reasoning }: PromptMessage): boolean =>
    unwrapReasoning(by, reasoning) !== undefined;
  const hasTemperature = defaults.temperature !== undefined && !thinking.withoutTemperature;
  const turns = turnsOf(normalizeHistory(messages, { ids: CALL_IDS, keeps }), by);
  return {
    model,
    [entry.max_tokens_field || "max_tokens"]: maxTokens,
    ...(system !== "" && { system: isCached ? [cached(textBlock(system))] : system }),
    messages: isCached ? turns.map(cachedAtEnd) : turns,
    ...(tools.length > 0 && { tools: tools.map(toolOf), tool_choice: { type: "auto" } }),
    ...(hasTemperature && { temperature: defaults.temperature }),
    ...thinking.fields,
    stream: true,
    ...endpoint.facts.body,
    ...entry.extra_body,
  };
}

function outputFormat({ schema }: AnswerFormat): Block {
  const format = { type: "json_schema", schema: closedSchema(schema, false) };
  return { output_config: { format } };
}

/**
 * Ends a part of the prompt that the next request begins with. Anthropic caches nothing without such a mark
 * (docs.claude.com, "Prompt caching"); servers that only resemble it may refuse the field.
 */
function cached(block: Block): Block {
  return { ...block, cache_control: { type: "ephemeral" } };
}

/** Marks the end of the last message, which is the user's: a text or a result. */
function cachedAtEnd(turn: MessageTurn, index: number, turns: readonly MessageTurn[]): MessageTurn {
  const { role, content } = turn;
  const last = content.at(-1);
  if (index !== turns.length - 1 || role !== "user" || last === undefined) return turn;
  return { role, content: [...content.slice(0, -1), cached(last)] };
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
  if (message.role === "user") {
    const preface = message.preface === undefined ? [] : [textBlock(message.preface)];
    const text = textBlock(message.text.trim() === "" ? NOTHING : message.text);
    return [...preface, ...imageBlocks(message), text];
  }
  if (message.role === "tool") {
    const result = {
      type: "tool_result",
      tool_use_id: idOf(message.callId),
      content:
        message.images === undefined
          ? message.text
          : [...imageBlocks(message), textBlock(message.text)],
    };
    return [message.failed ? { ...result, is_error: true } : result];
  }
  const { text, toolCalls = [] } = message;
  const blocks = blocksIn(unwrapReasoning(by, message.reasoning));
  if (blocks.length > 0) return withIds(blocks, toolCalls);
  return [
    ...(text.trim() === "" ? [] : [textBlock(text)]),
    ...toolCalls.map(({ id, name, arguments: words }) => callBlock(id, name, words)),
  ];
}

function imageBlocks({ images = [] }: PromptMessage): readonly Block[] {
  return images.map(({ mediaType: media_type, data }) => ({
    type: "image",
    source: { type: "base64", media_type, data },
  }));
}

function blocksIn(blocks: unknown): readonly Block[] {
  return listAt({ blocks }, "blocks").filter(
    (block): block is Block => typeof block === "object" && block !== null,
  );
}

/** The blocks with the ids of these calls, which differ where a server has repeated one. */
function withIds(blocks: readonly Block[], calls: readonly ToolCall[]): readonly Block[] {
  const ids = calls.map(({ id }) => idOf(id));
  return blocks.map((block) =>
    block["type"] === "tool_use" ? { ...block, id: ids.shift() ?? block["id"] } : block,
  );
}

/** Stop reasons for the end of the tokens. */
const CUT: ReadonlySet<string> = new Set(["max_tokens", "model_context_window_exceeded"]);

const MESSAGE_EVENT = /^message|^content_block/;

/** Builds one reply from the events of a message, or from a whole message; `by` names the model that thinks. */
export function createMessageAnswer(by: string): AnswerBuilder {
  const buffer = createTextBuffer();
  let blocks = createBlockCollector(by, buffer);
  const usage = createUsageCount();
  let [stopReason, ended] = ["", false];

  const stop = (reason: string): void => {
    stopReason = reason || stopReason;
    if (reason === "refusal") throw new ModelError("withheld", "stop_reason refusal");
  };

  return {
    get finished() {
      return stopReason !== "" || ended;
    },
    get ended() {
      return ended;
    },
    recognizes: (event) => MESSAGE_EVENT.test(textAt(event, "type")),
    take(event) {
      const error = errorIn(event);
      if (error !== undefined) throw error;
      const type = textAt(event, "type");
      // Some gateways begin anew after an upstream failure: calls of the message before are incomplete.
      if (type === "message_start") blocks = createBlockCollector(by, buffer);
      // An answer without events is one whole message; `message_start` begins a streamed one.
      const message = type === "message" ? event : at(event, "message");
      usage.take(at(message, "usage"));
      usage.take(at(event, "usage"));
      const text = textOf(type, event, blocks);
      stop(textAt(message, "stop_reason") || textAt(at(event, "delta"), "stop_reason"));
      ended ||= type === "message_stop";
      return text;
    },
    end: () => "",
    reply() {
      const counted = usage.total();
      return {
        text: blocks.text(),
        ...blocks.end(),
        truncated: CUT.has(stopReason),
        ...(counted && { usage: counted }),
      };
    },
  };
}

function textOf(type: string, event: unknown, blocks: BlockCollector): string {
  switch (type) {
    case "message":
    case "message_start": {
      const whole = listAt(type === "message" ? event : at(event, "message"), "content");
      return whole.map((block, index) => blocks.begin(index, block)).join("");
    }
    case "content_block_start":
      return blocks.begin(at(event, "index"), at(event, "content_block"));
    case "content_block_delta":
      return blocks.grow(at(event, "index"), at(event, "delta"));
    default:
      // `ping`, `content_block_stop`, and future events: clients must ignore them.
      return "";
  }
}

/** Tokens read from or written to a cache are not in `input_tokens`, but are input as well. */
const INPUT = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"];

/** Adds up the token counts in the events of a message. Each event has the totals so far, of some of the fields. */
function createUsageCount() {
  const counts = new Map<string, number>();
  return {
    take(usage: unknown): void {
      for (const field of [...INPUT, "output_tokens"]) {
        const count = at(usage, field);
        if (typeof count === "number") {
          counts.set(field, Math.max(counts.get(field) ?? 0, countOf(count)));
        }
      }
    },
    /** Undefined without any count. */
    total(): Usage | undefined {
      if (counts.size === 0) return undefined;
      const inputTokens = INPUT.reduce((sum, field) => sum + (counts.get(field) ?? 0), 0);
      return usageOf(inputTokens, counts.get("output_tokens") ?? 0, {
        read: counts.get("cache_read_input_tokens"),
        written: counts.get("cache_creation_input_tokens"),
      });
    },
  };
}
