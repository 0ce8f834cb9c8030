import { constants } from "node:fs";
import { mkdir, open, realpath, rm, stat, utimes } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { createSerialQueue } from "../../base/async.ts";
import { codeOf } from "../../base/failure.ts";
import { writeAtomically } from "../../base/file-io.ts";
import { isInside } from "../../base/path-contains.ts";
import { two } from "../device/format.ts";
import type { Notes } from "./contract.ts";
import { isMissing, namesWithin, realPathWithin } from "./files.ts";

/** Bytes of the largest file that is changed; this program writes no larger ones. */
const MAX_CHANGED = 1024 * 1024;

/** Changes of notes run one after the other, so that none overwrites what another has just written. */
const inTurn = createSerialQueue();
const DAY_MS = 86_400_000;

/** The notes in the files of a workspace, which its owner may edit. One process changes them at a time. */
export function fileNotes(folder: string): Notes {
  return {
    read: (path) => inTurn(() => readNote(folder, path)),
    change: (path, change) =>
      inTurn(async () => {
        const before = await readNote(folder, path);
        const after = change(before);
        if (after !== before) await writeNote(folder, path, after);
      }),
    names: (below) => namesWithin(folder, below),
    usedAt: async (path) => (await stat(join(folder, path))).mtimeMs,
    async use(path, now) {
      const file = join(folder, path);
      const { mtimeMs } = await stat(file);
      if (now.getTime() - mtimeMs > DAY_MS) await utimes(file, now, now);
    },
    remove: async (path) => rm(await realPathWithin(folder, join(folder, path)), { force: true }),
  };
}

/** The whole text of a file in a workspace, or "" if it is missing. Throws for links that leave the workspace. */
async function readNote(root: string, path: string): Promise<string> {
  const file = join(root, path);
  try {
    const real = await realPathWithin(root, file);
    const facts = await stat(real);
    if (!facts.isFile()) throw new Error(`${path} is not a regular file`);
    if (facts.size > MAX_CHANGED) throw new Error(`${path} has more than ${MAX_CHANGED} bytes`);
    const handle = await open(real, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      return utf8Of(await handle.readFile(), path);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (isMissing(error)) return "";
    throw error;
  }
}

/**
 * Writes a file of a workspace atomically and creates its folders, both for this user only. An existing file
 * keeps its owner and mode.
 */
async function writeNote(root: string, path: string, text: string): Promise<void> {
  const file = await writablePath(root, path);
  await writeAtomically(file, text, { prepare: (handle) => copyAccess(handle, file) });
}

/** Copies owner and mode of the old file: a gateway that runs as root must not take it from its owner. */
async function copyAccess(handle: FileHandle, file: string): Promise<void> {
  try {
    const { uid, gid, mode } = await stat(file);
    const own = await handle.stat();
    await handle.chmod(mode & 0o777);
    if (own.uid !== uid || own.gid !== gid) await handle.chown(uid, gid);
  } catch (error) {
    // Missing: the file is new. Not permitted: another user's file becomes this user's.
    if (!isMissing(error) && codeOf(error) !== "EPERM") throw error;
  }
}

/** The real path of the file; creates its folders. */
async function writablePath(root: string, path: string): Promise<string> {
  await mkdir(root, { recursive: true, mode: 0o700 });
  const realRoot = await realpath(root);
  let folder = realRoot;
  for (const name of dirname(path).split("/")) {
    const below = join(folder, name);
    await mkdir(below, { mode: 0o700 }).catch(rejectUnlessThere);
    folder = await realpath(below);
    if (!isInside(folder, realRoot)) throw new Error(`${name} is a link that leaves the workspace`);
  }
  const file = join(folder, basename(path));
  try {
    return await realPathWithin(realRoot, file);
  } catch (error) {
    if (isMissing(error)) return file;
    throw error;
  }
}

function rejectUnlessThere(error: unknown): void {
  if (codeOf(error) === "EEXIST") return;
  throw error;
}

/** Decodes strictly: invalid bytes would be lost when the text is written back. */
function utf8Of(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Error(`${path} is not UTF-8 text`);
  }
}

/** The path of the notes of a day (`2026-07-01`) in a workspace. */
export function dayFile(date: string): string {
  const digits = date.replaceAll("-", "");
  return `memory/${digits.slice(0, 6)}/${digits}.md`;
}

/** Whether a folder of `memory` contains notes of days: its name is a month, `202607`. */
export function isMonth(folder: string): boolean {
  return /^\d{6}$/.test(folder);
}

/** The day of a file in the folder of a month; undefined for any other file. */
export function dayOf(month: string, file: string): string | undefined {
  if (!/^\d{8}\.md$/.test(file) || !file.startsWith(month)) return undefined;
  return `${file.slice(0, 4)}-${file.slice(4, 6)}-${file.slice(6, 8)}`;
}

/** The local day. */
export function localDay(date: Date): string {
  return [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join("-");
}

/** The local time, `09:05`. */
export function localClock(date: Date): string {
  return [date.getHours(), date.getMinutes()].map(two).join(":");
}
