import type { StoreBounds } from "./contract.ts";

/** Room for turns; the characters are those of their JSON. */
export interface TurnSize {
  readonly messages: number;
  readonly characters: number;
}

/** What `conversation` gives of one at once: enough to summarize it, and no more than a small board can hold. */
export const SUMMARY_LIMITS: TurnSize = { messages: 2000, characters: 8 * 2 ** 20 };

/** Conversations that `sessions` tells of. */
export const LISTED_CONVERSATIONS = 20_000;

/** Takes turns one after another as long as they fit, and the first one always. */
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

/** Of what a conversation may hold, so much is free after its oldest turns were forgotten. */
const FREE = 1 / 8;
const DAY_MS = 24 * 60 * 60_000;

/** From when on turns count as those of the last 24 hours. */
export function dayBefore(now: number): number {
  return now - DAY_MS;
}

/** One turn as bounds see it. */
export interface StoredTurnSize {
  readonly id: number;
  readonly bytes: number;
  readonly at: number;
}

/**
 * Which turns of a conversation, the oldest first, are beyond `most` bytes in all: none, or as many of the
 * oldest as leave an eighth free; never the last one.
 */
function oldestBeyond(turns: readonly StoredTurnSize[], most: number): readonly StoredTurnSize[] {
  let held = turns.reduce((total, { bytes }) => total + bytes, 0);
  if (held <= most) return [];
  const end = turns.findIndex(({ bytes }) => {
    if (held <= most * (1 - FREE)) return true;
    held -= bytes;
    return false;
  });
  return turns.slice(0, end === -1 ? -1 : Math.min(end, turns.length - 1));
}

/** Which turns of a conversation, the oldest first, are beyond its bytes or those of the last 24 hours. */
export function turnsBeyond(
  turns: readonly StoredTurnSize[],
  { turnBytes, turnBytesPerDay }: Pick<StoreBounds, "turnBytes" | "turnBytesPerDay">,
  now: number,
): ReadonlySet<number> {
  const since = dayBefore(now);
  const ofDay = oldestBeyond(
    turns.filter(({ at }) => at > since),
    turnBytesPerDay,
  );
  const gone = new Set(ofDay.map(({ id }) => id));
  const rest = turns.filter(({ id }) => !gone.has(id));
  for (const { id } of oldestBeyond(rest, turnBytes)) gone.add(id);
  return gone;
}
