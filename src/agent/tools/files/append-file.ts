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
    v.description("What is added at the file's end, as it is: begin or end it with a line break."),
  ),
});

/** Adds to the end of a file. */
export function createAppendFile(bounds: Bounds): Tool {
  const { O_WRONLY, O_APPEND, O_CREAT } = constants;
  return defineTool({
    name: "append_file",
    description: "Adds text to the end of a file, which is made where it is missing.",
    input,
    exclusive: true,
    run: ({ path, content }) =>
      asToolError(path, () =>
        withFileToWrite(path, bounds, async (dir, name) => {
          const { handle, stats } = await openRegular(dir, name, O_WRONLY | O_APPEND | O_CREAT);
          try {
            // Its other name may lie outside of the workspace, and it is written in place.
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

/** All of it or nothing: a full disk takes the beginning of what does not fit. */
async function addWhole(handle: FileHandle, content: string, size: number): Promise<void> {
  try {
    await handle.writeFile(content);
    await handle.sync();
  } catch (error) {
    await handle.truncate(size).catch(() => {
      throw new FileError("only a part of it could be added");
    });
    throw error;
  }
}
