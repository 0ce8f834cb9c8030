import { truncate } from "../../../base/truncate.ts";
import { escapeMarkers } from "../../untrusted-content/frame.ts";

/**
 * A text of a server that stands outside of a frame, in the definition of a tool: on one line, cut, without anything
 * that a model could take for the end of data or for another role.
 */
export function cleanText(text: string, most: number): string {
  // Escaping makes a text a little longer.
  const line = escapeMarkers(text.slice(0, 4 * most))
    .replaceAll(/\s+/g, " ")
    .trim();
  return truncate(line, most);
}
