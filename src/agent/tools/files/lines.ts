import { Buffer } from "node:buffer";
import type { OpenFile } from "./safe-open.ts";
import { readBytes } from "./safe-open.ts";

/** Some lines of a file, as bytes with their ends. */
export interface Lines {
  readonly bytes: Uint8Array;
  /** Lines among them; a cut one does not count. */
  readonly count: number;
  /** The first line is longer than what may be read at once, and only its beginning is there. */
  readonly isCut: boolean;
  /** Lines of the file, as far as they were counted. */
  readonly total: number;
  readonly isAllCounted: boolean;
}

export interface LinesWanted {
  /** 1 is the first line. */
  readonly start: number;
  readonly most: number;
  readonly mostBytes: number;
  readonly signal: AbortSignal;
}

const CHUNK = 64 * 1024;
/** Bytes of a file through which lines are counted; a log of gigabytes is not read to its end. */
const COUNTED = 64 * 1024 * 1024;
const NEW_LINE = 0x0a;

/** Reads lines without ever holding more of the file than a chunk and the lines themselves. */
export async function readLines({ handle }: OpenFile, wanted: LinesWanted): Promise<Lines> {
  const keeper = createKeeper(wanted);
  /** The line that comes next, or is being read. */
  let line = 1;
  let last = NEW_LINE;
  for (let place = 0; ;) {
    wanted.signal.throwIfAborted();
    const chunk = await readBytes(handle, place, CHUNK);
    for (const part of linesOf(chunk)) {
      if (line >= wanted.start) keeper.keep(part);
      if (part.at(-1) === NEW_LINE) line += 1;
    }
    place += chunk.length;
    last = chunk.at(-1) ?? last;
    const isAllCounted = chunk.length < CHUNK;
    if (isAllCounted || (place >= COUNTED && keeper.isFull())) {
      const isInLine = last !== NEW_LINE;
      return { ...keeper.result(), total: line - (isInLine ? 0 : 1), isAllCounted };
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

interface Keeper {
  /** Takes a line, or a part of one. */
  keep(part: Uint8Array): void;
  isFull(): boolean;
  result(): Pick<Lines, "bytes" | "count" | "isCut">;
}

/** Keeps lines as long as they fit. A line that does not is left out, unless it is the only one. */
function createKeeper({ most, mostBytes }: LinesWanted): Keeper {
  const kept: Uint8Array[] = [];
  let size = 0;
  let count = 0;
  /** Bytes of the line being read that are kept already. */
  let open = 0;
  let isFull = false;
  let isCut = false;
  return {
    isFull: () => isFull,
    keep(part) {
      if (isFull) return;
      const fits = part.subarray(0, mostBytes - size);
      isFull = fits.length < part.length;
      isCut = isFull && count === 0;
      if (isFull && !isCut) {
        size -= open;
        open = 0;
        return;
      }
      kept.push(fits.slice());
      size += fits.length;
      open += fits.length;
      if (isCut || fits.at(-1) !== NEW_LINE) return;
      open = 0;
      count += 1;
      isFull = count >= most;
    },
    result: () => ({
      bytes: Buffer.concat(kept).subarray(0, size),
      count: count + (open > 0 && !isCut ? 1 : 0),
      isCut,
    }),
  };
}
