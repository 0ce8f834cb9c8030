import { Buffer } from "node:buffer";
import { createRing } from "./ring.ts";

/** Characters of a command's output that a model gets at once; the tool's result has 10,000. */
export const MAX_SHOWN = 9500;
/** Bytes that are kept of the beginning, and of the end: characters may have three, colours cost more. */
const KEPT = 32 * 1024;

/** What a command wrote, bounded while it is written: the beginning and the end of it. */
export interface Excerpt {
  push(bytes: Uint8Array): void;
  text(): string;
}

export function createExcerpt(): Excerpt {
  const head: Uint8Array[] = [];
  let headSize = 0;
  let total = 0;
  const tail = createRing(KEPT);
  return {
    push(bytes) {
      total += bytes.length;
      const first = bytes.subarray(0, KEPT - headSize);
      // A copy: the runtime's piece may be one of a large buffer.
      if (first.length > 0) head.push(first.slice());
      headSize += first.length;
      tail.push(bytes.subarray(first.length));
    },
    text() {
      const { bytes } = tail.take(KEPT);
      if (total <= headSize + bytes.length) {
        return middleLeftOut(readable(Buffer.concat([...head, bytes])));
      }
      const [beginning, end] = [readable(Buffer.concat(head)), readable(bytes)];
      return joined(beginning, end, `${total} bytes in all`);
    },
  };
}

function middleLeftOut(text: string): string {
  return text.length <= MAX_SHOWN ? text : joined(text, text, `${text.length} characters in all`);
}

function joined(beginning: string, end: string, words: string): string {
  const half = MAX_SHOWN / 2;
  const head = beginning.slice(0, half).replace(/[\ud800-\udbff]$/, "");
  const tail = end.slice(-half).replace(/^[\udc00-\udfff]/, "");
  return `${head}\n… (the middle is left out: ${words}) …\n${tail}`;
}

/** Sequences that move the cursor, colour, name the window; both their forms, and those cut off at the end. */
const SEQUENCES =
  // oxlint-disable-next-line no-control-regex
  /(?:\u001b\[|\u009b)[0-?]*[ -/]*(?:[@-~]|$)|(?:\u001b[\]PX^_]|[\u009d\u0090\u0098\u009e\u009f])[^\u0007\u001b\u009c]*(?:\u0007|\u001b\\|\u009c|$)?|\u001b[ -/]*[0-~]?/g;
/** What is left of controls, and what changes the direction of text. */
// oxlint-disable-next-line no-control-regex
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** A program's output as plain text: without sequences for a terminal, lines as they ended up. */
export function readable(bytes: Uint8Array): string {
  const text = new TextDecoder().decode(bytes).replace(SEQUENCES, "").replaceAll("\r\n", "\n");
  return text.split("\n").map(lastWritten).join("\n").replace(CONTROLS, "");
}

/** A progress bar writes its line again and again: what stood there last. */
function lastWritten(line: string): string {
  return line.replace(/\r+$/, "").split("\r").at(-1) ?? "";
}
