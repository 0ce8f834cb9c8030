import { constants, statSync } from "node:fs";
import type { Stats } from "node:fs";
import { open, readdir, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { codeOf, messageOf } from "../../base/failure.ts";
import { readBytes } from "../../base/file-io.ts";
import type { Log } from "../../base/log.ts";
import { isInside } from "../../base/path-contains.ts";

/** The value of a file, and a sentence about its fault. */
export interface Reading<T> {
  readonly value: T;
  readonly fault?: string;
}

/**
 * The files of one reading, by path: the status of each, `MISSING` for one that is not there, "" for one that must
 * be read again.
 */
export type Seen = Map<string, string>;

const MISSING = "missing";

/** Caches the values of files while the files do not change. */
export interface FileCache<T> {
  /** Undefined if there is no such file. Adds the file to `seen`. Never throws; logs a fault when it is new. */
  get(path: string, seen: Seen): Promise<T | undefined>;
}

export interface FileCacheOptions<T> {
  /** Reads one file; may throw. */
  readonly load: (path: string) => Promise<Reading<T>>;
  /** The value for a file that cannot be read. */
  readonly nothing: T;
  readonly now: () => Date;
  readonly log: Log;
}

interface Entry<T> {
  readonly status: string;
  readonly value: T;
  readonly fault: string | undefined;
}

const MAX_ENTRIES = 500;
/**
 * Milliseconds. A file that changed so shortly before it was read may change again with the same time stamp
 * (FAT has steps of 2 s), so it is read again.
 */
const SETTLED_MS = 2_000;

/** A cache that needs one `stat` for each read of a file. */
export function createFileCache<T>(options: FileCacheOptions<T>): FileCache<T> {
  const { load, nothing, now, log } = options;
  const entries = new Map<string, Entry<T>>();

  const loadEntry = async (path: string, facts: Stats): Promise<Entry<T>> => {
    const changedAt = Math.max(facts.mtimeMs, facts.ctimeMs || 0);
    const isSettled = now().getTime() - changedAt > SETTLED_MS;
    const { value, fault } = await load(path);
    return { status: isSettled ? statusOf(facts) : "", value, fault };
  };

  const store = (path: string, entry: Entry<T>): void => {
    const before = entries.get(path);
    if (entry.fault !== undefined && entry.fault !== before?.fault) {
      log.warn("a file of the workspace cannot be used as it is", { file: path, why: entry.fault });
    }
    entries.delete(path);
    entries.set(path, entry);
    const [oldest] = entries.keys();
    if (entries.size > MAX_ENTRIES && oldest !== undefined) entries.delete(oldest);
  };

  return {
    async get(path, seen) {
      let entry = entries.get(path);
      try {
        const facts = await stat(path);
        if (entry === undefined || entry.status !== statusOf(facts)) {
          entry = await loadEntry(path, facts);
          store(path, entry);
        }
      } catch (error) {
        if (isMissing(error)) {
          entries.delete(path);
          seen.set(path, MISSING);
          return undefined;
        }
        entry = { status: "", value: nothing, fault: faultText(error) };
        store(path, entry);
      }
      seen.set(path, entry.status);
      return entry.value;
    },
  };
}

function statusOf(facts: Stats | undefined): string {
  if (facts === undefined) return MISSING;
  return `${facts.dev}:${facts.ino}:${facts.size}:${facts.mtimeMs}:${facts.ctimeMs}`;
}

/**
 * Milliseconds after a `stat` of a file in which the next one is synchronous, at a hundredth of the cost: the
 * kernel has the status in its cache. An asynchronous `stat` runs on a thread, so a slow disk blocks nothing.
 */
export const STAT_CACHED_MS = 1_000;

/** Whether all files are as they were seen. Synchronous: only for files that were seen a moment ago. */
export function areUnchanged(seen: Seen): boolean {
  try {
    for (const [path, status] of seen) {
      if (status !== statusOf(statSync(path, { throwIfNoEntry: false }))) return false;
    }
    return true;
  } catch {
    return false;
  }
}

export interface BoundedText {
  readonly text: string;
  /** Size of the whole file. */
  readonly bytes: number;
}

/**
 * The beginning of a file, at most `most` bytes and no half character. Follows no link that leaves `root`, and
 * opens only regular files. Throws if it cannot.
 */
export async function readWithin(root: string, path: string, most: number): Promise<BoundedText> {
  const { bytes, size } = await bytesWithin(root, path, most);
  const text = new TextDecoder().decode(bytes, { stream: size > bytes.length });
  return { text: withoutControls(text), bytes: size };
}

/** The same, as it is in the file; `size` is that of the whole file. */
export async function bytesWithin(
  root: string,
  path: string,
  most: number,
): Promise<{ readonly bytes: Uint8Array; readonly size: number }> {
  const real = await realPathWithin(root, path);
  // Not blocking: a pipe in place of the file must not block the turn.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(real, flags);
  try {
    const facts = await file.stat();
    if (!facts.isFile()) throw new Error("it is not a regular file");
    return { bytes: await readBytes(file, 0, Math.min(most, facts.size)), size: facts.size };
  } finally {
    await file.close();
  }
}

/** The real path. Throws if it is not inside `root`. */
export async function realPathWithin(root: string, path: string): Promise<string> {
  const [realRoot, real] = await Promise.all([realpath(root), realpath(path)]);
  if (isInside(real, realRoot)) return real;
  throw new Error(`it is a link that leaves ${root}`);
}

/** The sorted names in a folder inside `root`; empty if it does not exist or leads out of `root`. */
export async function namesWithin(root: string, path: string): Promise<string[]> {
  try {
    return (await readdir(await realPathWithin(root, join(root, path)))).toSorted();
  } catch {
    return [];
  }
}

/** Whether a file does not exist. */
export function isMissing(error: unknown): boolean {
  return codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR";
}

function faultText(error: unknown): string {
  if (codeOf(error) !== "") return codeOf(error);
  return messageOf(error);
}

/** Line ends become `\n`; control characters except tabs are removed. */
function withoutControls(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return text.replaceAll("\r\n", "\n").replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, "");
}
