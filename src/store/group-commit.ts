import type { DatabaseSync } from "node:sqlite";
import { Failure, messageOf } from "../base/failure.ts";
import { isDamage } from "./database.ts";

/** What the work survives once it is done: a loss of power, or only the end of the process. */
export type Survives = "power" | "process";

/** Called after each transaction with the number of its calls and what it survives. */
export type OnCommit = (calls: number, survives: Survives) => void;

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
/** In WAL mode a commit is written to the file either way; with FULL it is on the disk when it returns. */
const SYNCHRONOUS = { power: "FULL", process: "NORMAL" };

/**
 * Work on a database that shares its commits: calls that are made in one go are one transaction and one
 * fsync. All takes effect in the order of the calls.
 */
export class GroupCommit {
  readonly #db: DatabaseSync;
  readonly #file: string;
  readonly #onRollback: () => void;
  readonly #onCommit: OnCommit | undefined;
  #waiting: Waiting[] = [];
  #timer: ReturnType<typeof setImmediate> | undefined;
  #isClosed = false;
  /** What `PRAGMA synchronous` is set to. */
  #survives: Survives = "power";

  /** `onRollback` is called after each transaction that wrote nothing. */
  constructor(
    db: DatabaseSync,
    file: string,
    onRollback: () => void = () => {},
    onCommit?: OnCommit,
  ) {
    this.#db = db;
    this.#file = file;
    this.#onRollback = onRollback;
    this.#onCommit = onCommit;
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
    this.#isClosed = true;
    while (this.#waiting.length > 0) {
      clearImmediate(this.#timer);
      this.#flush();
    }
  }

  /** Does what waits in one transaction, and then settles it. */
  readonly #flush = (): void => {
    const survives = this.#waiting.some((one) => one.survives === "power") ? "power" : "process";
    const batch: Waiting[] = [];
    let failure: Failure | undefined;
    try {
      if (survives !== this.#survives) {
        this.#db.exec(`PRAGMA synchronous = ${SYNCHRONOUS[survives]}`);
        this.#survives = survives;
      }
      this.#db.exec("BEGIN IMMEDIATE");
      // Work that is asked for while the transaction runs belongs to it.
      for (let one = this.#take(batch, survives); one; one = this.#take(batch, survives))
        one.result = one.work();
      this.#db.exec("COMMIT");
    } catch (error) {
      failure = unwritable(this.#file, error);
      rollBack(this.#db);
      this.#onRollback();
      // The rest of the batch would fail in the same way, one after the other.
      while (this.#take(batch, survives)) continue;
    }
    this.#waiting = this.#waiting.slice(batch.length);
    // The next transaction comes after the other work of the event loop.
    this.#timer = this.#waiting.length > 0 ? setImmediate(this.#flush) : undefined;
    for (const one of batch) {
      if (failure === undefined) one.resolve(one.result);
      else if (one.isRead) this.#readAgain(one);
      else one.reject(failure);
    }
    this.#onCommit?.(batch.length, survives);
  };

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
