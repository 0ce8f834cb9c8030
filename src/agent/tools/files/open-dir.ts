import { constants } from "node:fs";
import type { Stats } from "node:fs";
import { lstat, mkdir, open, readlink, realpath } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { platform } from "node:os";
import { join } from "node:path";
import { codeOf } from "../../../base/failure.ts";
import { FileError } from "./errors.ts";

/**
 * A folder that is held fast: names in it mean this very folder, whatever its path has come to mean
 * since. On Linux the folder is opened and everything in it is reached through `/proc/self/fd/N/`,
 * which the kernel reads as the open folder itself (what `openat` does), so there is no moment between
 * check and use. Elsewhere, and where /proc is missing, paths stay paths, and `check` before and after
 * each use only narrows that moment: the tools of other systems have no such handle.
 */
export interface OpenDir {
  /** The path of a name in the folder; the folder's own without a name. */
  pathOf(name?: string): string;
  /** Throws where the folder's path leads elsewhere by now; always called after an open, before its use. */
  check(): Promise<void>;
  /** A folder in this one, made where it is missing and `make` is set. Links are not followed. */
  child(name: string, make: boolean): Promise<OpenDir>;
  close(): Promise<void>;
  /** Whether a file in it is kept from the tools under another of its names; absent where none is. */
  isAliasOfProtected?(stats: Stats): Promise<boolean>;
}

const OPEN_FILES = "/proc/self/fd";
/** Linux's, on every processor that Bun and Deno run on: a handle that only names, without reading. */
const O_PATH = 0o10000000;
const FOLDER_MODE = 0o700;

/** Holds the folder at a real path fast. Throws where a link has come into its path. */
export async function openDir(real: string, openFiles = OPEN_FILES): Promise<OpenDir> {
  if (platform() !== "linux") return await watchedDir(real);
  const handle = await open(real, O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    if ((await readlink(`${openFiles}/${handle.fd}`)) === real) return handleDir(handle);
    throw moved();
  } catch (error) {
    await handle.close();
    if (codeOf(error) === "ENOENT") return await watchedDir(real);
    throw error;
  }
}

/** The same for names below a folder, the missing ones made where `make` is set. */
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
      if (make) await madeFolder(below);
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
    if (!same) throw moved();
  };
  await check();
  return {
    pathOf: (name = ".") => join(real, name),
    check,
    async child(name, make) {
      if (make) await madeFolder(join(real, name));
      await check();
      return await watchedDir(join(real, name));
    },
    close: () => Promise.resolve(),
  };
}

async function madeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: FOLDER_MODE });
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
  }
}

function moved(): FileError {
  return new FileError("the folder of that path was replaced in this moment, nothing was done");
}
