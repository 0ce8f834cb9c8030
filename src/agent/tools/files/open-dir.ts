import { constants } from "node:fs";
import type { Stats } from "node:fs";
import { lstat, mkdir, open, readlink, realpath } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { platform } from "node:os";
import { join } from "node:path";
import { codeOf } from "../../../base/failure.ts";
import { RefusedCall, ToolError } from "../contract.ts";

/**
 * An open folder. Names in it belong to this very folder, even if its path changes. On Linux the files in
 * it are reached through `/proc/self/fd/N/`, which the kernel resolves to the open folder itself (as
 * `openat` does), so there is no moment between check and use. On other systems, and without /proc, the
 * folder is its path, and `check` before and after each use only narrows that moment.
 */
export interface OpenDir {
  /** The path of a name in the folder; without a name, the path of the folder. */
  pathOf(name?: string): string;
  /** Throws if the folder's path leads elsewhere by now. Call it after an open and before the use. */
  check(): Promise<void>;
  /** Opens a folder in this one; creates it if it is missing and `make` is set. Follows no link. */
  child(name: string, make: boolean): Promise<OpenDir>;
  close(): Promise<void>;
  /** Whether a file is another name (hard link) of a protected file; absent if nothing is protected. */
  isAliasOfProtected?(stats: Stats): Promise<boolean>;
}

const OPEN_FILES = "/proc/self/fd";
/** Linux, on every processor that Bun and Deno support: a handle without read access. */
const O_PATH = 0o10000000;
const FOLDER_MODE = 0o700;

/** Opens the folder at a real path. Throws if a part of the path has become a link. */
export async function openDir(real: string, openFiles = OPEN_FILES): Promise<OpenDir> {
  if (platform() !== "linux") return await watchedDir(real);
  const handle = await open(real, O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    if ((await readlink(`${openFiles}/${handle.fd}`)) === real) return handleDir(handle);
    throw movedError();
  } catch (error) {
    await handle.close();
    if (codeOf(error) === "ENOENT") return await watchedDir(real);
    throw error;
  }
}

/** Opens a folder below another; creates missing ones if `make` is set. */
export async function openDirBelow(
  folder: string,
  names: readonly string[],
  make: boolean,
): Promise<OpenDir> {
  let dir = await openDir(folder);
  for (const name of names) {
    const above = dir;
    try {
      dir = await above.child(name, make);
    } finally {
      await above.close();
    }
  }
  return dir;
}

function handleDir(handle: FileHandle): OpenDir {
  const path = `${OPEN_FILES}/${handle.fd}`;
  return {
    pathOf: (name = ".") => `${path}/${name}`,
    check: () => Promise.resolve(),
    async child(name, make) {
      const below = `${path}/${name}`;
      if (make) await makeFolder(below);
      return handleDir(await open(below, O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW));
    },
    close: () => handle.close(),
  };
}

async function watchedDir(real: string): Promise<OpenDir> {
  const { dev, ino } = await lstat(real);
  const check = async (): Promise<void> => {
    const now = await lstat(real);
    const same = now.dev === dev && now.ino === ino && (await realpath(real)) === real;
    if (!same) throw movedError();
  };
  await check();
  return {
    pathOf: (name = ".") => join(real, name),
    check,
    async child(name, make) {
      if (make) await makeFolder(join(real, name));
      await check();
      return await watchedDir(join(real, name));
    },
    close: () => Promise.resolve(),
  };
}

async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: FOLDER_MODE });
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
  }
}

function movedError(): ToolError {
  return new ToolError("the folder of that path was just replaced; nothing was done");
}

/** Mode of new files: only this program's user can read them. */
const FILE_MODE = 0o600;

export interface OpenFile {
  readonly handle: FileHandle;
  readonly stats: Stats;
}

/**
 * Opens a regular file of an open folder: no link, folder, pipe, socket or device. Never hangs: it opens a
 * pipe without waiting for a writer, and does not open devices. Throws a `ToolError`.
 */
export async function openRegular(dir: OpenDir, name: string, flags: number): Promise<OpenFile> {
  const path = dir.pathOf(name);
  const before = await statsIfAny(path);
  if (before !== undefined) assertRegular(before);
  // Windows has neither flag: undefined counts as 0.
  const { O_NOFOLLOW, O_NONBLOCK } = constants;
  const handle = await open(path, flags | O_NOFOLLOW | O_NONBLOCK, FILE_MODE);
  try {
    await dir.check();
    const stats = await handle.stat();
    assertRegular(stats);
    if ((await dir.isAliasOfProtected?.(stats)) === true) {
      throw new RefusedCall("that is another name of a file with this program's own state or keys");
    }
    return { handle, stats };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Calls `work` with an open regular file, as `openRegular` opens it, and closes it. */
export async function withRegular<T>(
  dir: OpenDir,
  name: string,
  flags: number,
  work: (file: OpenFile) => Promise<T>,
): Promise<T> {
  const file = await openRegular(dir, name, flags);
  try {
    return await work(file);
  } finally {
    await file.handle.close();
  }
}

/** The state of a path, links not followed; undefined if nothing is there. */
export async function statsIfAny(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Throws a `ToolError` for anything but a regular file. */
export function assertRegular(stats: Stats): void {
  if (stats.isFile()) return;
  if (stats.isDirectory()) throw new ToolError("that is a folder: list_dir shows what is in it");
  if (stats.isSymbolicLink()) {
    throw new ToolError("that path has just become a symbolic link; nothing was done");
  }
  throw new ToolError("that is a pipe, a socket or a device, not a file");
}
