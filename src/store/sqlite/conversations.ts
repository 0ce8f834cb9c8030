import type { DatabaseSync } from "node:sqlite";
import type {
  Conversation,
  ConversationInfo,
  ConversationSize,
  ConversationStore,
  ImportedConversation,
  StoredTurn,
} from "../contract/conversations.ts";
import type { StoreBounds, StoreOptions } from "../contract/store.ts";
import { fromJson } from "../json.ts";
import { dayBefore, Retention, turnsOverLimit } from "../retention.ts";
import type { StoredTurnSize } from "../retention.ts";
import { lazyStatements, shrink } from "./database.ts";
import type { Statements } from "./database.ts";
import { RecentTurns } from "./recent-turns.ts";
import type { ReadTurn } from "./recent-turns.ts";
import { RowNumbers } from "./row-numbers.ts";

type Row = Readonly<Record<string, unknown>>;
type Run = <T>(work: () => T) => Promise<T>;

/** What `conversation` reads at once: enough to summarize it, and no more than a small board can hold. */
export const SUMMARY_LIMITS = { messages: 2000, characters: 8 * 2 ** 20 };
/** Conversations that `conversations` lists. */
export const LISTED_CONVERSATIONS = 20_000;
/** One reading of a transcript. */
export const PAGE = { messages: 200, characters: 2 ** 20 };
/**
 * Conversations whose bytes are in memory; the bytes of others are added up with each turn. No fewer than a
 * database in memory has conversations.
 */
const COUNTED = 1024;

export interface ConversationsOptions extends Pick<StoreOptions, "now" | "bounds"> {
  /** The database is in memory: what is over the limits of all conversations, or idle, is deleted at once. */
  readonly inMemory?: boolean;
}

/** Bytes of a conversation's turns, and of those of the last 24 hours. */
interface HeldBytes {
  readonly all: number;
  readonly day: number;
}

/** A conversation in memory that got no turn for so long is deleted. */
const IDLE_MS = 24 * 60 * 60_000;

/** The conversations of a database; every call is work inside a transaction. */
export class Conversations<M> {
  readonly #db: DatabaseSync;
  readonly #sql: Statements<keyof typeof SQL>;
  readonly #numbers: RowNumbers;
  readonly #now: () => number;
  readonly #bounds: StoreBounds;
  readonly #inMemory: boolean;
  readonly #retention: Retention;
  readonly #recent = new RecentTurns<M>();
  /** At least what the conversations hold that a turn was added to last; the one longest ago is the first. */
  readonly #held = new Map<string, HeldBytes & { readonly usedAt: number }>();

  constructor(db: DatabaseSync, options: ConversationsOptions) {
    this.#db = db;
    this.#sql = lazyStatements(db, SQL);
    this.#numbers = new RowNumbers(db, "turns");
    this.#now = options.now;
    this.#bounds = options.bounds;
    this.#inMemory = options.inMemory ?? false;
    this.#retention = new Retention(db, options);
  }

  /** Call it after a rollback: what was read before it may not be there. */
  rolledBack(): void {
    this.#numbers.rolledBack();
    this.#recent.clear();
  }

  history(name: string): readonly M[] {
    const { through, summary } = this.#compacted(name);
    const version = Number(this.#sql("version").get()?.["data_version"]);
    const known = this.#recent.get(name, through, version);
    const rows = this.#sql("newestFirst").iterate(name, known[0]?.id ?? through);
    const turns = turnsWithin(this.#bounds, turnsIn(rows, known));
    this.#recent.set(name, through, turns);
    const messages = turns.toReversed().flatMap((turn) => turn.messages);
    return summary === undefined ? messages : [summary, ...messages];
  }

  conversation(name: string): Conversation<M> {
    const { through, summary } = this.#compacted(name);
    const found = turnsIn<M>(this.#sql("oldestFirst").iterate(name, through));
    const turns = turnsWithin(SUMMARY_LIMITS, found).map(({ id, messages }) => ({ id, messages }));
    return { turns, ...(summary !== undefined && { summary }) };
  }

  size(name: string): ConversationSize {
    const { messages, bytes } = this.#sql("size").get(name, name, name) ?? {};
    return { messages: Number(messages ?? 0), bytes: Number(bytes ?? 0) };
  }

  append(name: string, messages: readonly M[], forgets = false): void {
    if (messages.length > 0) this.#add(name, messages, this.#now());
    if (!forgets) return;
    this.#sql("forget").run(name, name, this.#now());
    if (this.#inMemory) this.#used(name, this.#heldBy(name));
  }

  compact(name: string, through: number, summary?: M): boolean {
    if (through <= this.#compacted(name).through) return false;
    if (this.#sql("exists").get(name, through) === undefined) return false;
    this.#sql("compact").run(name, through, textOrNull(summary), this.#now());
    return true;
  }

  importConversation(name: string, { turns, summary }: ImportedConversation<M>): boolean {
    if (this.#sql("known").get(name, name) !== undefined) return false;
    const now = this.#now();
    if (summary !== undefined) this.#sql("compact").run(name, 0, textOrNull(summary), now);
    for (const { messages, at = now } of turns) this.#add(name, messages, at);
    return true;
  }

  conversations(): readonly ConversationInfo[] {
    return this.#sql("conversations").all(LISTED_CONVERSATIONS).map(infoOf);
  }

  /** The turns after one of them, as many as are worth one reading; none at the end. */
  page(name: string, after: number): readonly StoredTurn<M>[] {
    const found = turnsIn<M>(this.#sql("oldestFirst").iterate(name, after));
    return turnsWithin(PAGE, found).map(({ id, at, messages }) => ({ id, at, messages }));
  }

  erase(name: string): number {
    // What stays says that the conversation was deleted, so that it is not imported again.
    this.#sql("forget").run(name, name, this.#now());
    const { changes } = this.#sql("erase").run(name);
    this.#held.delete(name);
    this.#recent.clear();
    if (this.#inMemory) this.#used(name, { all: 0, day: 0 });
    return Number(changes);
  }

  purge(): void {
    this.#retention.apply();
    this.#recent.clear();
    shrink(this.#db);
  }

  /** Adds a turn, and deletes what is over the limits with it. */
  #add(name: string, messages: readonly M[], at: number): void {
    const text = JSON.stringify(messages);
    const bytes = Buffer.byteLength(text);
    this.#sql("add").run(this.#numbers.next(), name, text, messages.length, bytes, at);
    const { turnBytes, turnBytesPerDay } = this.#bounds;
    const fits = ({ all, day }: HeldBytes): boolean => all <= turnBytes && day <= turnBytesPerDay;
    const known = this.#held.get(name);
    let held: HeldBytes | undefined = known && { all: known.all + bytes, day: known.day + bytes };
    if (held === undefined || !fits(held)) held = this.#heldBy(name);
    if (!fits(held)) {
      const turns = this.#sql("sizes").all(name).map(sizeOf);
      for (const id of turnsOverLimit(turns, this.#bounds, this.#now())) this.#sql("drop").run(id);
      held = this.#heldBy(name);
      this.#recent.clear();
    }
    this.#used(name, held);
  }

  #used(name: string, held: HeldBytes): void {
    this.#held.delete(name);
    this.#held.set(name, { ...held, usedAt: this.#now() });
    if (this.#inMemory) this.#limitMemory();
    const [oldest] = this.#held.keys();
    if (oldest !== undefined && this.#held.size > COUNTED) this.#held.delete(oldest);
  }

  /** Deletes whole conversations, the longest unused first. */
  #limitMemory(): void {
    const { conversations, conversationBytes } = this.#bounds;
    let bytes = 0;
    for (const { all } of this.#held.values()) bytes += all;
    for (const [name, { all, usedAt }] of this.#held) {
      const fits = this.#held.size <= conversations && bytes <= conversationBytes;
      if (fits && this.#now() - usedAt < IDLE_MS) return;
      bytes -= all;
      this.#held.delete(name);
      this.#sql("erase").run(name);
      this.#sql("eraseSummary").run(name);
      this.#recent.clear();
    }
  }

  #heldBy(name: string): HeldBytes {
    const row = this.#sql("held").get(dayBefore(this.#now()), name);
    return { all: Number(row?.["bytes"] ?? 0), day: Number(row?.["day"] ?? 0) };
  }

  #compacted(name: string): { readonly through: number; readonly summary: M | undefined } {
    const row = this.#sql("compacted").get(name);
    const text = row?.["summary"] ?? undefined;
    return {
      through: Number(row?.["through"] ?? 0),
      summary: text === undefined ? undefined : fromJson<M>(text),
    };
  }
}

/** The same as promises; `write` runs work in a transaction of the store, `read` runs work that only reads. */
export function asyncConversations<M>(
  conversations: Conversations<M>,
  write: Run,
  read: Run,
): Omit<ConversationStore<M>, "close"> {
  return {
    history: (name) => read(() => conversations.history(name)),
    conversation: (name) => read(() => conversations.conversation(name)),
    size: (name) => read(() => conversations.size(name)),
    append: (name, messages, forgets) => write(() => conversations.append(name, messages, forgets)),
    compact: (name, through, summary) => write(() => conversations.compact(name, through, summary)),
    importConversation: (name, imported) =>
      write(() => conversations.importConversation(name, imported)),
    conversations: () => read(() => conversations.conversations()),
    transcript: (name) => createTranscript((after) => read(() => conversations.page(name, after))),
    erase: (name) => write(() => conversations.erase(name)),
    purge: () => write(() => conversations.purge()),
  };
}

/** All turns of a conversation, page by page; a page is what follows the turn of that id. */
export async function* createTranscript<M>(
  page: (after: number) => Promise<readonly StoredTurn<M>[]>,
): AsyncGenerator<StoredTurn<M>, void, undefined> {
  for (let after = 0; ;) {
    const turns = await page(after);
    const last = turns.at(-1);
    if (last === undefined) return;
    yield* turns;
    after = last.id;
  }
}

function textOrNull(message: unknown): string | null {
  return message === undefined ? null : JSON.stringify(message);
}

/** The turns of rows, and after them `more`. */
function* turnsIn<M>(
  rows: Iterable<Row>,
  more: readonly ReadTurn<M>[] = [],
): Generator<ReadTurn<M>, void> {
  for (const row of rows) {
    const text = String(row["messages"]);
    const [id, at, messages] = [Number(row["id"]), Number(row["at"]), fromJson<M[]>(text)];
    yield { id, at, messages, characters: text.length };
  }
  yield* more;
}

/** Turns as long as they fit, at least one; reading ends there. */
function turnsWithin<M>(
  { messages, characters }: Pick<StoreBounds, "messages" | "characters">,
  turns: Iterable<ReadTurn<M>>,
): readonly ReadTurn<M>[] {
  const found: ReadTurn<M>[] = [];
  for (const turn of turns) {
    messages -= turn.messages.length;
    characters -= turn.characters;
    if (found.length > 0 && (messages < 0 || characters < 0)) break;
    found.push(turn);
  }
  return found;
}

function sizeOf(row: Row): StoredTurnSize {
  return { id: Number(row["id"]), bytes: Number(row["bytes"]), at: Number(row["at"]) };
}

function infoOf(row: Row): ConversationInfo {
  return {
    name: String(row["lane"]),
    turns: Number(row["turns"]),
    messages: Number(row["messages"]),
    bytes: Number(row["bytes"]),
    firstAt: Number(row["first_at"]),
    lastAt: Number(row["last_at"]),
    summarized: row["summarized"] === 1,
  };
}

const after = "SELECT id, messages, at FROM turns WHERE lane = ? AND id > ? ORDER BY id";
const SQL = {
  add: "INSERT INTO turns (id, lane, messages, count, bytes, at) VALUES (?, ?, ?, ?, ?, ?)",
  held: `SELECT sum(bytes) AS bytes, sum(CASE WHEN at > ? THEN bytes ELSE 0 END) AS day
       FROM turns WHERE lane = ?`,
  sizes: "SELECT id, bytes, at FROM turns WHERE lane = ? ORDER BY id",
  drop: "DELETE FROM turns WHERE id = ?",
  compacted: "SELECT through, summary FROM cuts WHERE lane = ?",
  // The index by conversation holds all that is added up: no message is read.
  size: `SELECT total(count) AS messages,
         total(bytes) + coalesce((SELECT length(CAST(summary AS BLOB)) FROM cuts WHERE lane = ?), 0) AS bytes
       FROM turns WHERE lane = ? AND id > coalesce((SELECT through FROM cuts WHERE lane = ?), 0)`,
  newestFirst: `${after} DESC`,
  oldestFirst: after,
  /** Changes with each write of another connection. */
  version: "PRAGMA data_version",
  exists: "SELECT 1 FROM turns WHERE lane = ? AND id = ?",
  known: "SELECT 1 FROM turns WHERE lane = ? UNION ALL SELECT 1 FROM cuts WHERE lane = ? LIMIT 1",
  compact: "INSERT OR REPLACE INTO cuts (lane, through, summary, at) VALUES (?, ?, ?, ?)",
  forget: `INSERT INTO cuts (lane, through, summary, at)
       VALUES (?, coalesce((SELECT max(id) FROM turns WHERE lane = ?), 0), NULL, ?)
       ON CONFLICT (lane) DO UPDATE
       SET through = max(through, excluded.through), summary = NULL, at = excluded.at`,
  erase: "DELETE FROM turns WHERE lane = ?",
  eraseSummary: "DELETE FROM cuts WHERE lane = ?",
  conversations: `SELECT lane, count(*) AS turns, sum(count) AS messages, sum(bytes) AS bytes,
         min(at) AS first_at, max(at) AS last_at,
         EXISTS (SELECT 1 FROM cuts WHERE cuts.lane = turns.lane AND summary IS NOT NULL) AS summarized
       FROM turns GROUP BY lane
       UNION ALL
       SELECT lane, 0, 0, 0, at, at, 1 FROM cuts
       WHERE summary IS NOT NULL AND NOT EXISTS (SELECT 1 FROM turns WHERE turns.lane = cuts.lane)
       ORDER BY last_at DESC, lane LIMIT ?`,
};
