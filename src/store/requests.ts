import type { DatabaseSync } from "node:sqlite";
import type {
  Acceptance,
  Admission,
  Claim,
  StoredRequest,
  AbandonedRequest,
  StoredAnswer,
  StoreOptions,
  NewRequest,
} from "./contract.ts";
import { parsed } from "./parsed.ts";
import { ACCEPTED, ANSWERED, DELIVERED, FAILED, REJECTED } from "./schema.ts";
import { storable } from "./storable.ts";

/** The requests of a database; every call is work inside a transaction. */
export interface Requests<M> {
  accept(ticket: NewRequest, admission?: Admission): Acceptance<M>;
  load(claim: Claim): StoredRequest<M> | undefined;
  begin(claim: Claim): Claim | undefined;
  record(claim: Claim, message: string): boolean;
  /** The conversation of the request, where the claim is in force. */
  answered(claim: Claim, answer: StoredAnswer): string | undefined;
  delivered(claim: Claim): boolean;
  release(claim: Claim): boolean;
  claimAbandoned(): readonly AbandonedRequest[];
  rejections(after: number, most: number): readonly StoredRequest<M>[];
  renew(): void;
  purge(): void;
}

type Row = Readonly<Record<string, unknown>>;
type Kept = StoredRequest<unknown>["request"];

/** What a row costs beside its texts. */
const ROW_BYTES = 512;
/** Old requests that one purge drops, so that the end of a flood's window holds nobody up for long. */
const DROPPED_AT_ONCE = 20_000;
/** Rejections between two looks at how many of them are remembered. */
const LOOK_EVERY = 1024;
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
  /** Rows and bytes that count against the bounds, at least; read again with each purge. */
  #held: Size | undefined;
  /** What was counted since may not have been written, or is not held any more. */
  #isEstimate = false;
  #rejected = 0;

  constructor(db: DatabaseSync, options: StoreOptions) {
    this.#sql = statements(db);
    this.#options = options;
  }

  accept(ticket: NewRequest, admission?: Admission): Acceptance<M> {
    const known = this.#earlier(ticket);
    if (known !== undefined) {
      if (known["state"] !== DELIVERED || admission === undefined) {
        return { is: "known", stored: this.#heldOf(known) };
      }
      const instead = admission.repeat();
      return instead === undefined
        ? { is: "repeated", stored: this.#again(known, ticket.address) }
        : this.#reject({ ...ticket, name: `again ${ticket.name}` }, instead);
    }
    const decision = admission?.admit(this.#hasRoom(ticket)) ?? "wait";
    if (typeof decision === "object") return this.#reject(ticket, decision);
    return this.#take(ticket, decision === "begin" ? 1 : 0);
  }

  load({ seq, owner, attempt }: Claim): StoredRequest<M> | undefined {
    const row = this.#sql.load.get(seq, owner, attempt);
    return row && this.#heldOf(row);
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
    const failed = answer.failure === undefined ? 0 : FAILED;
    const { answer: write } = this.#sql;
    const row = write.get(text, failed, text.length, seq, owner, attempt, ACCEPTED);
    if (row === undefined) return undefined;
    this.#count(0, text.length);
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

  claimAbandoned(): readonly AbandonedRequest[] {
    const { owner, now, sole = false } = this.#options;
    const which = [owner, sole ? 1 : 0, now()] as const;
    const left = this.#sql.open.all(...which).map((row) => leftOf({ ...row, owner }));
    this.#sql.take.run(owner, this.#leaseUntil(), ...which);
    return left;
  }

  rejections(after: number, most: number): readonly StoredRequest<M>[] {
    const rows = this.#sql.rejections.all(ANSWERED, after, this.#options.owner, most);
    return rows.map((row) => this.#heldOf(row));
  }

  renew(): void {
    // Where nobody else can be, a lease is only wear of the disk.
    if (!this.#options.sole) this.#sql.renew.run(this.#leaseUntil(), this.#options.owner);
  }

  purge(): void {
    const { now, bounds } = this.#options;
    this.#sql.dropOld.run(now() - bounds.windowMs, DROPPED_AT_ONCE);
    this.#dropRejections();
    this.#held = undefined;
  }

  #take(ticket: NewRequest, attempt: 0 | 1): Acceptance<M> {
    const { owner } = this.#options;
    const text = JSON.stringify(keptOf(ticket));
    const { insert } = this.#sql;
    const bytes = text.length + ROW_BYTES;
    const [name, lane] = [storable(ticket.name), storable(ticket.lane)];
    const until = this.#leaseUntil();
    const { lastInsertRowid } = insert.run(name, text, owner, attempt, until, bytes, lane);
    this.#count(1, bytes);
    return { is: "new", claim: { seq: Number(lastInsertRowid), owner, attempt } };
  }

  /** Its text is not kept: nobody runs it. */
  #reject(ticket: NewRequest, answer: StoredAnswer): Acceptance<M> {
    const { owner } = this.#options;
    const [name, lane] = [storable(ticket.name), storable(ticket.lane)];
    const [text, said] = [JSON.stringify({ ...keptOf(ticket), text: "" }), JSON.stringify(answer)];
    const bytes = text.length + said.length + ROW_BYTES;
    const { reject } = this.#sql;
    const until = this.#leaseUntil();
    const { lastInsertRowid } = reject.run(name, text, owner, until, bytes, lane, said);
    this.#rejected += 1;
    if (this.#rejected % LOOK_EVERY === 0) this.#dropRejections();
    return { is: "answered", claim: { seq: Number(lastInsertRowid), owner, attempt: 0 }, answer };
  }

  /** A delivered request is undelivered again, with another address; its window goes on. */
  #again(row: Row, address: string): StoredRequest<M> {
    const { owner } = this.#options;
    const kept = JSON.stringify({ ...parsed<Kept>(row["ticket"]), address });
    this.#sql.again.run(owner, this.#leaseUntil(), kept, Number(row["seq"]));
    return this.#heldOf({ ...row, owner, ticket: kept });
  }

  #dropRejections(): void {
    this.#sql.dropRejections.run(DELIVERED, this.#options.bounds.rejections);
  }

  #hasRoom({ lane, text }: NewRequest): boolean {
    const { rows, bytes, laneRows, laneBytes } = this.#options.bounds;
    const more = text.length + ROW_BYTES;
    const fits = (held: Size): boolean => held.rows < rows && held.bytes + more <= bytes;
    this.#held ??= this.#counted();
    if (!fits(this.#held) && this.#isEstimate) this.#held = this.#counted();
    if (!fits(this.#held)) return false;
    const own = sizeOf(this.#sql.heldOfLane.get(storable(lane)));
    return own.rows < laneRows && own.bytes + more <= laneBytes;
  }

  #counted(): Size {
    this.#isEstimate = false;
    return sizeOf(this.#sql.held.get());
  }

  #count(rows: number, bytes: number): void {
    if (this.#held === undefined) return;
    this.#isEstimate = true;
    this.#held.rows += rows;
    this.#held.bytes += bytes;
  }

  #leaseUntil(): number {
    return this.#options.now() + this.#options.bounds.leaseMs;
  }

  #heldOf(row: Row): StoredRequest<M> {
    const steps = row["state"] === ACCEPTED ? this.#sql.steps.all(Number(row["seq"])) : [];
    return {
      claim: claimOf(row),
      request: { ...parsed<Kept>(row["ticket"]) },
      progress: steps.map(({ message }) => parsed<M>(message)),
      ...answerOf(row),
    };
  }

  /** An earlier request that this one is, unless it was answered too long ago or is tried anew. */
  #earlier({ name, mayRepeat, retriesFailed }: NewRequest): Row | undefined {
    const row = mayRepeat ? this.#sql.byName.get(storable(name)) : undefined;
    if (row === undefined || row["state"] !== DELIVERED) return row;
    const { now, bounds } = this.#options;
    const isOld = Number(row["delivered_at"]) <= now() - bounds.windowMs;
    return isOld || (row["failed"] !== 0 && retriesFailed) ? undefined : row;
  }
}

function statements(db: DatabaseSync) {
  return { ...statementsOfOne(db), ...statementsOfMany(db) };
}

function statementsOfOne(db: DatabaseSync) {
  return {
    byName: db.prepare(`SELECT ${COLUMNS} FROM requests WHERE name = ? ORDER BY seq DESC LIMIT 1`),
    load: db.prepare(`SELECT ${COLUMNS} FROM requests WHERE seq = ? AND owner = ? AND attempt = ?`),
    insert: db.prepare(
      `INSERT INTO requests (name, ticket, state, owner, attempt, lease_until, bytes, lane)
       VALUES (?, ?, ${ACCEPTED}, ?, ?, ?, ?, ?)`,
    ),
    reject: db.prepare(
      `INSERT INTO requests (name, ticket, state, owner, attempt, lease_until, bytes, lane, answer, failed)
       VALUES (?, ?, ${ANSWERED}, ?, 0, ?, ?, ?, ?, ${REJECTED})`,
    ),
    again: db.prepare(
      `UPDATE requests SET state = ${ANSWERED}, owner = ?, lease_until = ?, ticket = ?
       WHERE seq = ?`,
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
    // The question is not needed any more: only the answer is given again, to who asks then.
    deliver: db.prepare(
      `UPDATE requests SET state = ${DELIVERED}, delivered_at = coalesce(delivered_at, ?),
         ticket = json_set(ticket, '$.text', '', '$.address', ''),
         bytes = ${ROW_BYTES} + length(json_set(ticket, '$.text', '', '$.address', '')) + length(answer)
       WHERE ${IN_FORCE}`,
    ),
    release: db.prepare(
      `UPDATE requests SET owner = '', lease_until = 0, attempt = max(attempt - 1, 0)
       WHERE ${IN_FORCE}`,
    ),
  };
}

function statementsOfMany(db: DatabaseSync) {
  const left = `state < ${DELIVERED} AND owner <> ? AND (? = 1 OR owner = '' OR lease_until <= ?)`;
  return {
    held: db.prepare(
      "SELECT count(*) AS rows, total(bytes) AS bytes FROM requests WHERE failed < 2",
    ),
    heldOfLane: db.prepare(
      "SELECT count(*) AS rows, total(bytes) AS bytes FROM requests WHERE lane = ? AND failed < 2",
    ),
    open: db.prepare(
      `SELECT seq, json_remove(ticket, '$.text') AS ticket, state, attempt FROM requests
       WHERE ${left} AND failed < ${REJECTED} ORDER BY seq`,
    ),
    take: db.prepare(`UPDATE requests SET owner = ?, lease_until = ? WHERE ${left}`),
    rejections: db.prepare(
      `SELECT ${COLUMNS} FROM requests
       WHERE failed = ${REJECTED} AND state = ? AND seq > ? AND owner = ? ORDER BY seq LIMIT ?`,
    ),
    renew: db.prepare(
      `UPDATE requests SET lease_until = ? WHERE state < ${DELIVERED} AND owner = ?`,
    ),
    dropOld: db.prepare(
      `DELETE FROM requests WHERE seq IN (
         SELECT seq FROM requests WHERE state = ${DELIVERED} AND delivered_at <= ?
         ORDER BY delivered_at LIMIT ?)`,
    ),
    dropRejections: db.prepare(
      `DELETE FROM requests WHERE seq IN (
         SELECT seq FROM requests WHERE failed = ${REJECTED} AND state = ?
         ORDER BY seq DESC LIMIT -1 OFFSET ?)`,
    ),
  };
}

function keptOf({ mayRepeat: _repeat, retriesFailed: _retry, ...kept }: NewRequest): Kept {
  return kept;
}

interface Size {
  rows: number;
  bytes: number;
}

function sizeOf(row: Row | undefined): Size {
  return { rows: Number(row?.["rows"] ?? 0), bytes: Number(row?.["bytes"] ?? 0) };
}

function claimOf(row: Row): Claim {
  return { seq: Number(row["seq"]), owner: String(row["owner"]), attempt: Number(row["attempt"]) };
}

function leftOf(row: Row): AbandonedRequest {
  const ticket = parsed<AbandonedRequest["request"]>(row["ticket"]);
  return { claim: claimOf(row), request: ticket, isAnswered: row["state"] === ANSWERED };
}

function answerOf(row: Row): { readonly answer?: StoredAnswer } {
  return row["answer"] === null ? {} : { answer: parsed<StoredAnswer>(row["answer"]) };
}
