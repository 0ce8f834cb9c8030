import type { DatabaseSync } from "node:sqlite";
import type { Counter, CounterChanges, StoreOptions } from "./contract.ts";
import { parsed } from "./parsed.ts";
import { storable } from "./storable.ts";

/** The meters of a database; `change` and `purge` are work inside a transaction. */
export interface Counters {
  all(most?: number): readonly Counter[];
  one(name: string): Counter | undefined;
  change(changes: CounterChanges): void;
  purge(): void;
}

/** A meter that counts for nothing stays so long: for reports on a day, and for clocks that are set back. */
export const COUNTER_GRACE_MS = 24 * 60 * 60_000;
/** Meters that are looked at in one call of `purge`: the event loop waits for it. */
const AT_ONCE = 2000;
/** The part of the bound that is made free when it is reached. */
const FREE = 1 / 16;

/** All meters of a database, one in memory at a time. */
export function* eachCounter(db: DatabaseSync): Iterable<Counter> {
  const rows = db.prepare("SELECT meter FROM meters").iterate();
  for (const row of rows) yield parsed<Counter>(row["meter"]);
}

export function createCounters(
  db: DatabaseSync,
  { now, bounds }: Pick<StoreOptions, "now" | "bounds">,
): Counters {
  const sql = statements(db);
  /** At least as many as there are with an end; 0 until all were looked at once. */
  let most = 0;
  /** Of this round: the name up to which it came, meters with an end, and those written meanwhile. */
  let round = { name: "", counted: 0, written: 0 };

  /** Looks at some more, so that a long table keeps nobody waiting, and drops what is old. */
  const look = (): void => {
    const rows = sql.next.all(round.name, AT_ONCE);
    const before = now() - COUNTER_GRACE_MS;
    for (const { name, until } of rows) {
      if (typeof until !== "number") continue;
      if (until <= before) sql.drop.run(String(name));
      else round.counted += 1;
    }
    round.name = String(rows.at(-1)?.["name"] ?? "");
    if (rows.length === AT_ONCE) return;
    most = round.counted + round.written;
    round = { name: "", counted: 0, written: 0 };
  };

  return {
    all: (limit = -1) => sql.some.all(limit).map((row) => parsed<Counter>(row["meter"])),
    one(name) {
      const row = sql.one.get(storable(name));
      return row && parsed<Counter>(row["meter"]);
    },
    change({ put, drop }) {
      for (const name of drop) sql.drop.run(storable(name));
      for (const meter of put) {
        sql.put.run(storable(meter.name), JSON.stringify(meter), meter.until ?? null);
      }
      most += put.length;
      round.written += put.length;
    },
    purge() {
      look();
      if (most <= bounds.counters) return;
      most = Number(sql.count.get()?.["meters"] ?? 0);
      if (most <= bounds.counters) return;
      const left = Math.floor(bounds.counters * (1 - FREE));
      sql.dropSoonest.run(most - left);
      most = left;
    },
  };
}

function statements(db: DatabaseSync) {
  return {
    some: db.prepare("SELECT meter FROM meters LIMIT ?"),
    one: db.prepare("SELECT meter FROM meters WHERE name = ?"),
    put: db.prepare("INSERT OR REPLACE INTO meters (name, meter, until) VALUES (?, ?, ?)"),
    drop: db.prepare("DELETE FROM meters WHERE name = ?"),
    count: db.prepare("SELECT count(*) AS meters FROM meters WHERE until IS NOT NULL"),
    next: db.prepare("SELECT name, until FROM meters WHERE name > ? ORDER BY name LIMIT ?"),
    dropSoonest: db.prepare(
      `DELETE FROM meters WHERE name IN (
         SELECT name FROM meters WHERE until IS NOT NULL ORDER BY until, name LIMIT ?)`,
    ),
  };
}
