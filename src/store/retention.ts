import type { DatabaseSync } from "node:sqlite";
import type { StoreOptions, StoreBounds } from "./contract/store.ts";
import { lazyStatements } from "./sqlite/database.ts";
import type { Statements } from "./sqlite/database.ts";

/** Milliseconds between two looks at the turns. */
export const PURGE_EVERY_MS = 60 * 60_000;
/** Rows deleted in one transaction: the event loop waits for it. */
const AT_ONCE = 500;

/** Deletes of the conversations of a database what is too old or over the limits. */
export class Retention {
  readonly #options: Pick<StoreOptions, "now" | "bounds">;
  readonly #sql: Statements<keyof typeof SQL>;
  #appliedAt = Number.NEGATIVE_INFINITY;

  constructor(db: DatabaseSync, options: Pick<StoreOptions, "now" | "bounds">) {
    this.#options = options;
    this.#sql = lazyStatements(db, SQL);
  }

  /** Deletes a part of it with each call, and looks for more once an hour; work inside a transaction. */
  apply(): void {
    const { now } = this.#options;
    if (now() - this.#appliedAt < PURGE_EVERY_MS) return;
    const isAll = [this.#dropTurns(), this.#dropUnused()].every(Boolean);
    // What is left after a full load goes with the next call.
    if (isAll) this.#appliedAt = now();
  }

  #dropTurns(): boolean {
    const { now, bounds } = this.#options;
    const { hiddenMs, hiddenTurns, hiddenBytes, turns } = bounds;
    const dropped = [
      this.#sql("dropOld").run(now() - hiddenMs, AT_ONCE),
      this.#sql("dropMany").run(hiddenTurns, hiddenTurns, AT_ONCE),
      this.#sql("dropOldest").run(turns, turns, AT_ONCE),
    ];
    // To find what is over the bytes costs the most, and is seldom needed.
    if (Number(this.#sql("total").get()?.["bytes"] ?? 0) > hiddenBytes) {
      dropped.push(this.#sql("dropLarge").run(hiddenBytes, AT_ONCE));
    }
    return dropped.every(({ changes }) => Number(changes) < AT_ONCE);
  }

  /** Deletes whole conversations, the longest unused first; false if there may be more. */
  #dropUnused(): boolean {
    const { now, bounds } = this.#options;
    const { conversations, conversationBytes, usedMs } = bounds;
    const before = now() - usedMs;
    const { changes } = this.#sql("dropCuts").run(before, AT_ONCE, conversations);
    const { bytes, lanes } = this.#sql("total").get() ?? {};
    const isTooMuch = Number(lanes ?? 0) > conversations || Number(bytes ?? 0) > conversationBytes;
    const unused = isTooMuch
      ? this.#sql("unused").all(conversations, conversationBytes, before, AT_ONCE)
      : [];
    let dropped = Number(changes);
    for (const { lane } of unused) {
      if (dropped >= AT_ONCE) break;
      dropped += Number(this.#sql("drop").run(String(lane)).changes);
      this.#sql("dropCut").run(String(lane));
    }
    return dropped < AT_ONCE;
  }
}

/** The turns of conversations with more than so many; from the newest on, each has its place in its conversation. */
const PLACES = `SELECT id, lane, row_number() OVER (PARTITION BY lane ORDER BY id DESC) AS place FROM turns
  WHERE lane IN (SELECT lane FROM turns GROUP BY lane HAVING count(*) > ?)`;

const SQL = {
  dropOld: `${dropHidden("SELECT id, lane FROM turns WHERE at <= ?")} LIMIT ?)`,
  dropMany: `${dropHidden(PLACES)} AND place > ? LIMIT ?)`,
  dropOldest: `DELETE FROM turns WHERE id IN (SELECT id FROM (${PLACES}) WHERE place > ? LIMIT ?)`,
  total: "SELECT sum(bytes) AS bytes, count(DISTINCT lane) AS lanes FROM turns",
  // From the newest on, `held` adds up the bytes of all turns that are not older.
  dropLarge: `${dropHidden("SELECT id, lane, sum(bytes) OVER (ORDER BY id DESC) AS held FROM turns")}
       AND held > ? ORDER BY id LIMIT ?)`,
  // From the conversation used last on, `held` adds up the bytes of all that were not used longer ago.
  unused: `SELECT lane FROM (
         SELECT lane, last_at, row_number() OVER latest AS place, sum(bytes) OVER latest AS held
         FROM (SELECT lane, max(at) AS last_at, sum(bytes) AS bytes FROM turns GROUP BY lane)
         WINDOW latest AS (ORDER BY last_at DESC, lane)
       ) WHERE (place > ? OR held > ?) AND last_at <= ? ORDER BY last_at, lane DESC LIMIT ?`,
  drop: "DELETE FROM turns WHERE lane = ?",
  dropCut: "DELETE FROM cuts WHERE lane = ?",
  // What is left of conversations that were deleted.
  dropCuts: `DELETE FROM cuts WHERE lane IN (
         SELECT lane FROM cuts
         WHERE at <= ? AND NOT EXISTS (SELECT 1 FROM turns WHERE turns.lane = cuts.lane)
         ORDER BY at DESC, lane LIMIT ? OFFSET ?)`,
};

/** Deletes those of these turns that a compaction hides; conditions may follow, and the parenthesis. */
function dropHidden(turns: string): string {
  return `DELETE FROM turns WHERE id IN (
    SELECT id FROM (${turns}) JOIN cuts USING (lane) WHERE id <= through`;
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
