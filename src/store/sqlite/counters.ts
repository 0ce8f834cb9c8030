import type { DatabaseSync } from "node:sqlite";
import { isObject } from "../../base/unknown.ts";
import type { Counter, CounterChange, CounterChanges, DayCount } from "../contract/counters.ts";
import type { StoreOptions } from "../contract/store.ts";
import { addDay, daysIn } from "../day-counts.ts";
import { fromJson, keyOf } from "../json.ts";
import { lazyStatements } from "./database.ts";
import type { Statements } from "./database.ts";

/** A counter that counts for nothing stays so long: for reports on a day, and for clocks that are set back. */
export const GRACE_MS = 24 * 60 * 60_000;
/** Counters that one call of `purge` looks at: the event loop waits for it. */
const AT_ONCE = 2000;
/** The part of the bound that is free after it was reached. */
export const FREE = 1 / 16;

/** Counters in memory that need not be read before they are changed. */
const KNOWN = 1024;
/** Longer ones to which nothing is added are not kept in memory: they change rarely. */
const KNOWN_LENGTH = 1024;

/** The state of a counter. */
interface Known {
  fields: unknown;
  days: DayCount[];
}

/** All counters of a database, one in memory at a time. */
export function* eachCounter(db: DatabaseSync): Iterable<Counter> {
  const rows = db.prepare("SELECT meter FROM meters").iterate();
  for (const row of rows) yield fromJson<Counter>(row["meter"]);
}

/** The counters of a database; every call is work inside a transaction. */
export class Counters {
  readonly #sql: Statements<keyof typeof SQL>;
  readonly #options: Pick<StoreOptions, "now" | "bounds" | "sole">;
  /** Some of them, as they are now; none if other processes may write. */
  readonly #known = new Map<string, Known>();
  /** At least the number of counters with an end; 0 until all were looked at once. */
  #most = 0;
  /** Of this round: the name up to which it came, counters with an end, and those written meanwhile. */
  #round = { name: "", counted: 0, written: 0 };

  constructor(db: DatabaseSync, options: Pick<StoreOptions, "now" | "bounds" | "sole">) {
    this.#sql = lazyStatements(db, SQL);
    this.#options = options;
  }

  all(most = -1): readonly Counter[] {
    return this.#sql("some")
      .all(most)
      .map((row) => fromJson<Counter>(row["meter"]));
  }

  one(name: string): Counter | undefined {
    const row = this.#sql("one").get(keyOf(name));
    return row && fromJson<Counter>(row["meter"]);
  }

  count({ put, drop }: CounterChanges): readonly Counter[] {
    for (const name of drop) {
      this.#sql("drop").run(keyOf(name));
      this.#known.delete(name);
    }
    this.#most += put.length;
    this.#round.written += put.length;
    return put.map((change) => this.#change(change));
  }

  /** A transaction wrote nothing. */
  rolledBack(): void {
    this.#known.clear();
  }

  #change(change: CounterChange): Counter {
    const { name, until } = change;
    const known = this.#known.get(name) ?? this.#read(name);
    apply(known, change);
    const counter = counterOf(known, change);
    const text = JSON.stringify(counter);
    this.#sql("put").run(keyOf(name), text, until ?? null);
    if (text.length > KNOWN_LENGTH && change.add === undefined) this.#known.delete(name);
    return counter;
  }

  #read(name: string): Known {
    const known = knownOf(this.one(name));
    if (this.#options.sole !== true) return known;
    const [oldest] = this.#known.keys();
    if (oldest !== undefined && this.#known.size >= KNOWN) this.#known.delete(oldest);
    this.#known.set(name, known);
    return known;
  }

  purge(): void {
    const { bounds } = this.#options;
    this.#dropOld();
    if (this.#most <= bounds.counters) return;
    this.#most = Number(this.#sql("count").get()?.["counters"] ?? 0);
    if (this.#most <= bounds.counters) return;
    const left = Math.floor(bounds.counters * (1 - FREE));
    this.#sql("dropSoonest").run(this.#most - left);
    this.#known.clear();
    this.#most = left;
  }

  /** Looks at a part of the table with each call, so that a long one holds nobody up, and drops what is old. */
  #dropOld(): void {
    const rows = this.#sql("next").all(this.#round.name, AT_ONCE);
    const before = this.#options.now() - GRACE_MS;
    for (const { name, until } of rows) {
      if (typeof until !== "number") continue;
      if (until > before) this.#round.counted += 1;
      else {
        this.#sql("drop").run(String(name));
        this.#known.clear();
      }
    }
    this.#round.name = String(rows.at(-1)?.["name"] ?? "");
    if (rows.length === AT_ONCE) return;
    this.#most = this.#round.counted + this.#round.written;
    this.#round = { name: "", counted: 0, written: 0 };
  }
}

/** A counter, if it is there, after a change. */
export function changedCounter(counter: Counter | undefined, change: CounterChange): Counter {
  const known = knownOf(counter);
  apply(known, change);
  return counterOf(known, change);
}

function knownOf(counter: Counter | undefined): Known {
  const state = counter?.state;
  return { fields: state, days: daysIn(state) };
}

function counterOf({ fields, days }: Known, { name, until }: CounterChange): Counter {
  const state = isObject(fields) && days.length > 0 ? { ...fields, days } : fields;
  return until === undefined ? { name, state } : { name, state, until };
}

function apply(known: Known, { state, add }: CounterChange): void {
  const { fields } = known;
  known.fields = isObject(state) && isObject(fields) ? { ...fields, ...state } : state;
  if (isObject(state) && "days" in state) known.days = daysIn(state);
  if (add !== undefined) for (const day of add) addDay(known.days, day);
}

const SQL = {
  some: "SELECT meter FROM meters LIMIT ?",
  one: "SELECT meter FROM meters WHERE name = ?",
  put: `INSERT INTO meters (name, meter, until) VALUES (?, ?, ?)
       ON CONFLICT (name) DO UPDATE SET meter = excluded.meter, until = excluded.until`,
  drop: "DELETE FROM meters WHERE name = ?",
  count: "SELECT count(*) AS counters FROM meters WHERE until IS NOT NULL",
  next: "SELECT name, until FROM meters WHERE name > ? ORDER BY name LIMIT ?",
  dropSoonest: `DELETE FROM meters WHERE name IN (
         SELECT name FROM meters WHERE until IS NOT NULL ORDER BY until, name LIMIT ?)`,
};
