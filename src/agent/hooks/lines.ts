import type { Readable } from "node:stream";
import { readPaced } from "../tools/exec/output.ts";

/** Bytes of one line; what is longer is no answer of a hook. */
const LONGEST_LINE = 2 ** 20;

/** Hands on whole lines; `onTooLong` hears once of a line that does not end, and then nothing comes any more. */
export function readLines(
  stream: Readable,
  onLine: (line: string) => void,
  onTooLong: () => void,
): void {
  let [pieces, bytes, isOver]: [Uint8Array[], number, boolean] = [[], 0, false];
  const add = (piece: Uint8Array): boolean => {
    bytes += piece.length;
    isOver ||= bytes > LONGEST_LINE;
    if (!isOver) pieces.push(piece);
    return !isOver;
  };
  readPaced(stream, (chunk) => {
    if (isOver) return;
    let from = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      if (!add(chunk.subarray(from, end))) return onTooLong();
      const line = Buffer.concat(pieces).toString("utf8");
      [pieces, bytes, from] = [[], 0, end + 1];
      onLine(line);
    }
    if (!add(chunk.subarray(from))) onTooLong();
  });
}
