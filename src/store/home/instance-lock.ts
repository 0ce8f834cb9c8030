import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { asFailure, codeOf, Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { isDiskFull } from "../sqlite/database.ts";
import { instanceIdIn, storedInstanceId, type IdentityOptions } from "./identity.ts";
import { identityNamesIn, instanceFiles } from "./instance-files.ts";

/** The files of one process in the state folder. */
export interface StateInstance {
  /** 1 for the first process of a home; a second process at the same time has 2, and files of its own. */
  readonly instance: number;
  /** Names this gateway to others: 12 hex digits, the same at each start. A copy of the folder has another one. */
  readonly id: string;
  readonly databaseFile: string;
  /** What is known of the sessions that brokers keep. */
  readonly brokerSessionsFile: string;
  /** The topics of our devices in Home Assistant. */
  readonly discoveryFile: string;
  /** When other programs used our client ids. */
  readonly conflictsFile: string;
  /** Where the process tells its state. */
  readonly socketFile: string;
  /**
   * The client id of that name. The first time it is made, and on the disk before this returns. Throws a `Failure` if
   * it cannot be stored.
   */
  clientId(name: string, make: () => string): string;
  /** Releases the lock. */
  close(): void;
}

const INSTANCES = 16;

/**
 * Locks the first instance in the folder that no living process has. The lock is SQLite's on a file of its
 * own: it ends with the process, however that ends. Rejects with a `Failure` if the folder cannot
 * be written (`failed` if the disk is full, else `config`) or every instance is locked (`config`).
 */
export async function openInstance(
  folder: string,
  options: IdentityOptions,
): Promise<StateInstance> {
  const { log } = options;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (let instance = 1; instance <= INSTANCES; instance += 1) {
      const { lock: lockFile, clientIds, identityName, ...files } = instanceFiles(folder, instance);
      const lock = lockOf(lockFile);
      if (lock === undefined) continue;
      const close = (): void => {
        locks.delete(lock);
        lock.close();
      };
      return {
        instance,
        id: await instanceIdIn(folder, { name: identityName, clientIds }, options).catch(
          (error: unknown) => {
            close();
            throw error;
          },
        ),
        ...files,
        clientId(name, make) {
          try {
            return clientIdIn(clientIds, name, { make, log });
          } catch (error) {
            throw unusable(folder, error);
          }
        },
        close,
      };
    }
  } catch (error) {
    throw unusable(folder, error);
  }
  throw new Failure("config", `${INSTANCES} processes already use this state folder`, {
    why: folder,
  });
}

/** The instance ids of the folder: of the gateways that run there now or ran there before. */
export function instanceIdsIn(folder: string): readonly string[] {
  return identityNamesIn(folder).flatMap((name) => storedInstanceId(folder, name) ?? []);
}

/** SQLite's text of SQLITE_BUSY: Deno does not give the code with every call. */
const BUSY = /locked/;

/** The runtime closes a database that nothing refers to, and its lock is gone. */
const locks = new Set<DatabaseSync>();

function lockOf(file: string): DatabaseSync | undefined {
  closeSync(openSync(file, "a", 0o600));
  const db = new DatabaseSync(file);
  try {
    db.exec("PRAGMA busy_timeout = 0; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
    locks.add(db);
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
    const renamed = `${file}.broken-${Date.now()}`;
    renameSync(file, renamed);
    log.warn("the file of client ids is broken and was renamed; new ids are made", {
      file: renamed,
    });
    return new Map();
  }
}

function isId(found: unknown): found is string {
  return typeof found === "string" && found !== "";
}

/** Replaces the file, whole or not at all; the text is on the disk when this returns. */
function write(file: string, text: string): void {
  const fd = openSync(`${file}.new`, "w", 0o600);
  try {
    writeFileSync(fd, `${text}\n`);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(`${file}.new`, file);
}

function unusable(folder: string, error: unknown): Failure {
  if (error instanceof Failure) return error;
  // A full disk is no fault of the configuration: a service manager may try again.
  const code = isDiskFull(error) ? "failed" : "config";
  return new Failure(code, "the state folder cannot be written", {
    why: `${folder}: ${asFailure(error).why ?? String(error)}`,
    remedy:
      "free space on that disk, make the folder writable for this user, or set agents.defaults.workspace to another one",
    cause: error,
  });
}
