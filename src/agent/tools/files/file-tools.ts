import { Buffer } from "node:buffer";
import { realpathSync, constants } from "node:fs";
import type { Dirent } from "node:fs";
import { opendir } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { relative } from "node:path";
import * as v from "valibot";
import { escapeControl } from "../../../base/escape-control.ts";
import { isInside } from "../../../base/path-contains.ts";
import { truncate } from "../../../base/truncate.ts";
import type { ToolSettings } from "../../../config/contract.ts";
import type { FilePermissions } from "../../access/permissions.ts";
import type { Tool } from "../contract.ts";
import { ToolError } from "../contract.ts";
import { defineTool, flagField, textField } from "../define.ts";
import type { Bounds } from "./bounds.ts";
import { createEditFile } from "./edit-file.ts";
import { shownPath } from "./errors.ts";
import { createLoadImage } from "./load-image.ts";
import type { OpenDir } from "./open-dir.ts";
import { assertRegular, statsIfAny, withRegular } from "./open-dir.ts";
import { withFolderToRead, withFileToWrite } from "./open-within.ts";
import { createReadFile } from "./read-file.ts";
import { replaceFile } from "./replace-file.ts";

export interface FileToolOptions {
  readonly workspace: string;
  readonly settings: Pick<ToolSettings, "read_file" | "allow_read_paths" | "allow_write_paths">;
  /** `restrict_to_workspace`. */
  readonly restrict: boolean;
  /** `allow_read_outside_workspace`. */
  readonly readOutside: boolean;
  /** The configuration's file. */
  readonly configFile?: string | undefined;
  /** Further files that hold secrets. */
  readonly secretFiles?: readonly string[];
}

/**
 * The tools that read and write files, within the limits of the settings and the further ones of a caller.
 * They are made once for each of the few profiles.
 */
export function createFileTools(
  options: FileToolOptions,
): (permissions?: FilePermissions) => readonly Tool[] {
  const { workspace, settings, restrict, readOutside, configFile, secretFiles = [] } = options;
  const keyFiles = configFile === undefined ? secretFiles : [configFile, ...secretFiles];
  const bounds: Bounds = {
    workspace,
    restrict,
    readOutside,
    allowRead: settings.allow_read_paths.map((pattern) => new RegExp(pattern)),
    allowWrite: settings.allow_write_paths.map((pattern) => new RegExp(pattern)),
    keyFiles: keyFiles.flatMap(spellingsOf),
  };
  const made = new Map<FilePermissions | undefined, readonly Tool[]>();
  return (permissions) => {
    const tools = made.get(permissions) ?? toolsWithin({ ...bounds, permissions }, settings);
    made.set(permissions, tools);
    return tools;
  };
}

function toolsWithin(bounds: Bounds, settings: FileToolOptions["settings"]): readonly Tool[] {
  const tools = [
    createReadFile(bounds, settings.read_file),
    createWriteFile(bounds),
    createListDir(bounds),
    createLoadImage(bounds),
    createEditFile(bounds),
    createAppendFile(bounds),
  ];
  return bounds.permissions === undefined ? tools : tools.map((tool) => withPlaces(tool, bounds));
}

/** The path as it is written, and its real path. */
function spellingsOf(file: string): readonly string[] {
  try {
    return [file, realpathSync(file)];
  } catch {
    return [file];
  }
}

/** Characters of the paths that a description names. */
const MAX_PLACES = 300;

const READING: ReadonlySet<string> = new Set(["read_file", "list_dir", "load_image"]);

/** The tool with the allowed paths in its description, so that a model need not guess them. */
function withPlaces(tool: Tool, { workspace, permissions }: Bounds): Tool {
  const isReading = READING.has(tool.name);
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

const LIST_INPUT = v.object({
  path: v.optional(textField("Relative to the workspace."), "."),
});

/** Names in an answer. */
const MAX_LISTED = 200;
/** Names that are read and sorted. A folder may have millions. */
const MAX_SORTED = 50_000;

/** The tool that lists a folder: one line a name, folders with a slash, files with their size. */
function createListDir(bounds: Bounds): Tool {
  return defineTool({
    name: "list_dir",
    description: "Lists a folder: kind, name and size of each entry.",
    input: LIST_INPUT,
    // A name has at most 255 bytes.
    characters: MAX_LISTED * 300,
    run: ({ path }, { signal }) => {
      const folder = path || ".";
      return withFolderToRead(folder, bounds, async (dir) => {
        const { entries, isAll } = await entriesOf(dir, signal);
        if (entries.length === 0) return `[${shownPath(folder)} is empty]`;
        const lines: string[] = [];
        for (const entry of entries.slice(0, MAX_LISTED)) lines.push(await lineOf(dir, entry));
        const left = entries.length - lines.length;
        if (left > 0) lines.push(`… (${isAll ? "" : "more than "}${left} more left out)`);
        return lines.join("\n");
      });
    },
  });
}

async function entriesOf(
  dir: OpenDir,
  signal: AbortSignal,
): Promise<{ entries: Dirent[]; isAll: boolean }> {
  const entries: Dirent[] = [];
  // The loop closes the folder, even if it ends early.
  for await (const entry of await opendir(dir.pathOf())) {
    signal.throwIfAborted();
    entries.push(entry);
    if (entries.length > MAX_SORTED) break;
  }
  await dir.check();
  const sorted = entries.toSorted((left, right) => (left.name < right.name ? -1 : 1));
  return { entries: sorted, isAll: entries.length <= MAX_SORTED };
}

async function lineOf(dir: OpenDir, entry: Dirent): Promise<string> {
  const name = escapeControl(entry.name);
  const stats = await statsIfAny(dir.pathOf(entry.name));
  if (stats === undefined) return `gone    ${name}`;
  if (stats.isDirectory()) return `folder  ${name}/`;
  if (stats.isFile()) return `file    ${name}  ${stats.size} bytes`;
  return stats.isSymbolicLink() ? `link    ${name}` : `other   ${name}`;
}

const WRITE_INPUT = v.object({
  path: textField("Relative to the workspace."),
  content: v.string(),
  overwrite: v.optional(flagField("Replace an existing file."), false),
});

/** The tool that writes a whole file. It replaces an existing file only if the model says so. */
function createWriteFile(bounds: Bounds): Tool {
  return defineTool({
    name: "write_file",
    description: "Writes a whole text file and creates its folders.",
    input: WRITE_INPUT,
    exclusive: true,
    run: ({ path, content, overwrite }) =>
      withFileToWrite(path, bounds, async (dir, name) => {
        const old = await statsIfAny(dir.pathOf(name));
        if (old !== undefined) assertRegular(old);
        if (old !== undefined && !overwrite) {
          throw new ToolError(
            `${shownPath(path)} exists already (${old.size} bytes) and was not changed; set overwrite to true to replace it`,
          );
        }
        await replaceFile(dir, name, { content });
        const did = old === undefined ? "wrote" : "replaced";
        return `${did} ${shownPath(path)} (${Buffer.byteLength(content)} bytes)`;
      }),
  });
}

const APPEND_INPUT = v.object({
  path: textField("Relative to the workspace."),
  content: textField("Added as it is: begin or end it with a line break."),
});

/** The tool that adds text to the end of a file. */
function createAppendFile(bounds: Bounds): Tool {
  const { O_WRONLY, O_APPEND, O_CREAT } = constants;
  return defineTool({
    name: "append_file",
    description: "Adds text to the end of a file. Creates the file if it is missing.",
    input: APPEND_INPUT,
    exclusive: true,
    run: ({ path, content }) =>
      withFileToWrite(path, bounds, (dir, name) =>
        withRegular(dir, name, O_WRONLY | O_APPEND | O_CREAT, async ({ handle, stats }) => {
          // The file is written in place, and its other name may lie outside of the workspace.
          if (stats.nlink > 1) {
            throw new ToolError(`${shownPath(path)} has more than one name and cannot be added to`);
          }
          await addWhole(handle, content, stats.size);
          const bytes = Buffer.byteLength(content);
          return `added ${bytes} bytes to ${shownPath(path)}, which has ${stats.size + bytes} now`;
        }),
      ),
  });
}

/** Adds all of the text or nothing: a full disk stores only the beginning of it. */
async function addWhole(handle: FileHandle, content: string, size: number): Promise<void> {
  try {
    await handle.writeFile(content);
    await handle.sync();
  } catch (error) {
    await handle.truncate(size).catch(() => {
      throw new ToolError("only a part of the text could be added");
    });
    throw error;
  }
}
