import type { AnswerFormat, Usage } from "../../../base/contract.ts";
import { truncate } from "../../../base/truncate.ts";
import { at, listAt, textAt } from "../../../base/unknown.ts";
import type { ToolCall } from "../../contract.ts";
import { openaiFormat } from "../answer-schema.ts";
import type { Fetch, PromptMessage, Protocol, ToolDefinition } from "../contract.ts";
import type { Endpoint } from "../endpoint.ts";
import { ModelError } from "../errors.ts";
import { countOf, createTextBuffer, MAX_TEXT, createCallDrafts, usageOf } from "../http/answer.ts";
import type { AnswerBuilder, CallDraft } from "../http/answer.ts";
import { errorIn } from "../http/error-response.ts";
import { normalizeHistory, validToolName } from "../http/normalize-history.ts";
import { cacheKeysOf, objectText, openaiHeaders, openaiUrl } from "../http/openai-request.ts";
import { createHttpProtocol } from "../http/protocol.ts";
import type { OnRefusal, ProtocolDialect, RequestSettings } from "../http/protocol.ts";
import { isReasoningEnvelope } from "../http/reasoning-envelope.ts";
import { thinkingFields } from "../thinking.ts";
import { contentWithImages, withResultImages } from "./chat-images.ts";
import {
  createSignatureCollector,
  keptAnswer,
  reasoningOf,
  signatureFieldsOf,
  signatureOwner,
} from "./chat-signatures.ts";

/**
 * OpenAI's chat completions, streamed; also for compatible servers. `onRefusal` as in `ProtocolDialect`.
 */
export function createChatProtocol(
  settings: RequestSettings,
  fetch: Fetch,
  onRefusal?: OnRefusal,
): Protocol {
  const { endpoint, entry } = settings;
  const dialect = {
    memory: settings.memory,
    url: openaiUrl(endpoint, "chat/completions"),
    headers: openaiHeaders(endpoint),
    ...chatParts(settings),
    onRefusal,
    format: responseFormat,
    formatsWithTools: isOpenai(endpoint),
  };
  return createHttpProtocol(dialect, entry, fetch);
}

function responseFormat(format: AnswerFormat): Record<string, unknown> {
  return { response_format: { type: "json_schema", json_schema: openaiFormat(format) } };
}

/** Others with this API let no tool be called once a format is given, or ignore the format. */
function isOpenai({ base, facts }: Endpoint): boolean {
  return facts.dialect === "azure" || new URL(base).hostname === "api.openai.com";
}

/** OpenAI refuses longer ids, which vLLM may send. */
const CALL_IDS = /^\S{1,40}$/;

function chatParts(settings: RequestSettings): Pick<ProtocolDialect, "body" | "answer"> {
  const { model, facts } = settings.endpoint;
  const { replaysReasoning = false, callIds: ids = CALL_IDS } = facts;
  const hasOptions = facts.noStreamOptions !== true;
  const settled = settledFields(settings);
  const cacheKeyOf = cacheKeysOf(settings.endpoint);
  const sender = { by: signatureOwner(settings.endpoint), replaysReasoning };
  const keeps = (message: PromptMessage): boolean => keptAnswer(message, sender.by) !== undefined;
  return {
    body({ system, messages, tools, owner }) {
      const history = normalizeHistory(messages, { ids, keeps });
      return {
        model,
        messages: chatMessages(system, withResultImages(history), sender),
        stream: true,
        ...(hasOptions && { stream_options: { include_usage: true } }),
        ...toolFields(tools),
        ...cacheKeyOf?.(owner, system),
        ...settled,
      };
    },
    answer: () => createChatAnswer(sender.by, ids),
  };
}

/** The fields that are the same in each request; `extra_body` overrides all others. */
function settledFields({ endpoint, entry, defaults }: RequestSettings): Record<string, unknown> {
  const { model, facts } = endpoint;
  const { max_tokens: maxTokens = 0, temperature } = defaults;
  const field = entry.max_tokens_field || facts.maxTokensField || "max_tokens";
  const style = facts.thinking ?? "effort-to-high";
  const thinking = thinkingFields(style, { level: entry.thinking_level, model, maxTokens });
  return {
    ...(maxTokens > 0 && { [field]: maxTokens }),
    ...(temperature !== undefined && !thinking.withoutTemperature && { temperature }),
    ...facts.body,
    ...thinking.fields,
    ...entry.extra_body,
  };
}

function toolFields(tools: readonly ToolDefinition[]): Record<string, unknown> {
  if (tools.length === 0) return {};
  const listed = tools.map(({ name, description, parameters }) => ({
    type: "function",
    function: { name, description, parameters },
  }));
  return { tools: listed, tool_choice: "auto" };
}

interface Sender {
  /** The owner of the signatures that are sent back. */
  readonly by: string;
  readonly replaysReasoning: boolean;
}

/**
 * The system prompt and the messages. The preface of a question becomes a pair of messages before it: not every server
 * takes a list of texts as one content, and many chat templates require alternating roles.
 */
function chatMessages(
  system: string,
  messages: readonly PromptMessage[],
  sender: Sender,
): readonly Record<string, unknown>[] {
  const chat: Record<string, unknown>[] = [];
  if (system !== "") chat.push({ role: "system", content: system });
  for (const message of messages) {
    if (message.role === "user" && message.preface !== undefined) {
      const preface = { role: "user", content: message.preface };
      chat.push(preface, { role: "assistant", content: "Noted." });
    }
    chat.push(chatMessage(message, sender));
  }
  return chat;
}

function chatMessage(message: PromptMessage, sender: Sender): Record<string, unknown> {
  if (message.role === "user") return { role: "user", content: contentWithImages(message) };
  if (message.role === "tool") {
    return { role: "tool", tool_call_id: message.callId, content: message.text };
  }
  const { text, toolCalls = [], reasoning } = message;
  if (toolCalls.length === 0) return { role: "assistant", content: text };
  const kept = keptAnswer(message, sender.by);
  const thought = kept === undefined ? reasoning : kept.text;
  return {
    role: "assistant",
    content: text === "" ? null : text,
    ...kept?.message,
    tool_calls: toolCalls.map(({ id, name, arguments: words }, index) => ({
      id,
      type: "function",
      function: { name: validToolName(name), arguments: objectText(words) },
      ...kept?.calls[index],
    })),
    ...(sender.replaysReasoning && { reasoning_content: thoughtBefore(toolCalls, thought) }),
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

/** Builds one reply from the chunks of a chat completion; `by` owns its signatures, `ids` is as in `AnswerFacts`. */
function createChatAnswer(by: string, ids: RegExp): AnswerBuilder {
  const thoughts = createThoughtFilter();
  const { append, text } = createTextBuffer();
  const signatures = createSignatureCollector();
  let calls: ReturnType<typeof createCallCollector> | undefined;
  let reasoning = "";
  let finish = "";
  let usage: Usage | undefined;

  return {
    get finished() {
      return finish !== "";
    },
    // Only `[DONE]` ends it, which is no JSON.
    ended: false,
    recognizes: (chunk) => Array.isArray(at(chunk, "choices")),
    take(chunk) {
      const error = errorIn(chunk);
      if (error !== undefined) throw error;
      usage = usageIn(chunk) ?? usage;
      const choice = listAt(chunk, "choices")[0];
      const delta = at(choice, "delta") ?? at(choice, "message");
      finish = textAt(choice, "finish_reason") || finish;
      if (finish === "content_filter")
        throw new ModelError("withheld", "finish_reason content_filter");
      if (finish === "error")
        throw new ModelError("refused", "finish_reason error", { status: 500 });
      if (at(delta, "tool_calls") !== undefined) (calls ??= createCallCollector()).take(delta);
      signatures.take(delta);
      const thought = textAt(delta, "reasoning_content") || textAt(delta, "reasoning");
      if (reasoning.length + thought.length <= MAX_TEXT) reasoning += thought;
      return append(thoughts.take(contentOf(at(delta, "content"))));
    },
    end: () => append(thoughts.end()),
    reply() {
      const toolCalls = calls?.end() ?? [];
      const fields = { message: signatures.fields(), calls: calls?.fields() ?? [] };
      const kept = reasoningOf({ by, ids, toolCalls, kept: { text: reasoning, ...fields } });
      return {
        text: text(),
        toolCalls,
        truncated: finish === "length",
        ...(kept !== undefined && { reasoning: kept }),
        ...(usage && { usage }),
      };
    },
  };
}

/** Content is a text, or a list of parts: text, thinking and others. */
function contentOf(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content
    .filter((part) => textAt(part, "type") === "text")
    .map((part) => textAt(part, "text"))
    .join("");
}

function usageIn(chunk: unknown): Usage | undefined {
  const usage = at(chunk, "usage") ?? at(at(chunk, "x_groq"), "usage");
  const inputTokens = at(usage, "prompt_tokens");
  const outputTokens = at(usage, "completion_tokens");
  if (typeof inputTokens !== "number" && typeof outputTokens !== "number") return undefined;
  return usageOf(countOf(inputTokens), countOf(outputTokens), cacheCountsIn(usage));
}

/** By OpenAI and most others, by DeepSeek, and by Moonshot; OpenRouter tells what Anthropic's cache took. */
function cacheCountsIn(usage: unknown) {
  const details = at(usage, "prompt_tokens_details");
  return {
    read:
      at(details, "cached_tokens") ??
      at(usage, "prompt_cache_hit_tokens") ??
      at(usage, "cached_tokens"),
    written: at(details, "cache_write_tokens"),
  };
}

/**
 * Collects the tool calls of a streamed answer from their pieces. Servers differ: OpenAI numbers the calls and interleaves their pieces; others omit the index or always send
 * 0, so that only the ids differ; some send the arguments as an object.
 */
export function createCallCollector() {
  const drafts = createCallDrafts();
  const begun: BegunCall[] = [];

  const callFor = (piece: unknown): BegunCall => {
    const [index, id] = [at(piece, "index"), textAt(piece, "id")];
    const known = begun.findLast((call) => call.index === index);
    const knownId = known?.draft.id ?? "";
    const isNew = known === undefined || (id !== "" && knownId !== "" && knownId !== id);
    if (!isNew) return known;
    const call = { index, draft: drafts.begin(id, ""), fields: {} };
    begun.push(call);
    return call;
  };

  return {
    /** Takes the `tool_calls` of one delta (or of a whole message). */
    take(delta: unknown): void {
      for (const piece of listAt(delta, "tool_calls")) {
        const call = callFor(piece);
        const { draft } = call;
        call.fields = { ...call.fields, ...signatureFieldsOf(piece) };
        draft.identify(textAt(piece, "id"), textAt(at(piece, "function"), "name"));
        draft.add(argumentsText(at(at(piece, "function"), "arguments")));
      }
    },
    /** The calls, in the order in which they began, each with a unique id and a name. */
    end: () => drafts.end(),
    /** The fields to send back with each of these calls. */
    fields: () => begun.filter(({ draft }) => draft.name !== "").map(({ fields }) => fields),
  };
}

/** One call, with the fields of its signature. */
interface BegunCall {
  readonly index: unknown;
  readonly draft: CallDraft;
  fields: Readonly<Record<string, unknown>>;
}

function argumentsText(value: unknown): string {
  if (typeof value === "string") return value;
  return typeof value === "object" && value !== null ? JSON.stringify(value) : "";
}

const TAGS = [
  { open: "<think>", close: "</think>" },
  { open: "<thinking>", close: "</thinking>" },
];

/** Blanks before an answer after which no tag is expected. */
const MAX_BLANKS = 4096;

/**
 * Removes a model's inline thinking: `<think>…</think>` (and `<thinking>`) from the beginning of an answer, cut anywhere, with the blanks
 * around it. A tag later in the text is a part of the answer.
 */
export function createThoughtFilter() {
  let take = begin;
  /** The held-back text: blanks, and after them a possible tag. */
  let [blanks, held] = ["", ""];
  let close = "";
  return {
    /** The part of this piece that belongs to the answer; holds the beginning back while it may become a tag. */
    take: (piece: string) => take(piece),
    /** The text that was held back. */
    end: () => (take === begin ? blanks + held : ""),
  };

  /** Looks at each blank once: a server may send nothing but blanks. */
  function begin(piece: string): string {
    const start = held === "" ? piece.trimStart() : held + piece;
    if (held === "") blanks += piece.slice(0, piece.length - start.length);
    held = start;
    const isOpen = TAGS.some(({ open }) => open.startsWith(start));
    if (isOpen && blanks.length <= MAX_BLANKS) return "";
    const tag = TAGS.find(({ open }) => start.startsWith(open));
    if (tag === undefined || blanks.length > MAX_BLANKS) {
      take = pass;
      return blanks + start;
    }
    take = think;
    close = tag.close;
    held = "";
    return think(start.slice(tag.open.length));
  }

  function think(piece: string): string {
    held += piece;
    const end = held.indexOf(close);
    if (end === -1) {
      held = held.slice(-close.length);
      return "";
    }
    take = skipBlanks;
    return skipBlanks(held.slice(end + close.length));
  }

  function skipBlanks(piece: string): string {
    const text = piece.trimStart();
    if (text !== "") take = pass;
    return text;
  }
}

function pass(piece: string): string {
  return piece;
}
