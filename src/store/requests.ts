import type { DatabaseSync } from "node:sqlite";
import type {
  Acceptance,
  Claim,
  Finished,
  Held,
  StoredAnswer,
  StoreOptions,
  Ticket,
} from "./contract.ts";
import { parsed } from "./parsed.ts";
import { ACCEPTED, ANSWERED, DELIVERED } from "./schema.ts";
import { storable } from "./storable.ts";

/** The requests of a database; every call is work inside a transaction. */
export interface Requests<M> {
  accept(ticket: Ticket): Acceptance<M>;
  begin(claim: Claim): Claim | undefined;
  record(claim: Claim, message: string): boolean;
  /** The conversation of the request, where the claim is in force. */
  answered(claim: Claim, answer: StoredAnswer): string | undefined;
  delivered(claim: Claim): boolean;
  release(claim: Claim): boolean;
  takeOver(): readonly Held<M>[];
  finished(): readonly Finished[];
  renew(): void;
  purge(): void;
}

type Row = Readonly<Record<string, unknown>>;
type Kept = Held<unknown>["ticket"];

/** What a row costs beside its texts. */
const ROW_BYTES = 512;
/** The claim is in force: same owner, same attempt, and the request is where it was. */
const IN_FORCE = "seq = ? AND owner = ? AND attempt = ? AND state = ?";
const COLUMNS = "seq, name, ticket, state, owner, attempt, answer, failed, delivered_at";

/** The requests of a database that this process writes under the owner's name. */
export function createRequests<M>(db: DatabaseSync, options: StoreOptions): Requests<M> {
  return new SqliteRequests(db, options);
}

class SqliteRequests<M> implements Requests<M> {
  readonly #sql: ReturnType<typeof statements>;
  readonly #options: StoreOptions;

  constructor(db: DatabaseSync, options: StoreOptions) {
    this.#sql = statements(db);
    this.#options = options;
  }

  accept(ticket: Ticket): Acceptance<M> {
    const known = this.#earlier(ticket);
    if (known !== undefined) return { is: "known", held: this.#heldOf(known) };
    const { owner } = this.#options;
    const { mayRepeat: _repeat, retriesFailed: _retry, ...kept } = ticket;
    const text = JSON.stringify(kept);
    const name = storable(ticket.name);
    const bytes = text.length + ROW_BYTES;
    const { lastInsertRowid } = this.#sql.insert.run(name, text, owner, this.#leaseUntil(), bytes);
    return { is: "new", claim: { seq: Number(lastInsertRowid), owner, attempt: 0 } };
  }

  begin({ seq, owner, attempt }: Claim): Claim | undefined {
    const { changes } = this.#sql.begin.run(this.#leaseUntil(), seq, owner, attempt, ACCEPTED);
    return Number(changes) === 0 ? undefined : { seq, owner, attempt: attempt + 1 };
  }

  record({ seq, owner, attempt }: Claim, message: string): boolean {
    if (this.#sql.inForce.get(seq, owner, attempt, ACCEPTED) === undefined) return false;
    this.#sql.addStep.run(seq, message);
    return true;
  }

  answered({ seq, owner, attempt }: Claim, answer: StoredAnswer): string | undefined {
    const text = JSON.stringify(answer);
    const failed = answer.failure === undefined ? 0 : 1;
    const { answer: write } = this.#sql;
    const row = write.get(text, failed, text.length, seq, owner, attempt, ACCEPTED);
    if (row === undefined) return undefined;
    const { conversation, lane } = parsed<Kept>(row["ticket"]);
    return conversation ?? lane;
  }

  delivered({ seq, owner, attempt }: Claim): boolean {
    const now = this.#options.now();
    const { changes } = this.#sql.deliver.run(now, seq, owner, attempt, ANSWERED);
    if (Number(changes) > 0) this.#sql.dropSteps.run(seq);
    return Number(changes) > 0;
  }

  release({ seq, owner, attempt }: Claim): boolean {
    return Number(this.#sql.release.run(seq, owner, attempt, ACCEPTED).changes) > 0;
  }

  takeOver(): readonly Held<M>[] {
    const { owner, now, sole = false } = this.#options;
    return this.#sql.open.all(owner, sole ? 1 : 0, now()).map((row) => {
      this.#sql.take.run(owner, this.#leaseUntil(), Number(row["seq"]));
      return this.#heldOf({ ...row, owner });
    });
  }

  finished(): readonly Finished[] {
    const { now, bounds } = this.#options;
    const since = now() - bounds.windowMs;
    return this.#sql.finished.all(since, bounds.rows, bounds.bytes).map(finishedOf);
  }

  renew(): void {
    // Where nobody else can be, a lease is only wear of the disk.
    if (!this.#options.sole) this.#sql.renew.run(this.#leaseUntil(), this.#options.owner);
  }

  purge(): void {
    const { now, bounds } = this.#options;
    this.#sql.dropOld.run(now() - bounds.windowMs);
    this.#sql.dropMany.run(bounds.rows, bounds.bytes);
  }

  #leaseUntil(): number {
    return this.#options.now() + this.#options.bounds.leaseMs;
  }

  #heldOf(row: Row): Held<M> {
    const steps = this.#sql.steps.all(Number(row["seq"]));
    return {
      claim: claimOf(row),
      ticket: parsed<Kept>(row["ticket"]),
      progress: steps.map(({ message }) => parsed<M>(message)),
      ...answerOf(row),
    };
  }

  /** An earlier request that this one is, unless it was answered too long ago or is tried anew. */
  #earlier({ name, mayRepeat, retriesFailed }: Ticket): Row | undefined {
    const row = mayRepeat ? this.#sql.byName.get(storable(name)) : undefined;
    if (row === undefined || row["state"] !== DELIVERED) return row;
    const { now, bounds } = this.#options;
    const isOld = Number(row["delivered_at"]) <= now() - bounds.windowMs;
    return isOld || (row["failed"] === 1 && retriesFailed) ? undefined : row;
  }
}

function statements(db: DatabaseSync) {
  const newest = `SELECT ${COLUMNS}, row_number() OVER latest AS place, sum(bytes) OVER latest AS held
    FROM requests WHERE state = ${DELIVERED}
    WINDOW latest AS (ORDER BY delivered_at DESC, seq DESC)`;
  return {
    byName: db.prepare(`SELECT ${COLUMNS} FROM requests WHERE name = ? ORDER BY seq DESC LIMIT 1`),
    insert: db.prepare(
      `INSERT INTO requests (name, ticket, state, owner, attempt, lease_until, bytes)
       VALUES (?, ?, ${ACCEPTED}, ?, 0, ?, ?)`,
    ),
    begin: db.prepare(
      `UPDATE requests SET attempt = attempt + 1, lease_until = ? WHERE ${IN_FORCE}`,
    ),
    inForce: db.prepare(`SELECT 1 FROM requests WHERE ${IN_FORCE}`),
    steps: db.prepare("SELECT message FROM steps WHERE seq = ? ORDER BY id"),
    addStep: db.prepare("INSERT INTO steps (seq, message) VALUES (?, ?)"),
    dropSteps: db.prepare("DELETE FROM steps WHERE seq = ?"),
    answer: db.prepare(
      `UPDATE requests SET state = ${ANSWERED}, answer = ?, failed = ?, bytes = bytes + ?
       WHERE ${IN_FORCE} RETURNING ticket`,
    ),
    deliver: db.prepare(
      `UPDATE requests SET state = ${DELIVERED}, delivered_at = ? WHERE ${IN_FORCE}`,
    ),
    release: db.prepare(
      `UPDATE requests SET owner = '', lease_until = 0, attempt = max(attempt - 1, 0)
       WHERE ${IN_FORCE}`,
    ),
    open: db.prepare(
      `SELECT ${COLUMNS} FROM requests WHERE state < ${DELIVERED} AND owner <> ?
       AND (? = 1 OR owner = '' OR lease_until <= ?) ORDER BY seq`,
    ),
    take: db.prepare("UPDATE requests SET owner = ?, lease_until = ? WHERE seq = ?"),
    finished: db.prepare(
      `SELECT * FROM (${newest}) WHERE delivered_at > ? AND place <= ? AND held <= ?
       ORDER BY delivered_at, seq`,
    ),
    renew: db.prepare(
      `UPDATE requests SET lease_until = ? WHERE state < ${DELIVERED} AND owner = ?`,
    ),
    dropOld: db.prepare(`DELETE FROM requests WHERE state = ${DELIVERED} AND delivered_at <= ?`),
    dropMany: db.prepare(
      `DELETE FROM requests WHERE seq IN (SELECT seq FROM (${newest}) WHERE place > ? OR held > ?)`,
    ),
  };
}

function claimOf(row: Row): Claim {
  return { seq: Number(row["seq"]), owner: String(row["owner"]), attempt: Number(row["attempt"]) };
}

function answerOf(row: Row): { readonly answer?: StoredAnswer } {
  return row["answer"] === null ? {} : { answer: parsed<StoredAnswer>(row["answer"]) };
}

function finishedOf(row: Row): Finished {
  return {
    name: parsed<Kept>(row["ticket"]).name,
    answer: parsed<StoredAnswer>(row["answer"]),
    at: Number(row["delivered_at"]),
  };
}
