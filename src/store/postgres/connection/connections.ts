import type { PostgresAddress } from "../../../base/contract.ts";
import { codeOf, Failure } from "../../../base/failure.ts";
import { failureOf, isRefusal, outcomeOf, type Outcome } from "../failures.ts";
import { ConnectionError, DeadlineError } from "./connection-errors.ts";
import { type Row, Session, type Value } from "./session.ts";

/** Runs one statement; those of one turn of the event loop are sent together. */
export type Query = (text: string, values?: readonly Value[]) => Promise<readonly Row[]>;

/** A transaction that is under way. */
export interface Transaction {
  readonly query: Query;
  /** Runs work that needs several statements, after all such work of this transaction that was asked for before. */
  inOrder<T>(work: () => Promise<T>): Promise<T>;
}

export interface ConnectionsOptions {
  readonly address: PostgresAddress;
  /** Names this process among those that write. */
  readonly writer: string;
  /** Called with what other processes `NOTIFY`, as long as a connection is there. */
  readonly onNotify?: (payload: string) => void;
  /** Milliseconds for a transaction or a read; for what a busy server does in seconds. */
  readonly deadlineMs?: number;
}

export interface WriteOptions {
  /** Identifies the transaction to `wasWritten`. */
  readonly batch: string;
  /** It has to survive a loss of power when it is done; else only with the next one that has to. */
  readonly isDurable: boolean;
}

/** Thrown for a transaction that failed. */
export class TransactionError extends Error {
  override readonly name = "TransactionError";
  readonly outcome: Outcome;
  readonly failure: Failure;

  constructor(outcome: Outcome, failure: Failure) {
    super(failure.why ?? failure.message);
    this.outcome = outcome;
    this.failure = failure;
  }
}

const DEADLINE_MS = 10_000;
/** Milliseconds, at most, without another attempt after one that reached no host. */
const PAUSE_MS = 1000;
/** Times that a transaction is tried whose conflict with another one ended it. */
const TRIES = 4;
const READERS = 2;
/** Milliseconds after which the server ends a transaction whose process stands still: others wait for it. */
const FROZEN_MS = 3000;

/** The connections of one process to its database: one that writes, and few that read. They come back by themselves. */
export class Connections {
  readonly #options: ConnectionsOptions;
  readonly #deadlineMs: number;
  #writer: Session | undefined;
  readonly #readers: (Promise<Session> | undefined)[] = Array.from({ length: READERS });
  #nextReader = 0;
  #prepares = true;
  /** The host that was reached last. */
  #host = 0;
  /** No host was reached; until then none is tried. */
  #pause: { readonly until: number; readonly failure: Failure } | undefined;
  #isClosed = false;

  constructor(options: ConnectionsOptions) {
    this.#options = options;
    this.#deadlineMs = options.deadlineMs ?? DEADLINE_MS;
  }

  /**
   * Runs work as one transaction, one at a time. It may run again after it was rolled back. Throws a
   * `TransactionError`.
   */
  async write<T>(work: (tx: Transaction) => Promise<T>, options: WriteOptions): Promise<T> {
    for (let tries = 1; ; tries += 1) {
      const former = this.#writer;
      const progress = { isCommitSent: false };
      let session: Session | undefined;
      try {
        session = await this.#writing();
        return await this.#transact(session, progress, work, options);
      } catch (error) {
        const outcome = outcomeOf(error, progress.isCommitSent);
        const wasIdle = session === former;
        if (this.#maySucceedNow(outcome, error, { session, wasIdle, tries })) continue;
        if (codeOf(error) === READ_ONLY) session?.close();
        const host = session?.host.host;
        throw new TransactionError(outcome, failureOf(error, outcome, { ...this.#options, host }));
      }
    }
  }

  #maySucceedNow(
    outcome: Outcome,
    error: unknown,
    facts: {
      readonly session: Session | undefined;
      readonly wasIdle: boolean;
      readonly tries: number;
    },
  ): boolean {
    if (outcome === "unprepared" && this.#prepares) {
      this.#prepareNothing();
      return true;
    }
    if (outcome === "repeat") return facts.tries < TRIES;
    // A connection that was idle can be gone without a word.
    const wasGone = facts.wasIdle && facts.session?.isLost === true;
    return outcome === "busy" && wasGone && !(error instanceof DeadlineError);
  }

  /** Whether a transaction of that batch is written, once its connection is gone; throws a `TransactionError` if that cannot be found out now. */
  wasWritten(batch: string): Promise<boolean> {
    // The row is locked until the transaction that was cut off has ended.
    const options = { batch: "", isDurable: false };
    return this.write(async (tx) => {
      const [row] = await tx.query(LAST, [this.#options.writer]);
      return row?.["batch"] === batch;
    }, options);
  }

  /** Runs one statement that only reads. Throws a `Failure`. */
  async read(text: string, values: readonly Value[] = []): Promise<readonly Row[]> {
    for (let tries = 1; ; tries += 1) {
      let session: Session | undefined;
      try {
        session = await this.#reading();
        return await this.#inTime(session, session.query(text, values));
      } catch (error) {
        const outcome = outcomeOf(error, false);
        if (this.#maySucceedNow(outcome, error, { session, wasIdle: tries <= READERS, tries }))
          continue;
        throw failureOf(error, outcome, { ...this.#options, host: session?.host.host });
      }
    }
  }

  /** Opens the first connection and prepares the database. Throws a `Failure`: `refused`, `unreachable` or `config`. */
  async open(prepare: (session: Session) => Promise<void>): Promise<void> {
    try {
      const session = await this.#writing();
      // Others may prepare the same database.
      await this.#inTime(session, prepare(session), DEADLINE_MS);
    } catch (error) {
      const { message, why, remedy } = failureOf(error, "busy", this.#options);
      if (error instanceof Failure && error.code === "config") throw error;
      const isRefused = error instanceof Failure ? error.code === "refused" : isRefusal(error);
      throw new Failure(
        isRefused ? "refused" : "unreachable",
        isRefused ? "the database refuses the connection" : "the database cannot be reached",
        { why: why ?? message, remedy },
      );
    }
  }

  /** Ends all connections; what runs on them fails. */
  close(): void {
    this.#isClosed = true;
    this.#writer?.close(new ConnectionError("the store was closed"));
    for (const reader of this.#readers) reader?.then((session) => session.close()).catch(() => {});
  }

  async #transact<T>(
    session: Session,
    progress: { isCommitSent: boolean },
    work: (tx: Transaction) => Promise<T>,
    { batch, isDurable }: WriteOptions,
  ): Promise<T> {
    const transaction = async (): Promise<T> => {
      const begun = session.script(`begin; set local statement_timeout = ${this.#deadlineMs};
        set local lock_timeout = ${Math.ceil(this.#deadlineMs / 2)};
        set local idle_in_transaction_session_timeout = ${Math.min(FROZEN_MS, this.#deadlineMs)};
        ${USE_INDEXES}; ${isDurable ? "" : "set local synchronous_commit = off"}`);
      const marked = batch === "" ? undefined : session.query(MARK, [this.#options.writer, batch]);
      const done = work(transactionOn(session));
      const settled = await Promise.allSettled([begun, marked, done]);
      const failed = settled.find((each) => each.status === "rejected");
      if (failed !== undefined) {
        const isUnprepared = outcomeOf(failed.reason, false) === "unprepared";
        // After that the library waits for ever for what comes next.
        if (isUnprepared) session.close(new ConnectionError("prepared statements are missing"));
        else await session.script("rollback");
        throw failed.reason;
      }
      progress.isCommitSent = true;
      // COMMIT may wait for a standby: what ends that wait makes it look done.
      await session.script("set local statement_timeout = 0; commit");
      return done;
    };
    return this.#inTime(session, transaction());
  }

  /** What a connection does not answer in time is over, and so is the connection. */
  async #inTime<T>(session: Session, work: Promise<T>, ms = this.#deadlineMs): Promise<T> {
    const timer = setTimeout(() => {
      session.close(new DeadlineError(ms));
    }, ms);
    try {
      return await work;
    } finally {
      clearTimeout(timer);
    }
  }

  async #writing(): Promise<Session> {
    if (this.#writer === undefined || this.#writer.isLost) {
      this.#writer = await this.#connect();
      // Where a pooler is between, nothing is heard: it is a hint.
      if (this.#options.onNotify !== undefined) await this.#writer.script("LISTEN picoclaw");
    }
    return this.#writer;
  }

  /** Readers take turns; each has its statements answered in order. */
  async #reading(): Promise<Session> {
    const index = this.#nextReader;
    this.#nextReader = (index + 1) % READERS;
    const former = this.#readers[index];
    const opening = (async (): Promise<Session> => {
      const opened = await former?.catch(() => undefined);
      return opened === undefined || opened.isLost ? this.#connect() : opened;
    })();
    this.#readers[index] = opening;
    return opening;
  }

  /** A connection to the first host that is reached and takes writes, beginning with the one of the last time. */
  async #connect(): Promise<Session> {
    if (this.#isClosed) throw storeClosed();
    if (this.#pause !== undefined && performance.now() < this.#pause.until)
      throw this.#pause.failure;
    const { address, onNotify } = this.#options;
    let first: unknown;
    for (let tries = 0; tries < address.hosts.length; tries += 1) {
      const index = (this.#host + tries) % address.hosts.length;
      const host = address.hosts[index];
      if (host === undefined) continue;
      try {
        const session = await Session.open({ address, host, onNotify });
        if (this.#isClosed) {
          session.close();
          throw storeClosed();
        }
        if (!this.#prepares) session.prepareEachTime();
        this.#host = index;
        this.#pause = undefined;
        return session;
      } catch (error) {
        first ??= error;
      }
    }
    // Many processes lose one database at the same moment.
    const until = performance.now() + PAUSE_MS * (0.2 + 0.8 * Math.random());
    const failure = failureOf(first, "busy", this.#options);
    this.#pause = { until, failure };
    throw first instanceof Error ? first : failure;
  }

  /** A pooler gives each transaction another connection, which does not have what was prepared. */
  #prepareNothing(): void {
    this.#prepares = false;
    this.#writer?.prepareEachTime();
    for (const reader of this.#readers)
      reader?.then((session) => session.prepareEachTime()).catch(() => {});
  }
}

/**
 * Statements are prepared once, and the tables may have been small then. Without a bitmap an index has the first of many
 * rows at once. Without the last one a plan that has to read a whole table all the same would be compiled for 0.2 s.
 */
const USE_INDEXES =
  "set local enable_seqscan = off; set local enable_bitmapscan = off; set local jit = off";

function storeClosed(): Failure {
  return new Failure("busy", "the store is closed");
}

/** Waits for the first transaction, too, of which the row cannot be seen yet. */
const LAST = `INSERT INTO picoclaw.writers AS w (name, batch, at) VALUES ($1, '', now())
  ON CONFLICT (name) DO UPDATE SET at = w.at RETURNING batch`;
const MARK = `INSERT INTO picoclaw.writers (name, batch, at) VALUES ($1, $2, now())
  ON CONFLICT (name) DO UPDATE SET batch = excluded.batch, at = excluded.at`;

function transactionOn(session: Session): Transaction {
  let last: Promise<unknown> = Promise.resolve();
  return {
    query: (text, values) => session.query(text, values),
    inOrder(work) {
      const done = last.then(work);
      last = done.catch(() => {});
      return done;
    },
  };
}

/** SQLSTATE read_only_sql_transaction. */
const READ_ONLY = "25006";
