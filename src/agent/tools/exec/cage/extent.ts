import { join } from "node:path";
import { isInside } from "../../../inside.ts";
import type { Rights } from "../../../rights.ts";

/** What somebody's commands reach beside the workspace, and what in it they cannot change. */
export interface Extent {
  /** Absolute paths, with all below them. */
  readonly readable: readonly string[];
  readonly writable: readonly string[];
  readonly fixed: readonly string[];
}

/** Files and folders of the workspace that instruct the agent, for everyone. */
const INSTRUCTIONS = "AGENT.md AGENTS.md IDENTITY.md SOUL.md USER.md memory skills".split(" ");

/**
 * What rights mean for commands: paths of a profile outside of the workspace open in the cage as they
 * do for the file tools, and who may not write what instructs the agent cannot do so by a command.
 */
export function extentOf({ files }: Pick<Rights, "files">, workspace: string): Extent {
  if (files === undefined) return { readable: [], writable: [], fixed: [] };
  const beside = (paths: readonly string[]): readonly string[] =>
    paths.filter((path) => !isInside(path, workspace));
  const fixed = INSTRUCTIONS.map((name) => join(workspace, name)).filter(
    (path) => !files.write.some((folder) => isInside(path, folder)),
  );
  return { readable: beside(files.read), writable: beside(files.write), fixed };
}
