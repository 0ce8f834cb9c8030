import { Buffer } from "node:buffer";
import { constants } from "node:fs";
import * as v from "valibot";
import { readBytes } from "../../../base/file-io.ts";
import { imageTypeOf } from "../../../base/images.ts";
import type { ReadFileSettings } from "../../../config/contract.ts";
import type { Tool } from "../contract.ts";
import { ToolError } from "../contract.ts";
import { defineTool, textField } from "../define.ts";
import type { Bounds } from "./bounds.ts";
import { shownPath } from "./errors.ts";
import { withRegular } from "./open-dir.ts";
import type { OpenFile } from "./open-dir.ts";
import { withFileToRead } from "./open-within.ts";
import { isText, textOf, wholeCharacters } from "./text.ts";

/** Bytes of one call if the setting is 0. */
const DEFAULT_SIZE = 65_536;
/** The longest UTF-8 character has 4 bytes, so each call makes progress. */
const LEAST_BYTES = 4;
/** Characters of a result besides the text of the file. */
const MAX_HEAD = 1000;

const path = textField("Relative to the workspace.");
const whole = (least: number, about: string) =>
  v.pipe(v.number(), v.integer(), v.minValue(least), v.description(about));

const byBytes = v.object({
  path,
  offset: v.optional(whole(0, "The first byte."), 0),
  length: v.optional(whole(1, "Bytes to read.")),
});

const byLines = v.object({
  path,
  start_line: v.optional(whole(1, "The first line."), 1),
  max_lines: v.optional(whole(1, "Lines to read.")),
});

/** The tool that reads a text file in pieces, by bytes or by lines as the settings say. */
export function createReadFile(bounds: Bounds, settings: ReadFileSettings): Tool {
  const most = Math.max(LEAST_BYTES, settings.max_read_file_size || DEFAULT_SIZE);
  const name = "read_file";
  const characters = most + MAX_HEAD;
  const about = `Reads a text file, at most ${most} bytes a call; the first line of the result says how to read on.`;
  if (settings.mode === "lines") {
    return defineTool({
      name,
      description: `${about} Counts in lines.`,
      input: byLines,
      characters,
      run: ({ path: file, start_line, max_lines }, { signal }) =>
        withOpenFile(file, bounds, async (open) => {
          const wanted = { start: start_line ?? 1, most: max_lines ?? Infinity, mostBytes: most };
          return linesAnswer(file, wanted.start, await readLines(open, { ...wanted, signal }));
        }),
    });
  }
  return defineTool({
    name,
    description: `${about} Counts in bytes.`,
    input: byBytes,
    characters,
    run: ({ path: file, offset, length }) =>
      withOpenFile(file, bounds, (open) =>
        bytesAnswer(file, open, {
          from: offset ?? 0,
          most: Math.min(most, Math.max(LEAST_BYTES, length ?? most)),
        }),
      ),
  });
}

async function withOpenFile(
  file: string,
  bounds: Bounds,
  read: (open: OpenFile) => Promise<string>,
): Promise<string> {
  return await withFileToRead(file, bounds, (dir, name) =>
    withRegular(dir, name, constants.O_RDONLY, read),
  );
}

async function bytesAnswer(
  file: string,
  { handle, stats }: OpenFile,
  { from, most }: { readonly from: number; readonly most: number },
): Promise<string> {
  const read = await readBytes(handle, from, most);
  // Files of the kernel report a size of 0.
  const size = Math.max(stats.size, from + read.length);
  if (read.length === 0) {
    if (from === 0) return `[${shownPath(file)} is empty]`;
    throw new ToolError(
      `${shownPath(file)} has ${stats.size} bytes, there is nothing from byte ${from} on`,
    );
  }
  const isWhole = read.length < most || from + read.length === stats.size;
  const piece = wholeCharacters(read, { before: from > 0, after: !isWhole });
  assertText(file, piece.bytes, size);
  const first = from + piece.skipped;
  const next = first + piece.bytes.length;
  const on = isWhole ? "its end" : `read on with offset ${next}`;
  const place = first === 0 && isWhole ? `all ${size} bytes` : `bytes ${first} to ${next - 1}`;
  const of = first === 0 && isWhole ? "" : ` of ${size}; ${on}`;
  return `[${shownPath(file)}: ${place}${of}]\n${textOf(piece.bytes)}`;
}

function linesAnswer(file: string, start: number, lines: Lines): string {
  const total = `${lines.isAllCounted ? "" : "more than "}${lines.total}`;
  if (lines.bytes.length === 0) {
    if (lines.total === 0) return `[${shownPath(file)} is empty]`;
    throw new ToolError(`${shownPath(file)} has ${total} lines, there is no line ${start}`);
  }
  const { bytes } = wholeCharacters(lines.bytes, { before: false, after: lines.isCut });
  assertText(file, bytes, undefined);
  if (lines.isCut) {
    const next = `line ${start} of ${total} is too long, only its beginning is shown`;
    return `[${shownPath(file)}: ${next}; go on with start_line ${start + 1}]\n${textOf(bytes)}`;
  }
  const last = start + lines.count - 1;
  const isEnd = lines.isAllCounted && last >= lines.total;
  const on = isEnd ? "its end" : `read on with start_line ${last + 1}`;
  const head = `lines ${start} to ${last} of ${total}; ${on}`;
  return `[${shownPath(file)}: ${head}]\n${textOf(bytes)}`;
}

function assertText(file: string, bytes: Uint8Array, size: number | undefined): void {
  if (isText(bytes)) return;
  if (imageTypeOf(bytes) !== undefined) {
    throw new ToolError(`${shownPath(file)} is an image, not text: load_image shows it`);
  }
  const of = size === undefined ? "" : ` of ${size} bytes`;
  throw new ToolError(`${shownPath(file)} is a binary file${of}, not text`);
}

/** Lines of a file, as bytes with their line ends. */
interface Lines {
  readonly bytes: Uint8Array;
  /** How many lines; a cut line does not count. */
  readonly count: number;
  /** The first line is longer than one read, and `bytes` holds only its beginning. */
  readonly isCut: boolean;
  /** Lines of the file that were counted. */
  readonly total: number;
  readonly isAllCounted: boolean;
}

interface LinesWanted {
  /** 1 is the first line. */
  readonly start: number;
  readonly most: number;
  readonly mostBytes: number;
  readonly signal: AbortSignal;
}

const CHUNK = 64 * 1024;
/** Bytes of a file whose lines are counted. A log of gigabytes is not read to its end. */
const COUNTED = 64 * 1024 * 1024;
const NEW_LINE = 0x0a;

/** Reads lines. Holds no more of the file in memory than a chunk and the lines. */
async function readLines({ handle }: OpenFile, wanted: LinesWanted): Promise<Lines> {
  const buffer = createLineBuffer(wanted);
  /** The number of the line that is being read. */
  let line = 1;
  let last = NEW_LINE;
  for (let place = 0; ;) {
    wanted.signal.throwIfAborted();
    const chunk = await readBytes(handle, place, CHUNK);
    for (const part of linesOf(chunk)) {
      if (line >= wanted.start) buffer.add(part);
      if (part.at(-1) === NEW_LINE) line += 1;
    }
    place += chunk.length;
    last = chunk.at(-1) ?? last;
    const isAllCounted = chunk.length < CHUNK;
    if (isAllCounted || (place >= COUNTED && buffer.isFull())) {
      const isInLine = last !== NEW_LINE;
      return { ...buffer.result(), total: line - (isInLine ? 0 : 1), isAllCounted };
    }
  }
}

function* linesOf(chunk: Uint8Array): Generator<Uint8Array> {
  for (let from = 0; from < chunk.length;) {
    const end = chunk.indexOf(NEW_LINE, from) + 1 || chunk.length;
    yield chunk.subarray(from, end);
    from = end;
  }
}

interface LineBuffer {
  /** Adds a line, or a part of one. */
  add(part: Uint8Array): void;
  isFull(): boolean;
  result(): Pick<Lines, "bytes" | "count" | "isCut">;
}

/** Collects lines while they fit. Drops a line that does not fit, unless it is the only one. */
function createLineBuffer({ most, mostBytes }: LinesWanted): LineBuffer {
  const parts: Uint8Array[] = [];
  let size = 0;
  let count = 0;
  /** Bytes in `parts` of the line that is being read. */
  let open = 0;
  let isFull = false;
  let isCut = false;
  return {
    isFull: () => isFull,
    add(part) {
      if (isFull) return;
      const fits = part.subarray(0, mostBytes - size);
      isFull = fits.length < part.length;
      isCut = isFull && count === 0;
      if (isFull && !isCut) {
        size -= open;
        open = 0;
        return;
      }
      parts.push(fits.slice());
      size += fits.length;
      open += fits.length;
      if (isCut || fits.at(-1) !== NEW_LINE) return;
      open = 0;
      count += 1;
      isFull = count >= most;
    },
    result: () => ({
      bytes: Buffer.concat(parts).subarray(0, size),
      count: count + (open > 0 && !isCut ? 1 : 0),
      isCut,
    }),
  };
}
