import type { DatabaseSync } from "node:sqlite";
import { Failure } from "../base/failure.ts";

/** Work on a database that shares its commits: what is asked for in one go costs one fsync. */
export interface Commits {
  /**
   * Resolves with the work's result when it is durable, in the order of the calls. Rejects with a
   * `Failure` of code `busy` when nothing could be written; then nothing of it was.
   */
  readonly run: <T>(work: () => T) => Promise<T>;
  /** Does the work at once, without a transaction: it must only read, and sees what is durable. */
  readonly read: <T>(work: () => T) => Promise<T>;
  /** Does what was asked for so far; what is asked for later rejects. */
  readonly close: () => void;
}

interface Waiting {
  readonly work: () => void;
  readonly resolve: () => void;
  readonly reject: (failure: Failure) => void;
}

/** Calls in one transaction, so that a flood cannot hold the event loop up for long. */
const AT_ONCE = 512;
const RETRY_AFTER_S = 30;

/** `onCommit` hears how many calls each transaction held. */
export function createCommits(
  db: DatabaseSync,
  file: string,
  onCommit?: (calls: number) => void,
): Commits {
  let waiting: Waiting[] = [];
  let timer: ReturnType<typeof setImmediate> | undefined;
  let closed = false;

  const flush = (): void => {
    const batch: Waiting[] = [];
    // What work asks for while it is done belongs to the same transaction.
    const next = (): Waiting | undefined => {
      const one = batch.length < AT_ONCE ? waiting[batch.length] : undefined;
      if (one !== undefined) batch.push(one);
      return one;
    };
    const failure = commit(db, file, next);
    waiting = waiting.slice(batch.length);
    // The next ones come after what the event loop has to do meanwhile.
    timer = waiting.length > 0 ? setImmediate(flush) : undefined;
    for (const { resolve, reject } of batch) {
      if (failure === undefined) resolve();
      else reject(failure);
    }
    onCommit?.(batch.length);
  };

  return {
    run: <T>(work: () => T): Promise<T> => {
      if (closed) return Promise.reject(storeClosed());
      return new Promise<T>((resolve, reject) => {
        let settled: (() => void) | undefined;
        const keep = (): void => {
          const result = work();
          settled = () => resolve(result);
        };
        waiting.push({ work: keep, resolve: () => settled?.(), reject });
        timer ??= setImmediate(flush);
      });
    },
    read: <T>(work: () => T): Promise<T> => {
      if (closed) return Promise.reject(storeClosed());
      try {
        return Promise.resolve(work());
      } catch (error) {
        return Promise.reject(unwritable(file, error));
      }
    },
    close: () => {
      closed = true;
      while (waiting.length > 0) {
        clearImmediate(timer);
        flush();
      }
      clearImmediate(timer);
    },
  };
}

/** Everything that `next` gives in one transaction; why nothing of it could be written, where that is so. */
function commit(
  db: DatabaseSync,
  file: string,
  next: () => Waiting | undefined,
): Failure | undefined {
  let one = next();
  try {
    db.exec("BEGIN IMMEDIATE");
    for (; one !== undefined; one = next()) one.work();
    db.exec("COMMIT");
    return undefined;
  } catch (error) {
    rollBack(db);
    // What waited with it would meet the same, one after the other.
    while (next() !== undefined) continue;
    return unwritable(file, error);
  }
}

/** Some errors (a full disk) have ended the transaction already. */
function rollBack(db: DatabaseSync): void {
  try {
    db.exec("ROLLBACK");
  } catch {
    // There was nothing left to roll back.
  }
}

function unwritable(file: string, error: unknown): Failure {
  const why = error instanceof Error ? error.message : String(error);
  return new Failure("busy", "requests cannot be stored at the moment, please ask again later", {
    why: `${file}: ${why}`,
    remedy: "make room on that disk, and see that it is mounted for writing",
    retryAfter: RETRY_AFTER_S,
    cause: error,
  });
}

function storeClosed(): Failure {
  return new Failure("busy", "the store is closed", { retryAfter: RETRY_AFTER_S });
}
