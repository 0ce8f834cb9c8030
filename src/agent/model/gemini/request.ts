import { at, textAt } from "../../../base/unknown.ts";
import type { ModelCall, ToolDefinition, PromptMessage } from "../contract.ts";
import type { Endpoint } from "../endpoint.ts";
import { argumentsOf } from "../http/answer.ts";
import { validToolName } from "../http/normalize-history.ts";
import type { RequestSettings } from "../http/protocol.ts";
import { envelopeOwner, unwrapReasoning } from "../http/reasoning-envelope.ts";
import { isGemini3, thinkingFields } from "../thinking.ts";
import { geminiSchema } from "./schema.ts";

type Part = Readonly<Record<string, unknown>>;

interface Content {
  readonly role: "user" | "model";
  readonly parts: Part[];
}

/** The URL that streams a model's answers; a model may come with its collection (`tunedModels/mine`). */
export function generateUrl({ base, model }: Pick<Endpoint, "base" | "model">): string {
  const url = new URL(base);
  const path = url.pathname.replace(/\/+$/, "").replace(/\/models$/, "");
  const named = /^(?:models|tunedModels)\//.test(model) ? model : `models/${model}`;
  const written = named.split("/").map(encodeURIComponent).join("/");
  url.pathname = `${path}/${written}:streamGenerateContent`;
  url.searchParams.set("alt", "sse");
  return url.href;
}

export function generateHeaders(key: string | undefined): Record<string, string> {
  return key === undefined ? {} : { "x-goog-api-key": key };
}

/** The body of one request; `extra_body` overrides it, also within `generationConfig`. */
export function generateBody(
  { endpoint, entry, defaults }: RequestSettings,
  { system, messages, tools }: ModelCall,
): Record<string, unknown> {
  const { model } = endpoint;
  const { max_tokens: maxTokens, temperature } = defaults;
  const thinking = thinkingFields("gemini", { level: entry.thinking_level, model, maxTokens });
  const generationConfig = {
    ...(maxTokens > 0 ? { [entry.max_tokens_field || "maxOutputTokens"]: maxTokens } : {}),
    ...(temperature === undefined ? {} : { temperature }),
    ...thinking.fields,
    ...Object(at(entry.extra_body, "generationConfig")),
  };
  return {
    ...(system === "" ? {} : { systemInstruction: { parts: [{ text: system }] } }),
    contents: contentsOf(messages, { by: envelopeOwner(endpoint), signs: isGemini3(model) }),
    ...(tools.length === 0 ? {} : { tools: [{ functionDeclarations: tools.map(declarationOf) }] }),
    ...endpoint.facts.body,
    ...entry.extra_body,
    ...(Object.keys(generationConfig).length === 0 ? {} : { generationConfig }),
  };
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
  for (const message of messages) {
    if (message.role === "tool") {
      // The results of the calls of one content go into one content.
      if (results.length === 0) contents.push({ role: "user", parts: results });
      results.push(resultPart(message, ids));
      continue;
    }
    results = [];
    if (message.role === "user") {
      contents.push({ role: "user", parts: [{ text: message.text || NOTHING }] });
    } else addAnswer(contents, modelParts(message, sender));
  }
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

function resultPart({ callId, name, text, failed }: Result, ids: ReadonlySet<string>): Part {
  const response = failed ? { error: text } : { result: text };
  return {
    functionResponse: {
      ...(ids.has(callId) ? { id: callId } : {}),
      name: validToolName(name),
      response,
    },
  };
}

/**
 * Replaces a missing signature: the call is another model's, or from a stored history, which has no
 * signatures. Google documents this value (ai.google.dev/gemini-api/docs/thought-signatures).
 */
const NO_SIGNATURE = "skip_thought_signature_validator";

function modelParts({ text, toolCalls = [], reasoning }: Said, { by, signs }: Sender): Part[] {
  const data = unwrapReasoning(by, reasoning);
  const calls = toolCalls.map(({ id, name, arguments: words }, index) => {
    const given = at(at(data, id), "given") === true ? { id } : {};
    // Only the first of parallel calls is signed.
    const standIn = signs && index === 0 ? NO_SIGNATURE : "";
    const thoughtSignature = textAt(at(data, id), "signature") || standIn;
    return {
      functionCall: { ...given, name: validToolName(name), args: argumentsOf(words) },
      ...(thoughtSignature === "" ? {} : { thoughtSignature }),
    };
  });
  return text === "" ? calls : [{ text }, ...calls];
}
