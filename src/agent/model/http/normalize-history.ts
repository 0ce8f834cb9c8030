import { createHash } from "node:crypto";
import type { ToolCall } from "../../contract.ts";
import type { PromptMessage } from "../contract.ts";

export interface NormalizeOptions {
  /** The pattern of a call's id. */
  readonly ids: RegExp;
  /** The message goes back as the server sent it: its ids stay, unless the server repeats them. */
  readonly keeps?: (message: PromptMessage) => boolean;
}

/**
 * Makes the call ids of a conversation unique and valid for one server, also if other models made the calls.
 * The new ids are the same in every request, so that a provider's cache stays valid.
 */
export function normalizeHistory(
  messages: readonly PromptMessage[],
  { ids, keeps }: NormalizeOptions,
): readonly PromptMessage[] {
  if (!messages.some((message) => message.role === "assistant" && message.toolCalls)) {
    return messages;
  }
  const own = keeps === undefined ? [] : messages.filter(keeps);
  const taken = new Set(
    own
      .flatMap((message) => (message.role === "assistant" ? (message.toolCalls ?? []) : []))
      .map(({ id }) => id),
  );
  const given = new Set<string>();
  const seen = new Map<string, number>();
  let renamed = new Map<string, string[]>();
  return messages.map((message) => {
    if (message.role === "tool") {
      const callId = renamed.get(message.callId)?.shift() ?? message.callId;
      return callId === message.callId ? message : { ...message, callId };
    }
    renamed = new Map();
    if (message.role !== "assistant" || message.toolCalls === undefined) return message;
    const isKept = keeps?.(message) === true;
    const toolCalls = message.toolCalls.map((call) => {
      const isValid = isKept ? !given.has(call.id) : ids.test(call.id) && !taken.has(call.id);
      const id = isValid ? call.id : ownId(call, taken, seen);
      if (isKept) given.add(id);
      taken.add(id);
      renamed.set(call.id, [...(renamed.get(call.id) ?? []), id]);
      return id === call.id ? call : { ...call, id };
    });
    return { ...message, toolCalls };
  });
}

/** Nine letters and digits: the only form that Mistral accepts, and all others accept it too. */
const LENGTH = 9;

/** `seen` counts equal calls: a device is often asked the same thing. */
function ownId(
  { id: given, name, arguments: words }: ToolCall,
  taken: ReadonlySet<string>,
  seen: Map<string, number>,
): string {
  const key = JSON.stringify([given, name, words]);
  for (let times = seen.get(key) ?? 0; ; times += 1) {
    const text = JSON.stringify([given, name, words, times]);
    const id = createHash("sha256").update(text).digest("hex").slice(0, LENGTH);
    if (taken.has(id)) continue;
    seen.set(key, times + 1);
    return id;
  }
}

/** Replaces the characters in a tool's name for which servers refuse a request: a model may write any name. */
export function validToolName(name: string): string {
  return name.replaceAll(/[^\w-]/g, "_").slice(0, 64) || "_";
}

/**
 * Writes a body as well-formed JSON. Truncated texts and models may leave half a surrogate pair, which some
 * servers refuse, and which would be in all later requests of the conversation.
 */
export function wellFormedJson(body: unknown): string {
  const text = JSON.stringify(body);
  // JSON escapes only halves of surrogate pairs.
  if (!text.includes("\\ud")) return text;
  return text.replaceAll(/(?<!\\)((?:\\\\)*)\\ud[89a-f][\da-f]{2}/g, "$1\ufffd");
}
