import type { StoreBounds } from "./contract.ts";

/** The size of a turn, or how much of a conversation may be read; characters are those of the JSON. */
export interface TurnSize {
  readonly messages: number;
  readonly characters: number;
}

/** What `conversation` reads at once: enough to summarize it, and no more than a small board can hold. */
export const SUMMARY_LIMITS: TurnSize = { messages: 2000, characters: 8 * 2 ** 20 };

/** Conversations that `conversations` lists. */
export const LISTED_CONVERSATIONS = 20_000;

/** Says of one turn after another whether it still fits; the first one always does. */
export function createSizeBudget({ messages, characters }: TurnSize): (turn: TurnSize) => boolean {
  const left = { messages, characters };
  let isFirst = true;
  return (turn) => {
    left.messages -= turn.messages;
    left.characters -= turn.characters;
    const fits = isFirst || (left.messages >= 0 && left.characters >= 0);
    isFirst = false;
    return fits;
  };
}

/** The part of a conversation's limit that is free after its oldest turns were deleted. */
const FREE = 1 / 8;
const DAY_MS = 24 * 60 * 60_000;

/** Turns after this time count as those of the last 24 hours. */
export function dayBefore(now: number): number {
  return now - DAY_MS;
}

export interface StoredTurnSize {
  readonly id: number;
  readonly bytes: number;
  readonly at: number;
}

/** The ids of the turns of a conversation, oldest first, that are over its limit or that of the last 24 hours. */
export function turnsOverLimit(
  turns: readonly StoredTurnSize[],
  { turnBytes, turnBytesPerDay }: Pick<StoreBounds, "turnBytes" | "turnBytesPerDay">,
  now: number,
): ReadonlySet<number> {
  const since = dayBefore(now);
  const ofDay = oldestOverLimit(
    turns.filter(({ at }) => at > since),
    turnBytesPerDay,
  );
  const over = new Set(ofDay.map(({ id }) => id));
  const rest = turns.filter(({ id }) => !over.has(id));
  for (const { id } of oldestOverLimit(rest, turnBytes)) over.add(id);
  return over;
}

/** None if the turns fit into `limit` bytes, else as many of the oldest as leave an eighth free; never the last one. */
function oldestOverLimit(
  turns: readonly StoredTurnSize[],
  limit: number,
): readonly StoredTurnSize[] {
  let held = turns.reduce((total, { bytes }) => total + bytes, 0);
  if (held <= limit) return [];
  const end = turns.findIndex(({ bytes }) => {
    if (held <= limit * (1 - FREE)) return true;
    held -= bytes;
    return false;
  });
  return turns.slice(0, end === -1 ? -1 : Math.min(end, turns.length - 1));
}
