import type { DatabaseSync } from "node:sqlite";
import { Failure } from "../../base/failure.ts";

/**
 * The migrations in their order; a released one is never changed. The version of a file (`PRAGMA
 * user_version`) is the number of migrations that it has.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE requests (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    ticket TEXT NOT NULL,
    state INTEGER NOT NULL,
    owner TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    answer TEXT,
    failed INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL,
    delivered_at INTEGER
  );
  CREATE INDEX requests_by_name ON requests (name, seq);
  CREATE INDEX requests_open ON requests (seq) WHERE state < 2;
  CREATE INDEX requests_delivered ON requests (delivered_at, seq) WHERE state = 2;
  CREATE TABLE steps (
    id INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL REFERENCES requests (seq) ON DELETE CASCADE,
    message TEXT NOT NULL
  );
  CREATE INDEX steps_by_request ON steps (seq, id);
  CREATE TABLE turns (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    lane TEXT NOT NULL,
    messages TEXT NOT NULL,
    count INTEGER NOT NULL,
    at INTEGER NOT NULL
  );
  CREATE INDEX turns_by_lane ON turns (lane, id);
  `,
  // The new index holds all that lists and limits need: messages are read only to be shown.
  `
  CREATE TABLE cuts (
    lane TEXT PRIMARY KEY,
    through INTEGER NOT NULL,
    summary TEXT,
    at INTEGER NOT NULL
  ) WITHOUT ROWID;
  ALTER TABLE turns ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
  UPDATE turns SET bytes = length(CAST(messages AS BLOB));
  DROP INDEX turns_by_lane;
  CREATE INDEX turns_by_lane ON turns (lane, id, count, bytes, at);
  `,
  `
  CREATE TABLE meters (
    name TEXT PRIMARY KEY,
    meter TEXT NOT NULL
  ) WITHOUT ROWID;
  `,
  // The index by lane holds all that the limits of a lane and of all lanes need.
  `
  ALTER TABLE requests ADD COLUMN lane TEXT NOT NULL DEFAULT '';
  UPDATE requests SET lane = coalesce(json_extract(ticket, '$.lane'), '');
  CREATE INDEX requests_by_lane ON requests (lane, bytes) WHERE failed < 2;
  CREATE INDEX requests_rejected ON requests (state, seq) WHERE failed = 2;
  `,
  "ALTER TABLE meters ADD COLUMN until INTEGER;",
  // A request changes fewer pages: an index of a state that it leaves, or of bytes, is written again and again.
  `
  DROP INDEX requests_open;
  DROP INDEX requests_by_lane;
  CREATE INDEX requests_by_lane ON requests (lane) WHERE failed < 2;
  `,
  // One index finds a request by its name and all of a lane. A ticket lacks from now on what other columns hold.
  `
  DROP INDEX requests_by_name;
  DROP INDEX requests_by_lane;
  CREATE INDEX requests_by_lane ON requests (lane, failed, name);
  `,
  // A row of a table without rowid has a page of its own when it is longer than a quarter of a page.
  `
  ALTER TABLE meters RENAME TO former_meters;
  CREATE TABLE meters (
    name TEXT PRIMARY KEY NOT NULL,
    meter TEXT NOT NULL,
    until INTEGER
  );
  INSERT INTO meters SELECT name, meter, until FROM former_meters;
  DROP TABLE former_meters;
  `,
  `
  CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    job TEXT NOT NULL,
    version INTEGER NOT NULL,
    next_at INTEGER,
    last_at INTEGER,
    last_error TEXT,
    claimed_by TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0
  );
  CREATE INDEX jobs_by_owner ON jobs (owner, seq);
  CREATE INDEX jobs_due ON jobs (next_at, seq) WHERE next_at IS NOT NULL;
  `,
  `
  CREATE TABLE confirmations (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    client TEXT NOT NULL,
    state TEXT NOT NULL,
    until INTEGER NOT NULL,
    decided_by TEXT,
    confirmation TEXT NOT NULL
  );
  `,
];

/** The tables and their columns after all migrations. */
export const SHAPE: readonly (readonly [table: string, columns: string])[] = [
  [
    "requests",
    "seq, name, ticket, state, owner, attempt, lease_until, answer, failed, bytes, delivered_at, lane",
  ],
  ["steps", "id, seq, message"],
  ["turns", "id, lane, messages, count, bytes, at"],
  ["cuts", "lane, through, summary, at"],
  ["meters", "name, meter, until"],
  ["jobs", "seq, id, owner, job, version, next_at, last_at, last_error, claimed_by, attempts"],
  ["confirmations", "seq, id, client, state, until, decided_by, confirmation"],
];

/** Applies the migrations that a file lacks, in one transaction. Throws a `Failure` (`config`) if its version is newer. */
export function migrate(
  db: DatabaseSync,
  file: string,
  migrations: readonly string[] = MIGRATIONS,
): void {
  if (checkedVersion(db, file, migrations) === migrations.length) return;
  db.exec("BEGIN IMMEDIATE");
  try {
    // Another process may have migrated it meanwhile.
    const version = checkedVersion(db, file, migrations);
    for (const step of migrations.slice(version)) db.exec(step);
    db.exec(`PRAGMA user_version = ${migrations.length}`);
    db.exec("COMMIT");
  } catch (error) {
    // SQLite has done it already where the disk is full.
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
}

/** The version of a file. Throws a `Failure` (`config`) if it is newer than the program. */
export function checkedVersion(
  db: DatabaseSync,
  file: string,
  migrations: readonly string[] = MIGRATIONS,
): number {
  const version = Number(db.prepare("PRAGMA user_version").get()?.["user_version"] ?? 0);
  if (version > migrations.length) {
    throw new Failure("config", "the database is of a newer picoclaw", {
      why: `${file} has version ${version}, this program knows up to ${migrations.length}`,
      remedy: "run the newer picoclaw, or move that file away",
    });
  }
  return version;
}
