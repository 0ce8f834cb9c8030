import type { DatabaseSync } from "node:sqlite";
import { Failure, messageOf } from "../base/failure.ts";
import { isDamage } from "./sqlite/database.ts";
import { openLogSync } from "./sqlite/log-sync.ts";
import type { LogSync } from "./sqlite/log-sync.ts";

/** What the work survives once it is done: a loss of power, or only the end of the process. */
export type Survives = "power" | "process";

/** Called after each transaction with the number of its calls, what it survives, and the milliseconds that it took. */
export type OnCommit = (calls: number, survives: Survives, ms: number) => void;

interface Waiting {
  readonly survives: Survives;
  /** It only reads, so a transaction that fails does not concern it. */
  readonly isRead: boolean;
  readonly work: () => unknown;
  result?: unknown;
  resolve(result: unknown): void;
  reject(failure: Failure): void;
}

/** Calls in one transaction: the event loop waits for it. */
const AT_ONCE = 512;
const RETRY_AFTER_S = 30;

export interface GroupCommitOptions {
  /** That of the database's write-ahead log, unless another is given. Undefined if each commit is on the disk when it returns. */
  readonly sync?: LogSync | undefined;
  /** Called after each transaction that wrote nothing. */
  readonly onRollback?: () => void;
  readonly onCommit?: OnCommit | undefined;
}

/** A transaction that is in the write-ahead log, and does not survive a loss of power yet. */
interface Unsynced {
  readonly batch: readonly Waiting[];
  /** By `performance.now()`: when it began. */
  readonly begun: number;
  /** Why it could not be synced; null while that is under way. */
  error: Error | null;
}

/**
 * Work on a database that shares its commits: calls that are made in one go, or while the disk is busy with
 * earlier ones, are one transaction and one fsync. The event loop does not wait for that. All takes effect in
 * the order of the calls.
 */
export class GroupCommit {
  readonly #db: DatabaseSync;
  readonly #file: string;
  readonly #sync: LogSync | undefined;
  readonly #onRollback: () => void;
  readonly #onCommit: OnCommit | undefined;
  #waiting: Waiting[] = [];
  #unsynced: Unsynced | undefined;
  #timer: ReturnType<typeof setImmediate> | undefined;
  #isClosed = false;

  constructor(db: DatabaseSync, file: string, options: GroupCommitOptions = {}) {
    this.#db = db;
    this.#file = file;
    this.#sync = "sync" in options ? options.sync : openLogSync(db, file);
    this.#onRollback = options.onRollback ?? (() => {});
    this.#onCommit = options.onCommit;
    // A commit is in the log then, but not on the disk.
    if (this.#sync !== undefined) db.exec("PRAGMA synchronous = NORMAL");
  }

  /**
   * Resolves with the result of the work when it is written. Rejects with a `Failure` of code `busy` when
   * nothing could be written; then nothing of it was. Work that only has to survive the process costs no
   * fsync. It survives a loss of power with the next work that does.
   */
  readonly run = <T>(work: () => T, survives: Survives = "power", isRead = false): Promise<T> => {
    if (this.#isClosed) return Promise.reject(storeClosed());
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({ survives, isRead, work, resolve, reject });
      this.#timer ??= setImmediate(this.#flush);
    });
  };

  /**
   * The same for work that only reads: it runs at once and without a transaction, unless earlier calls
   * wait for theirs, whose effects it has to see. If those cannot be written, it reads what there is.
   */
  readonly read = <T>(work: () => T): Promise<T> => {
    if (this.#isClosed || this.#waiting.length > 0) return this.run(work, "process", true);
    try {
      return Promise.resolve(work());
    } catch (error) {
      return Promise.reject(unwritable(this.#file, error));
    }
  };

  /** Does what was asked for so far; later calls reject. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearImmediate(this.#timer);
    if (this.#unsynced !== undefined) this.#finishSync(this.#unsynced);
    while (this.#waiting.length > 0) this.#flush();
    this.#sync?.close();
  }

  /** Does what waits in one transaction, unless the former one is not on the disk yet. */
  readonly #flush = (): void => {
    this.#timer = undefined;
    if (this.#unsynced?.error === null || this.#waiting.length === 0) return;
    const survives = this.#waiting.some((one) => one.survives === "power") ? "power" : "process";
    const batch: Waiting[] = [];
    const begun = performance.now();
    const failure = this.#transact(batch, survives);
    this.#waiting = this.#waiting.slice(batch.length);
    if (failure !== undefined || survives === "process" || this.#sync === undefined) {
      this.#settle({ batch, begun }, survives, failure);
      return;
    }
    const unsynced: Unsynced = { batch, begun, error: null };
    this.#unsynced = unsynced;
    if (this.#isClosed) this.#finishSync(unsynced);
    else this.#sync.start(batch.length, (error) => this.#synced(unsynced, error));
  };

  /** Adds what waits to the batch and commits it; returns the failure if nothing of it is written. */
  #transact(batch: Waiting[], survives: Survives): Failure | undefined {
    try {
      if (this.#unsynced !== undefined) this.#checkpoint(this.#unsynced);
      this.#db.exec("BEGIN IMMEDIATE");
      // Work that is asked for while the transaction runs belongs to it.
      for (let one = this.#take(batch, survives); one; one = this.#take(batch, survives))
        one.result = one.work();
      this.#db.exec("COMMIT");
      return undefined;
    } catch (error) {
      rollBack(this.#db);
      this.#onRollback();
      // The rest of the batch would fail in the same way, one after the other.
      while (this.#take(batch, survives)) continue;
      return unwritable(this.#file, error);
    }
  }

  #synced(unsynced: Unsynced, error: Error | null): void {
    // `close` was faster.
    if (this.#unsynced !== unsynced) return;
    if (error === null) {
      this.#unsynced = undefined;
      this.#settle(unsynced, "power");
      return;
    }
    unsynced.error = error;
    try {
      this.#checkpoint(unsynced);
    } catch {
      // The next transaction tries it again.
      if (this.#waiting.length > 0) this.#timer ??= setImmediate(this.#flush);
    }
  }

  /**
   * After a failed sync the system may take for written what is lost, so it is not enough to sync again. Writes
   * the pages from the log to the database itself, and begins a new log. Throws if that fails.
   */
  #checkpoint(unsynced: Unsynced): void {
    const row = this.#db.prepare("PRAGMA wal_checkpoint(RESTART)").get();
    if (row?.["busy"] !== 0)
      throw unsynced.error ?? new Error("another process reads the database");
    this.#unsynced = undefined;
    this.#settle(unsynced, "power");
  }

  /** At the end: waits for the disk. */
  #finishSync(unsynced: Unsynced): void {
    let failure: Failure | undefined;
    try {
      if (unsynced.error === null) this.#sync?.now();
      else this.#checkpoint(unsynced);
    } catch (error) {
      failure = unwritable(this.#file, error);
    }
    if (this.#unsynced === unsynced) this.#settle(unsynced, "power", failure);
    this.#unsynced = undefined;
  }

  #settle(
    { batch, begun }: Pick<Unsynced, "batch" | "begun">,
    survives: Survives,
    failure?: Failure,
  ): void {
    // The next transaction comes after the other work of the event loop.
    if (this.#waiting.length > 0 && !this.#isClosed) this.#timer ??= setImmediate(this.#flush);
    for (const one of batch) {
      if (failure === undefined) one.resolve(one.result);
      else if (one.isRead) this.#readAgain(one);
      else one.reject(failure);
    }
    this.#onCommit?.(batch.length, survives, performance.now() - begun);
  }

  /** Adds the next work to the batch; undefined if the rest needs another transaction. */
  #take(batch: Waiting[], survives: Survives): Waiting | undefined {
    const one = batch.length < AT_ONCE ? this.#waiting[batch.length] : undefined;
    if (one === undefined || (one.survives === "power" && survives === "process")) return undefined;
    batch.push(one);
    return one;
  }

  #readAgain(one: Waiting): void {
    try {
      one.resolve(one.work());
    } catch (error) {
      one.reject(unwritable(this.#file, error));
    }
  }
}

/** Some errors (a full disk) end the transaction themselves. */
function rollBack(db: DatabaseSync): void {
  try {
    db.exec("ROLLBACK");
  } catch {
    // There was nothing left to roll back.
  }
}

function unwritable(file: string, error: unknown): Failure {
  const why = messageOf(error);
  return new Failure("busy", "requests cannot be stored at the moment, please ask again later", {
    why: `${file}: ${why}`,
    remedy: isDamage(file, error)
      ? "restart the gateway: it sets a corrupt file aside and begins a new one"
      : "free space on that disk, and check that it is mounted for writing",
    retryAfter: RETRY_AFTER_S,
    cause: error,
  });
}

function storeClosed(): Failure {
  return new Failure("busy", "the store is closed", { retryAfter: RETRY_AFTER_S });
}
