import type { DatabaseSync } from "node:sqlite";
import { Failure } from "../base/failure.ts";

/** Work on a database that shares its commits: what is asked for in one go costs one fsync. */
export interface Commits {
  /**
   * Resolves with the work's result when it is durable, in the order of the calls. Rejects with a
   * `Failure` of code `busy` when nothing could be written; then nothing of it was.
   */
  readonly run: <T>(work: () => T) => Promise<T>;
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
    timer = undefined;
    const batch = waiting.slice(0, AT_ONCE);
    waiting = waiting.slice(AT_ONCE);
    // The next ones come after what the event loop has to do meanwhile.
    if (waiting.length > 0) timer = setImmediate(flush);
    settle(db, file, batch);
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
    close: () => {
      closed = true;
      while (waiting.length > 0) {
        clearImmediate(timer);
        flush();
      }
    },
  };
}

function settle(db: DatabaseSync, file: string, batch: readonly Waiting[]): void {
  try {
    commit(db, batch);
  } catch (error) {
    const failure = unwritable(file, error);
    for (const { reject } of batch) reject(failure);
    return;
  }
  for (const { resolve } of batch) resolve();
}

function commit(db: DatabaseSync, batch: readonly Waiting[]): void {
  db.exec("BEGIN IMMEDIATE");
  try {
    for (const { work } of batch) work();
    db.exec("COMMIT");
  } catch (error) {
    rollBack(db);
    throw error;
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
