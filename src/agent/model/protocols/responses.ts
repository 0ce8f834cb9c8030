import type { AnswerFormat, Usage } from "../../../base/contract.ts";
import { dataUrl } from "../../../base/images.ts";
import { at, listAt, textAt } from "../../../base/unknown.ts";
import type { ToolCall } from "../../contract.ts";
import { openaiFormat } from "../answer-schema.ts";
import type { Fetch, ModelCall, PromptMessage, Protocol, ToolDefinition } from "../contract.ts";
import { ModelError } from "../errors.ts";
import { countOf, usageOf } from "../http/answer.ts";
import type { AnswerBuilder } from "../http/answer.ts";
import { errorIn } from "../http/error-response.ts";
import { normalizeHistory } from "../http/normalize-history.ts";
import { cacheKeysOf, openaiHeaders, openaiUrl } from "../http/openai-request.ts";
import { createHttpProtocol } from "../http/protocol.ts";
import type { OnRefusal, RequestSettings } from "../http/protocol.ts";
import { unwrapReasoning } from "../http/reasoning-envelope.ts";
import { thinkingFields } from "../thinking.ts";
import { callItem, type Item, ItemCollector } from "./response-items.ts";

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
