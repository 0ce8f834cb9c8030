import { join } from "node:path";
import { isInside } from "../../../../base/path-contains.ts";
import type { Rights } from "../../../access/permissions.ts";
import { OWNER_FILES } from "../../../workspace/owner-files.ts";

/** What somebody's commands reach beside the workspace, and what in it they cannot change. */
export interface Extent {
  /** Absolute paths, with all below them. */
  readonly readable: readonly string[];
  readonly writable: readonly string[];
  readonly fixed: readonly string[];
}

/** A folder of the workspace that is told to everyone; who may write around it may write in it, too. */
const MEMORY = "memory";

/**
 * What rights mean for commands: paths of a profile outside of the workspace open in the cage as they
 * do for the file tools, and who may not write what instructs the agent cannot do so by a command: only a
 * profile that names it may, not one that names the folder around it.
 */
export function extentOf({ files }: Pick<Rights, "files">, workspace: string): Extent {
  if (files === undefined) return { readable: [], writable: [], fixed: [] };
  const beside = (paths: readonly string[]): readonly string[] =>
    paths.filter((path) => !isInside(path, workspace));
  const owners = OWNER_FILES.map((name) => join(workspace, name));
  const named = files.write.filter((path) => owners.some((owner) => isInside(path, owner)));
  const memory = join(workspace, MEMORY);
  const isOpen = files.write.some((folder) => isInside(memory, folder));
  const fixed = [...owners, ...(isOpen ? [] : [memory])].filter((path) => !named.includes(path));
  return { readable: beside(files.read), writable: [...beside(files.write), ...named], fixed };
}
