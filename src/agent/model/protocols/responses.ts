import type { AnswerFormat, Usage } from "../../../base/contract.ts";
import { dataUrl } from "../../../base/images.ts";
import { at, listAt, textAt } from "../../../base/unknown.ts";
import type { ToolCall } from "../../contract.ts";
import { openaiFormat } from "../answer-schema.ts";
import type { Fetch, ModelCall, PromptMessage, Protocol, ToolDefinition } from "../contract.ts";
import { ModelError } from "../errors.ts";
import { countOf, createCallDrafts, createTextBuffer, MAX_TEXT, usageOf } from "../http/answer.ts";
import type { AnswerBuilder, CallDraft } from "../http/answer.ts";
import { errorIn } from "../http/error-response.ts";
import { normalizeHistory, validToolName } from "../http/normalize-history.ts";
import { cacheKeysOf, objectText, openaiHeaders, openaiUrl } from "../http/openai-request.ts";
import { createHttpProtocol } from "../http/protocol.ts";
import type { OnRefusal, RequestSettings } from "../http/protocol.ts";
import { unwrapReasoning, wrapReasoning } from "../http/reasoning-envelope.ts";
import { thinkingFields } from "../thinking.ts";

/**
 * OpenAI's Responses, streamed, without state at the server: a request has the whole conversation. `onRefusal` as in
 * `ProtocolDialect`.
 */
export function createResponsesProtocol(
  settings: RequestSettings,
  fetch: Fetch,
  onRefusal?: OnRefusal,
): Protocol {
  const { endpoint, entry } = settings;
  // Another account cannot decrypt the reasoning, so the entry owns it.
  const by = `responses/${endpoint.label}/${endpoint.model}`;
  const dialect = {
    memory: settings.memory,
    url: openaiUrl(endpoint, "responses"),
    headers: openaiHeaders(endpoint),
    body: createBodyWriter(settings, by),
    answer: () => createResponseAnswer(by),
    onRefusal,
    format: textFormat,
    formatsWithTools: true,
  };
  return createHttpProtocol(dialect, entry, fetch);
}

type Item = Readonly<Record<string, unknown>>;

/** OpenAI refuses longer ids. */
const CALL_IDS = /^\S{1,64}$/;

/** Writes the body of a request; `extra_body` overrides it. */
function createBodyWriter(settings: RequestSettings, by: string) {
  const { endpoint } = settings;
  const cacheKeyOf = cacheKeysOf(endpoint);
  const settled = settledFields(settings);
  const keeps = (message: PromptMessage): boolean => itemsKept(message, by).length > 0;
  return ({ system, messages, tools, owner }: ModelCall): Item => {
    const history = normalizeHistory(messages, { ids: CALL_IDS, keeps });
    return {
      model: endpoint.model,
      ...(system !== "" && { instructions: system }),
      input: history.flatMap((message) => itemsOf(message, by)),
      stream: true,
      store: false,
      include: ["reasoning.encrypted_content"],
      ...(tools.length > 0 && { tools: tools.map(toolOf), tool_choice: "auto" }),
      ...cacheKeyOf?.(owner, system),
      ...settled,
    };
  };
}

function textFormat(format: AnswerFormat): Item {
  return { text: { format: { type: "json_schema", ...openaiFormat(format) } } };
}

/** The fields that are the same in each request. */
function settledFields({ endpoint, entry, defaults }: RequestSettings): Item {
  const { max_tokens: maxTokens = 0, temperature } = defaults;
  const request = { level: entry.thinking_level, model: endpoint.model, maxTokens };
  const { reasoning, text, ...extra } = responsesFieldsOf(entry.extra_body);
  const thinking = { ...Object(thinkingFields("responses", request).fields["reasoning"]) };
  const fields = {
    ...(maxTokens > 0 && { [entry.max_tokens_field || LIMIT]: maxTokens }),
    ...(temperature !== undefined && { temperature }),
    ...endpoint.facts.body,
  };
  return {
    ...responsesFieldsOf(fields),
    ...nonEmpty("reasoning", { ...thinking, ...Object(reasoning) }),
    ...nonEmpty("text", { ...Object(text) }),
    ...extra,
  };
}

const LIMIT = "max_output_tokens";

/**
 * Fields of a configuration that was written for chat completions, under the names that Responses has for them
 * (platform.openai.com, "Migrate to the Responses API").
 */
function responsesFieldsOf(fields: Item): Item {
  const { reasoning_effort: effort, verbosity, response_format, ...others } = fields;
  const { max_tokens, max_completion_tokens = max_tokens, ...rest } = others;
  const format = { ...Object(response_format), ...Object(at(response_format, "json_schema")) };
  delete format.json_schema;
  return {
    ...rest,
    ...(max_completion_tokens !== undefined && { [LIMIT]: max_completion_tokens }),
    ...nonEmpty("reasoning", {
      ...Object(rest["reasoning"]),
      ...(effort !== undefined && { effort }),
    }),
    ...nonEmpty("text", {
      ...Object(rest["text"]),
      ...(verbosity !== undefined && { verbosity }),
      ...nonEmpty("format", format),
    }),
  };
}

function nonEmpty(name: string, value: object): Item {
  return Object.keys(value).length === 0 ? {} : { [name]: value };
}

function toolOf({ name, description, parameters }: ToolDefinition): Item {
  // Strict is the default here, and requires schemas without optional fields.
  return { type: "function", name, description, parameters, strict: false };
}

/** The items of a message: those that the model sent with its reasoning, unchanged, or new ones. */
function itemsOf(message: PromptMessage, by: string): readonly Item[] {
  if (message.role === "user") {
    const preface = message.preface === undefined ? [] : [inputText(message.preface)];
    const content = [...preface, ...inputImages(message), inputText(message.text)];
    return [{ role: "user", content }];
  }
  if (message.role === "tool") return [resultItem(message)];
  const { text, toolCalls = [] } = message;
  const kept = itemsKept(message, by);
  if (kept.length > 0) return withIds(kept, toolCalls);
  return [
    ...(text === "" ? [] : [{ role: "assistant", content: text }]),
    ...toolCalls.map((call) => callItem(call)),
  ];
}

/** The items with the ids of these calls, which differ where a server has repeated one. */
function withIds(items: readonly Item[], calls: readonly ToolCall[]): readonly Item[] {
  const ids = calls.map(({ id }) => id);
  return items.map((item) =>
    item["type"] === "function_call" ? { ...item, call_id: ids.shift() ?? item["call_id"] } : item,
  );
}

function inputText(text: string): Item {
  return { type: "input_text", text };
}

function resultItem(message: Extract<PromptMessage, { readonly role: "tool" }>): Item {
  const { callId: call_id, text, images } = message;
  const output = images === undefined ? text : [...inputImages(message), inputText(text)];
  return { type: "function_call_output", call_id, output };
}

function inputImages({ images = [] }: PromptMessage): readonly Item[] {
  return images.map((image) => ({
    type: "input_image",
    image_url: dataUrl(image),
    detail: "auto",
  }));
}

function callItem({ id, name, arguments: words }: ToolCall): Item {
  return {
    type: "function_call",
    call_id: id,
    name: validToolName(name),
    arguments: objectText(words),
  };
}

function itemsKept(message: PromptMessage, by: string): readonly Item[] {
  const items = unwrapReasoning(by, message.role === "assistant" ? message.reasoning : undefined);
  return listAt({ items }, "items").filter(
    (item): item is Item => typeof item === "object" && item !== null,
  );
}

const END = /^response\.(completed|incomplete|failed)$/;

/** Builds one reply from the events of a response, or from a whole response; `by` names the owner of its reasoning. */
export function createResponseAnswer(by: string): AnswerBuilder {
  const items = new ItemCollector();
  let usage: Usage | undefined;
  let status = "";

  const takeEnd = (response: unknown, ending: string): string => {
    status = textAt(response, "status") || ending;
    const text = items.takeWhole(listAt(response, "output"));
    usage = usageIn(response) ?? usage;
    const error = errorIn({ error: at(response, "error") });
    if (error !== undefined) throw error;
    if (status === "failed") throw new ModelError("refused", "status failed", { status: 500 });
    const reason = textAt(at(response, "incomplete_details"), "reason");
    if (reason === "content_filter") throw new ModelError("withheld", `incomplete: ${reason}`);
    return text;
  };

  return {
    get finished() {
      return status !== "";
    },
    get ended() {
      return status !== "";
    },
    recognizes: (event) =>
      textAt(event, "type").startsWith("response.") || textAt(event, "object") === "response",
    take(event) {
      const error = errorIn(event);
      if (error !== undefined) throw error;
      if (textAt(event, "object") === "response") return takeEnd(event, "completed");
      const ending = END.exec(textAt(event, "type"))?.[1];
      return ending === undefined ? items.take(event) : takeEnd(at(event, "response"), ending);
    },
    end: () => "",
    reply: () => ({
      ...items.end(by),
      truncated: status === "incomplete",
      ...(usage && { usage }),
    }),
  };
}

function usageIn(response: unknown): Usage | undefined {
  const usage = at(response, "usage");
  const inputTokens = at(usage, "input_tokens");
  const outputTokens = at(usage, "output_tokens");
  if (typeof inputTokens !== "number" && typeof outputTokens !== "number") return undefined;
  const read = at(at(usage, "input_tokens_details"), "cached_tokens");
  return usageOf(countOf(inputTokens), countOf(outputTokens), { read });
}

/** One item of the answer while it is received. */
type Draft =
  | { readonly type: "message"; readonly id: string; readonly phase: unknown; text: string }
  | {
      readonly type: "function_call";
      readonly id: string;
      readonly call: CallDraft;
      hasArguments: boolean;
    }
  | { readonly type: "reasoning"; readonly id: string; summary: unknown; encrypted: string };

/** Items of one answer: an empty one needs memory as well. */
const MAX_ITEMS = 1024;

/** Stands between two messages of one answer, such as a comment and the final one. */
const GAP = "\n\n";

/** Collects the output items of a response. */
class ItemCollector {
  readonly #buffer = createTextBuffer();
  readonly #calls = createCallDrafts();
  readonly #drafts: Draft[] = [];
  /** The newest item of each index. */
  readonly #byIndex = new Map<unknown, Draft>();
  /** Characters of encrypted reasoning and of its summaries. */
  #thoughts = 0;
  #hasText = false;

  /** Takes an event; returns its text. */
  take(event: unknown): string {
    const [index, delta] = [at(event, "output_index"), textAt(event, "delta")];
    const id = textAt(event, "item_id");
    switch (textAt(event, "type")) {
      case "response.output_item.added":
        this.#begin(index, at(event, "item"));
        return "";
      case "response.output_text.delta":
      case "response.refusal.delta":
        return this.#say(this.#draftAt(index, { type: "message", id }), delta);
      case "response.function_call_arguments.delta":
        this.#addArguments(this.#known(index, { type: "function_call", id }), delta);
        return "";
      case "response.output_item.done":
        return this.#finish(index, at(event, "item"));
      default:
        // Ends of parts, summaries of reasoning, and future events.
        return "";
    }
  }

  /** Takes the whole output, unless its text or its calls came before; returns its text. */
  takeWhole(output: readonly unknown[]): string {
    const hasCall = this.#drafts.some((draft) => "hasArguments" in draft && draft.hasArguments);
    if (this.#hasText || hasCall) return "";
    return output.map((item, index) => this.#finish(index, item)).join("");
  }

  /** The text and the calls, and the envelope of the reasoning before them if there is any; `by` owns it. */
  end(by: string) {
    const toolCalls = this.#calls.end();
    const reasoning = envelopeOf(this.#drafts, toolCalls, by);
    const text = this.#buffer.text();
    return { text, toolCalls, ...(reasoning !== undefined && { reasoning }) };
  }

  #begin(index: unknown, item: unknown): Draft | undefined {
    const draft = draftOf(item, (id, name) => this.#calls.begin(id, name));
    if (draft === undefined) return undefined;
    this.#byIndex.set(index, draft);
    this.#drafts.push(draft);
    if (this.#drafts.length > MAX_ITEMS) throw new ModelError("oversized", "too many items");
    return draft;
  }

  /** The known draft of an item, or a new one. */
  #draftAt(index: unknown, item: unknown): Draft | undefined {
    return this.#known(index, item) ?? this.#begin(index, item);
  }

  /** The draft of an item: servers give several items one index, others one item an id with each event. */
  #known(index: unknown, item: unknown): Draft | undefined {
    const [type, id] = [textAt(item, "type"), textAt(item, "id")];
    const newest = this.#byIndex.get(index);
    const indexed = newest?.type === type ? newest : undefined;
    const isNew = newest === undefined && index !== undefined;
    if (isNew || id === "" || indexed?.id === id) return indexed;
    return this.#drafts.findLast((draft) => draft.type === type && draft.id === id) ?? indexed;
  }

  /** Takes a whole item, of which pieces may have come before; returns the text that did not. */
  #finish(index: unknown, item: unknown): string {
    const draft = this.#draftAt(index, item);
    if (draft?.type === "message")
      return draft.text === "" ? this.#say(draft, contentOf(item)) : "";
    if (draft?.type === "reasoning") this.#think(draft, item);
    if (draft?.type === "function_call") {
      draft.call.identify(callIdOf(item), textAt(item, "name"));
      if (!draft.hasArguments) this.#addArguments(draft, textAt(item, "arguments"));
    }
    return "";
  }

  #say(draft: Draft | undefined, piece: string): string {
    if (draft?.type !== "message" || piece === "") return "";
    const gap = this.#hasText && draft.text === "" ? GAP : "";
    this.#hasText = true;
    draft.text += piece;
    return this.#buffer.append(gap + piece);
  }

  #addArguments(draft: Draft | undefined, piece: string): void {
    if (draft?.type !== "function_call" || piece === "") return;
    draft.call.add(piece);
    draft.hasArguments = true;
  }

  #think(draft: Extract<Draft, { type: "reasoning" }>, item: unknown): void {
    if (draft.encrypted !== "") return;
    draft.encrypted = textAt(item, "encrypted_content");
    draft.summary = listAt(item, "summary");
    this.#thoughts += draft.encrypted.length + JSON.stringify(draft.summary).length;
    if (this.#thoughts > MAX_TEXT) throw new ModelError("oversized", "the reasoning is too long");
  }
}

function draftOf(
  item: unknown,
  beginCall: (id: string, name: string) => CallDraft,
): Draft | undefined {
  const [type, id] = [textAt(item, "type"), textAt(item, "id")];
  switch (type) {
    case "message":
      return { type, id, phase: at(item, "phase"), text: "" };
    case "function_call":
      return {
        type,
        id,
        call: beginCall(callIdOf(item), textAt(item, "name")),
        hasArguments: false,
      };
    case "reasoning":
      return { type, id, summary: [], encrypted: "" };
    default:
      return undefined;
  }
}

function callIdOf(item: unknown): string {
  return textAt(item, "call_id") || textAt(item, "id");
}

/** The text of a message's parts; a refusal is what the model says. */
function contentOf(item: unknown): string {
  return listAt(item, "content")
    .map((part) => textAt(part, "text") || textAt(part, "refusal"))
    .join("");
}

/**
 * The whole answer in its order, if it has encrypted reasoning before tool calls: the model requires the items
 * back unchanged to go on with its thought. Undefined otherwise.
 */
function envelopeOf(
  drafts: readonly Draft[],
  toolCalls: readonly ToolCall[],
  by: string,
): string | undefined {
  const isEncrypted = drafts.some((draft) => draft.type === "reasoning" && draft.encrypted !== "");
  if (!isEncrypted || toolCalls.length === 0) return undefined;
  const left = [...toolCalls];
  const items = drafts.flatMap((draft): Item[] => {
    const { type, id } = draft;
    if (type === "message") return draft.text === "" ? [] : [messageItem(draft)];
    if (type === "reasoning") {
      const { summary, encrypted: encrypted_content } = draft;
      return encrypted_content === "" ? [] : [{ type, id, summary, encrypted_content }];
    }
    // Calls without a name were dropped, so they are not in `left`.
    const call = draft.call.name === "" ? undefined : left.shift();
    return call === undefined ? [] : [{ ...(id !== "" && { id }), ...callItem(call) }];
  });
  return wrapReasoning(by, items);
}

function messageItem({ type, id, phase, text }: Extract<Draft, { type: "message" }>): Item {
  return {
    type,
    id,
    role: "assistant",
    status: "completed",
    content: [{ type: "output_text", text, annotations: [] }],
    ...(typeof phase === "string" && { phase }),
  };
}
