import { prefixOf } from "../../base/truncate.ts";
import type { Message } from "../contract.ts";
import type { PromptMessage } from "../model/contract.ts";
import { estimatedTokens } from "../tokens.ts";

/**
 * What is left of a history that the model has no room for: the summary and the newer half of the whole
 * turns. The very same history where nothing can go.
 */
export function trimHistory<History extends readonly Message[]>(
  history: History,
): History | Message[] {
  const begin = history[0]?.role === "summary" ? 1 : 0;
  const turns = history.flatMap(({ role }, index) => (role === "user" ? [index] : []));
  // What stands before the first question belongs to no turn, and goes first.
  const starts = turns[0] === begin ? turns : [begin, ...turns];
  if (history.length === begin) return history;
  const rest = starts[Math.ceil(starts.length / 2)] ?? history.length;
  return [...history.slice(0, begin), ...history.slice(rest)];
}

/** What is said in one turn, and what was said before it. */
interface Conversation {
  readonly history: readonly Message[];
  readonly added: readonly PromptMessage[];
}

/**
 * A conversation that the model has no room for, with about half of its larger part: the history, or the
 * results of this very turn's tools. Undefined where nothing can go: the question itself is too long.
 */
export function trimOnce({ history, added }: Conversation): Conversation | undefined {
  const results = added.filter(({ role }) => role === "tool");
  const isOfResults = estimatedTokens(results) > estimatedTokens(history);
  const shorter = withShorterResults(added);
  const shorterHistory = trimHistory(history);
  if (shorter !== added && (isOfResults || shorterHistory === history)) {
    return { history, added: shorter };
  }
  return shorterHistory === history ? undefined : { history: shorterHistory, added };
}

/** Characters that a result is not cut below. */
const SHORTEST_RESULT = 400;

/** No result is longer than half of what the longest was; the very same where all are short. */
function withShorterResults(said: readonly PromptMessage[]): readonly PromptMessage[] {
  const lengths = said.map(({ role, text }) => (role === "tool" ? text.length : 0));
  const longest = Math.max(0, ...lengths);
  const most = Math.max(SHORTEST_RESULT, Math.floor(longest / 2));
  // What says that something was cut needs room itself.
  if (longest <= most + CUT.length) return said;
  return said.map((message) =>
    message.role === "tool" && message.text.length > most + CUT.length
      ? { ...message, text: prefixOf(message.text, most) + CUT }
      : message,
  );
}

const CUT = "\n… (cut here: the conversation is too long for the model)";
