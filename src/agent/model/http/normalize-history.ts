import { createHash } from "node:crypto";
import type { ToolCall } from "../../contract.ts";
import type { PromptMessage } from "../contract.ts";

export interface NormalizeOptions {
  /** What the id of a call must look like. */
  readonly ids: RegExp;
  /** The message goes back as the server itself gave it: its ids are known there. */
  readonly keeps?: (message: PromptMessage) => boolean;
}

/**
 * A conversation as a strict server takes it, whoever answered its turns so far: each call has an id of
 * its own, and one that this server allows. The new ids are the same in every request, so that what a
 * provider has in its cache stays of use.
 */
export function normalizeHistory(
  messages: readonly PromptMessage[],
  { ids, keeps = () => false }: NormalizeOptions,
): readonly PromptMessage[] {
  const taken = new Set(messages.filter(keeps).flatMap((message) => callsOf(message).map(idOf)));
  const seen = new Map<string, number>();
  let renamed = new Map<string, string[]>();
  return messages.map((message) => {
    if (message.role === "tool") {
      const callId = renamed.get(message.callId)?.shift() ?? message.callId;
      return callId === message.callId ? message : { ...message, callId };
    }
    renamed = new Map();
    if (message.role !== "assistant" || message.toolCalls === undefined || keeps(message)) {
      return message;
    }
    const toolCalls = message.toolCalls.map((call) => {
      const id = ids.test(call.id) && !taken.has(call.id) ? call.id : ownId(call, taken, seen);
      taken.add(id);
      renamed.set(call.id, [...(renamed.get(call.id) ?? []), id]);
      return id === call.id ? call : { ...call, id };
    });
    return { ...message, toolCalls };
  });
}

function callsOf(message: PromptMessage): readonly ToolCall[] {
  return message.role === "assistant" ? (message.toolCalls ?? []) : [];
}

function idOf({ id }: ToolCall): string {
  return id;
}

/** Nine letters and digits: Mistral takes no others, and everyone takes these. */
const LENGTH = 9;

/** `seen` says how often such a call was named before: a device is asked the same thing again and again. */
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

/** The name of a tool as a model wrote it, where servers refuse a request for any other sign in it. */
export function validToolName(name: string): string {
  return name.replaceAll(/[^\w-]/g, "_").slice(0, 64) || "_";
}

/**
 * A request's body as JSON that everyone can read: half a character, as cut texts and models have them,
 * is refused by some, and once in a conversation would be in every later request.
 */
export function wellFormedJson(body: unknown): string {
  const text = JSON.stringify(body);
  // What is whole stands in JSON as itself; only halves are escaped.
  if (!text.includes("\\ud")) return text;
  return text.replaceAll(/(?<!\\)((?:\\\\)*)\\ud[89a-f][\da-f]{2}/g, "$1\ufffd");
}
