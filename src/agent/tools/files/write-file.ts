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
  content: v.pipe(v.string(), v.description("The whole content of the file.")),
  overwrite: v.nullish(
    v.pipe(v.boolean(), v.description("Whether an existing file may be replaced; default false.")),
  ),
});

/** The tool that writes a whole file. It replaces an existing file only if the model says so. */
export function createWriteFile(bounds: Bounds): Tool {
  return defineTool({
    name: "write_file",
    description:
      "Writes a text file and creates its folders. Replaces an existing file only if overwrite is true; edit_file and append_file change a file.",
    input,
    exclusive: true,
    run: ({ path, content, overwrite }) =>
      asToolError(path, () =>
        withFileToWrite(path, bounds, async (dir, name) => {
          const old = await statsIfAny(dir.pathOf(name));
          if (old !== undefined) assertRegular(old);
          if (old !== undefined && overwrite !== true) {
            throw new FileError(
              `${shownPath(path)} exists already (${old.size} bytes) and was not changed; set overwrite to true to replace it`,
            );
          }
          await replaceFile(dir, name, { content });
          const did = old === undefined ? "wrote" : "replaced";
          return `${did} ${shownPath(path)} (${Buffer.byteLength(content)} bytes)`;
        }),
      ),
  });
}
