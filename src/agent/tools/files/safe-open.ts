import type { Stats } from "node:fs";
import { constants } from "node:fs";
import { lstat, open } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { codeOf } from "../../../base/failure.ts";
import { FileError } from "./errors.ts";
import type { OpenDir } from "./open-dir.ts";

/** Mode of new files: only this program's user can read them. */
export const FILE_MODE = 0o600;

export interface OpenFile {
  readonly handle: FileHandle;
  readonly stats: Stats;
}

/**
 * Opens a regular file of an open folder: no link, folder, pipe, socket or device. Never hangs: it opens a
 * pipe without waiting for a writer, and does not open devices. Throws a `FileError`.
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
      throw new FileError("that is another name of a file with this program's own state or keys");
    }
    return { handle, stats };
  } catch (error) {
    await handle.close();
    throw error;
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

/** Throws a `FileError` for anything but a regular file. */
export function assertRegular(stats: Stats): void {
  if (stats.isFile()) return;
  if (stats.isDirectory()) throw new FileError("that is a folder: list_dir shows what is in it");
  if (stats.isSymbolicLink()) {
    throw new FileError("that path has just become a symbolic link; nothing was done");
  }
  throw new FileError("that is a pipe, a socket or a device, not a file");
}

/** At most `most` bytes from an offset; fewer at the end of the file. */
export async function readBytes(
  handle: FileHandle,
  from: number,
  most: number,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(most);
  let length = 0;
  while (length < most) {
    const { bytesRead } = await handle.read(bytes, length, most - length, from + length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return bytes.subarray(0, length);
}
