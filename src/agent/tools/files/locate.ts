import { lstat, mkdir, realpath } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { codeOf } from "../../../base/failure.ts";
import { isInside } from "../../../base/path-contains.ts";
import type { FilePermissions } from "../../access/permissions.ts";
import { RefusedCall, ToolError } from "../contract.ts";
import { refusalOf } from "./bounds.ts";
import type { Bounds, Use } from "./bounds.ts";
import { shownPath } from "./errors.ts";

/** A path that may be used: a real folder that exists, and the names below it, which may not exist. */
export interface Location {
  readonly folder: string;
  /** The names below the folder, the file's own name last. Empty for the root of the file system. */
  readonly names: readonly string[];
  readonly exists: boolean;
}

/** Characters of a path; systems allow at most 4,096 bytes. */
const MAX_PATH = 4096;

/**
 * Follows every link of a path and checks where it leads. Reveals nothing about paths outside of the
 * bounds, not even whether they exist. `openDir` handles changes between this check and the use of the
 * path: it follows no link. The workspace of the bounds may be a link, and need not exist yet. Throws a
 * `ToolError`.
 */
export async function locate(path: string, use: Use, bounds: Bounds): Promise<Location> {
  if (path === "") throw new ToolError("the path is empty");
  if (path.length > MAX_PATH) throw new ToolError("that path is too long");
  if (path.includes("\0") || !path.isWellFormed()) {
    throw new ToolError("that path contains characters that no path can contain");
  }
  const workspace = await realWorkspace(bounds.workspace);
  const found = await resolveLinks(resolve(workspace, path));
  const real = join(found.base, ...found.missing);
  const permissions =
    bounds.permissions && (await realPermissions(bounds.permissions, bounds.workspace, workspace));
  const refusal = refusalOf(real, use, { ...bounds, workspace, permissions });
  if (refusal !== undefined) throw new RefusedCall(`${shownPath(path)} ${refusal}`);
  if (found.fault !== undefined) throw found.fault;
  if (found.missing.length > 0) {
    return { folder: found.base, names: found.missing, exists: false };
  }
  const name = basename(real);
  return { folder: dirname(real), names: name === "" ? [] : [name], exists: true };
}

/** The real path of the workspace. Creates the workspace if it is missing. */
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
 * The real paths of a caller's permissions. Links inside of the workspace are not followed: anyone who can
 * write there could make a link lead anywhere. Links outside of it are the owner's.
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
  /** The real path of the longest part of the path that exists. */
  readonly base: string;
  /** The names after it, which do not exist. */
  readonly missing: readonly string[];
  /** Why nothing can be created there either. */
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
      if (codeOf(error) !== "ENOENT" || (await pathExists(path))) fault ??= error;
      missing.unshift(basename(path));
    }
  }
}

/** Whether something exists at a path, even a link that leads nowhere. */
async function pathExists(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    () => false,
  );
}
