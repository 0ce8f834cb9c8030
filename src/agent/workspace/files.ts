import { constants, statSync } from "node:fs";
import type { Stats } from "node:fs";
import { open, readdir, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { codeOf, messageOf } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { isInside } from "../../base/path-contains.ts";

/** What was read of a file, and a sentence about its fault. */
export interface Reading<T> {
  readonly value: T;
  readonly fault?: string;
}

/** Caches what was made of files while they do not change. */
export interface FileCache<T> {
  /** Undefined if there is no such file. Never throws; logs a fault when it is new. */
  get(path: string): Promise<T | undefined>;
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
  readonly key: string;
  readonly value: T;
  readonly fault: string | undefined;
}

const MAX_ENTRIES = 500;
/**
 * Milliseconds. A file that changed so shortly before it was read may change again with the same time stamp
 * (FAT has steps of 2 s), so it is read again.
 */
const SETTLED_MS = 2_000;

/**
 * Milliseconds after a `stat` of a file in which the next one is synchronous, at a hundredth of the cost: the
 * kernel has the status in its cache. An asynchronous `stat` runs on a thread, so a slow disk blocks nothing.
 */
const CACHED_MS = 1_000;

/** Creates a `stat` that returns undefined for a missing file. It throws like `stat` otherwise. */
export function createLook(): (path: string) => Promise<Stats | undefined> {
  const lookedAt = new Map<string, number>();
  return async (path) => {
    const now = performance.now();
    if (now - (lookedAt.get(path) ?? Number.NEGATIVE_INFINITY) < CACHED_MS) {
      return statSync(path, { throwIfNoEntry: false });
    }
    const facts = await stat(path).catch((error: unknown) => {
      if (isMissing(error)) return undefined;
      throw error;
    });
    if (lookedAt.size >= MAX_ENTRIES) lookedAt.clear();
    lookedAt.set(path, now);
    return facts;
  };
}

/** A cache that needs one `stat` for each read of a file. */
export function createFileCache<T>(options: FileCacheOptions<T>): FileCache<T> {
  const { load, nothing, now, log } = options;
  const entries = new Map<string, Entry<T>>();
  const look = createLook();

  const loadEntry = async (path: string, key: string): Promise<Entry<T>> => {
    try {
      const { value, fault } = await load(path);
      return { key, value, fault };
    } catch (error) {
      return { key: "", value: nothing, fault: faultText(error) };
    }
  };

  const store = (path: string, entry: Entry<T>): T => {
    const before = entries.get(path);
    if (entry.fault !== undefined && entry.fault !== before?.fault) {
      log.warn("a file of the workspace cannot be used as it is", { file: path, why: entry.fault });
    }
    entries.delete(path);
    entries.set(path, entry);
    const [oldest] = entries.keys();
    if (entries.size > MAX_ENTRIES && oldest !== undefined) entries.delete(oldest);
    return entry.value;
  };

  return {
    async get(path) {
      let facts: Stats | undefined;
      try {
        facts = await look(path);
      } catch (error) {
        return store(path, { key: "", value: nothing, fault: faultText(error) });
      }
      if (facts === undefined) {
        entries.delete(path);
        return undefined;
      }
      const key = `${facts.dev}:${facts.ino}:${facts.size}:${facts.mtimeMs}:${facts.ctimeMs}`;
      const before = entries.get(path);
      if (before?.key === key) return before.value;
      const changedAt = Math.max(facts.mtimeMs, facts.ctimeMs || 0);
      const isSettled = now().getTime() - changedAt > SETTLED_MS;
      return store(path, await loadEntry(path, isSettled ? key : ""));
    },
  };
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
  const real = await realPathWithin(root, path);
  // Not blocking: a pipe in place of the file must not block the turn.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(real, flags);
  try {
    const facts = await file.stat();
    if (!facts.isFile()) throw new Error("it is not a regular file");
    const buffer = new Uint8Array(Math.min(most, facts.size));
    let length = 0;
    while (length < buffer.length) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    const isCut = facts.size > length;
    const text = new TextDecoder().decode(buffer.subarray(0, length), { stream: isCut });
    return { text: withoutControls(text), bytes: facts.size };
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
