import type { StoreOptions } from "../contract/store.ts";
import { PURGE_EVERY_MS } from "../retention.ts";
import type { Connections } from "./connection/connections.ts";

/** Rows deleted by one statement. */
const AT_ONCE = 5000;

/**
 * Deletes of the conversations of a database what is too old or over the limits, by statements of their own: what
 * requests write does not wait for them, and another gateway may do the same at once.
 */
export class PostgresRetention {
  readonly #connections: Connections;
  readonly #options: Pick<StoreOptions, "now" | "bounds">;
  #appliedAt = Number.NEGATIVE_INFINITY;

  constructor(connections: Connections, options: Pick<StoreOptions, "now" | "bounds">) {
    this.#connections = connections;
    this.#options = options;
  }

  /** Deletes a part of it with each call, and looks for more once an hour. */
  async apply(): Promise<void> {
    const { now } = this.#options;
    if (now() - this.#appliedAt < PURGE_EVERY_MS) return;
    const isAll = [await this.#dropTurns(), await this.#dropUnused()].every(Boolean);
    await this.#connections.read(SQL.dropWriters);
    // What is left after a full load goes with the next call.
    if (isAll) this.#appliedAt = now();
  }

  async #dropTurns(): Promise<boolean> {
    const { now, bounds } = this.#options;
    const { hiddenMs, hiddenTurns, hiddenBytes, turns } = bounds;
    const dropped = [
      await this.#drop(SQL.dropOld, now() - hiddenMs),
      await this.#drop(SQL.dropMany, hiddenTurns),
      await this.#drop(SQL.dropOldest, turns),
    ];
    // To find what is over the bytes costs the most, and is seldom needed.
    const { bytes } = await this.#total();
    if (bytes > hiddenBytes) dropped.push(await this.#drop(SQL.dropLarge, hiddenBytes));
    return dropped.every((count) => count < AT_ONCE);
  }

  /** Deletes whole conversations, the longest unused first; false if there may be more. */
  async #dropUnused(): Promise<boolean> {
    const { now, bounds } = this.#options;
    const { conversations, conversationBytes, usedMs } = bounds;
    const before = now() - usedMs;
    const cuts = await this.#connections.read(SQL.dropCuts, [before, AT_ONCE, conversations]);
    const { bytes, lanes } = await this.#total();
    if (lanes <= conversations && bytes <= conversationBytes) return cuts.length < AT_ONCE;
    const values = [conversations, conversationBytes, before, AT_ONCE];
    const unused = await this.#connections.read(SQL.unused, values);
    for (const { lane } of unused) {
      await this.#connections.read(SQL.dropLane, [String(lane)]);
      await this.#connections.read(SQL.dropCut, [String(lane)]);
    }
    return unused.length < AT_ONCE && cuts.length < AT_ONCE;
  }

  async #drop(text: string, limit: number): Promise<number> {
    return (await this.#connections.read(text, [limit, AT_ONCE])).length;
  }

  async #total(): Promise<{ readonly bytes: number; readonly lanes: number }> {
    const [row] = await this.#connections.read(SQL.total);
    return { bytes: Number(row?.["bytes"] ?? 0), lanes: Number(row?.["lanes"] ?? 0) };
  }
}

/** The turns of conversations with more than $1; from the newest on, each has its place in its conversation. */
const PLACES = `SELECT id, lane, row_number() OVER (PARTITION BY lane ORDER BY id DESC) AS place
  FROM picoclaw.turns
  WHERE lane IN (SELECT lane FROM picoclaw.turns GROUP BY lane HAVING count(*) > $1)`;

/** From the newest on, `held` adds up the bytes of all turns that are not older. */
const SIZES = "SELECT id, lane, sum(bytes) OVER (ORDER BY id DESC) AS held FROM picoclaw.turns";

/** Deletes at most $2 of those of these turns that a compaction hides. */
function dropHidden(turns: string, condition = "true"): string {
  return `DELETE FROM picoclaw.turns WHERE id IN (
    SELECT id FROM (${turns}) AS found JOIN picoclaw.cuts USING (lane)
    WHERE id <= through AND ${condition} ORDER BY id LIMIT $2) RETURNING 1`;
}

const SQL = {
  dropOld: dropHidden("SELECT id, lane FROM picoclaw.turns WHERE at <= $1"),
  dropMany: dropHidden(PLACES, "place > $1"),
  dropOldest: `DELETE FROM picoclaw.turns WHERE id IN (
       SELECT id FROM (${PLACES}) AS found WHERE place > $1 LIMIT $2) RETURNING 1`,
  dropLarge: dropHidden(SIZES, "held > $1"),
  total: `SELECT sum(bytes)::bigint AS bytes, count(DISTINCT lane) AS lanes FROM picoclaw.turns`,
  // From the conversation used last on, `held` adds up the bytes of all that were not used longer ago.
  unused: `SELECT lane FROM (
         SELECT lane, last_at, row_number() OVER latest AS place, sum(bytes) OVER latest AS held
         FROM (SELECT lane, max(at) AS last_at, sum(bytes) AS bytes FROM picoclaw.turns GROUP BY lane)
           AS used
         WINDOW latest AS (ORDER BY last_at DESC, lane)
       ) AS found WHERE (place > $1 OR held > $2) AND last_at <= $3
       ORDER BY last_at, lane DESC LIMIT $4`,
  dropLane: "DELETE FROM picoclaw.turns WHERE lane = $1",
  dropCut: "DELETE FROM picoclaw.cuts WHERE lane = $1",
  // What is left of conversations that were deleted.
  dropCuts: `DELETE FROM picoclaw.cuts WHERE lane IN (
         SELECT lane FROM picoclaw.cuts
         WHERE at <= $1 AND NOT EXISTS (SELECT 1 FROM picoclaw.turns WHERE turns.lane = cuts.lane)
         ORDER BY at DESC, lane LIMIT $2 OFFSET $3) RETURNING 1`,
  dropWriters: "DELETE FROM picoclaw.writers WHERE at < now() - interval '7 days'",
} as const;
