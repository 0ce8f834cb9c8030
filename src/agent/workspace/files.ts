import { constants } from "node:fs";
import type { Stats } from "node:fs";
import { open, readdir, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { codeOf } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { isInside } from "../../base/path-contains.ts";

/** What was read of a file, and in words what was not as it should be. */
export interface Reading<T> {
  readonly value: T;
  readonly fault?: string;
}

/** Remembers what was made of files for as long as they do not change. */
export interface FileCache<T> {
  /** Undefined where there is no such file. Never throws; a fault is logged when it is new. */
  get(path: string): Promise<T | undefined>;
}

export interface FileCacheOptions<T> {
  /** Reads one file; may throw. */
  readonly load: (path: string) => Promise<Reading<T>>;
  /** What stands for a file that cannot be read. */
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
 * Milliseconds: a file that changed so shortly before it was read may change again without another
 * time stamp (FAT counts in steps of 2 s), so it is read again.
 */
const SETTLED_MS = 2_000;

/** A cache that costs one `stat` a file and look. */
export function createFileCache<T>(options: FileCacheOptions<T>): FileCache<T> {
  const { load, nothing, now, log } = options;
  const entries = new Map<string, Entry<T>>();

  const made = async (path: string, key: string): Promise<Entry<T>> => {
    try {
      const { value, fault } = await load(path);
      return { key, value, fault };
    } catch (error) {
      return { key: "", value: nothing, fault: faultText(error) };
    }
  };

  const keep = (path: string, entry: Entry<T>): T => {
    const before = entries.get(path);
    if (entry.fault !== undefined && entry.fault !== before?.fault) {
      log.warn("a file of the workspace is not read as it is", { file: path, why: entry.fault });
    }
    entries.delete(path);
    entries.set(path, entry);
    const [oldest] = entries.keys();
    if (entries.size > MAX_ENTRIES && oldest !== undefined) entries.delete(oldest);
    return entry.value;
  };

  return {
    async get(path) {
      let facts: Stats;
      try {
        facts = await stat(path);
      } catch (error) {
        if (!isMissing(error)) {
          return keep(path, { key: "", value: nothing, fault: faultText(error) });
        }
        entries.delete(path);
        return undefined;
      }
      const key = `${facts.dev}:${facts.ino}:${facts.size}:${facts.mtimeMs}:${facts.ctimeMs}`;
      const before = entries.get(path);
      if (before?.key === key) return before.value;
      const changedAt = Math.max(facts.mtimeMs, facts.ctimeMs || 0);
      const isSettled = now().getTime() - changedAt > SETTLED_MS;
      return keep(path, await made(path, isSettled ? key : ""));
    },
  };
}

export interface BoundedText {
  readonly text: string;
  /** Of the whole file. */
  readonly bytes: number;
}

/**
 * The beginning of a file, at most `most` bytes and never half a character. Follows no link that
 * leaves `root`, and opens nothing but regular files. Throws where it cannot.
 */
export async function readWithin(root: string, path: string, most: number): Promise<BoundedText> {
  const real = await realPathWithin(root, path);
  // Not blocking: a pipe that took the file's place must not hold the turn.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(real, flags);
  try {
    const facts = await file.stat();
    if (!facts.isFile()) throw new Error("it is no regular file");
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

/** Where a path really lies. Throws where that is not inside `root`. */
export async function realPathWithin(root: string, path: string): Promise<string> {
  const [realRoot, real] = await Promise.all([realpath(root), realpath(path)]);
  if (isInside(real, realRoot)) return real;
  throw new Error(`it is a link that leaves ${root}`);
}

/** The names in a folder inside `root`, in order; none where there is no such folder or it leads out. */
export async function namesWithin(root: string, path: string): Promise<string[]> {
  try {
    return (await readdir(await realPathWithin(root, join(root, path)))).toSorted();
  } catch {
    return [];
  }
}

/** Whether a file is simply not there. */
export function isMissing(error: unknown): boolean {
  return codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR";
}

function faultText(error: unknown): string {
  if (codeOf(error) !== "") return codeOf(error);
  return error instanceof Error ? error.message : String(error);
}

/** Line ends as `\n`, and no control character but that and the tab. */
function withoutControls(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return text.replaceAll("\r\n", "\n").replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, "");
}
