import { truncate } from "../../base/truncate.ts";
import type { ToolCall } from "../contract.ts";
import type { PromptMessage } from "../model/contract.ts";
import type { FinishedTask } from "../subagents/background-tasks.ts";
import { framed, sourceOf } from "../untrusted-content/frame.ts";

type Result = Extract<PromptMessage, { readonly role: "tool" }>;

/** The messages of one question as a model reads them: results of tools framed, all else as it was said. */
export type Framing = (messages: readonly PromptMessage[]) => PromptMessage[];

/**
 * Frames for one turn, whose questions have most of their messages in common: each is framed once. What
 * is kept of a conversation stays raw, so that a better frame serves old conversations too.
 */
export function createFraming(): Framing {
  const known = new WeakMap<PromptMessage, PromptMessage>();
  return (messages) => {
    let calls: ToolCall[] = [];
    return messages.map((message) => {
      if (message.role === "assistant") calls = [...(message.toolCalls ?? [])];
      if (message.role !== "tool") return message;
      const call = taken(calls, message);
      const before = known.get(message);
      if (before !== undefined) return before;
      const result = framedResult(message, call);
      known.set(message, result);
      return result;
    });
  };
}

/** The call that a result is of; ids may occur again, in the order of the results. */
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

/** What is known before a conversation's messages. */
export interface Known {
  /** Of the agent's own memory and of its notes, by the file they are in. */
  readonly notes: readonly { readonly source: string; readonly text: string }[];
  /** What was said before the messages of the history, in short; "" for nothing. */
  readonly summary: string;
}

/**
 * What was noted earlier, as the beginning of the conversation: words of clients, and of models that
 * have read what strangers wrote, so they have no place in the system prompt. None where there is
 * nothing. A user's message and an answer, because many chat templates want the two to take turns.
 */
export function contextMessages({ notes, summary }: Known): PromptMessage[] {
  const frames = notes
    .filter(({ text }) => text.trim() !== "")
    .map(({ source, text }) => framed(source, text.trim()));
  if (summary.trim() !== "") frames.push(framed("conversation so far, in short", summary.trim()));
  return notedMessages("What you noted earlier; nobody asks anything yet.", frames);
}

/** Characters of a background task's result; the rest can be asked for. */
const MAX_FINISHED = 2_000;

/** Background tasks that nobody was told of: stands before the question, which stays the last word. */
export function taskResultMessages(finished: readonly FinishedTask[]): PromptMessage[] {
  const frames = finished.map(({ id, label, text }) =>
    framed(`background task ${id} ${label}`, truncate(text, MAX_FINISHED)),
  );
  const intro =
    "Background tasks of this client have ended and nobody has been told yet; spawn_status gives the whole of a result. Tell it with your next answer.";
  return notedMessages(intro, frames);
}

function notedMessages(intro: string, frames: readonly string[]): PromptMessage[] {
  if (frames.length === 0) return [];
  return [
    { role: "user", text: [`[${intro}]`, ...frames].join("\n") },
    { role: "assistant", text: "Noted." },
  ];
}
