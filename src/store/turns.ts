import type { DatabaseSync } from "node:sqlite";
import type { SyncConversations } from "./async-conversations.ts";
import type {
  ImportedConversation,
  Conversation,
  ConversationInfo,
  StoreBounds,
  StoredTurn,
  StoreOptions,
} from "./contract.ts";
import { createShrink } from "./database.ts";
import { parsed } from "./parsed.ts";
import { createRetention } from "./retention.ts";
import {
  createSizeBudget,
  dayBefore,
  LISTED_CONVERSATIONS,
  turnsBeyond,
  SUMMARY_LIMITS,
} from "./size-budget.ts";
import type { TurnSize, StoredTurnSize } from "./size-budget.ts";

type Row = Readonly<Record<string, unknown>>;

/** One reading of a transcript. */
const PAGE = { messages: 200, characters: 2 ** 20 };

/** The conversations of a database; every call is work inside a transaction. */
export function createTurns<M>(
  db: DatabaseSync,
  options: Pick<StoreOptions, "now" | "bounds">,
): SyncConversations<M> {
  return new SqliteTurns(db, options);
}

/** Bytes of a conversation's turns, and of those of the last 24 hours. */
interface Held {
  readonly all: number;
  readonly day: number;
}

/** Conversations whose bytes are in memory; of others they are added up with each turn. */
const COUNTED = 4096;

interface Cut<M> {
  readonly through: number;
  readonly summary: M | undefined;
}

class SqliteTurns<M> implements SyncConversations<M> {
  readonly #sql: ReturnType<typeof statements>;
  readonly #now: () => number;
  readonly #bounds: StoreBounds;
  /** At least what the conversations hold that were added to last, the one longest ago first. */
  readonly #held = new Map<string, Held>();
  readonly purge: () => void;

  constructor(db: DatabaseSync, { now, bounds }: Pick<StoreOptions, "now" | "bounds">) {
    this.#sql = statements(db);
    this.#now = now;
    this.#bounds = bounds;
    const sweep = createRetention(db, { now, bounds });
    const shrink = createShrink(db);
    this.purge = () => {
      sweep();
      shrink();
    };
  }

  readonly history = (lane: string): readonly M[] => {
    const { through, summary } = this.#cutOf(lane);
    const rows = taken(this.#sql.newestFirst.iterate(lane, through), this.#bounds);
    const said = rows.toReversed().flatMap((row) => parsed<M[]>(textOf(row)));
    return summary === undefined ? said : [summary, ...said];
  };

  readonly conversation = (lane: string): Conversation<M> => {
    const { through, summary } = this.#cutOf(lane);
    const turns = this.#after(lane, through, SUMMARY_LIMITS).map(({ id, messages }) => ({
      id,
      messages,
    }));
    return { turns, ...(summary !== undefined && { summary }) };
  };

  readonly append = (lane: string, messages: readonly M[], forgets = false): void => {
    if (messages.length > 0) this.#bound(lane, this.#add(lane, messages, this.#now()));
    if (forgets) this.#sql.forget.run(lane, lane, this.#now());
  };

  readonly compact = (lane: string, through: number, summary?: M): boolean => {
    if (through <= this.#cutOf(lane).through) return false;
    if (this.#sql.exists.get(lane, through) === undefined) return false;
    this.#sql.cut.run(lane, through, textOrNull(summary), this.#now());
    return true;
  };

  readonly importConversation = (
    lane: string,
    { turns, summary }: ImportedConversation<M>,
  ): boolean => {
    if (this.#sql.known.get(lane, lane) !== undefined) return false;
    const now = this.#now();
    if (summary !== undefined) this.#sql.cut.run(lane, 0, textOrNull(summary), now);
    for (const { messages, at = now } of turns) this.#bound(lane, this.#add(lane, messages, at));
    return true;
  };

  readonly conversations = (): readonly ConversationInfo[] =>
    this.#sql.sessions.all(LISTED_CONVERSATIONS).map(sessionOf);

  readonly page = (lane: string, after: number): readonly StoredTurn<M>[] =>
    this.#after(lane, after, PAGE);

  readonly erase = (lane: string): number => {
    // What is left says that it was deleted, so that it is not taken over from elsewhere again.
    this.#sql.forget.run(lane, lane, this.#now());
    return Number(this.#sql.erase.run(lane).changes);
  };

  #add(lane: string, messages: readonly M[], at: number): number {
    const text = JSON.stringify(messages);
    const bytes = Buffer.byteLength(text);
    this.#sql.add.run(lane, text, messages.length, bytes, at);
    return bytes;
  }

  /** Forgets what is beyond the bounds with a turn of so many bytes, which was added. */
  #bound(lane: string, bytes: number): void {
    const { turnBytes, turnBytesPerDay } = this.#bounds;
    const fits = ({ all, day }: Held): boolean => all <= turnBytes && day <= turnBytesPerDay;
    const known = this.#held.get(lane);
    let held = known && { all: known.all + bytes, day: known.day + bytes };
    if (held === undefined || !fits(held)) held = this.#heldBy(lane);
    if (!fits(held)) {
      const turns = this.#sql.sizes.all(lane).map(sizedOf);
      const beyond = turnsBeyond(turns, this.#bounds, this.#now());
      for (const id of beyond) this.#sql.drop.run(id);
      held = this.#heldBy(lane);
    }
    this.#held.delete(lane);
    this.#held.set(lane, held);
    const [oldest] = this.#held.keys();
    if (oldest !== undefined && this.#held.size > COUNTED) this.#held.delete(oldest);
  }

  #heldBy(lane: string): Held {
    const row = this.#sql.held.get(dayBefore(this.#now()), lane);
    return { all: Number(row?.["bytes"] ?? 0), day: Number(row?.["day"] ?? 0) };
  }

  #cutOf(lane: string): Cut<M> {
    const row = this.#sql.cutOf.get(lane);
    const text = row?.["summary"] ?? undefined;
    return {
      through: Number(row?.["through"] ?? 0),
      summary: text === undefined ? undefined : parsed<M>(text),
    };
  }

  #after(lane: string, id: number, room: TurnSize): readonly StoredTurn<M>[] {
    return taken(this.#sql.oldestFirst.iterate(lane, id), room).map((row) => ({
      id: Number(row["id"]),
      at: Number(row["at"]),
      messages: parsed<M[]>(textOf(row)),
    }));
  }
}

function textOrNull(message: unknown): string | null {
  return message === undefined ? null : JSON.stringify(message);
}

/** Rows as long as there is room; reading ends there. */
function taken(rows: Iterable<Row>, room: TurnSize): Row[] {
  const found: Row[] = [];
  const fits = createSizeBudget(room);
  for (const row of rows) {
    if (!fits({ messages: Number(row["count"]), characters: textOf(row).length })) break;
    found.push(row);
  }
  return found;
}

function textOf(row: Row): string {
  return String(row["messages"]);
}

function sizedOf(row: Row): StoredTurnSize {
  return { id: Number(row["id"]), bytes: Number(row["bytes"]), at: Number(row["at"]) };
}

function sessionOf(row: Row): ConversationInfo {
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
    held: db.prepare(
      `SELECT sum(bytes) AS bytes, sum(CASE WHEN at > ? THEN bytes ELSE 0 END) AS day
       FROM turns WHERE lane = ?`,
    ),
    sizes: db.prepare("SELECT id, bytes, at FROM turns WHERE lane = ? ORDER BY id"),
    drop: db.prepare("DELETE FROM turns WHERE id = ?"),
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
  };
}
