import type { DatabaseSync } from "node:sqlite";
import { Failure } from "../base/failure.ts";

/**
 * One step forward each; a step that was released is never changed. The version of a file is how many
 * of them it has seen (`PRAGMA user_version`).
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
  // The new index holds all that lists and bounds need: the messages are read where they are shown.
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
  // The index by lane holds all that the bounds of a lane and of all lanes need.
  `
  ALTER TABLE requests ADD COLUMN lane TEXT NOT NULL DEFAULT '';
  UPDATE requests SET lane = coalesce(json_extract(ticket, '$.lane'), '');
  CREATE INDEX requests_by_lane ON requests (lane, bytes) WHERE failed < 2;
  CREATE INDEX requests_rejected ON requests (state, seq) WHERE failed = 2;
  `,
  "ALTER TABLE meters ADD COLUMN until INTEGER;",
];

/** The tables and their columns after all steps. */
export const SHAPE: readonly (readonly [table: string, columns: string])[] = [
  [
    "requests",
    "seq, name, ticket, state, owner, attempt, lease_until, answer, failed, bytes, delivered_at, lane",
  ],
  ["steps", "id, seq, message"],
  ["turns", "id, lane, messages, count, bytes, at"],
  ["cuts", "lane, through, summary, at"],
  ["meters", "name, meter, until"],
];

/** Where a request is on its way: what the column `state` holds. */
export const ACCEPTED = 0;
export const ANSWERED = 1;
export const DELIVERED = 2;

/** How a request ended: what the column `failed` holds, beside 0 for one that did not fail. */
export const FAILED = 1;
/** It never ran: its answer was decided when it came. */
export const REJECTED = 2;

/** Brings a file forward, all steps in one transaction; a file of a newer version is refused, untouched. */
export function migrate(
  db: DatabaseSync,
  file: string,
  migrations: readonly string[] = MIGRATIONS,
): void {
  if (checkedVersion(db, file, migrations) === migrations.length) return;
  db.exec("BEGIN IMMEDIATE");
  try {
    // Another process may have been at it meanwhile.
    const version = checkedVersion(db, file, migrations);
    for (const step of migrations.slice(version)) db.exec(step);
    db.exec(`PRAGMA user_version = ${migrations.length}`);
    db.exec("COMMIT");
  } catch (error) {
    db.exec("ROLLBACK");
    throw error;
  }
}

/** How many steps the file has seen; throws where those are more than there are. */
export function checkedVersion(
  db: DatabaseSync,
  file: string,
  migrations: readonly string[] = MIGRATIONS,
): number {
  const version = Number(db.prepare("PRAGMA user_version").get()?.["user_version"] ?? 0);
  if (version > migrations.length) throw newer(file, version, migrations.length);
  return version;
}

function newer(file: string, version: number, known: number): Failure {
  return new Failure("config", "the stored state is of a newer picoclaw", {
    why: `${file} has version ${version}, this program knows up to ${known}`,
    remedy: "run the newer picoclaw, or move that file away",
  });
}
