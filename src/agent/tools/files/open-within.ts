import type { Stats } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { CLIENT_MEMORIES, KEY_FILES, STATE_FOLDERS } from "../../workspace/contract.ts";
import { ToolError } from "../contract.ts";
import type { Bounds, Use } from "./bounds.ts";
import { isProtected } from "./bounds.ts";
import { shownPath, withToolErrors } from "./errors.ts";
import { locate, realWorkspace } from "./locate.ts";
import { openDirBelow } from "./open-dir.ts";
import type { OpenDir } from "./open-dir.ts";

/** Calls `work` with the open folder and the name of an existing file to read. Throws a `ToolError`. */
export async function withFileToRead<T>(
  path: string,
  bounds: Bounds,
  work: (dir: OpenDir, name: string) => Promise<T>,
): Promise<T> {
  return await withToolErrors(path, async () => {
    const { folder, names, exists } = await locate(path, "read", bounds);
    if (!exists) throw new ToolError(`${shownPath(path)} does not exist`);
    const [name] = names;
    if (name === undefined) throw new ToolError("that is a folder: list_dir shows what is in it");
    return await withOpenDir(openDirBelow(folder, [], false), bounds, (dir) => work(dir, name));
  });
}

/** Calls `work` with the open folder and the name of a file to write. Creates missing folders. Throws a `ToolError`. */
export async function withFileToWrite<T>(
  path: string,
  bounds: Bounds,
  work: (dir: OpenDir, name: string) => Promise<T>,
  use: Use = "write",
): Promise<T> {
  return await withToolErrors(path, async () => {
    const { folder, names } = await locate(path, use, bounds);
    const name = names.at(-1);
    if (name === undefined) throw new ToolError("that is a folder");
    const opening = openDirBelow(folder, names.slice(0, -1), true);
    return await withOpenDir(opening, bounds, (dir) => work(dir, name));
  });
}

/** Calls `work` with an existing folder to read. Throws a `ToolError`. */
export async function withFolderToRead<T>(
  path: string,
  bounds: Bounds,
  work: (dir: OpenDir) => Promise<T>,
): Promise<T> {
  return await withToolErrors(path, async () => {
    const { folder, names, exists } = await locate(path, "read", bounds);
    if (!exists) throw new ToolError(`${shownPath(path)} does not exist`);
    return await withOpenDir(openDirBelow(folder, names, false), bounds, work);
  });
}

async function withOpenDir<T>(
  opening: Promise<OpenDir>,
  bounds: Bounds,
  work: (dir: OpenDir) => Promise<T>,
): Promise<T> {
  const dir = await opening;
  try {
    return await work({ ...dir, isAliasOfProtected: (stats) => isAliasOfProtected(stats, bounds) });
  } finally {
    await dir.close();
  }
}

/** Protected folders of the workspace, and protected files in it or next to a key file. */
const FOLDERS = [...STATE_FOLDERS, CLIENT_MEMORIES];
const FILES = Object.values(KEY_FILES);
/** Files that are compared. If there are more, a file with several names counts as protected. */
const MOST = 50_000;

/**
 * Whether a file with several names (hard links) is a protected file under another name, by device and
 * inode.
 */
async function isAliasOfProtected(
  { dev, ino, nlink }: Pick<Stats, "dev" | "ino" | "nlink">,
  bounds: Pick<Bounds, "workspace" | "keyFiles">,
): Promise<boolean> {
  if (nlink < 2) return false;
  const workspace = await realWorkspace(bounds.workspace);
  const siblings = bounds.keyFiles.flatMap((file) =>
    FILES.map((name) => join(dirname(file), name)),
  );
  const paths = [...bounds.keyFiles, ...siblings, ...FILES.map((name) => join(workspace, name))];
  for (const folder of FOLDERS) {
    const names = await readdir(join(workspace, folder), { recursive: true }).catch(() => []);
    if (names.length > MOST) return true;
    paths.push(...names.map((name) => join(workspace, folder, name)));
  }
  for (const path of new Set(paths)) {
    if (!isProtected(path, { ...bounds, workspace })) continue;
    const one = await stat(path).catch(() => undefined);
    if (one !== undefined && one.dev === dev && one.ino === ino) return true;
  }
  return false;
}
