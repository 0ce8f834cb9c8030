import type { Dirent } from "node:fs";
import { opendir } from "node:fs/promises";
import * as v from "valibot";
import { escapeControl } from "../../../base/escape-control.ts";
import type { Tool } from "../contract.ts";
import { defineTool } from "../define.ts";
import type { Bounds } from "./bounds.ts";
import { asToolError, shownPath } from "./errors.ts";
import type { OpenDir } from "./open-dir.ts";
import { withFolderToRead } from "./open-within.ts";
import { statsIfAny } from "./safe-open.ts";

const input = v.object({
  path: v.nullish(
    v.pipe(
      v.string(),
      v.description("The folder, relative to the workspace. Default: the workspace."),
    ),
  ),
});

/** Names in an answer. */
const MAX_SHOWN = 200;
/** Names that are read and sorted. A folder may have millions. */
const MAX_READ = 50_000;

/** The tool that lists a folder: one line a name, folders with a slash, files with their size. */
export function createListDir(bounds: Bounds): Tool {
  return defineTool({
    name: "list_dir",
    description: "Lists a folder: one line for each entry with kind, name and size.",
    input,
    // A name has at most 255 bytes.
    characters: MAX_SHOWN * 300,
    run: ({ path }, { signal }) => {
      const folder = path || ".";
      return asToolError(folder, () =>
        withFolderToRead(folder, bounds, async (dir) => {
          const { entries, isAll } = await entriesOf(dir, signal);
          if (entries.length === 0) return `[${shownPath(folder)} is empty]`;
          const lines: string[] = [];
          for (const entry of entries.slice(0, MAX_SHOWN)) lines.push(await lineOf(dir, entry));
          const left = entries.length - lines.length;
          if (left > 0) lines.push(`… (${isAll ? "" : "more than "}${left} more left out)`);
          return lines.join("\n");
        }),
      );
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
    if (entries.length > MAX_READ) break;
  }
  await dir.check();
  const sorted = entries.toSorted((left, right) => (left.name < right.name ? -1 : 1));
  return { entries: sorted, isAll: entries.length <= MAX_READ };
}

async function lineOf(dir: OpenDir, entry: Dirent): Promise<string> {
  const name = escapeControl(entry.name);
  const stats = await statsIfAny(dir.pathOf(entry.name));
  if (stats === undefined) return `gone    ${name}`;
  if (stats.isDirectory()) return `folder  ${name}/`;
  if (stats.isFile()) return `file    ${name}  ${stats.size} bytes`;
  return stats.isSymbolicLink() ? `link    ${name}` : `other   ${name}`;
}
