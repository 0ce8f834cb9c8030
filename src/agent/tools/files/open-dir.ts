import { constants } from "node:fs";
import type { Stats } from "node:fs";
import { lstat, mkdir, open, readlink, realpath } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { platform } from "node:os";
import { join } from "node:path";
import { codeOf } from "../../../base/failure.ts";
import { FileError } from "./errors.ts";

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

function movedError(): FileError {
  return new FileError("the folder of that path was just replaced; nothing was done");
}
