import { constants } from "node:fs";
import * as v from "valibot";
import { readBytes } from "../../../base/file-io.ts";
import { imageOf } from "../../../base/images.ts";
import type { CallContext, Tool } from "../contract.ts";
import { ToolError } from "../contract.ts";
import { defineTool, textField } from "../define.ts";
import type { Bounds } from "./bounds.ts";
import { shownPath } from "./errors.ts";
import type { OpenFile } from "./open-dir.ts";
import { withRegular } from "./open-dir.ts";
import { withFileToRead } from "./open-within.ts";

/** Bytes of an image. Anthropic takes no more than 5 MB of base64. */
const MAX_IMAGE = 3 * 2 ** 20;

const INPUT = v.object({ path: textField("Relative to the workspace.") });

/** The tool that shows the model an image file. */
export function createLoadImage(bounds: Bounds): Tool {
  return defineTool({
    name: "load_image",
    description: "Shows you a JPEG, PNG or WebP file.",
    input: INPUT,
    run: ({ path }, call) =>
      withFileToRead(path, bounds, (dir, name) =>
        withRegular(dir, name, constants.O_RDONLY, (open) => showImage(path, open, call)),
      ),
  });
}

/** Shows the image; the text of the result stays in the history without it. */
async function showImage(
  file: string,
  { handle, stats }: OpenFile,
  { showImage: show }: Pick<CallContext, "showImage">,
): Promise<string> {
  if (stats.size > MAX_IMAGE) {
    const most = `only images of at most ${MAX_IMAGE} bytes can be shown`;
    throw new ToolError(`${shownPath(file)} has ${stats.size} bytes, ${most}`);
  }
  const image = imageOf(await readBytes(handle, 0, stats.size));
  if (image === undefined) {
    throw new ToolError(`${shownPath(file)} is not an image that can be shown`);
  }
  if (show === undefined) throw new ToolError("no model reads the result of this call");
  show(image);
  const { describeImage } = await import("../../../base/image-note.ts");
  return `[${shownPath(file)}: ${describeImage(image)}; it is shown with this result, and only while this question is answered]`;
}
