import { realpathSync } from "node:fs";
import { relative } from "node:path";
import { isInside } from "../../../base/path-contains.ts";
import { truncate } from "../../../base/truncate.ts";
import type { ToolSettings } from "../../../config/contract.ts";
import type { FilePermissions } from "../../access/permissions.ts";
import type { Tool } from "../contract.ts";
import { createAppendFile } from "./append-file.ts";
import type { Bounds } from "./bounds.ts";
import { createEditFile } from "./edit-file.ts";
import { createListDir } from "./list-dir.ts";
import { createReadFile } from "./read-file.ts";
import { createWriteFile } from "./write-file.ts";

export interface FileToolOptions {
  readonly workspace: string;
  readonly settings: Pick<ToolSettings, "read_file" | "allow_read_paths" | "allow_write_paths">;
  /** `restrict_to_workspace`. */
  readonly restrict: boolean;
  /** `allow_read_outside_workspace`. */
  readonly readOutside: boolean;
  /** The configuration's file. */
  readonly configFile?: string;
  /** Further files that hold secrets. */
  readonly secretFiles?: readonly string[];
  /** The further limits of the caller. */
  readonly permissions?: FilePermissions;
}

/** The tools that read and write files, within the limits of the settings. */
export function createFileTools(options: FileToolOptions): readonly Tool[] {
  const { workspace, settings, restrict, readOutside, configFile, secretFiles = [] } = options;
  const keyFiles = configFile === undefined ? secretFiles : [configFile, ...secretFiles];
  const bounds: Bounds = {
    workspace,
    restrict,
    readOutside,
    allowRead: settings.allow_read_paths.map((pattern) => new RegExp(pattern)),
    allowWrite: settings.allow_write_paths.map((pattern) => new RegExp(pattern)),
    keyFiles: keyFiles.flatMap(spellingsOf),
    ...(options.permissions && { permissions: options.permissions }),
  };
  const tools = [
    createReadFile(bounds, settings.read_file),
    createWriteFile(bounds),
    createListDir(bounds),
    createEditFile(bounds),
    createAppendFile(bounds),
  ];
  return options.permissions === undefined ? tools : tools.map((tool) => withPlaces(tool, bounds));
}

/** Characters of the paths that a description names. */
const MAX_PLACES = 300;

/** The tool with the allowed paths in its description, so that a model need not guess them. */
function withPlaces(tool: Tool, { workspace, permissions }: Bounds): Tool {
  const isReading = tool.name === "read_file" || tool.name === "list_dir";
  const paths = (isReading ? permissions?.read : permissions?.write) ?? [];
  const shown = paths.map((path) =>
    isInside(path, workspace) ? relative(workspace, path) || "." : path,
  );
  const places = truncate(shown.join(", "), MAX_PLACES);
  return {
    ...tool,
    description: `${tool.description} Only for these paths and all below them: ${places}.`,
  };
}

/** The path as it is written, and its real path. */
function spellingsOf(file: string): readonly string[] {
  try {
    return [file, realpathSync(file)];
  } catch {
    return [file];
  }
}
