import type { AnswerFormat, Usage } from "../../../base/contract.ts";
import { at, textAt, listAt } from "../../../base/unknown.ts";
import type { ToolCall } from "../../contract.ts";
import type { Fetch, ModelCall, PromptMessage, Protocol, ToolDefinition } from "../contract.ts";
import type { Endpoint } from "../endpoint.ts";
import { ModelError } from "../errors.ts";
import {
  argumentsOf,
  countOf,
  createTextBuffer,
  MAX_TEXT,
  createCallDrafts,
  usageOf,
} from "../http/answer.ts";
import type { AnswerBuilder, CallDraft } from "../http/answer.ts";
import { NO_SIGNATURE } from "../http/chat-rewrites.ts";
import { errorIn } from "../http/error-response.ts";
import { validToolName } from "../http/normalize-history.ts";
import { createHttpProtocol } from "../http/protocol.ts";
import type { RequestSettings } from "../http/protocol.ts";
import { envelopeOwner, unwrapReasoning, wrapReasoning } from "../http/reasoning-envelope.ts";
import { geminiSchema } from "../schema.ts";
import { isGemini3, thinkingFields } from "../thinking.ts";

/** Gemini's content generation, streamed. */
export function createGeminiProtocol(settings: RequestSettings, fetch: Fetch): Protocol {
  const { endpoint, entry } = settings;
  const dialect = {
    memory: settings.memory,
    url: generateUrl(endpoint),
    headers: generateHeaders,
    body: (call: ModelCall) => generateBody(settings, call),
    answer: () => createContentAnswer(envelopeOwner(endpoint)),
    format: responseSchema,
    formatsWithTools: true,
  };
  return createHttpProtocol(dialect, entry, fetch);
}

type Part = Readonly<Record<string, unknown>>;

interface Content {
  readonly role: "user" | "model";
  readonly parts: Part[];
}

/** The URL that streams a model's answers; a model may come with its collection (`tunedModels/mine`). */
function generateUrl({ base, model }: Pick<Endpoint, "base" | "model">): string {
  const url = new URL(base);
  const path = url.pathname.replace(/\/+$/, "").replace(/\/models$/, "");
  const named = /^(?:models|tunedModels)\//.test(model) ? model : `models/${model}`;
  const written = named.split("/").map(encodeURIComponent).join("/");
  url.pathname = `${path}/${written}:streamGenerateContent`;
  url.searchParams.set("alt", "sse");
  return url.href;
}

function generateHeaders(key: string | undefined): Record<string, string> {
  return key === undefined ? {} : { "x-goog-api-key": key };
}

/** The body of one request; `extra_body` overrides it, also within `generationConfig`. */
function generateBody(
  { endpoint, entry, defaults }: RequestSettings,
  { system, messages, tools }: ModelCall,
): Record<string, unknown> {
  const { model } = endpoint;
  const { max_tokens: maxTokens = 0, temperature } = defaults;
  const thinking = thinkingFields("gemini", { level: entry.thinking_level, model, maxTokens });
  const generationConfig = {
    ...(maxTokens > 0 ? { [entry.max_tokens_field || "maxOutputTokens"]: maxTokens } : {}),
    ...(temperature !== undefined && { temperature }),
    ...thinking.fields,
    ...Object(at(entry.extra_body, "generationConfig")),
  };
  return {
    ...(system !== "" && { systemInstruction: { parts: [{ text: system }] } }),
    contents: contentsOf(messages, { by: envelopeOwner(endpoint), signs: isGemini3(model) }),
    ...(tools.length > 0 && { tools: [{ functionDeclarations: tools.map(declarationOf) }] }),
    ...endpoint.facts.body,
    ...entry.extra_body,
    ...(Object.keys(generationConfig).length > 0 && { generationConfig }),
  };
}

function responseSchema({ schema }: AnswerFormat): Part {
  const format = { responseMimeType: "application/json", responseSchema: geminiSchema(schema) };
  return { generationConfig: format };
}

function declarationOf({ name, description, parameters }: ToolDefinition): Part {
  const schema = geminiSchema(parameters);
  // An object without properties is refused; a function without parameters is not.
  return { name, description, ...("properties" in schema ? { parameters: schema } : {}) };
}

interface Sender {
  /** The model whose envelopes are sent back. */
  readonly by: string;
  /** The model refuses calls without a signature. */
  readonly signs: boolean;
}

/** Replaces an empty part, which the server refuses. */
const NOTHING = "(nothing was said)";

function contentsOf(messages: readonly PromptMessage[], sender: Sender): Content[] {
  const contents: Content[] = [];
  const ids = new Set(messages.flatMap((message) => givenIds(message, sender.by)));
  let results: Part[] = [];
  /** They follow all results of a content. */
  let images: Part[] = [];
  for (const message of messages) {
    if (message.role === "tool") {
      // The results of the calls of one content go into one content.
      if (results.length === 0) contents.push({ role: "user", parts: results });
      results.push(resultPart(message, ids, sender));
      if (!sender.signs) images.push(...imageParts(message));
      continue;
    }
    results.push(...images);
    [results, images] = [[], []];
    if (message.role === "user") {
      const preface = message.preface === undefined ? [] : [{ text: message.preface }];
      const text = { text: message.text || NOTHING };
      contents.push({ role: "user", parts: [...preface, ...imageParts(message), text] });
    } else addAnswer(contents, modelParts(message, sender));
  }
  results.push(...images);
  if (contents[0]?.role === "model") {
    contents.unshift({ role: "user", parts: [{ text: "(The conversation goes on.)" }] });
  }
  return contents;
}

/** A call must follow a question or results, so neighbouring answers are merged. */
function addAnswer(contents: Content[], parts: readonly Part[]): void {
  const last = contents.at(-1);
  if (last?.role === "model") last.parts.push(...parts);
  else if (parts.length > 0) contents.push({ role: "model", parts: [...parts] });
}

type Said = Extract<PromptMessage, { readonly role: "assistant" }>;
type Result = Extract<PromptMessage, { readonly role: "tool" }>;

/** The ids that the provider sent, and so requires back; ids of this program are left out. */
function givenIds(message: PromptMessage, by: string): string[] {
  if (message.role !== "assistant") return [];
  const data = unwrapReasoning(by, message.reasoning);
  return (message.toolCalls ?? [])
    .map(({ id }) => id)
    .filter((id) => at(at(data, id), "given") === true);
}

/** Images are within the result since Gemini 3, and beside it in older models. */
function resultPart(message: Result, ids: ReadonlySet<string>, { signs }: Sender): Part {
  const { callId, name, text, failed, images } = message;
  const response = failed ? { error: text } : { result: text };
  return {
    functionResponse: {
      ...(ids.has(callId) ? { id: callId } : {}),
      name: validToolName(name),
      response,
      ...(signs && images !== undefined && { parts: imageParts(message) }),
    },
  };
}

function imageParts({ images = [] }: PromptMessage): readonly Part[] {
  return images.map(({ mediaType: mimeType, data }) => ({ inlineData: { mimeType, data } }));
}

function modelParts({ text, toolCalls = [], reasoning }: Said, { by, signs }: Sender): Part[] {
  const data = unwrapReasoning(by, reasoning);
  const calls = toolCalls.map(({ id, name, arguments: words }, index) => {
    const given = at(at(data, id), "given") === true ? { id } : {};
    // Only the first of parallel calls is signed.
    const standIn = signs && index === 0 ? NO_SIGNATURE : "";
    const thoughtSignature = textAt(at(data, id), "signature") || standIn;
    return {
      functionCall: { ...given, name: validToolName(name), args: argumentsOf(words) },
      ...(thoughtSignature !== "" && { thoughtSignature }),
    };
  });
  return text === "" ? calls : [{ text }, ...calls];
}

/** Builds one reply from the chunks of generated content; `by` names the model that signs. */
export function createContentAnswer(by: string): AnswerBuilder {
  const { append, text } = createTextBuffer();
  const calls = createSignedCalls(by);
  let finish = "";
  let usage: Usage | undefined;

  const takeChunk = (chunk: unknown): string => {
    const error = errorIn(chunk) ?? blockedIn(chunk);
    if (error !== undefined) throw error;
    usage = usageIn(chunk) ?? usage;
    const candidate = listAt(chunk, "candidates")[0];
    const parts = listAt(at(candidate, "content"), "parts");
    for (const part of parts) calls.take(part);
    finish = textAt(candidate, "finishReason") || finish;
    const fault = faultOf(finish, textAt(candidate, "finishMessage"));
    if (fault !== undefined) throw fault;
    return append(parts.map(textOfPart).join(""));
  };

  return {
    get finished() {
      return finish !== "";
    },
    // The stream has no end marker.
    ended: false,
    recognizes: (chunk) =>
      ["candidates", "usageMetadata", "promptFeedback"].some(
        (field) => at(Array.isArray(chunk) ? chunk[0] : chunk, field) !== undefined,
      ),
    // Without events the chunks are the items of one list.
    take: (chunk) => (Array.isArray(chunk) ? chunk.map(takeChunk).join("") : takeChunk(chunk)),
    end: () => "",
    reply: () => ({
      text: text(),
      ...calls.end(),
      truncated: finish === "MAX_TOKENS",
      ...(usage && { usage }),
    }),
  };
}

function textOfPart(part: unknown): string {
  return at(part, "thought") === true ? "" : textAt(part, "text");
}

/** The provider's filter refused the question itself. */
function blockedIn(chunk: unknown): ModelError | undefined {
  const reason = textAt(at(chunk, "promptFeedback"), "blockReason");
  return reason === "" ? undefined : new ModelError("withheld", `blockReason ${reason}`);
}

/** The model wrote a malformed call; the next try may succeed. */
const STUMBLED = /^(?:MALFORMED_FUNCTION_CALL|MALFORMED_RESPONSE|UNEXPECTED_TOOL_CALL|OTHER)$/;
const OURS = /^(?:MISSING_THOUGHT_SIGNATURE|TOO_MANY_TOOL_CALLS)$/;

const FILTERED =
  /^(?:IMAGE_)?(?:SAFETY|RECITATION|LANGUAGE|BLOCKLIST|PROHIBITED_CONTENT|SPII)$|^MODEL_ARMOR$/;

/** With every other reason the answer is whole, also with reasons that are new. */
function faultOf(finish: string, message: string): ModelError | undefined {
  const words = `finishReason ${finish} ${message}`.trim();
  if (STUMBLED.test(finish)) return new ModelError("broken_off", words);
  if (OURS.test(finish)) return new ModelError("refused", words, { status: 400 });
  return FILTERED.test(finish) ? new ModelError("withheld", words) : undefined;
}

/** Thinking is billed as output, and tool prompts as input. */
function usageIn(chunk: unknown): Usage | undefined {
  const usage = at(chunk, "usageMetadata");
  if (usage === undefined) return undefined;
  const count = (field: string): number => countOf(at(usage, field));
  const inputTokens = count("promptTokenCount") + count("toolUsePromptTokenCount");
  const outputTokens = count("candidatesTokenCount") + count("thoughtsTokenCount");
  return usageOf(inputTokens, outputTokens, { read: count("cachedContentTokenCount") });
}

/** The parts of a call to send back with it. */
interface Signed {
  readonly draft: CallDraft;
  /** "" if the provider sent none. */
  readonly id: string;
  readonly signature: string;
}

/** The calls of an answer with their signatures; `by` names the model in the envelope. */
function createSignedCalls(by: string) {
  const calls = createCallDrafts();
  const signed: Signed[] = [];
  let characters = 0;
  return {
    /** Takes the call of one part, which is always whole; a part may have none. */
    take(part: unknown): void {
      const call = at(part, "functionCall");
      if (call === undefined) return;
      const [id, name] = [textAt(call, "id"), textAt(call, "name")];
      const signature = textAt(part, "thoughtSignature");
      characters += signature.length;
      if (characters > MAX_TEXT) throw new ModelError("oversized", "the signatures are too long");
      const draft = calls.begin(id, name);
      draft.add(JSON.stringify(at(call, "args") ?? {}));
      signed.push({ draft, id, signature });
    },
    /** The calls, and the envelope of their ids and signatures if there are any. */
    end() {
      const toolCalls = calls.end();
      const reasoning = envelopeOf(signed, toolCalls, by);
      return { toolCalls, ...(reasoning !== undefined && { reasoning }) };
    },
  };
}

/** The data to send back with the calls, by their ids; undefined if there is none. */
function envelopeOf(
  signed: readonly Signed[],
  toolCalls: readonly ToolCall[],
  by: string,
): string | undefined {
  const named = signed.filter(({ draft }) => draft.name !== "");
  const facts = toolCalls.flatMap(({ id }, index): [string, Record<string, unknown>][] => {
    const { id: own = "", signature = "" } = named[index] ?? {};
    const given = own !== "" && own === id ? { given: true } : {};
    const fact = { ...given, ...(signature !== "" && { signature }) };
    return Object.keys(fact).length === 0 ? [] : [[id, fact]];
  });
  return facts.length === 0 ? undefined : wrapReasoning(by, Object.fromEntries(facts));
}
