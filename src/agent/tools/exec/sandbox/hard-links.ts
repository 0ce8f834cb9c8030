import type { Dirent } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";

interface Hidden {
  /** Folders among them do not count. */
  readonly files: readonly string[];
  /** All files below them are hidden. */
  readonly folders: readonly string[];
}

/**
 * Other names (hard links) of hidden files, in the paths that a command sees: a mount hides a name and not
 * the file. These paths are searched only if a hidden file has several names.
 */
export async function hardLinksOf(
  { files, folders }: Hidden,
  seen: readonly string[],
): Promise<readonly string[]> {
  const hidden = await linkedFiles([...files, ...(await allFilesIn(folders))]);
  if (hidden.length === 0) return [];
  const ids = new Set(hidden.map(({ id }) => id));
  const names = new Set(hidden.map(({ path }) => path));
  const others = await linkedFiles(await allFilesIn(seen));
  return others.filter(({ path, id }) => ids.has(id) && !names.has(path)).map(({ path }) => path);
}

interface LinkedFile {
  readonly path: string;
  /** Device and inode. */
  readonly id: string;
}

/** Those of the files that have several names. */
async function linkedFiles(paths: readonly string[]): Promise<readonly LinkedFile[]> {
  const files = paths.map(async (path): Promise<LinkedFile[]> => {
    const stats = await stat(path).catch(() => undefined);
    if (stats?.isFile() !== true || stats.nlink < 2) return [];
    return [{ path, id: `${stats.dev}:${stats.ino}` }];
  });
  return (await Promise.all(files)).flat();
}

/** The paths that are no folders, and all files below those that are. Follows no link. */
async function allFilesIn(paths: readonly string[]): Promise<readonly string[]> {
  const all = paths.map(async (path): Promise<readonly string[]> => {
    const entries = await readdir(path, { withFileTypes: true }).catch(() => undefined);
    return entries === undefined ? [path] : await filesOf(path, entries);
  });
  return [...new Set((await Promise.all(all)).flat())];
}

async function filesOf(folder: string, entries: readonly Dirent[]): Promise<readonly string[]> {
  const files = entries.filter((entry) => entry.isFile());
  const folders = entries.filter((entry) => entry.isDirectory());
  const below = await allFilesIn(folders.map(({ name }) => join(folder, name)));
  return [...files.map(({ name }) => join(folder, name)), ...below];
}
