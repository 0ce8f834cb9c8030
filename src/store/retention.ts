import type { DatabaseSync } from "node:sqlite";
import type { StoreOptions } from "./contract.ts";

const SWEEP_MS = 60 * 60_000;
/** Rows deleted in one transaction: the event loop waits for it. */
const AT_ONCE = 500;

/**
 * Lets a database forget of its conversations what is too old or beyond the bounds, a part of it with
 * each call, and looks for it once an hour.
 */
export function createRetention(
  db: DatabaseSync,
  { now, bounds }: Pick<StoreOptions, "now" | "bounds">,
): () => void {
  const sql = statements(db);
  let sweptAt = Number.NEGATIVE_INFINITY;

  const dropTurns = (): boolean => {
    const { hiddenMs, hiddenTurns, hiddenBytes, turns } = bounds;
    const dropped = [
      sql.dropOld.run(now() - hiddenMs, AT_ONCE),
      sql.dropMany.run(hiddenTurns, hiddenTurns, AT_ONCE),
      sql.dropOldest.run(turns, turns, AT_ONCE),
    ];
    // To find what is beyond the bytes costs the most, and is seldom needed.
    if (Number(sql.total.get()?.["bytes"] ?? 0) > hiddenBytes) {
      dropped.push(sql.dropLarge.run(hiddenBytes, AT_ONCE));
    }
    return dropped.every(({ changes }) => Number(changes) < AT_ONCE);
  };

  /** Whole conversations, beginning with the one longest unused. */
  const forgetUnused = (): boolean => {
    const { conversations, conversationBytes } = bounds;
    const before = now() - bounds.usedMs;
    const { changes } = sql.dropCuts.run(before, AT_ONCE, conversations);
    const { bytes, lanes } = sql.total.get() ?? {};
    const isTooMuch = Number(lanes ?? 0) > conversations || Number(bytes ?? 0) > conversationBytes;
    const unused = isTooMuch
      ? sql.unused.all(conversations, conversationBytes, before, AT_ONCE)
      : [];
    let forgotten = Number(changes);
    for (const { lane } of unused) {
      if (forgotten >= AT_ONCE) break;
      forgotten += Number(sql.drop.run(String(lane)).changes);
      sql.uncut.run(String(lane));
    }
    return forgotten < AT_ONCE;
  };

  return () => {
    if (now() - sweptAt < SWEEP_MS) return;
    const isAll = [dropTurns(), forgetUnused()].every(Boolean);
    // What is left after a full load goes with the next call.
    if (isAll) sweptAt = now();
  };
}

function statements(db: DatabaseSync) {
  return {
    dropOld: db.prepare(`${dropHidden("SELECT id, lane FROM turns WHERE at <= ?")} LIMIT ?)`),
    dropMany: db.prepare(`${dropHidden(PLACES)} AND place > ? LIMIT ?)`),
    dropOldest: db.prepare(
      `DELETE FROM turns WHERE id IN (SELECT id FROM (${PLACES}) WHERE place > ? LIMIT ?)`,
    ),
    total: db.prepare("SELECT sum(bytes) AS bytes, count(DISTINCT lane) AS lanes FROM turns"),
    // Newest first, each turn holds what all from it on hold.
    dropLarge: db.prepare(
      `${dropHidden("SELECT id, lane, sum(bytes) OVER (ORDER BY id DESC) AS held FROM turns")}
       AND held > ? ORDER BY id LIMIT ?)`,
    ),
    // The one used last first, each conversation holds what all from it on hold.
    unused: db.prepare(
      `SELECT lane FROM (
         SELECT lane, last_at, row_number() OVER latest AS place, sum(bytes) OVER latest AS held
         FROM (SELECT lane, max(at) AS last_at, sum(bytes) AS bytes FROM turns GROUP BY lane)
         WINDOW latest AS (ORDER BY last_at DESC, lane)
       ) WHERE (place > ? OR held > ?) AND last_at <= ? ORDER BY last_at, lane DESC LIMIT ?`,
    ),
    drop: db.prepare("DELETE FROM turns WHERE lane = ?"),
    uncut: db.prepare("DELETE FROM cuts WHERE lane = ?"),
    // What is left of conversations that were deleted.
    dropCuts: db.prepare(
      `DELETE FROM cuts WHERE lane IN (
         SELECT lane FROM cuts
         WHERE at <= ? AND NOT EXISTS (SELECT 1 FROM turns WHERE turns.lane = cuts.lane)
         ORDER BY at DESC, lane LIMIT ? OFFSET ?)`,
    ),
  };
}

/** The turns of conversations with more than so many; newest first, each has its place in its own. */
const PLACES = `SELECT id, lane, row_number() OVER (PARTITION BY lane ORDER BY id DESC) AS place FROM turns
  WHERE lane IN (SELECT lane FROM turns GROUP BY lane HAVING count(*) > ?)`;

/** The turns among these that a cut hides; conditions may follow, and the parenthesis. */
function dropHidden(turns: string): string {
  return `DELETE FROM turns WHERE id IN (
    SELECT id FROM (${turns}) JOIN cuts USING (lane) WHERE id <= through`;
}
