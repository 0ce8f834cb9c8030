import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
} from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { StatementSync } from "node:sqlite";
import { asFailure, codeOf, Failure, messageOf } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { checkedVersion, migrate, MIGRATIONS, SHAPE } from "./schema.ts";

/**
 * A larger file is not read as a whole at every start, which takes seconds from an SD card: it is checked
 * after a call found damage in it.
 */
const CHECKED_BYTES = 4 * 2 ** 20;
/** A larger file is not rewritten. */
const REWRITTEN_BYTES = 64 * 2 ** 20;
/** Bytes of the disk that a rewrite of a file leaves free. */
const SPARE_BYTES = 16 * 2 ** 20;
/** SQLite's texts of SQLITE_CORRUPT and SQLITE_NOTADB: Deno does not give the code with every call. */
const CORRUPT = /malformed|not a database/;

/**
 * Opens the database of one process and migrates it to the newest version; only the owner of the file may
 * read it. A corrupt file is renamed, which the log says, and never deleted. Rejects with a `Failure`
 * (`config`; `failed` if the disk is full) if the file is of a newer version or cannot be opened. The SQLite is the one of the runtime.
 */
export async function openDatabase(file: string, log: Log): Promise<DatabaseSync> {
  try {
    create(file);
    try {
      return migrated(file, log);
    } catch (error) {
      if (!isCorrupt(error)) throw error;
      quarantine(file, log);
      create(file);
      return migrated(file, log);
    }
  } catch (error) {
    throw error instanceof Failure ? error : unusable(file, error);
  }
}

/**
 * Opens a database that another process may have open: nothing is checked or renamed. With `readOnly` the
 * file must exist, otherwise it is created. It is migrated to the newest version in any case. Rejects with
 * a `Failure` (`config`) if it cannot be opened.
 */
export async function openSharedDatabase(
  file: string,
  { readOnly }: { readonly readOnly: boolean },
): Promise<DatabaseSync> {
  try {
    if (!readOnly) create(file);
    if (!readOnly || isOld(new DatabaseSync(file, { readOnly: true }), file)) {
      const db = migrated(file);
      if (!readOnly) return db;
      db.close();
    }
    const db = new DatabaseSync(file, { readOnly: true });
    db.exec(LIMITS);
    return db;
  } catch (error) {
    throw error instanceof Failure ? error : unusable(file, error);
  }
}

function isOld(db: DatabaseSync, file: string): boolean {
  try {
    db.exec(LIMITS);
    return checkedVersion(db, file) < MIGRATIONS.length;
  } finally {
    db.close();
  }
}

/** Creates the file, readable for its owner alone. */
function create(file: string): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  closeSync(openSync(file, "a", 0o600));
}

/** Milliseconds to wait for the transaction of another process; KiB of the cache. */
const LIMITS = "PRAGMA busy_timeout = 2000; PRAGMA cache_size = -512";
/** That a file can give free pages back has to be set before anything is written to it. */
const SHRINKS = "PRAGMA auto_vacuum = INCREMENTAL";
/** A commit writes whole pages, most of them for one short row. A file of an earlier program has larger ones. */
const NEW_FILE = `PRAGMA page_size = 1024; ${SHRINKS}`;
/**
 * WAL with FULL: a commit is on the disk when it returns, for one fsync. Deleted text is overwritten: nobody
 * finds it in the file.
 */
const DURABLE =
  "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = 4194304; PRAGMA secure_delete = ON";
/** Bytes of the write-ahead log at which its pages are written to the file: a page that many commits changed, once. */
const CHECKPOINT_BYTES = 4_000_000;
/** Bytes of the log before each page. */
const FRAME_HEADER_BYTES = 24;

/** Opens a file for writing, of the newest version. With a log, no other process uses it: it is checked, and rewritten if it is old. */
function migrated(file: string, log?: Log): DatabaseSync {
  const db = new DatabaseSync(file);
  try {
    db.exec(LIMITS);
    if (statSync(file).size === 0) db.exec(NEW_FILE);
    db.exec(DURABLE);
    const frame = numberOf(db.prepare("PRAGMA page_size")) + FRAME_HEADER_BYTES;
    db.exec(`PRAGMA wal_autocheckpoint = ${Math.floor(CHECKPOINT_BYTES / frame)}`);
    if (log) check(db, file);
    migrate(db, file);
    if (log) {
      checkShape(db);
      rebuild(db, file, log);
    }
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Finds a damaged text of the schema, which `quick_check` does not see. */
function checkShape(db: DatabaseSync): void {
  try {
    for (const [table, columns] of SHAPE) db.prepare(`SELECT ${columns} FROM ${table} LIMIT 0`);
  } catch (error) {
    throw new Corrupt(asFailure(error).why ?? String(error));
  }
}

/** The value of `PRAGMA auto_vacuum` of a file that can give free pages back. */
const INCREMENTAL = 2;
/** Bytes given back in one call, for which the event loop waits; as many stay for later writes. */
const GIVEN_BACK_AT_ONCE = 2 ** 20;

/** Work inside a transaction that gives some of the free pages of the file back to the disk. */
export function shrink(db: DatabaseSync): void {
  const pages = GIVEN_BACK_AT_ONCE / numberOf(db.prepare("PRAGMA page_size"));
  if (numberOf(db.prepare("PRAGMA freelist_count")) < 2 * pages) return;
  db.prepare(`PRAGMA incremental_vacuum(${pages})`).all();
}

/** A prepared statement by name. */
export type Statements<Name extends string> = (name: Name) => StatementSync;

/** Prepares each statement when it is used first: most are not needed at the start. */
export function lazyStatements<Name extends string>(
  db: DatabaseSync,
  texts: Readonly<Record<Name, string>>,
): Statements<Name> {
  const statements = new Map<Name, StatementSync>();
  return (name) => {
    const statement = statements.get(name) ?? db.prepare(texts[name]);
    statements.set(name, statement);
    return statement;
  };
}

function numberOf(pragma: ReturnType<DatabaseSync["prepare"]>): number {
  return Number(Object.values(pragma.get() ?? {})[0] ?? 0);
}

/**
 * Rewrites a file of an earlier program once, so that it can give free pages back, if that takes little
 * time and the disk has room for it. Otherwise the file keeps its size and reuses its free pages.
 */
function rebuild(db: DatabaseSync, file: string, log: Log): void {
  if (numberOf(db.prepare("PRAGMA auto_vacuum")) === INCREMENTAL) return;
  try {
    const { bavail, bsize } = statfsSync(dirname(file));
    const { size } = statSync(file);
    // The copy is written to a temporary file and then, as a whole, to the write-ahead log.
    if (size > REWRITTEN_BYTES || bavail * bsize < 3 * size + SPARE_BYTES) return;
    log.info("the database is rewritten once, so that it can give free space back to the disk", {
      file,
      size,
    });
    db.exec(`PRAGMA busy_timeout = 0; ${SHRINKS}; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)`);
  } catch {
    // Another process uses the file, or the disk is full; the next start tries again.
  } finally {
    db.exec(LIMITS);
  }
}

class Corrupt extends Error {
  override readonly name = "Corrupt";
}

/** Checks a small file, and one in which damage was found. */
function check(db: DatabaseSync, file: string): void {
  const mark = damageMarkOf(file);
  const isMarked = existsSync(mark);
  if (!isMarked && statSync(file).size > CHECKED_BYTES) return;
  const found = db.prepare("PRAGMA quick_check(1)").get()?.["quick_check"];
  if (found !== "ok") throw new Corrupt(String(found));
  if (isMarked) rmSync(mark);
}

function damageMarkOf(file: string): string {
  return `${file}.damaged`;
}

/**
 * Whether a call failed because the file is corrupt. Then the next gateway checks all of the file, whatever
 * its size, unless this process may not write the mark for that.
 */
export function isDamage(file: string, error: unknown): boolean {
  if (!isCorrupt(error)) return false;
  try {
    closeSync(openSync(damageMarkOf(file), "a", 0o600));
  } catch {
    // A reader of another user.
  }
  return true;
}

function isCorrupt(error: unknown): boolean {
  if (error instanceof Corrupt) return true;
  return error instanceof Error && CORRUPT.test(error.message);
}

/** Renames the database itself last: after a crash in between, the next start finds it corrupt again. */
function quarantine(file: string, log: Log): void {
  const renamed = `${file}.corrupt-${new Date().toISOString().replaceAll(/[-:]/g, "")}`;
  for (const end of ["-wal", "-shm", ""]) {
    if (existsSync(file + end)) renameSync(file + end, renamed + end);
  }
  log.error(
    "the database is corrupt and was renamed: the requests and conversations in it are not resumed",
    {
      file: renamed,
      try: "keep that file for a repair with the sqlite3 program, and check the disk",
    },
  );
}

/** Whether a call of the system or of SQLite failed for want of space. */
export function isDiskFull(error: unknown): boolean {
  return /^(?:ENOSPC|EDQUOT)$/.test(codeOf(error)) || /disk is full/.test(messageOf(error));
}

/**
 * The failure of a database that cannot be opened or read: `failed` if the disk is full, so that a service manager
 * tries again, else `config`.
 */
export function unusable(file: string, error: unknown): Failure {
  const isFull = isDiskFull(error) || (IO_ERROR.test(messageOf(error)) && hasNoRoom(file));
  return new Failure(isFull ? "failed" : "config", "the database cannot be opened", {
    why: `${file}: ${asFailure(error).why ?? String(error)}`,
    remedy: isFull ? "free space on that disk" : remedyOf(file, error),
    cause: error,
  });
}

/** SQLite's text where the index of the write-ahead log has no room, and where the disk is broken. */
const IO_ERROR = /disk I\/O error/;
/** Bytes of two steps by which that index grows. */
const INDEX_BYTES = 65_536;

function hasNoRoom(file: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(dirname(file));
    return bavail * bsize < INDEX_BYTES;
  } catch {
    return false;
  }
}

function remedyOf(file: string, error: unknown): string {
  return isDamage(file, error)
    ? "start picoclaw gateway, which renames a corrupt file, or move it away; check the disk"
    : "make that folder writable for this user, or set agents.defaults.workspace to one that is";
}
