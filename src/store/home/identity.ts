import { createHash, randomBytes } from "node:crypto";
import { readFileSync, realpathSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../base/failure.ts";
import { writeAtomically } from "../../base/file-io.ts";
import type { Log } from "../../base/log.ts";
import { fromJson, textAt } from "../../base/unknown.ts";

/** What identifies an instance, and by what a copy of its state folder is recognized. */
interface Identity {
  /** 12 hex digits. */
  readonly instance: string;
  /** A hash of the machine's id; "" if it has none. */
  readonly machine: string;
  readonly folder: string;
}

export interface IdentityOptions {
  readonly log: Log;
  /** The files of which the first that has one tells the id of this machine (machine-id(5)). */
  readonly machineFiles?: readonly string[];
}

/** Of one instance in the state folder. */
interface IdentityFiles {
  /** The name of the file with the identity. */
  readonly name: string;
  /** The file of client ids, which a copy must not use. */
  readonly clientIds: string;
}

const MACHINE_FILES = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/**
 * The id of the instance that uses this folder: made at the first start, and the same at each later one, also
 * after the folder was moved or restored. A copy of the folder gets another id, and its client ids are deleted:
 * with those of the original each gateway would end the connection of the other.
 */
export async function instanceIdIn(
  folder: string,
  { name, clientIds }: IdentityFiles,
  { log, machineFiles = MACHINE_FILES }: IdentityOptions,
): Promise<string> {
  const { recorded, here, original } = identityOf(folder, name, machineFiles);
  if (original !== undefined) {
    rmSync(clientIds, { force: true });
    log.warn("this state folder is a copy: it gets an instance id and client ids of its own", {
      original,
    });
  }
  const known = original === undefined ? recorded : undefined;
  const machine = here.machine || (known?.machine ?? "");
  const identity = { instance: known?.instance ?? newInstanceId(), ...here, machine };
  const text = JSON.stringify(identity);
  if (text === JSON.stringify(recorded)) return identity.instance;
  try {
    await writeAtomically(join(folder, name), text);
  } catch (error) {
    const why = messageOf(error);
    log.warn("the instance id could not be stored: the next start has another one", { why });
  }
  return identity.instance;
}

/** The instance id that is stored in a folder; undefined if there is none, or if it is that of an original. */
export function storedInstanceId(folder: string, name: string): string | undefined {
  const { recorded, original } = identityOf(folder, name, MACHINE_FILES);
  return original === undefined ? recorded?.instance : undefined;
}

/** Twelve random hex digits. */
export function newInstanceId(): string {
  return randomBytes(6).toString("hex");
}

function identityOf(folder: string, name: string, machineFiles: readonly string[]) {
  const recorded = identityIn(join(folder, name));
  const here = { machine: machineIn(machineFiles), folder: realpathSync(folder) };
  return { recorded, here, original: recorded && originalOf(recorded, here, name) };
}

/**
 * Where the original is, if this folder is a copy. On the same machine it is one if the original is still where
 * it was. Otherwise the folder was moved, or restored from a backup.
 */
function originalOf(
  { instance, machine, folder }: Identity,
  here: Omit<Identity, "instance">,
  name: string,
): string | undefined {
  if (machine !== "" && here.machine !== "" && machine !== here.machine) return "another machine";
  if (folder === here.folder || identityIn(join(folder, name))?.instance !== instance)
    return undefined;
  const [there, own] = [statSync(folder), statSync(here.folder)];
  // One folder can have two paths, as with a bind mount.
  return there.ino === own.ino && there.dev === own.dev ? undefined : folder;
}

/** Undefined if there is none, or it cannot be read. */
function identityIn(file: string): Identity | undefined {
  try {
    const found = fromJson(textIn(file) ?? "");
    const instance = textAt(found, "instance");
    const machine = textAt(found, "machine");
    const identity = { instance, machine, folder: textAt(found, "folder") };
    return /^[0-9a-f]{12}$/.test(instance) ? identity : undefined;
  } catch {
    return undefined;
  }
}

/** A hash, because the id itself should not leave the machine (machine-id(5)). */
function machineIn(files: readonly string[]): string {
  for (const file of files) {
    const id = textIn(file)?.trim() ?? "";
    if (/^[0-9a-f]{32}$/.test(id)) {
      return createHash("sha256").update(`picoclaw ${id}`).digest("hex").slice(0, 16);
    }
  }
  return "";
}

function textIn(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}
