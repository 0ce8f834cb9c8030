import type { DatabaseSync } from "node:sqlite";
import { contentLength, withoutContent } from "../../base/request-extras.ts";
import type {
  Acceptance,
  Admission,
  Claim,
  JoinedAddress,
  StoredRequest,
  AbandonedRequest,
  Ready,
  Stop,
  StoredAnswer,
  StoreOptions,
  NewRequest,
} from "../contract/store.ts";
import { HeldSizes, heldOf } from "../held-sizes.ts";
import { fromJson, keyOf } from "../json.ts";
import { ACCEPTED, ANSWERED, DELIVERED, FAILED, MAX_JOINED, REJECTED } from "../states.ts";
import { lazyStatements } from "./database.ts";
import type { Statements } from "./database.ts";
import { RowNumbers } from "./row-numbers.ts";

type Row = Readonly<Record<string, unknown>>;
type RequestFacts = StoredRequest<unknown>["request"];

/** What is not kept of a delivered request. */
const DELIVERED_FACTS = { text: "", address: "" };
/** Bytes that a row costs besides its texts. */
const ROW_BYTES = 512;
/** Old requests that one purge deletes: the event loop waits for it, at the end of a flood's window, too. */
const PURGED_AT_ONCE = 20_000;
/** Rejections after which those over the bound are deleted. */
const DROP_EVERY = 1024;
/** The claim is in force: same owner, same attempt, and the request is in the state that the write expects. */
const IN_FORCE = "seq = ? AND owner = ? AND attempt = ? AND state = ?";
const COLUMNS = "seq, name, lane, ticket, state, owner, attempt, answer, failed, delivered_at";

/** The requests of a database, for one owner; every call is work inside a transaction. */
export class Requests<M> {
  readonly #sql: Statements<keyof typeof SQL>;
  readonly #options: StoreOptions;
  readonly numbers: RowNumbers;
  readonly #held: HeldSizes;
  #rejected = 0;

  constructor(db: DatabaseSync, options: StoreOptions) {
    this.#sql = lazyStatements(db, SQL);
    this.#options = options;
    this.#held = new HeldSizes(options.bounds);
    this.numbers = new RowNumbers(db, "requests");
  }

  accept(request: NewRequest, admission?: Admission): Acceptance<M> {
    const earlier = this.#earlier(request);
    if (earlier !== undefined) {
      if (earlier["state"] !== DELIVERED || admission?.repeat === undefined) {
        return { is: "known", stored: this.#storedOf(earlier) };
      }
      const instead = admission.repeat();
      return instead === undefined
        ? { is: "repeated", stored: this.#redeliver(earlier, request.address) }
        : this.#reject({ ...request, name: `again ${request.name}` }, instead);
    }
    const decision = admission?.admit(this.#hasRoom(request)) ?? "wait";
    if (decision === "refuse") return { is: "refused" };
    if (typeof decision === "object") return this.#answerNow(request, decision);
    return this.#take(request, decision === "begin" ? 1 : 0);
  }

  #answerNow(request: NewRequest, decision: StoredAnswer | Stop | Ready): Acceptance<M> {
    if ("ready" in decision) return this.#store(request, decision.ready, 0);
    if (!("stop" in decision)) return this.#reject(request, decision);
    this.#sql("cancel").run(keyOf(request.lane));
    return this.#reject(request, decision.stop);
  }

  find(named: Pick<NewRequest, "name" | "lane">): StoredRequest<M> | undefined {
    const row = this.#earlier({ ...named, mayRepeat: true, retriesFailed: false });
    return row && this.#storedOf(row);
  }

  load({ seq, owner, attempt }: Claim): StoredRequest<M> | undefined {
    const row = this.#sql("load").get(seq, owner, attempt);
    return row && this.#storedOf(row);
  }

  join({ seq }: Pick<Claim, "seq">, to: JoinedAddress): boolean {
    const row = this.#sql("undelivered").get(seq);
    if (row === undefined) return false;
    const joined = fromJson<readonly JoinedAddress[]>(row["joined"]);
    if (joined.some(({ address }) => address === to.address)) return true;
    const text = JSON.stringify([...joined, to].slice(-MAX_JOINED));
    this.#sql("join").run(text, seq);
    return true;
  }

  begin({ seq, owner, attempt }: Claim): Claim | undefined {
    const { changes } = this.#sql("begin").run(this.#leaseUntil(), seq, owner, attempt, ACCEPTED);
    return Number(changes) === 0 ? undefined : { seq, owner, attempt: attempt + 1 };
  }

  record({ seq, owner, attempt }: Claim, message: string): boolean {
    const { changes } = this.#sql("addStep").run(message, seq, owner, attempt, ACCEPTED);
    return Number(changes) > 0;
  }

  /** Returns the name of the request's conversation; undefined if the claim is stale. */
  answered({ seq, owner, attempt }: Claim, answer: StoredAnswer): string | undefined {
    const text = JSON.stringify(answer);
    const failed = answer.failure === undefined ? 0 : FAILED;
    const row = this.#sql("answer").get(text, text.length, seq, owner, attempt, ACCEPTED);
    if (row === undefined) return undefined;
    if (row["failed"] !== failed) this.#sql("setFailed").run(failed, seq);
    const { conversation, lane } = requestOf(row);
    this.#held.count(keyOf(lane), 0, text.length);
    return conversation ?? lane;
  }

  delivered({ seq, owner, attempt }: Claim): boolean {
    const now = this.#options.now();
    const row = this.#sql("deliver").get(now, seq, owner, attempt, ANSWERED);
    if (row === undefined) return false;
    // A rejection took no room.
    if (row["failed"] !== REJECTED) this.#held.count(String(row["lane"]), 0, 0);
    this.#sql("dropSteps").run(seq);
    return true;
  }

  release({ seq, owner, attempt }: Claim): boolean {
    return Number(this.#sql("release").run(seq, owner, attempt, ACCEPTED).changes) > 0;
  }

  claimAbandoned(): readonly AbandonedRequest[] {
    const { owner, now, sole = false } = this.#options;
    const which = [owner, sole ? 1 : 0, now()] as const;
    const abandoned = this.#sql("open")
      .all(...which)
      .map((row) => abandonedOf({ ...row, owner }));
    this.#sql("take").run(owner, this.#leaseUntil(), ...which);
    return abandoned;
  }

  rejections(after: number, most: number): readonly StoredRequest<M>[] {
    const rows = this.#sql("rejections").all(ANSWERED, after, this.#options.owner, most);
    return rows.map((row) => this.#storedOf(row));
  }

  renew(): boolean {
    // Without other owners a lease only wears the disk.
    if (!this.#options.sole) this.#sql("renew").run(this.#leaseUntil(), this.#options.owner);
    return true;
  }

  purge(): void {
    const { now, bounds } = this.#options;
    this.#sql("dropOld").run(now() - bounds.windowMs, PURGED_AT_ONCE);
    this.#dropRejections();
    this.#held.mayBeLess();
  }

  #take(request: NewRequest, attempt: 0 | 1): Acceptance<M> {
    const { owner } = this.#options;
    const { extras, ...plain } = request;
    // Images have a row of their own: SQLite writes and parses the whole ticket with each change of its row.
    const large = extras?.images === undefined ? "" : JSON.stringify({ extras });
    const text = ticketOf(large === "" ? request : plain);
    const insert = this.#sql("insert");
    const [name, lane] = [keyOf(request.name), keyOf(request.lane)];
    const bytes = name.length + lane.length + text.length + large.length + ROW_BYTES;
    const until = this.#leaseUntil();
    const seq = this.numbers.next();
    insert.run(seq, name, text, owner, attempt, until, bytes, lane, request.knownUntil ?? null);
    if (large !== "") this.#sql("addExtras").run(seq, large);
    this.#held.count(lane, 1, bytes);
    return { is: "new", claim: { seq, owner, attempt } };
  }

  #reject(request: NewRequest, answer: StoredAnswer): Acceptance<M> {
    const rejection = this.#store(request, answer, REJECTED);
    this.#rejected += 1;
    if (this.#rejected % DROP_EVERY === 0) this.#dropRejections();
    return rejection;
  }

  /** Stores a request that does not run, without its text. A rejection takes no room. */
  #store(request: NewRequest, answer: StoredAnswer, failed: 0 | typeof REJECTED): Acceptance<M> {
    const { owner } = this.#options;
    const [name, lane] = [keyOf(request.name), keyOf(request.lane)];
    const text = ticketOf(withoutContent(request));
    const answerText = JSON.stringify(answer);
    const bytes = name.length + lane.length + text.length + answerText.length + ROW_BYTES;
    const insert = this.#sql("insertAnswered");
    const known = request.knownUntil ?? null;
    const until = this.#leaseUntil();
    const seq = this.numbers.next();
    insert.run(seq, name, text, owner, until, bytes, lane, answerText, failed, known);
    if (failed === 0) this.#held.count(lane, 1, bytes);
    return { is: "answered", claim: { seq, owner, attempt: 0 }, answer };
  }

  /** Makes a delivered request undelivered, with another address; its window does not begin again. */
  #redeliver(row: Row, address: string): StoredRequest<M> {
    const { owner } = this.#options;
    const text = JSON.stringify({ ...fromJson<RequestFacts>(row["ticket"]), address });
    this.#sql("redeliver").run(owner, this.#leaseUntil(), text, Number(row["seq"]));
    return this.#storedOf({ ...row, owner, ticket: text });
  }

  #dropRejections(): void {
    this.#sql("dropRejections").run(DELIVERED, this.#options.bounds.rejections);
  }

  #hasRoom(request: NewRequest): boolean {
    const lane = keyOf(request.lane);
    const more = { rows: 1, bytes: contentLength(request) + ROW_BYTES };
    const held = this.#held;
    held.all ??= { ...heldOf(this.#sql("most").get()), isRead: false };
    if (held.needsAll(more)) held.all = heldOf(this.#sql("held").get());
    const known = held.needsLane(lane, more) ? undefined : held.lane(lane);
    held.setLanes(new Map([[lane, known ?? heldOf(this.#sql("heldOfLane").get(lane))]]));
    return held.fits(lane, more);
  }

  #leaseUntil(): number {
    return this.#options.now() + this.#options.bounds.leaseMs;
  }

  #storedOf(row: Row): StoredRequest<M> {
    const rows = row["state"] === ACCEPTED ? this.#sql("steps").all(Number(row["seq"])) : [];
    const { extras, steps } = partsOf(rows);
    return {
      claim: claimOf(row),
      request: { ...DELIVERED_FACTS, ...requestOf(row), ...extras },
      progress: steps.map(({ message }) => fromJson<M>(message)),
      ...(row["answer"] !== null && { answer: fromJson<StoredAnswer>(row["answer"]) }),
    };
  }

  /** The earlier request that this one repeats, unless it was answered too long ago or is to run again. */
  #earlier({
    name,
    lane,
    mayRepeat,
    retriesFailed,
    knownUntil,
  }: Pick<NewRequest, "name" | "lane" | "mayRepeat" | "retriesFailed" | "knownUntil">):
    | Row
    | undefined {
    const row = mayRepeat ? this.#sql("byName").get(keyOf(lane), keyOf(name)) : undefined;
    if (row === undefined || row["state"] !== DELIVERED) return row;
    const { now, bounds } = this.#options;
    const isOld =
      knownUntil === undefined && Number(row["delivered_at"]) <= now() - bounds.windowMs;
    return isOld || (row["failed"] !== 0 && retriesFailed) ? undefined : row;
  }
}

/** Reads two indexes and no row. */
const UNDELIVERED = `SELECT seq FROM requests INDEXED BY requests_by_lane WHERE failed < ${REJECTED}
  EXCEPT SELECT seq FROM requests INDEXED BY requests_delivered WHERE state = ${DELIVERED}`;
const UNDELIVERED_REJECTIONS = `SELECT seq FROM requests WHERE failed = ${REJECTED} AND state < ${DELIVERED}`;
const ABANDONED = "owner <> ? AND (? = 1 OR owner = '' OR lease_until <= ?)";
/** Deletes the requests of a conversation that only stay for duplicates. */
export const DROP_ANSWERED = `DELETE FROM requests WHERE state = ${DELIVERED}
  AND coalesce(json_extract(ticket, '$.conversation'), json_extract(ticket, '$.lane'), lane) = ?`;

const SIZE = "SELECT count(*) AS rows, total(bytes) AS bytes FROM requests";

/** The ticket without what only its turn and its delivery need. */
const DELIVERED_TICKET = "json_remove(ticket, '$.text', '$.extras', '$.address', '$.joined')";
const SQL = {
  byName: `SELECT ${COLUMNS} FROM requests WHERE lane = ? AND failed IN (0, ${FAILED}, ${REJECTED}) AND name = ?
       ORDER BY seq DESC LIMIT 1`,
  load: `SELECT ${COLUMNS} FROM requests WHERE seq = ? AND owner = ? AND attempt = ?`,
  // A window that begins later than the delivery is written at once: the delivery leaves it as it is.
  insert: `INSERT INTO requests (seq, name, ticket, state, owner, attempt, lease_until, bytes, lane, delivered_at)
       VALUES (?, ?, ?, ${ACCEPTED}, ?, ?, ?, ?, ?, ?)`,
  insertAnswered: `INSERT INTO requests (seq, name, ticket, state, owner, attempt, lease_until, bytes, lane, answer,
         failed, delivered_at)
       VALUES (?, ?, ?, ${ANSWERED}, ?, 0, ?, ?, ?, ?, ?, ?)`,
  redeliver: `UPDATE requests SET state = ${ANSWERED}, owner = ?, lease_until = ?, ticket = ?
       WHERE seq = ?`,
  // What has no answer yet has no other use for this column.
  cancel: `UPDATE requests SET failed = ${FAILED} WHERE lane = ? AND failed = 0 AND state = ${ACCEPTED}`,
  undelivered: `SELECT coalesce(json_extract(ticket, '$.joined'), '[]') AS joined FROM requests
       WHERE seq = ? AND state < ${DELIVERED}`,
  join: "UPDATE requests SET ticket = json_set(ticket, '$.joined', json(?)) WHERE seq = ?",
  begin: `UPDATE requests SET attempt = attempt + 1, lease_until = ? WHERE ${IN_FORCE}`,
  steps: "SELECT message FROM steps WHERE seq = ? ORDER BY id",
  addStep: `INSERT INTO steps (seq, message) SELECT seq, ? FROM requests WHERE ${IN_FORCE}`,
  addExtras: "INSERT INTO steps (seq, message) VALUES (?, ?)",
  dropSteps: "DELETE FROM steps WHERE seq = ?",
  // Without `failed`: to set it writes to the index by lane, too.
  answer: `UPDATE requests SET state = ${ANSWERED}, answer = ?, bytes = bytes + ?
       WHERE ${IN_FORCE} RETURNING name, lane, ticket, failed`,
  setFailed: "UPDATE requests SET failed = ? WHERE seq = ?",
  // Only the answer is delivered again, to a new address.
  deliver: `UPDATE requests SET state = ${DELIVERED}, delivered_at = coalesce(delivered_at, ?),
         ticket = ${DELIVERED_TICKET},
         bytes = ${ROW_BYTES} + length(name) + length(lane) + length(${DELIVERED_TICKET}) + length(answer)
       WHERE ${IN_FORCE} RETURNING lane, failed`,
  release: `UPDATE requests SET owner = '', lease_until = 0, attempt = max(attempt - 1, 0)
       WHERE ${IN_FORCE}`,
  // Without reading the rows: numbers may be missing, and other tables are in the file, too.
  most: `SELECT rows, rows * ${ROW_BYTES} + page_count * page_size AS bytes
       FROM (SELECT coalesce((SELECT max(seq) FROM requests) - (SELECT min(seq) FROM requests) + 1, 0) AS rows),
         pragma_page_count, pragma_page_size`,
  held: `${SIZE} WHERE failed < ${REJECTED}`,
  heldOfLane: `${SIZE} WHERE lane = ? AND failed < ${REJECTED}`,
  open: `SELECT seq, name, lane, json_remove(ticket, '$.text', '$.extras') AS ticket, state, attempt, failed FROM requests
       WHERE seq IN (${UNDELIVERED}) AND ${ABANDONED} ORDER BY seq`,
  take: `UPDATE requests SET owner = ?, lease_until = ?
       WHERE seq IN (${UNDELIVERED} UNION ALL ${UNDELIVERED_REJECTIONS}) AND ${ABANDONED}`,
  rejections: `SELECT ${COLUMNS} FROM requests
       WHERE failed = ${REJECTED} AND state = ? AND seq > ? AND owner = ? ORDER BY seq LIMIT ?`,
  renew: `UPDATE requests SET lease_until = ?
       WHERE seq IN (${UNDELIVERED} UNION ALL ${UNDELIVERED_REJECTIONS}) AND owner = ?`,
  dropOld: `DELETE FROM requests WHERE seq IN (
         SELECT seq FROM requests WHERE state = ${DELIVERED} AND delivered_at <= ?
         ORDER BY delivered_at LIMIT ?)`,
  dropRejections: `DELETE FROM requests WHERE seq IN (
         SELECT seq FROM requests WHERE failed = ${REJECTED} AND state = ?
         ORDER BY seq DESC LIMIT -1 OFFSET ?)`,
};

/** The steps of a request, after its extras if there are images among them: then the first row holds them. */
function partsOf(rows: readonly Row[]) {
  const [first, ...others] = rows;
  const message = first?.["message"];
  if (typeof message !== "string" || !message.startsWith('{"extras":')) return { steps: rows };
  return { extras: fromJson<Pick<NewRequest, "extras">>(message), steps: others };
}

function claimOf(row: Row): Claim {
  return { seq: Number(row["seq"]), owner: String(row["owner"]), attempt: Number(row["attempt"]) };
}

/** The JSON of what other columns do not hold: of the name and the lane only what is no key. */
function ticketOf(request: NewRequest): string {
  const { name, lane } = request;
  return JSON.stringify({
    ...request,
    name: keyOf(name) === name ? undefined : name,
    lane: keyOf(lane) === lane ? undefined : lane,
    // Only the acceptance needs these.
    mayRepeat: undefined,
    knownUntil: undefined,
    retriesFailed: undefined,
  });
}

/** What a row of `COLUMNS` holds of the request; of a delivered one neither its text nor its address. */
function requestOf(row: Row): RequestFacts {
  const [name, lane] = [String(row["name"]), String(row["lane"])];
  return { name, lane, ...fromJson<Omit<RequestFacts, "name" | "lane">>(row["ticket"]) };
}

function abandonedOf(row: Row): AbandonedRequest {
  const { joined, ...request }: RequestFacts & Pick<AbandonedRequest, "joined"> = requestOf(row);
  const isAnswered = row["state"] === ANSWERED;
  return {
    claim: claimOf(row),
    request,
    isAnswered,
    isCancelled: !isAnswered && row["failed"] === FAILED,
    ...(joined && { joined }),
  };
}
