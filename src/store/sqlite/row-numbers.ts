import type { DatabaseSync } from "node:sqlite";
import { lazyStatements } from "./database.ts";
import type { Statements } from "./database.ts";

/** Numbers that one write reserves. Those that are not used are skipped. */
const RESERVED_AT_ONCE = 1000;

/**
 * Numbers the rows of a table with AUTOINCREMENT: each number is higher than all that any process used before,
 * also than those of deleted rows. SQLite itself writes the highest number with each row, which is one more
 * page in each transaction.
 */
export class RowNumbers {
  readonly #sql: Statements<keyof typeof SQL>;
  readonly #table: string;
  #last = 0;
  /** The end of this process's reservation; -1 if that may not be in the database. */
  #end = -1;

  constructor(db: DatabaseSync, table: string) {
    this.#sql = lazyStatements(db, SQL);
    this.#table = table;
  }

  /** Work inside a transaction. */
  next(): number {
    const end = Number(this.#sql("end").get(this.#table)?.["seq"] ?? 0);
    // Another end is that of another process, whose numbers must not be higher than later ones.
    if (end !== this.#end || this.#last === end) {
      this.#last = end;
      this.#end = end + RESERVED_AT_ONCE;
      const { changes } = this.#sql("reserve").run(this.#end, this.#table);
      if (Number(changes) === 0) this.#sql("reserveFirst").run(this.#end, this.#table);
    }
    this.#last += 1;
    return this.#last;
  }

  /** Call it after a rollback: the reservation may be undone. */
  rolledBack(): void {
    this.#end = -1;
  }
}

const SQL = {
  end: "SELECT seq FROM sqlite_sequence WHERE name = ?",
  reserve: "UPDATE sqlite_sequence SET seq = ? WHERE name = ?",
  reserveFirst: "INSERT INTO sqlite_sequence (seq, name) VALUES (?, ?)",
};
