import { prefixOf } from "../../base/truncate.ts";
import type { Message } from "../contract.ts";
import type { PromptMessage } from "../model/contract.ts";
import { estimatedTokens } from "../tokens.ts";

/** The messages of a turn: those before it, and its own so far. */
interface TurnMessages {
  readonly history: readonly Message[];
  readonly added: readonly PromptMessage[];
}

/**
 * Shortens the larger part of a conversation that is too long: the history, or the tool results of this turn.
 * Returns undefined if nothing can be dropped because the question itself is too long.
 */
export function trimOnce(
  { history, added }: TurnMessages,
  trim: typeof trimHistory,
): TurnMessages | undefined {
  const results = added.filter(({ role }) => role === "tool");
  const isOfResults = estimatedTokens(results) > estimatedTokens(history);
  const shorter = withShorterResults(added);
  const shorterHistory = trim(history);
  if (shorter !== added && (isOfResults || shorterHistory === history)) {
    return { history, added: shorter };
  }
  return shorterHistory === history ? undefined : { history: shorterHistory, added };
}

/**
 * Keeps the summary and the newer half of the whole turns. Returns the same object if nothing can be
 * dropped.
 */
export function trimHistory(history: readonly Message[]): readonly Message[] {
  return withoutTurns(history, (count) => Math.ceil(count / 2));
}

/** Drops the oldest whole turn, and keeps the summary; the same object if there is no turn. */
export function trimOldest(history: readonly Message[]): readonly Message[] {
  return withoutTurns(history, () => 1);
}

function withoutTurns(
  history: readonly Message[],
  dropped: (count: number) => number,
): readonly Message[] {
  const begin = history[0]?.role === "summary" ? 1 : 0;
  const turns = history.flatMap(({ role }, index) => (role === "user" ? [index] : []));
  // Messages before the first user message belong to no turn, and are dropped first.
  const starts = turns[0] === begin ? turns : [begin, ...turns];
  if (history.length === begin) return history;
  const rest = starts[dropped(starts.length)] ?? history.length;
  return [...history.slice(0, begin), ...history.slice(rest)];
}

/** Characters that always stay of a result. */
const SHORTEST_RESULT = 400;

/** Truncates results to half the length of the longest; the same object if all are short. */
function withShorterResults(messages: readonly PromptMessage[]): readonly PromptMessage[] {
  const lengths = messages.map(({ role, text }) => (role === "tool" ? text.length : 0));
  const longest = Math.max(0, ...lengths);
  const most = Math.max(SHORTEST_RESULT, Math.floor(longest / 2));
  // The note about the cut has a length itself.
  if (longest <= most + CUT.length) return messages;
  return messages.map((message) =>
    message.role === "tool" && message.text.length > most + CUT.length
      ? { ...message, text: prefixOf(message.text, most) + CUT }
      : message,
  );
}

const CUT = "\n… (cut here: the conversation is too long for the model)";
