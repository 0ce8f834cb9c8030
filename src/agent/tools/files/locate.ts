import { lstat, mkdir, realpath } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { codeOf } from "../../../base/failure.ts";
import { isInside } from "../../../base/path-contains.ts";
import type { FilePermissions } from "../../access/permissions.ts";
import { refusalOf } from "./bounds.ts";
import type { Bounds, Use } from "./bounds.ts";
import { FileError, shownPath } from "./errors.ts";

/** A path that may be used: a real folder that is there, and the names from it on that may not be. */
export interface Location {
  readonly folder: string;
  /** The names below the folder, the file's own last; none for the root of the file system. */
  readonly names: readonly string[];
  readonly exists: boolean;
}

/** Characters of a path; systems allow 4,096 bytes at most. */
const MAX_PATH = 4096;

/**
 * Where a path leads once every link is followed. Says nothing about what lies outside of the bounds,
 * not even whether it is there. What may be changed between this look and the use of it is the
 * business of `openDir`, which follows no link. The workspace of the bounds need neither be a real
 * path nor be there yet. Throws a `FileError`.
 */
export async function locate(path: string, use: Use, bounds: Bounds): Promise<Location> {
  if (path === "") throw new FileError("the path is empty");
  if (path.length > MAX_PATH) throw new FileError("that path is too long");
  if (path.includes("\0") || !path.isWellFormed()) {
    throw new FileError("that path holds characters that no path can hold");
  }
  const workspace = await realWorkspace(bounds.workspace);
  const found = await resolveLinks(resolve(workspace, path));
  const real = join(found.base, ...found.missing);
  const permissions =
    bounds.permissions && (await realPermissions(bounds.permissions, bounds.workspace, workspace));
  const refusal = refusalOf(real, use, {
    ...bounds,
    workspace,
    ...(permissions && { permissions }),
  });
  if (refusal !== undefined) throw new FileError(`${shownPath(path)} ${refusal}`);
  if (found.fault !== undefined) throw found.fault;
  if (found.missing.length > 0) {
    return { folder: found.base, names: found.missing, exists: false };
  }
  const name = basename(real);
  return { folder: dirname(real), names: name === "" ? [] : [name], exists: true };
}

/** The real path of the workspace; it is made where it is not there yet. */
export async function realWorkspace(workspace: string): Promise<string> {
  try {
    return await realpath(workspace);
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
    await mkdir(workspace, { recursive: true, mode: 0o700 });
    return await realpath(workspace);
  }
}

/**
 * Where the paths of somebody's permissions really lie. A link on the way to a folder of the workspace is not
 * followed: whoever can write there could make it lead anywhere. Outside it is the owner's.
 */
export async function realPermissions(
  { read, write }: FilePermissions,
  workspace: string,
  realFolder: string,
): Promise<FilePermissions> {
  const real = async (path: string): Promise<string> => {
    const from = [workspace, realFolder].find((folder) => isInside(path, folder));
    if (from !== undefined) return join(realFolder, relative(from, path));
    const { base, missing } = await resolveLinks(path);
    return join(base, ...missing);
  };
  return {
    read: await Promise.all(read.map(real)),
    write: await Promise.all(write.map(real)),
  };
}

interface ResolvedPath {
  /** The real path of the nearest thing on the way that is there. */
  readonly base: string;
  /** The names after it that are not there. */
  readonly missing: readonly string[];
  /** Why nothing could be made there either. */
  readonly fault?: unknown;
}

async function resolveLinks(absolute: string): Promise<ResolvedPath> {
  const missing: string[] = [];
  let fault: unknown;
  for (let path = absolute; ; path = dirname(path)) {
    try {
      return { base: await realpath(path), missing, fault };
    } catch (error) {
      if (path === dirname(path)) throw error;
      if (codeOf(error) !== "ENOENT" || (await isThere(path))) fault ??= error;
      missing.unshift(basename(path));
    }
  }
}

/** A link that leads nowhere is there although its real path is not. */
async function isThere(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    () => false,
  );
}
