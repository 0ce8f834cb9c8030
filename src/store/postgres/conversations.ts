import type {
  Conversation,
  ConversationInfo,
  ConversationSize,
  ConversationStore,
  ImportedConversation,
  StoredTurn,
} from "../contract/conversations.ts";
import type { StoreOptions } from "../contract/store.ts";
import { fromJson } from "../json.ts";
import { dayBefore, turnsOverLimit } from "../retention.ts";
import {
  createTranscript,
  LISTED_CONVERSATIONS,
  PAGE,
  SUMMARY_LIMITS,
} from "../sqlite/conversations.ts";
import { arrayOf } from "./arrays.ts";
import type { Connections, Transaction } from "./connection/connections.ts";
import type { Row } from "./connection/session.ts";
import type { PostgresCommits } from "./group-commit.ts";
import { joinedReads } from "./joined-reads.ts";
import { keyOf, textOf } from "./keys.ts";
import { PostgresRetention } from "./retention.ts";

/** Conversations whose bytes and size are in memory; those of others are added up with each turn. */
const COUNTED = 1024;

/** Bytes of a conversation's turns, and of those of the last 24 hours. */
interface HeldBytes {
  readonly all: number;
  readonly day: number;
  readonly size: ConversationSize;
}

/** The conversations of a database. */
export class PostgresConversations<M> implements Omit<ConversationStore<M>, "close"> {
  readonly #commits: PostgresCommits;
  readonly #options: Pick<StoreOptions, "now" | "bounds">;
  readonly #retention: PostgresRetention;
  /** Rows of the newest turns of a conversation. */
  readonly #newest: (key: string) => Promise<readonly Row[]>;
  /**
   * At least what the conversations hold that a turn was added to last, as long as `last` is their newest turn:
   * other gateways add turns, too. The one longest ago is the first.
   */
  readonly #held = new Map<string, HeldBytes & { readonly last: number }>();

  constructor(
    commits: PostgresCommits,
    connections: Connections,
    options: Pick<StoreOptions, "now" | "bounds">,
  ) {
    this.#commits = commits;
    this.#options = options;
    this.#retention = new PostgresRetention(connections, options);
    const { messages, characters } = options.bounds;
    this.#newest = joinedReads("lane", (keys: readonly string[]) =>
      commits.read(SQL.newest, [arrayOf(keys), messages, characters]),
    );
  }

  async history(name: string): Promise<readonly M[]> {
    const { summary, turns } = shownIn<M>(await this.#newest(keyOf(name)));
    const messages = turns.flatMap((turn) => turn.messages);
    return summary === undefined ? messages : [summary, ...messages];
  }

  async conversation(name: string): Promise<Conversation<M>> {
    // Another gateway may have compacted it.
    this.#held.delete(keyOf(name));
    const most = [SUMMARY_LIMITS.messages, SUMMARY_LIMITS.characters];
    const rows = await this.#commits.read(SQL.oldest, [arrayOf([keyOf(name)]), ...most]);
    const { summary, turns } = shownIn<M>(rows);
    const bare = turns.map(({ id, messages }) => ({ id, messages }));
    return { turns: bare, ...(summary !== undefined && { summary }) };
  }

  async size(name: string): Promise<ConversationSize> {
    const key = keyOf(name);
    const known = this.#held.get(key);
    if (known !== undefined) return known.size;
    const [row] = await this.#commits.read(SQL.size, [key]);
    return sizeIn(row);
  }

  append(name: string, messages: readonly M[], forgets = false): Promise<void> {
    const args = ["append", name, messages, forgets];
    return this.#commits.run((tx) => this.add(tx, name, messages, forgets), {
      args,
      survives: "process",
    });
  }

  /** Work inside a transaction; its statements are sent at once. */
  async add(tx: Transaction, name: string, messages: readonly M[], forgets = false): Promise<void> {
    const key = keyOf(name);
    const added = messages.length === 0 ? undefined : this.#addTurn(tx, key, messages);
    const forgotten = forgets ? tx.query(SQL.forget, [key, this.#options.now()]) : undefined;
    await Promise.all([added, forgotten]);
    if (forgets) this.#held.delete(key);
  }

  compact(name: string, through: number, summary?: M): Promise<boolean> {
    const values = [keyOf(name), through, textOrNull(summary), this.#options.now()];
    const work = async (tx: Transaction): Promise<boolean> => {
      const isCompacted = (await tx.query(SQL.compact, values)).length > 0;
      this.#held.delete(keyOf(name));
      return isCompacted;
    };
    return this.#commits.run(work, { args: ["compact", name, through, summary] });
  }

  importConversation(name: string, imported: ImportedConversation<M>): Promise<boolean> {
    const { turns, summary } = imported;
    const key = keyOf(name);
    const now = this.#options.now();
    const work = async (tx: Transaction): Promise<boolean> => {
      const taken = await tx.query(SQL.importSummary, [key, textOrNull(summary), now]);
      if (taken.length === 0) return false;
      for (const { messages, at = now } of turns) await this.#addTurn(tx, key, messages, at);
      return true;
    };
    return this.#commits.run((tx) => tx.inOrder(() => work(tx)), {
      args: ["import", name, imported],
    });
  }

  async conversations(): Promise<readonly ConversationInfo[]> {
    return (await this.#commits.read(SQL.conversations, [LISTED_CONVERSATIONS])).map(infoOf);
  }

  transcript(name: string): AsyncIterable<StoredTurn<M>> {
    const key = keyOf(name);
    return createTranscript(async (after) => {
      const values = [key, PAGE.messages, PAGE.characters, after];
      return (await this.#commits.read(SQL.page, values)).map((row) => turnOf<M>(row));
    });
  }

  erase(name: string): Promise<number> {
    const key = keyOf(name);
    const work = async (tx: Transaction): Promise<number> => {
      // What stays says that the conversation was deleted, so that it is not imported again.
      const forgotten = tx.query(SQL.forget, [key, this.#options.now()]);
      const [, [row]] = await Promise.all([forgotten, tx.query(SQL.erase, [key])]);
      this.#held.delete(key);
      return Number(row?.["turns"] ?? 0);
    };
    return this.#commits.run(work, { args: ["erase", name] });
  }

  purge(): Promise<void> {
    return this.#retention.apply();
  }

  /** Adds a turn, and deletes what is over the limits with it. */
  async #addTurn(
    tx: Transaction,
    key: string,
    messages: readonly M[],
    at = this.#options.now(),
  ): Promise<void> {
    const { now, bounds } = this.#options;
    const text = JSON.stringify(messages);
    const bytes = Buffer.byteLength(text);
    const values = [key, text, messages.length, bytes, text.length, at];
    const [row] = await tx.query(SQL.add, values);
    const last = Number(row?.["id"]);
    const known = this.#held.get(key);
    const fits = ({ all, day }: HeldBytes): boolean =>
      all <= bounds.turnBytes && day <= bounds.turnBytesPerDay;
    if (known !== undefined && known.last === row?.["before"]) {
      const { all, day, size } = known;
      const grown = { messages: size.messages + messages.length, bytes: size.bytes + bytes };
      const held = { all: all + bytes, day: day + bytes, size: grown };
      if (fits(held)) return this.#used(key, { ...held, last });
    }
    const held = await this.#heldBy(tx, key);
    if (fits(held)) return this.#used(key, { ...held, last });
    await tx.inOrder(async () => {
      const turns = (await tx.query(SQL.sizes, [key])).map(sizeOf);
      const over = JSON.stringify([...turnsOverLimit(turns, bounds, now())]);
      await tx.query(SQL.drop, [over]);
      this.#used(key, { ...(await this.#heldBy(tx, key)), last });
    });
  }

  #used(key: string, held: HeldBytes & { readonly last: number }): void {
    this.#held.delete(key);
    this.#held.set(key, held);
    const [oldest] = this.#held.keys();
    if (oldest !== undefined && this.#held.size > COUNTED) this.#held.delete(oldest);
  }

  async #heldBy(tx: Transaction, key: string): Promise<HeldBytes> {
    const [row] = await tx.query(SQL.held, [dayBefore(this.#options.now()), key]);
    const [all, day] = [Number(row?.["all_bytes"] ?? 0), Number(row?.["day"] ?? 0)];
    return { all, day, size: sizeIn(row) };
  }
}

/** The methods that a store has of them, which may be called without the object. */
export function methodsOf<M>(
  conversations: PostgresConversations<M>,
): Omit<ConversationStore<M>, "append" | "purge" | "close"> {
  return {
    history: (name) => conversations.history(name),
    conversation: (name) => conversations.conversation(name),
    size: (name) => conversations.size(name),
    compact: (name, through, summary) => conversations.compact(name, through, summary),
    importConversation: (name, imported) => conversations.importConversation(name, imported),
    conversations: () => conversations.conversations(),
    transcript: (name) => conversations.transcript(name),
    erase: (name) => conversations.erase(name),
  };
}

function textOrNull(message: unknown): string | null {
  return message === undefined ? null : JSON.stringify(message);
}

/** The summary of the last compaction and whole turns after it, as many as fit, oldest first. */
function shownIn<M>(rows: readonly Row[]): {
  readonly summary: M | undefined;
  readonly turns: readonly StoredTurn<M>[];
} {
  const summary = rows[0]?.["summary"] ?? undefined;
  return {
    summary: summary === undefined ? undefined : fromJson<M>(summary),
    turns: rows.filter((row) => row["id"] !== null).map((row) => turnOf<M>(row)),
  };
}

function sizeIn(row: Row | undefined): ConversationSize {
  return { messages: Number(row?.["messages"] ?? 0), bytes: Number(row?.["bytes"] ?? 0) };
}

function turnOf<M>(row: Row): StoredTurn<M> {
  const { id, at, messages } = row;
  return { id: Number(id), at: Number(at), messages: fromJson<M[]>(messages) };
}

function sizeOf(row: Row): { readonly id: number; readonly bytes: number; readonly at: number } {
  return { id: Number(row["id"]), bytes: Number(row["bytes"]), at: Number(row["at"]) };
}

function infoOf(row: Row): ConversationInfo {
  return {
    name: textOf(String(row["lane"])),
    turns: Number(row["turns"]),
    messages: Number(row["messages"]),
    bytes: Number(row["bytes"]),
    firstAt: Number(row["first_at"]),
    lastAt: Number(row["last_at"]),
    summarized: row["summarized"] === true,
  };
}

/**
 * Whole turns of a lane behind an id, as long as they fit into $2 messages and $3 characters, at least one. The index
 * holds what is added up: only the messages of those turns are read.
 */
function turnsWithin(lane: string, after: string, order: "ASC" | "DESC"): string {
  return `SELECT turns.id, turns.at, turns.messages FROM (
      SELECT id, sum(count) OVER newest AS messages, sum(characters) OVER newest AS characters,
        row_number() OVER newest AS place
      FROM (SELECT id, count, characters FROM picoclaw.turns WHERE lane = ${lane} AND id > ${after}
        ORDER BY id ${order} LIMIT $2::int + 1) AS candidates
      WINDOW newest AS (ORDER BY id ${order})
    ) AS fitting JOIN picoclaw.turns USING (id)
    WHERE place = 1 OR (fitting.messages <= $2::int AND fitting.characters <= $3::bigint)`;
}

/** The summary stands in each row of its lane, of which there is at least one. */
function shown(order: "ASC" | "DESC"): string {
  return `SELECT one.lane, cuts.summary, behind.* FROM unnest($1::text[]) AS one (lane)
    LEFT JOIN picoclaw.cuts USING (lane)
    LEFT JOIN LATERAL (${turnsWithin("one.lane", "coalesce(cuts.through, 0)", order)}) AS behind ON true
    ORDER BY behind.id`;
}

const SQL = {
  add: `INSERT INTO picoclaw.turns (lane, messages, count, bytes, characters, at)
       VALUES ($1, $2, $3, $4, $5, $6)
       RETURNING id, (SELECT max(id) FROM picoclaw.turns WHERE lane = $1) AS before`,
  held: `SELECT sum(turns.bytes)::bigint AS all_bytes, (sum(turns.bytes) FILTER (WHERE turns.at > $1))::bigint AS day,
         sum(count) FILTER (WHERE id > coalesce(cuts.through, 0))::bigint AS messages,
         (coalesce(sum(turns.bytes) FILTER (WHERE id > coalesce(cuts.through, 0)), 0)
           + coalesce(max(octet_length(cuts.summary)), 0))::bigint AS bytes
       FROM picoclaw.turns LEFT JOIN picoclaw.cuts USING (lane) WHERE lane = $2`,
  sizes: "SELECT id, bytes, at FROM picoclaw.turns WHERE lane = $1 ORDER BY id",
  drop: `DELETE FROM picoclaw.turns
       WHERE id IN (SELECT value::bigint FROM json_array_elements_text($1::text::json))`,
  size: `SELECT sum(count)::bigint AS messages,
         (coalesce(sum(turns.bytes), 0) + coalesce(max(octet_length(cuts.summary)), 0))::bigint AS bytes
       FROM (VALUES (1)) AS one LEFT JOIN picoclaw.cuts ON cuts.lane = $1
       LEFT JOIN picoclaw.turns ON turns.lane = $1 AND id > coalesce(cuts.through, 0)`,
  newest: shown("DESC"),
  oldest: shown("ASC"),
  page: `${turnsWithin("$1", "$4::bigint", "ASC")} ORDER BY id`,
  compact: `INSERT INTO picoclaw.cuts (lane, through, summary, at)
       SELECT $1, $2::bigint, $3, $4::bigint
       WHERE EXISTS (SELECT 1 FROM picoclaw.turns WHERE lane = $1 AND id = $2::bigint)
       ON CONFLICT (lane) DO UPDATE
       SET through = excluded.through, summary = excluded.summary, at = excluded.at
       WHERE cuts.through < excluded.through RETURNING lane`,
  importSummary: `INSERT INTO picoclaw.cuts (lane, through, summary, at)
       SELECT $1, 0, $2, $3::bigint
       WHERE NOT EXISTS (SELECT 1 FROM picoclaw.turns WHERE lane = $1)
       ON CONFLICT (lane) DO NOTHING RETURNING lane`,
  forget: `INSERT INTO picoclaw.cuts (lane, through, summary, at)
       VALUES ($1, coalesce((SELECT max(id) FROM picoclaw.turns WHERE lane = $1), 0), NULL, $2)
       ON CONFLICT (lane) DO UPDATE
       SET through = greatest(cuts.through, excluded.through), summary = NULL, at = excluded.at`,
  erase: `WITH gone AS (DELETE FROM picoclaw.turns WHERE lane = $1 RETURNING 1)
       SELECT count(*) AS turns FROM gone`,
  conversations: `SELECT lane, count(*) AS turns, sum(count)::bigint AS messages,
         sum(bytes)::bigint AS bytes, min(at) AS first_at, max(at) AS last_at,
         EXISTS (SELECT 1 FROM picoclaw.cuts WHERE cuts.lane = turns.lane AND summary IS NOT NULL)
           AS summarized
       FROM picoclaw.turns GROUP BY lane
       UNION ALL
       SELECT lane, 0, 0, 0, at, at, true FROM picoclaw.cuts
       WHERE summary IS NOT NULL
         AND NOT EXISTS (SELECT 1 FROM picoclaw.turns WHERE turns.lane = cuts.lane)
       ORDER BY last_at DESC, lane LIMIT $1`,
} as const;
