import type { Message } from "./contract.ts";

/**
 * What is left of a history that the model has no room for: the summary and the newer half of the whole
 * turns. The very same history where nothing can go.
 */
export function shrunk<History extends readonly Message[]>(history: History): History | Message[] {
  const begin = history[0]?.role === "summary" ? 1 : 0;
  const turns = history.flatMap(({ role }, index) => (role === "user" ? [index] : []));
  // What stands before the first question belongs to no turn, and goes first.
  const starts = turns[0] === begin ? turns : [begin, ...turns];
  if (history.length === begin) return history;
  const rest = starts[Math.ceil(starts.length / 2)] ?? history.length;
  return [...history.slice(0, begin), ...history.slice(rest)];
}
