import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  renameSync,
  statfsSync,
  statSync,
} from "node:fs";
import { dirname } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { asFailure, Failure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import { checkedVersion, migrate, MIGRATIONS, SHAPE } from "./schema.ts";

/** Reading a whole larger file at every start would cost more than it finds. */
const CHECKED_BYTES = 64 * 2 ** 20;
/** Bytes of the disk that a rewrite of a file leaves to others. */
const SPARE_BYTES = 16 * 2 ** 20;
/** SQLITE_CORRUPT and SQLITE_NOTADB, in SQLite's words: Deno does not give the code with every call. */
const CORRUPT = /malformed|not a database/;

/**
 * Opens the database of one process, in the newest version; nobody else may read it. A file that is
 * corrupt is set aside under another name, loudly, and never deleted. Throws a `Failure` (`config`) when
 * the file is of a newer version or cannot be had. The SQLite is the one that Bun, Deno and Node carry.
 */
export async function openDatabase(file: string, log: Log): Promise<DatabaseSync> {
  const { DatabaseSync: Database } = await import("node:sqlite");
  const open = (): DatabaseSync => prepared(new Database(file), file, log);
  try {
    make(file);
    try {
      return open();
    } catch (error) {
      if (!isCorrupt(error)) throw error;
      quarantine(file, log);
      closeSync(openSync(file, "a", 0o600));
      return open();
    }
  } catch (error) {
    throw error instanceof Failure ? error : unusable(file, error);
  }
}

/**
 * Opens a database beside the process whose it is: nothing is checked or set aside. To be read only, it
 * must be there; otherwise it is made where there is none. It is brought to the newest version in any
 * case. Throws a `Failure` (`config`) when it cannot be had.
 */
export async function openSharedDatabase(
  file: string,
  { readOnly }: { readonly readOnly: boolean },
): Promise<DatabaseSync> {
  const { DatabaseSync: Database } = await import("node:sqlite");
  try {
    if (!readOnly) make(file);
    if (!readOnly || isOld(new Database(file, { readOnly: true }), file)) {
      const db = migrated(new Database(file), file);
      if (!readOnly) return db;
      db.close();
    }
    const db = new Database(file, { readOnly: true });
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

function migrated(db: DatabaseSync, file: string): DatabaseSync {
  try {
    db.exec(LIMITS);
    if (statSync(file).size === 0) db.exec(SHRINKS);
    db.exec(DURABLE);
    migrate(db, file);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** For its owner's eyes alone. */
function make(file: string): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  closeSync(openSync(file, "a", 0o600));
}

/** Milliseconds to wait for another's transaction; KiB of the cache. */
const LIMITS = "PRAGMA busy_timeout = 2000; PRAGMA cache_size = -512";
/** That a file can give room back has to be said before anything is written to it. */
const SHRINKS = "PRAGMA auto_vacuum = INCREMENTAL";
/** WAL with FULL: a commit is on the disk when it returns, for one fsync. */
const DURABLE =
  "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = 4194304; PRAGMA secure_delete = ON";

function prepared(db: DatabaseSync, file: string, log: Log): DatabaseSync {
  try {
    db.exec(LIMITS);
    if (statSync(file).size === 0) db.exec(SHRINKS);
    db.exec(DURABLE);
    if (statSync(file).size <= CHECKED_BYTES) check(db);
    migrate(db, file);
    checkShape(db);
    rebuild(db, file, log);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** What `quick_check` does not see: the text of the schema itself can be damaged. */
function checkShape(db: DatabaseSync): void {
  try {
    for (const [table, columns] of SHAPE) db.prepare(`SELECT ${columns} FROM ${table} LIMIT 0`);
  } catch (error) {
    throw new Corrupt(asFailure(error).why ?? String(error));
  }
}

/** What `PRAGMA auto_vacuum` says of a file that can give room back. */
const INCREMENTAL = 2;
/** Free pages that stay, for what is written next: 1 MiB of the usual pages. */
const SPARE_PAGES = 256;
/** Pages given back in one call: the event loop waits for it. */
const PAGES_AT_ONCE = 256;

/** Gives some of the free pages of the file back to the disk; work inside a transaction. */
export function createShrink(db: DatabaseSync): () => void {
  const free = db.prepare("PRAGMA freelist_count");
  const giveBack = db.prepare(`PRAGMA incremental_vacuum(${PAGES_AT_ONCE})`);
  return () => {
    if (numberOf(free) >= SPARE_PAGES + PAGES_AT_ONCE) giveBack.all();
  };
}

function numberOf(pragma: ReturnType<DatabaseSync["prepare"]>): number {
  return Number(Object.values(pragma.get() ?? {})[0] ?? 0);
}

/**
 * Writes a file of an earlier program anew, so that it can give room back from then on, once, where that
 * takes little time and there is room for it. Otherwise it stays as it is, and its free pages are used again.
 */
function rebuild(db: DatabaseSync, file: string, log: Log): void {
  if (numberOf(db.prepare("PRAGMA auto_vacuum")) === INCREMENTAL) return;
  try {
    const { bavail, bsize } = statfsSync(dirname(file));
    const { size } = statSync(file);
    // The copy is written to a temporary file and then, as a whole, to the write-ahead log.
    if (size > CHECKED_BYTES || bavail * bsize < 3 * size + SPARE_BYTES) return;
    log.info("the database is written anew once, so that it can give room back", { file, size });
    db.exec(`PRAGMA busy_timeout = 0; ${SHRINKS}; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)`);
  } catch {
    // Another process uses the file, or the disk is full: the next start tries again.
  } finally {
    db.exec(LIMITS);
  }
}

class Corrupt extends Error {
  override readonly name = "Corrupt";
}

function check(db: DatabaseSync): void {
  const found = db.prepare("PRAGMA quick_check(1)").get()?.["quick_check"];
  if (found !== "ok") throw new Corrupt(String(found));
}

function isCorrupt(error: unknown): boolean {
  if (error instanceof Corrupt) return true;
  return error instanceof Error && CORRUPT.test(error.message);
}

/** The database itself last: if this is cut off, the next start finds it corrupt again and goes on. */
function quarantine(file: string, log: Log): void {
  const aside = `${file}.corrupt-${new Date().toISOString().replaceAll(/[-:]/g, "")}`;
  for (const end of ["-wal", "-shm", ""]) {
    if (existsSync(file + end)) renameSync(file + end, aside + end);
  }
  log.error("the stored state is corrupt and was set aside: what it held is not resumed", {
    file: aside,
    try: "keep that file for a repair with the sqlite3 program, and look after the disk",
  });
}

/** What is told of a database that cannot be opened or read. */
export function unusable(file: string, error: unknown): Failure {
  return new Failure("config", "the stored state cannot be opened", {
    why: `${file}: ${asFailure(error).why ?? String(error)}`,
    remedy: isCorrupt(error)
      ? "start picoclaw gateway, which sets a corrupt file aside, or move it away; look after the disk"
      : "make that folder writable for this user, or set agents.defaults.workspace to one that is",
    cause: error,
  });
}
