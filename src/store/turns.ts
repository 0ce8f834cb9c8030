import type { DatabaseSync } from "node:sqlite";
import type { Session, StoreBounds, StoreOptions } from "./contract.ts";
import { parsed } from "./parsed.ts";
import { createRoom, SESSIONS, WHOLE } from "./room.ts";
import type { Turns } from "./spoken.ts";

type Row = Readonly<Record<string, unknown>>;

/** One reading of a transcript. */
const PAGE = { messages: 200, characters: 2 ** 20 };
const SWEEP_MS = 60 * 60_000;
/** Turns deleted in one transaction: the event loop waits for it. */
const SWEPT_AT_ONCE = 500;

/** The conversations of a database; every call is work inside a transaction. */
export function createTurns<M>(
  db: DatabaseSync,
  { now, bounds }: Pick<StoreOptions, "now" | "bounds">,
): Turns<M> {
  const sql = statements(db);
  let sweptAt = Number.NEGATIVE_INFINITY;

  const add = (lane: string, messages: readonly M[], at: number): void => {
    const text = JSON.stringify(messages);
    sql.add.run(lane, text, messages.length, Buffer.byteLength(text), at);
  };
  const cutOf = (lane: string): { through: number; summary: M | undefined } => {
    const row = sql.cutOf.get(lane);
    const text = row?.["summary"] ?? undefined;
    return {
      through: Number(row?.["through"] ?? 0),
      summary: text === undefined ? undefined : parsed<M>(text),
    };
  };
  const sweep = (): void => {
    const { hiddenMs, hiddenTurns, hiddenBytes } = bounds;
    const old = now() - hiddenMs;
    const { changes } = sql.sweep.run(old, hiddenTurns, hiddenBytes, SWEPT_AT_ONCE);
    // What is left after a full load goes with the next purge.
    if (Number(changes) < SWEPT_AT_ONCE) sweptAt = now();
  };

  return {
    history(lane) {
      const { through, summary } = cutOf(lane);
      const texts = taken(sql.newestFirst.iterate(lane, through), bounds).map(textOf).toReversed();
      const said = texts.flatMap((text) => parsed<M[]>(text));
      return summary === undefined ? said : [summary, ...said];
    },
    conversation(lane) {
      const { through, summary } = cutOf(lane);
      const turns = taken(sql.oldestFirst.iterate(lane, through), WHOLE).map((row) => ({
        id: Number(row["id"]),
        messages: parsed<M[]>(textOf(row)),
      }));
      return { turns, ...(summary !== undefined && { summary }) };
    },
    append(lane, messages, forgets = false) {
      if (messages.length > 0) add(lane, messages, now());
      if (forgets) sql.forget.run(lane, lane, now());
    },
    cut(lane, through, summary) {
      if (through <= cutOf(lane).through || sql.exists.get(lane, through) === undefined)
        return false;
      sql.cut.run(lane, through, summary === undefined ? null : JSON.stringify(summary), now());
      return true;
    },
    adopt(lane, { turns, summary }) {
      if (sql.known.get(lane, lane) !== undefined) return false;
      if (summary !== undefined) sql.cut.run(lane, 0, JSON.stringify(summary), now());
      for (const { messages, at = now() } of turns) add(lane, messages, at);
      return true;
    },
    sessions: () => sql.sessions.all(SESSIONS).map(sessionOf),
    page: (lane, after) =>
      taken(sql.oldestFirst.iterate(lane, after), PAGE).map((row) => ({
        id: Number(row["id"]),
        at: Number(row["at"]),
        messages: parsed<M[]>(textOf(row)),
      })),
    erase(lane) {
      // What is left says that it was deleted, so that it is not taken over from elsewhere again.
      sql.forget.run(lane, lane, now());
      return Number(sql.erase.run(lane).changes);
    },
    purge() {
      if (now() - sweptAt >= SWEEP_MS) sweep();
    },
  };
}

/** Rows as long as there is room; reading ends there. */
function taken(rows: Iterable<Row>, room: Pick<StoreBounds, "messages" | "characters">): Row[] {
  const found: Row[] = [];
  const fits = createRoom(room);
  for (const row of rows) {
    if (!fits({ messages: Number(row["count"]), characters: textOf(row).length })) break;
    found.push(row);
  }
  return found;
}

function textOf(row: Row): string {
  return String(row["messages"]);
}

function sessionOf(row: Row): Session {
  return {
    lane: String(row["lane"]),
    turns: Number(row["turns"]),
    messages: Number(row["messages"]),
    bytes: Number(row["bytes"]),
    firstAt: Number(row["first_at"]),
    lastAt: Number(row["last_at"]),
    summarized: row["summarized"] === 1,
  };
}

function statements(db: DatabaseSync) {
  const after = "SELECT id, messages, count, at FROM turns WHERE lane = ? AND id > ?";
  return {
    add: db.prepare("INSERT INTO turns (lane, messages, count, bytes, at) VALUES (?, ?, ?, ?, ?)"),
    cutOf: db.prepare("SELECT through, summary FROM cuts WHERE lane = ?"),
    newestFirst: db.prepare(`${after} ORDER BY id DESC`),
    oldestFirst: db.prepare(`${after} ORDER BY id`),
    exists: db.prepare("SELECT 1 FROM turns WHERE lane = ? AND id = ?"),
    known: db.prepare(
      "SELECT 1 FROM turns WHERE lane = ? UNION ALL SELECT 1 FROM cuts WHERE lane = ? LIMIT 1",
    ),
    cut: db.prepare("INSERT OR REPLACE INTO cuts (lane, through, summary, at) VALUES (?, ?, ?, ?)"),
    forget: db.prepare(
      `INSERT INTO cuts (lane, through, summary, at)
       VALUES (?, coalesce((SELECT max(id) FROM turns WHERE lane = ?), 0), NULL, ?)
       ON CONFLICT (lane) DO UPDATE
       SET through = max(through, excluded.through), summary = NULL, at = excluded.at`,
    ),
    erase: db.prepare("DELETE FROM turns WHERE lane = ?"),
    sessions: db.prepare(
      `SELECT lane, count(*) AS turns, sum(count) AS messages, sum(bytes) AS bytes,
         min(at) AS first_at, max(at) AS last_at,
         EXISTS (SELECT 1 FROM cuts WHERE cuts.lane = turns.lane AND summary IS NOT NULL) AS summarized
       FROM turns GROUP BY lane
       UNION ALL
       SELECT lane, 0, 0, 0, at, at, 1 FROM cuts
       WHERE summary IS NOT NULL AND NOT EXISTS (SELECT 1 FROM turns WHERE turns.lane = cuts.lane)
       ORDER BY last_at DESC, lane LIMIT ?`,
    ),
    // Newest first, each turn has its place in its conversation and holds what all from it on hold.
    sweep: db.prepare(
      `DELETE FROM turns WHERE id IN (
         SELECT id FROM (
           SELECT id, lane, at AS said_at, row_number() OVER (PARTITION BY lane ORDER BY id DESC) AS place,
             sum(bytes) OVER (ORDER BY id DESC) AS held
           FROM turns
         ) JOIN cuts USING (lane)
         WHERE id <= through AND (said_at <= ? OR place > ? OR held > ?) ORDER BY id LIMIT ?)`,
    ),
  };
}
