import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { codeOf } from "../base/failure.ts";
import { asFailure, Failure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";

/** One process's place in the state folder. */
export interface StateInstance {
  /** 1 for the first process of a home; a second one at the same time has 2, with files of its own. */
  readonly instance: number;
  readonly databaseFile: string;
  /** The client id of that name; made, and on the disk before it is given, the first time. */
  clientId(name: string, make: () => string): string;
  /** Gives the place up. */
  close(): void;
}

const INSTANCES = 16;

/**
 * Takes the first place in the folder that no living process has. The lock is SQLite's on a file of its
 * own, so that it goes with the process however that ends. Throws a `Failure` (`config`) when the folder
 * cannot be written or every place is taken.
 */
export async function openInstance(
  folder: string,
  { log }: { readonly log: Log },
): Promise<StateInstance> {
  const { DatabaseSync: Database } = await import("node:sqlite");
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (let instance = 1; instance <= INSTANCES; instance += 1) {
      const end = instance === 1 ? "" : `-${instance}`;
      const lock = lockOf(join(folder, `gateway${end}.lock`), Database);
      if (lock === undefined) continue;
      return {
        instance,
        databaseFile: join(folder, `picoclaw${end}.db`),
        clientId: (name, make) =>
          clientIdIn(join(folder, `client-ids${end}.json`), name, { make, log }),
        close() {
          held.delete(lock);
          lock.close();
        },
      };
    }
  } catch (error) {
    throw unusable(folder, error);
  }
  throw new Failure("config", `${INSTANCES} processes use this state folder already`, {
    why: folder,
  });
}

/** The databases of all processes that ever had a place in the folder; none where there is no folder. */
export function databaseFilesIn(folder: string): readonly string[] {
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter((name) => /^picoclaw(?:-\d+)?\.db$/.test(name));
  return names.toSorted().map((name) => join(folder, name));
}

/** SQLITE_BUSY in SQLite's words: Deno does not give the code with every call. */
const BUSY = /locked/;

/** A database that nobody refers to is closed when memory is collected, and its lock is gone. */
const held = new Set<DatabaseSync>();

function lockOf(file: string, Database: typeof DatabaseSync): DatabaseSync | undefined {
  closeSync(openSync(file, "a", 0o600));
  const db = new Database(file);
  try {
    db.exec("PRAGMA busy_timeout = 0; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
    held.add(db);
    return db;
  } catch (error) {
    db.close();
    if (error instanceof Error && BUSY.test(error.message)) return undefined;
    throw error;
  }
}

interface Making {
  readonly make: () => string;
  readonly log: Log;
}

function clientIdIn(file: string, name: string, { make, log }: Making): string {
  const ids = read(file, log);
  const known = ids.get(name);
  if (known !== undefined) return known;
  const made = make();
  write(file, JSON.stringify(Object.fromEntries(ids.set(name, made)), null, 2));
  return made;
}

function read(file: string, log: Log): Map<string, string> {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if (codeOf(error) === "ENOENT") return new Map();
    throw error;
  }
  try {
    const found: unknown = JSON.parse(text);
    const entries = Object.entries(typeof found === "object" && found !== null ? found : {});
    return new Map(entries.filter((entry): entry is [string, string] => isId(entry[1])));
  } catch {
    const aside = `${file}.broken-${Date.now()}`;
    renameSync(file, aside);
    log.warn("the file of client ids is broken and was set aside: new ids are made", {
      file: aside,
    });
    return new Map();
  }
}

function isId(found: unknown): found is string {
  return typeof found === "string" && found !== "";
}

/** Whole or not at all, and on the disk. */
function write(file: string, text: string): void {
  const fd = openSync(`${file}.new`, "w", 0o600);
  try {
    writeSync(fd, `${text}\n`);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(`${file}.new`, file);
}

function unusable(folder: string, error: unknown): Failure {
  if (error instanceof Failure) return error;
  return new Failure("config", "the state folder cannot be written", {
    why: `${folder}: ${asFailure(error).why ?? String(error)}`,
    remedy: "make it writable for this user, or set agents.defaults.workspace to a folder that is",
    cause: error,
  });
}
