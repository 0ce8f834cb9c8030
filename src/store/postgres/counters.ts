import type {
  Counter,
  CounterChange,
  CounterChanges,
  CounterStore,
  StoreClock,
} from "../contract/counters.ts";
import type { StoreOptions } from "../contract/store.ts";
import { fromJson } from "../json.ts";
import { changedCounter, FREE, GRACE_MS } from "../sqlite/counters.ts";
import type { Connections, Transaction } from "./connection/connections.ts";
import type { Row } from "./connection/session.ts";
import type { PostgresCommits } from "./group-commit.ts";
import { keyOf } from "./keys.ts";

/** The counters of a database, to which several gateways add. */
export class PostgresCounters implements CounterStore {
  readonly #commits: PostgresCommits;
  readonly #connections: Connections;
  readonly #options: Pick<StoreOptions, "now" | "bounds">;

  constructor(
    commits: PostgresCommits,
    connections: Connections,
    options: Pick<StoreOptions, "now" | "bounds">,
  ) {
    this.#commits = commits;
    this.#connections = connections;
    this.#options = options;
  }

  async counters(most?: number): Promise<readonly Counter[]> {
    const rows = await this.#commits.readAll(SQL.some, [most ?? null]);
    return rows.map((row) => fromJson<Counter>(row["meter"]));
  }

  async counter(name: string): Promise<Counter | undefined> {
    const [row] = await this.#commits.readAll(SQL.one, [keyOf(name)]);
    return row && fromJson<Counter>(row["meter"]);
  }

  count(take: () => CounterChanges): Promise<readonly Counter[]> {
    let changes: CounterChanges | undefined;
    const work = (tx: Transaction): Promise<readonly Counter[]> => {
      // The transaction may begin anew.
      const taken = (changes ??= take());
      return tx.inOrder(() => this.change(tx, taken));
    };
    // It shares the transaction of what is written next.
    const options = { survives: "process", mixes: true, isLazy: true } as const;
    return this.#commits.run(work, { args: ["count", take], ...options });
  }

  async clock(): Promise<StoreClock> {
    const [row] = await this.#connections.read(SQL.clock);
    return { epoch: Number(row?.["epoch"]), utcOffsetMs: Number(row?.["utc_offset_ms"]) };
  }

  async purge(): Promise<void> {
    const { now, bounds } = this.#options;
    await this.#connections.read(SQL.dropOld, [now() - GRACE_MS]);
    const [row] = await this.#connections.read(SQL.count);
    const counters = Number(row?.["counters"] ?? 0);
    if (counters <= bounds.counters) return;
    const left = Math.floor(bounds.counters * (1 - FREE));
    await this.#connections.read(SQL.dropSoonest, [counters - left]);
  }

  /** Work in order inside a transaction. */
  async change(tx: Transaction, { put, drop }: CounterChanges): Promise<readonly Counter[]> {
    if (drop.length > 0) await tx.query(SQL.drop, [JSON.stringify(drop.map(keyOf))]);
    if (put.length === 0) return [];
    const names = JSON.stringify(put.map(({ name }) => keyOf(name)));
    // Rows are locked in one order by all, and those that are new exist before they are locked.
    const made = tx.query(SQL.make, [names]);
    const [, rows] = await Promise.all([made, tx.query(SQL.lock, [names])]);
    const known = new Map(rows.map((row) => [String(row["name"]), counterIn(row)]));
    const counters = put.map((change) => changed(change, known));
    const written = [...known].map(([name, counter]) => {
      return { name, meter: JSON.stringify(counter), until: counter?.until };
    });
    await tx.query(SQL.put, [JSON.stringify(written)]);
    return counters;
  }
}

/** Undefined if its row was made just now. */
function counterIn({ meter }: Row): Counter | undefined {
  return meter === "" ? undefined : fromJson<Counter>(meter);
}

function changed(change: CounterChange, known: Map<string, Counter | undefined>): Counter {
  const key = keyOf(change.name);
  const counter = changedCounter(known.get(key), change);
  known.set(key, counter);
  return counter;
}

const NAMES = "SELECT value FROM json_array_elements_text($1::text::json)";
const SQL = {
  some: "SELECT meter FROM picoclaw.meters WHERE meter <> '' LIMIT $1::bigint",
  one: "SELECT meter FROM picoclaw.meters WHERE name = $1",
  make: `INSERT INTO picoclaw.meters (name, meter)
       SELECT DISTINCT value, '' FROM json_array_elements_text($1::text::json) ORDER BY value
       ON CONFLICT (name) DO NOTHING`,
  lock: `SELECT name, meter FROM picoclaw.meters WHERE name IN (${NAMES}) ORDER BY name FOR UPDATE`,
  put: `UPDATE picoclaw.meters SET meter = new.meter, until = new.until
       FROM json_to_recordset($1::text::json) AS new(name text, meter text, until bigint)
       WHERE meters.name = new.name`,
  drop: `DELETE FROM picoclaw.meters WHERE name IN (${NAMES})`,
  clock: `SELECT (extract(epoch FROM now()) * 1000)::bigint AS epoch,
         (extract(timezone FROM now()) * 1000)::bigint AS utc_offset_ms`,
  dropOld: "DELETE FROM picoclaw.meters WHERE until <= $1",
  count: "SELECT count(*) AS counters FROM picoclaw.meters WHERE until IS NOT NULL",
  dropSoonest: `DELETE FROM picoclaw.meters WHERE name IN (
         SELECT name FROM picoclaw.meters WHERE until IS NOT NULL ORDER BY until, name LIMIT $1)`,
} as const;
