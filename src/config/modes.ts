import { stat } from "node:fs/promises";
import type { Check } from "../base/check.ts";
import { codeOf } from "../base/code.ts";
import { userId } from "../base/host.ts";

/** The bits of everyone but the owner, and those of them that a group may have of a file that is root's. */
const OTHERS = 0o077;
const ALL_BUT_GROUP_READ = 0o037;
const ROOT = 0;

/**
 * Whether files that hold secrets are their owner's alone, by mode and owner: one check for each that
 * is not, else one for them all. Nothing where there is no such file, or no such thing as a mode.
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
  const those = found.length === 1 ? "the file" : `the ${found.length} files`;
  const message = `${those} that hold secrets can be read by their owner alone`;
  return [{ name: "mode of secrets", result: "ok", message }];
}

interface FileFacts {
  readonly mode: number;
  readonly uid: number;
}

/** Undefined for what is not there: whoever needs it says so. */
async function factsOf(file: string): Promise<FileFacts | undefined> {
  try {
    const { mode, uid } = await stat(file);
    return { mode: mode & 0o777, uid };
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EACCES"].includes(codeOf(error))) return undefined;
    throw error;
  }
}

/** A file of root's for a group of one service is usual in /etc, and closed. */
function openCheck(
  { file, mode, uid }: FileFacts & { readonly file: string },
  me: number,
): Check | undefined {
  const name = `mode of ${file}`;
  const isForeign = uid !== me && uid !== ROOT;
  if (isForeign && me !== ROOT) {
    const message = `${file} holds secrets and belongs to another user (${uid}), who can read and change it`;
    return { name, result: "warn", message, remedy: `sudo chown ${me} ${quoted(file)}` };
  }
  const forbidden = uid === ROOT && me !== ROOT ? ALL_BUT_GROUP_READ : OTHERS;
  if ((mode & forbidden) === 0) return undefined;
  const who = (mode & 0o007) === 0 ? "its group" : "every user of this machine";
  const message = `${file} holds secrets and is open to ${who} (mode ${mode.toString(8)})`;
  const wanted = forbidden === OTHERS ? "600" : "640";
  return { name, result: "warn", message, remedy: `chmod ${wanted} ${quoted(file)}` };
}

/** As a shell takes it. */
function quoted(file: string): string {
  return /^[\w@%+=:,./-]+$/.test(file) ? file : `'${file.replaceAll("'", String.raw`'\''`)}'`;
}
