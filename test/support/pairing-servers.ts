import { randomUUID } from "node:crypto";
import { at, listAt, textAt } from "../../src/base/unknown.ts";
import { ANTHROPIC } from "./anthropic-server.ts";
import { BEDROCK } from "./bedrock-server.ts";
import { piecesOf } from "./dialects.ts";
import type { ScriptedAnswer } from "./dialects.ts";
import { GEMINI } from "./gemini-server.ts";
import { event } from "./model-server.ts";
import type { ScriptedCall } from "./model-server.ts";
import type { EntryChanges } from "./model.ts";
import { RESPONSES } from "./responses-server.ts";

/** One message, or the results of one message's calls, whatever the protocol. */
export type Step =
  | { readonly role: "user"; readonly texts: readonly string[] }
  | { readonly role: "assistant"; readonly texts: readonly string[]; readonly calls: string[] }
  | { readonly role: "results"; readonly ids: string[] };

/** A kind of server: how its calls look, and what it refuses. */
export interface Flavour {
  readonly entry: EntryChanges;
  /** The pattern of the ids that it takes; its own are always taken. */
  readonly ids: RegExp;
  readonly newId: (position: number) => string;
  /** The events of an answer, with this signature where the protocol has some. */
  readonly events: (answer: ScriptedAnswer, signature: string) => readonly string[];
  readonly steps: (body: unknown) => Step[];
  /** The texts that it refuses; none if left out. */
  readonly refusedText?: RegExp;
  /** The refusal of a body, in the server's own words, until the body is as it wants it. */
  readonly refusal?: (body: unknown) => string | undefined;
  /** Its signature, where it is not the entry's own. */
  readonly signature?: string;
  /** The content type of a stream that is not text. */
  readonly binary?: string;
}

type Json = Readonly<Record<string, unknown>>;

/** Where a flavour of chat completions has its signatures. */
interface Signs {
  readonly call?: (signature: string) => Json;
  readonly message?: (signature: string, calls: readonly ScriptedCall[]) => Json;
}

function chat(
  entry: EntryChanges,
  newId: Flavour["newId"],
  { ids = /^\S{1,40}$/, signs = {}, refusal }: Partial<Flavour> & { readonly signs?: Signs } = {},
): Flavour {
  const events = (answer: ScriptedAnswer, signature: string): string[] => {
    const { toolCalls = [] } = answer;
    const deltas: Json[] = [
      { reasoning_content: "Let me see." },
      { content: piecesOf(answer).join("") },
      ...toolCalls.map(({ id, name, arguments: words }, index) => ({
        tool_calls: [
          { index, id, function: { name, arguments: words }, ...signs.call?.(signature) },
        ],
      })),
      ...(toolCalls.length === 0 ? [] : [{ ...signs.message?.(signature, toolCalls) }]),
    ];
    const finish_reason = toolCalls.length === 0 ? "stop" : "tool_calls";
    const chunks = deltas.map((delta) => ({ choices: [{ index: 0, delta }] }));
    const end = { choices: [{ index: 0, delta: {}, finish_reason }] };
    return [...chunks, end, "[DONE]"].map((json) => event(json));
  };
  return { entry, ids, newId, events, steps: stepsInChat, ...(refusal && { refusal }) };
}

function native(
  { entry, events }: Pick<typeof ANTHROPIC, "entry" | "events">,
  word: string,
  rest: Pick<Flavour, "ids" | "newId" | "steps" | "refusedText" | "refusal">,
): Flavour {
  return {
    entry,
    events: (answer, signature) =>
      events({ ...answer, thought: "Let me see." }).map((one) => one.replaceAll(word, signature)),
    ...rest,
  };
}

const random = (length: number): string => randomUUID().replaceAll("-", "").slice(0, length);
const google = (thought_signature: string) => ({
  extra_content: { google: { thought_signature } },
});

function detailsOf(data: string, calls: readonly ScriptedCall[]) {
  const detail = { type: "reasoning.encrypted", data, format: "google-gemini-v1", index: 0 };
  return { reasoning_details: calls.map(({ id }) => ({ ...detail, id })) };
}

/** The words of the templates of Llama 3 and of Mistral. */
function wantsSingleCalls(body: unknown): string | undefined {
  const isSingle = listAt(body, "messages").every((one) => listAt(one, "tool_calls").length < 2);
  return isSingle ? undefined : "This model only supports single tool-calls at once!";
}

function wantsShortIds(body: unknown): string | undefined {
  const calls = listAt(body, "messages").flatMap((message) => listAt(message, "tool_calls"));
  const isShort = calls.every((call) => /^[a-z\d]{9}$/i.test(textAt(call, "id")));
  return isShort ? undefined : "Tool call IDs should be alphanumeric strings with length 9!";
}

const MISSING = "Function call is missing a thought_signature in functionCall parts.";
const PRESERVE =
  "Gemini models require OpenRouter reasoning details to be preserved in each request.";

/** Gemini demands a signature for the first of the calls of each message. */
function wantsSignatures(body: unknown): string | undefined {
  const isSigned = listAt(body, "messages").every((message) => {
    const [call] = listAt(message, "tool_calls");
    return call === undefined || at(call, "extra_content") !== undefined;
  });
  return isSigned ? undefined : MISSING;
}

function wantsDetails(body: unknown): string | undefined {
  const isWhole = listAt(body, "messages").every((message) => {
    const [call] = listAt(message, "tool_calls");
    const [detail] = listAt(message, "reasoning_details");
    return call === undefined || textAt(detail, "id") === textAt(call, "id");
  });
  return isWhole ? undefined : `${PRESERVE} Upstream error: ${MISSING}`;
}

function wantsSignedParts(body: unknown): string | undefined {
  const isSigned = listAt(body, "contents").every((content) => {
    const call = listAt(content, "parts").find((part) => at(part, "functionCall") !== undefined);
    return call === undefined || textAt(call, "thoughtSignature") !== "";
  });
  return isSigned ? undefined : MISSING;
}

/** Signatures are so long that no other server takes such an id. */
const thoughtId = (): string => `call_${random(12)}__thought__signed-by-the-id-${random(32)}`;

export const FLAVOURS: Readonly<Record<string, Flavour>> = {
  openai: chat({ model: "openai/gpt" }, () => `call_${random(24)}`),
  "numbered ids": chat({ model: "lmstudio/x" }, (position) => `call_${position}`),
  "no ids": chat({ model: "ollama/x" }, () => ""),
  vllm: chat({ model: "vllm/x" }, () => `chatcmpl-tool-${random(32)}`),
  mistral: chat({ model: "mistral/small" }, () => random(9), { ids: /^[a-z\d]{9}$/i }),
  moonshot: chat({ model: "moonshot/kimi" }, (position) => `functions.device:${position}`),
  openrouter: chat({ model: "openrouter/google/gemini-3" }, () => `tool_0_device_${random(12)}`, {
    signs: { message: detailsOf },
    refusal: wantsDetails,
  }),
  "numbered and signed": chat({ model: "openai/gemini-3" }, (position) => `call_${position}`, {
    signs: { call: google, message: google },
    refusal: wantsSignatures,
  }),
  litellm: chat({ model: "litellm/gemini-3" }, thoughtId),
  "single calls": chat({ model: "llamacpp/llama" }, () => random(32), {
    refusal: wantsSingleCalls,
  }),
  "short ids": chat({ model: "llamacpp/mistral" }, () => random(32), { refusal: wantsShortIds }),
  anthropic: native(ANTHROPIC, "signed-by-anthropic", {
    ids: /^[\w-]{1,64}$/,
    newId: () => `toolu_${random(24)}`,
    steps: stepsInMessages,
    refusedText: /^\s*$/,
  }),
  "anthropic, numbered ids": native(ANTHROPIC, "signed-by-anthropic", {
    ids: /^[\w-]{1,64}$/,
    newId: (position) => `call_${position}`,
    steps: stepsInMessages,
    refusedText: /^\s*$/,
  }),
  bedrock: {
    entry: BEDROCK.entry,
    ids: /^[\w-]{1,64}$/,
    newId: () => `tooluse_${random(22)}`,
    events: (answer) => BEDROCK.events({ ...answer, thought: "Let me see." }),
    steps: stepsInConverse,
    refusedText: /^\s*$/,
    signature: "signed-by-bedrock",
    ...(BEDROCK.binary !== undefined && { binary: BEDROCK.binary }),
  },
  gemini: native(GEMINI, "signed-by-gemini", {
    ids: /^/,
    newId: () => random(8),
    steps: stepsInContents,
    refusedText: /^$/,
    refusal: wantsSignedParts,
  }),
  responses: native(RESPONSES, "encrypted-by-openai", {
    ids: /^\S{1,64}$/,
    newId: () => `call_${random(24)}`,
    steps: stepsInInput,
  }),
};

function stepsInChat(body: unknown): Step[] {
  const steps: Step[] = [];
  for (const message of listAt(body, "messages")) {
    const role = textAt(message, "role");
    const text = textAt(message, "content") || textAt(listAt(message, "content").at(-1), "text");
    const last = steps.at(-1);
    if (role === "user") steps.push({ role, texts: [text] });
    if (role === "tool" && last?.role === "results") last.ids.push(textAt(message, "tool_call_id"));
    else if (role === "tool")
      steps.push({ role: "results", ids: [textAt(message, "tool_call_id")] });
    if (role !== "assistant") continue;
    const calls = listAt(message, "tool_calls").map((call) => textAt(call, "id"));
    steps.push({ role, texts: text === "" ? [] : [text], calls });
  }
  return steps;
}

function stepsInMessages(body: unknown): Step[] {
  return listAt(body, "messages").flatMap((message): Step[] => {
    const content = listAt(message, "content");
    const ofType = (type: string) => content.filter((block) => textAt(block, "type") === type);
    const texts = ofType("text").map((block) => textAt(block, "text"));
    if (textAt(message, "role") === "assistant") {
      const calls = ofType("tool_use").map((block) => textAt(block, "id"));
      return [{ role: "assistant", texts, calls }];
    }
    const ids = ofType("tool_result").map((block) => textAt(block, "tool_use_id"));
    return resultsAndTexts(ids, texts);
  });
}

function stepsInConverse(body: unknown): Step[] {
  return listAt(body, "messages").flatMap((message): Step[] => {
    const content = listAt(message, "content");
    const idsOf = (field: string): string[] =>
      content.flatMap((block) => textAt(at(block, field), "toolUseId") || []);
    const texts = content.flatMap((block) => {
      const text = at(block, "text");
      return typeof text === "string" ? [text] : [];
    });
    if (textAt(message, "role") === "assistant") {
      return [{ role: "assistant", texts, calls: idsOf("toolUse") }];
    }
    return resultsAndTexts(idsOf("toolResult"), texts);
  });
}

function resultsAndTexts(ids: string[], texts: readonly string[]): Step[] {
  const steps: Step[] = ids.length > 0 ? [{ role: "results", ids }] : [];
  if (texts.length > 0 || ids.length === 0) steps.push({ role: "user", texts });
  return steps;
}

/** Calls and results belong together by their place, their names, and their ids if they have some. */
function stepsInContents(body: unknown): Step[] {
  return listAt(body, "contents").flatMap((content, index): Step[] => {
    const parts = listAt(content, "parts");
    const placed = (field: string, place: number): string[] =>
      parts
        .flatMap((part) => at(part, field) ?? [])
        .map(
          (call, position) => `${place}.${position}.${textAt(call, "name")}.${textAt(call, "id")}`,
        );
    const texts = parts
      .filter((part) => at(part, "text") !== undefined)
      .map((part) => textAt(part, "text"));
    if (textAt(content, "role") === "model") {
      return [{ role: "assistant", texts, calls: placed("functionCall", index) }];
    }
    const ids = placed("functionResponse", index - 1);
    return resultsAndTexts(ids, texts);
  });
}

function stepsInInput(body: unknown): Step[] {
  const steps: Step[] = [];
  for (const item of listAt(body, "input")) {
    const [type, id] = [textAt(item, "type"), textAt(item, "call_id")];
    if (type === "reasoning") continue;
    const last = steps.at(-1);
    const content = at(item, "content");
    const parts =
      typeof content === "string"
        ? [content]
        : listAt(item, "content").map((part) => textAt(part, "text"));
    if (textAt(item, "role") === "user") steps.push({ role: "user", texts: parts });
    else if (type === "function_call_output") {
      if (last?.role === "results") last.ids.push(id);
      else steps.push({ role: "results", ids: [id] });
    } else if (type === "function_call" && last?.role === "assistant") last.calls.push(id);
    else
      steps.push({ role: "assistant", texts: parts, calls: type === "function_call" ? [id] : [] });
  }
  return steps;
}

/** What of a conversation no server takes; an empty list if it is in order. */
export function violationsIn(
  steps: readonly Step[],
  own: ReadonlySet<string>,
  { ids, refusedText }: Flavour,
): string[] {
  const all = steps.flatMap((one) => (one.role === "assistant" ? one.calls : []));
  const found = all.filter((id) => !ids.test(id) && !own.has(id)).map((id) => `the form of ${id}`);
  if (new Set(all).size < all.length) found.push(`ids are not unique: ${all.join(" ")}`);
  if (steps[0]?.role !== "user") found.push("the first message is not the user's");
  if (steps.at(-1)?.role === "assistant") found.push("the last message is the model's");
  const texts = steps.flatMap((one) => (one.role === "results" ? [] : one.texts));
  if (texts.some((text) => refusedText?.test(text) === true)) found.push("a refused text");
  return [...found, ...steps.flatMap((one, index) => misplaced(steps[index - 1], one))];
}

function misplaced(before: Step | undefined, one: Step): string[] {
  const calls = before?.role === "assistant" ? before.calls.toSorted().join(" ") : "";
  const results = one.role === "results" ? one.ids.toSorted().join(" ") : "";
  return [
    ...(calls === results ? [] : [`the calls ${calls} have the results ${results}`]),
    ...(one.role === before?.role ? [`two messages of ${one.role}`] : []),
  ];
}
