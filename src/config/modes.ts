import { stat } from "node:fs/promises";
import type { Check } from "../base/contract.ts";
import { codeOf } from "../base/failure.ts";
import { userId } from "../base/host.ts";

/** All mode bits but the owner's, and the same without read permission of the group. */
const OTHERS = 0o077;
const ALL_BUT_GROUP_READ = 0o037;
const ROOT = 0;

/**
 * Checks that only the owner can read files with secrets. Returns one warning for each file that others
 * can read, else one check for all. Returns nothing if no file exists or the system has no modes.
 */
export async function modeChecks(files: Iterable<string>): Promise<readonly Check[]> {
  const me = userId();
  if (me === undefined) return [];
  const looked = [...new Set(files)].map(async (file) => ({ file, facts: await factsOf(file) }));
  const found = (await Promise.all(looked)).flatMap(({ file, facts }) =>
    facts === undefined ? [] : [{ file, ...facts }],
  );
  const open = found.flatMap((one) => openCheck(one, me) ?? []);
  if (found.length === 0 || open.length > 0) return open;
  const those = found.length === 1 ? "the file" : `all ${found.length} files`;
  const message = `only the owner can read ${those} with secrets`;
  return [{ name: "mode of secrets", result: "ok", message }];
}

interface FileFacts {
  readonly mode: number;
  readonly uid: number;
}

/** Undefined if the file does not exist or cannot be reached; its reader reports that. */
async function factsOf(file: string): Promise<FileFacts | undefined> {
  try {
    const { mode, uid } = await stat(file);
    return { mode: mode & 0o777, uid };
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EACCES"].includes(codeOf(error))) return undefined;
    throw error;
  }
}

/** In /etc, files of root that the group of one service may read are usual and safe, unless we are root. */
function openCheck(
  { file, mode, uid }: FileFacts & { readonly file: string },
  me: number,
): Check | undefined {
  const name = `mode of ${file}`;
  if (uid !== me && uid !== ROOT) {
    const message = `${file} holds secrets and belongs to another user (${uid}), who can read and change it`;
    return { name, result: "warn", message, remedy: `sudo chown ${me} ${quoted(file)}` };
  }
  const forbidden = uid === ROOT && me !== ROOT ? ALL_BUT_GROUP_READ : OTHERS;
  if ((mode & forbidden) === 0) return undefined;
  const message = `${file} holds secrets and is open to ${whoOf(mode)} (mode ${mode.toString(8)})`;
  const wanted = forbidden === OTHERS ? "600" : "640";
  return { name, result: "warn", message, remedy: `chmod ${wanted} ${quoted(file)}` };
}

/** Files and folders that others must not change or read. */
export interface Places {
  /** They decide who the agent is and what it may do. Some may not exist. */
  readonly trusted: Iterable<string>;
  /** Files that were created for their owner only. */
  readonly closed: Iterable<string>;
}

const BY_EVERYONE = 0o002;

/** One warning for each trusted place that others can change and each closed one that they can read. */
export async function placeChecks({ trusted, closed }: Places): Promise<readonly Check[]> {
  if (userId() === undefined) return [];
  const found = await Promise.all([
    ...[...new Set(trusted)].map(async (file) => changeCheck(file, await factsOf(file))),
    ...[...new Set(closed)].map(async (file) => closedCheck(file, await factsOf(file))),
  ]);
  return found.filter((check) => check !== undefined);
}

function changeCheck(file: string, facts: FileFacts | undefined): Check | undefined {
  if (facts === undefined || (facts.mode & BY_EVERYONE) === 0) return undefined;
  return placeCheck(file, facts, { can: "changed", remedy: `chmod o-w ${quoted(file)}` });
}

function closedCheck(file: string, facts: FileFacts | undefined): Check | undefined {
  if (facts === undefined || (facts.mode & OTHERS) === 0) return undefined;
  const can = (facts.mode & 0o022) === 0 ? "read" : "read and changed";
  return placeCheck(file, facts, { can, remedy: `chmod 600 ${quoted(file)}` });
}

function placeCheck(
  file: string,
  { mode }: FileFacts,
  { can, remedy }: { readonly can: string; readonly remedy: string },
): Check {
  const message = `${file} can be ${can} by ${whoOf(mode)} (mode ${mode.toString(8)})`;
  return { name: `mode of ${file}`, result: "warn", message, remedy };
}

function whoOf(mode: number): string {
  return (mode & 0o007) === 0 ? "its group" : "every user of this machine";
}

/** Quoted for a shell. */
function quoted(file: string): string {
  return /^[\w@%+=:,./-]+$/.test(file) ? file : `'${file.replaceAll("'", String.raw`'\''`)}'`;
}
