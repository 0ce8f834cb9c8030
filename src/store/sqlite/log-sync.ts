import { closeSync, fdatasync, fdatasyncSync, openSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";

/** Writes what was committed from the system's memory to the disk. */
export interface LogSync {
  /** Does it for so many calls, on another thread if that is worth it, and then calls back. One at a time. */
  start(calls: number, done: (error: Error | null) => void): void;
  /** Waits for it. Throws if it fails. */
  now(): void;
  close(): void;
}

/** A disk that took less for the last sync is waited for if one call alone needs it: a thread takes 0.1 ms itself. */
const QUICK_MS = 1;

/**
 * The sync of a database's write-ahead log; undefined if it has none (in memory, on some network disks) or one that
 * cannot be opened: there each commit waits for its disk. SQLite syncs the log before it uses it again, so no
 * frame is lost in between.
 */
export function openLogSync(db: DatabaseSync, file: string): LogSync | undefined {
  if (db.prepare("PRAGMA journal_mode").get()?.["journal_mode"] !== "wal") return undefined;
  // SQLite's locks are on other files: to close this one frees none of them.
  const log = opened(`${file}-wal`);
  if (log === undefined) return undefined;
  let lastMs = 0;
  let isBusy = false;
  let isClosed = false;
  return {
    start(calls, done) {
      const begun = performance.now();
      const end = (error: Error | null): void => {
        lastMs = performance.now() - begun;
        done(error);
      };
      if (calls === 1 && lastMs < QUICK_MS) {
        end(errorOf(() => fdatasyncSync(log)));
        return;
      }
      isBusy = true;
      fdatasync(log, (error) => {
        isBusy = false;
        if (isClosed) closeSync(log);
        end(error);
      });
    },
    now: () => fdatasyncSync(log),
    close() {
      isClosed = true;
      if (!isBusy) closeSync(log);
    },
  };
}

function opened(file: string): number | undefined {
  try {
    return openSync(file, "r+");
  } catch {
    return undefined;
  }
}

function errorOf(call: () => void): Error | null {
  try {
    call();
    return null;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
