import { readdirSync } from "node:fs";
import { join } from "node:path";
import { codeOf, Failure, messageOf } from "../../base/failure.ts";

/** The files of one process in the state folder. The first process of a home has no number in their names. */
export function instanceFiles(folder: string, instance: number) {
  const end = instance === 1 ? "" : `-${instance}`;
  return {
    lock: join(folder, `gateway${end}.lock`),
    socketFile: join(folder, `gateway${end}.sock`),
    databaseFile: join(folder, `picoclaw${end}.db`),
    brokerSessionsFile: join(folder, `broker-sessions${end}.json`),
    discoveryFile: join(folder, `home-assistant${end}.json`),
    conflictsFile: join(folder, `client-id-conflicts${end}.json`),
    clientIds: join(folder, `client-ids${end}.json`),
    /** Without the folder. */
    identityName: `instance${end}.json`,
  };
}

/** The databases of all instances that were ever in the folder; none if there is no folder. Throws a `Failure`. */
export function databaseFilesIn(folder: string): readonly string[] {
  const names = namesIn(folder, /^picoclaw(?:-\d+)?\.db$/);
  return names.toSorted().map((name) => join(folder, name));
}

/** The names of the files with the identities of all instances that were ever in the folder. */
export function identityNamesIn(folder: string): readonly string[] {
  return namesIn(folder, /^instance(?:-\d+)?\.json$/);
}

/** Where the processes of the folder tell their state, by their numbers. Each that runs has a lock. */
export function socketFilesIn(folder: string): readonly string[] {
  return namesIn(folder, /^gateway(?:-\d+)?\.lock$/)
    .map((name) => Number(/\d+/.exec(name)?.[0] ?? 1))
    .toSorted((left, right) => left - right)
    .map((instance) => instanceFiles(folder, instance).socketFile);
}

function namesIn(folder: string, pattern: RegExp): readonly string[] {
  try {
    return readdirSync(folder).filter((name) => pattern.test(name));
  } catch (error) {
    if (codeOf(error) === "ENOENT") return [];
    throw new Failure("failed", "the state folder cannot be read", {
      why: `${folder}: ${messageOf(error)}`,
      remedy: "run this as the user of the gateway",
      cause: error,
    });
  }
}
