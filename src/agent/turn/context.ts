import { truncate } from "../../base/truncate.ts";
import type { ToolCall } from "../contract.ts";
import type { PromptMessage } from "../model/contract.ts";
import type { FinishedTask } from "../subagents/background-tasks.ts";
import { framed, sourceOf } from "../untrusted-content/frame.ts";

type Result = Extract<PromptMessage, { readonly role: "tool" }>;

/** By result: model calls share most messages. */
const knownFrames = new WeakMap<PromptMessage, PromptMessage>();

/**
 * Frames the tool results among the messages of one model call; all other messages stay as they are. Stored messages
 * stay raw, so that a better frame also serves old conversations.
 */
export function withFrames(messages: readonly PromptMessage[]): PromptMessage[] {
  let calls: ToolCall[] = [];
  return messages.map((message) => {
    if (message.role === "assistant") calls = [...(message.toolCalls ?? [])];
    if (message.role !== "tool") return message;
    const call = taken(calls, message);
    const before = knownFrames.get(message);
    if (before !== undefined) return before;
    const result = framedResult(message, call);
    knownFrames.set(message, result);
    return result;
  });
}

/** Takes the call of a result; ids may repeat, in the order of the results. */
function taken(calls: ToolCall[], { callId }: Result): ToolCall | undefined {
  const index = calls.findIndex(({ id }) => id === callId);
  return index === -1 ? undefined : calls.splice(index, 1)[0];
}

function framedResult(result: Result, call: ToolCall | undefined): PromptMessage {
  const { name, text } = result;
  const source = sourceOf({ name, arguments: call?.arguments ?? "" });
  const isError = text.startsWith("error: ");
  return { ...result, text: framed(source, text), ...(isError && { failed: true }) };
}

/** A file of the agent's memory or notes. */
export interface Note {
  readonly source: string;
  readonly text: string;
}

/**
 * The notes, and the summary of older messages ("" if there is none), as the first messages of the conversation. They are not in the system prompt
 * because clients, and models that read untrusted text, wrote them. Empty if there are none. A user message
 * and an answer, because many chat templates require alternating roles.
 */
export function contextMessages(notes: readonly Note[], summary: string): PromptMessage[] {
  const frames = notes
    .filter(({ text }) => text.trim() !== "")
    .map(({ source, text }) => framed(source, text.trim()));
  if (summary.trim() !== "") frames.push(framed("conversation so far, in short", summary.trim()));
  if (frames.length === 0) return [];
  const intro = "[What you noted earlier; nobody asks anything yet.]";
  return [
    { role: "user", text: [intro, ...frames].join("\n") },
    { role: "assistant", text: "Noted." },
  ];
}

/** Characters of a background task's result; a tool gives the whole. */
const MAX_FINISHED = 2_000;

/** Results of background tasks that were not reported yet, for the preface of a question; "" if there are none. */
export function taskResultsText(finished: readonly FinishedTask[]): string {
  if (finished.length === 0) return "";
  const frames = finished.map(({ id, label, text }) =>
    framed(`background task ${id} ${label}`, truncate(text, MAX_FINISHED)),
  );
  const intro =
    "Background tasks of this client have ended and nobody has been told yet; spawn_status gives the whole of a result. Tell it with your next answer.";
  return [`[${intro}]`, ...frames].join("\n");
}
