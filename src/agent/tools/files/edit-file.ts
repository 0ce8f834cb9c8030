import { constants } from "node:fs";
import type { Stats } from "node:fs";
import * as v from "valibot";
import type { Tool } from "../contract.ts";
import { defineTool } from "../define.ts";
import type { Bounds } from "./bounds.ts";
import { FileFault, inWords, shownPath } from "./errors.ts";
import { nearestLine } from "./nearest-line.ts";
import type { Pin } from "./open-dir.ts";
import { withFileToWrite } from "./open-within.ts";
import { placesOf } from "./places.ts";
import { replaceFile } from "./replace-file.ts";
import { openRegular, readBytes } from "./safe-open.ts";

const input = v.object({
  path: v.pipe(v.string(), v.description("The file; relative to the workspace.")),
  old_text: v.pipe(
    v.string(),
    v.minLength(1, "the text to replace is empty"),
    v.description("The text to replace, as it stands in the file; it must be there exactly once."),
  ),
  new_text: v.pipe(v.string(), v.description("What takes its place.")),
});

/** Bytes of a file that is held in memory to be changed. */
const MAX_SIZE = 10 * 1024 * 1024;

/** Replaces one passage of a file. */
export function createEditFile(bounds: Bounds): Tool {
  return defineTool({
    name: "edit_file",
    description:
      "Replaces one passage of a text file. Take enough of the lines around it that it is found only once.",
    input,
    alone: true,
    run: ({ path, old_text, new_text }) => {
      const change = async (pin: Pin, name: string): Promise<string> => {
        const { text, stats } = await wholeText(path, pin, name);
        const place = onlyPlace(path, text, old_text);
        const content = text.slice(0, place) + new_text + text.slice(place + old_text.length);
        await replaceFile(pin, name, { content, madeOf: stats });
        return `changed ${shownPath(path)} in line ${lineAt(text, place)}`;
      };
      return inWords(path, () => withFileToWrite(path, bounds, change, "edit"));
    },
  });
}

async function wholeText(
  path: string,
  pin: Pin,
  name: string,
): Promise<{ readonly text: string; readonly stats: Stats }> {
  const { handle, stats } = await openRegular(pin, name, constants.O_RDONLY);
  try {
    if (stats.size > MAX_SIZE) {
      throw new FileFault(`${shownPath(path)} has ${stats.size} bytes, too many to edit`);
    }
    const bytes = await readBytes(handle, 0, stats.size);
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return { text, stats };
  } catch (error) {
    // All other bytes would be lost with the first change.
    if (error instanceof TypeError) {
      throw new FileFault(`${shownPath(path)} is no UTF-8 text and cannot be edited`);
    }
    throw error;
  } finally {
    await handle.close();
  }
}

/** Lines that are named where a text is in more places than one. */
const MAX_NAMED = 10;

function onlyPlace(path: string, text: string, old: string): number {
  const { first, count } = placesOf(text, old, MAX_NAMED);
  const [place] = first;
  // Either of several could have been meant, be it that they overlap.
  if (place === undefined) throw new FileFault(`${shownPath(path)} ${whyNowhere(text, old)}`);
  if (count === 1) return place;
  const lines = first.map((found) => lineAt(text, found)).join(", ");
  throw new FileFault(
    `that text is in ${shownPath(path)} ${count} times (lines ${lines}${count > MAX_NAMED ? " …" : ""}); take more of the text around it`,
  );
}

function whyNowhere(text: string, old: string): string {
  const none = "does not hold that text";
  if (old.includes("\n") && placesOf(text.replaceAll("\r\n", "\n"), old, 1).count > 0) {
    return `${none}: its lines end with \\r\\n`;
  }
  const nearest = nearestLine(text, old);
  if (nearest === undefined) return none;
  return `${none}; the nearest is line ${nearest.number}: ${nearest.line}`;
}

function lineAt(text: string, place: number): number {
  let line = 1;
  for (let at = text.indexOf("\n"); at !== -1 && at < place; at = text.indexOf("\n", at + 1)) {
    line += 1;
  }
  return line;
}
