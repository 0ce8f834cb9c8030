import { Buffer } from "node:buffer";
import * as v from "valibot";
import type { Tool } from "../contract.ts";
import { defineTool } from "../define.ts";
import type { Bounds } from "./bounds.ts";
import { FileError, asToolError, shownPath } from "./errors.ts";
import { withFileToWrite } from "./open-within.ts";
import { replaceFile } from "./replace-file.ts";
import { assertRegular, statsIfAny } from "./safe-open.ts";

const input = v.object({
  path: v.pipe(v.string(), v.description("The file; relative to the workspace.")),
  content: v.pipe(v.string(), v.description("All that the file will hold.")),
  overwrite: v.nullish(
    v.pipe(
      v.boolean(),
      v.description("Whether a file that is there may be replaced; false where left out."),
    ),
  ),
});

/** Writes whole files; one that is there is replaced only where the model says so. */
export function createWriteFile(bounds: Bounds): Tool {
  return defineTool({
    name: "write_file",
    description:
      "Writes a text file, and makes the folders it needs. Does not replace a file that is there unless overwrite is true; edit_file and append_file change one.",
    input,
    exclusive: true,
    run: ({ path, content, overwrite }) =>
      asToolError(path, () =>
        withFileToWrite(path, bounds, async (dir, name) => {
          const old = await statsIfAny(dir.pathOf(name));
          if (old !== undefined) assertRegular(old);
          if (old !== undefined && overwrite !== true) {
            throw new FileError(
              `${shownPath(path)} exists already (${old.size} bytes) and was left as it is; set overwrite to true to replace it`,
            );
          }
          await replaceFile(dir, name, { content });
          const did = old === undefined ? "wrote" : "replaced";
          return `${did} ${shownPath(path)} (${Buffer.byteLength(content)} bytes)`;
        }),
      ),
  });
}
