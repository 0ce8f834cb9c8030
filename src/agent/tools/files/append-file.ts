import { Buffer } from "node:buffer";
import { constants } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import * as v from "valibot";
import type { Tool } from "../contract.ts";
import { defineTool } from "../define.ts";
import type { Bounds } from "./bounds.ts";
import { FileError, asToolError, shownPath } from "./errors.ts";
import { withFileToWrite } from "./open-within.ts";
import { openRegular } from "./safe-open.ts";

const input = v.object({
  path: v.pipe(v.string(), v.description("The file; relative to the workspace.")),
  content: v.pipe(
    v.string(),
    v.description(
      "The text to add at the end of the file, as it is: begin or end it with a line break.",
    ),
  ),
});

/** The tool that adds text to the end of a file. */
export function createAppendFile(bounds: Bounds): Tool {
  const { O_WRONLY, O_APPEND, O_CREAT } = constants;
  return defineTool({
    name: "append_file",
    description: "Adds text to the end of a file. Creates the file if it is missing.",
    input,
    exclusive: true,
    run: ({ path, content }) =>
      asToolError(path, () =>
        withFileToWrite(path, bounds, async (dir, name) => {
          const { handle, stats } = await openRegular(dir, name, O_WRONLY | O_APPEND | O_CREAT);
          try {
            // The file is written in place, and its other name may lie outside of the workspace.
            if (stats.nlink > 1) {
              throw new FileError(
                `${shownPath(path)} has more than one name and cannot be added to`,
              );
            }
            await addWhole(handle, content, stats.size);
          } finally {
            await handle.close();
          }
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
      throw new FileError("only a part of the text could be added");
    });
    throw error;
  }
}
