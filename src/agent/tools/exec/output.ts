import { Buffer } from "node:buffer";
import type { Readable } from "node:stream";

/** Characters of a command's output that a model gets at once; the tool's result has 10,000. */
export const MAX_SHOWN = 9500;
/** Bytes that are kept of the beginning, and of the end: characters may have three, colours cost more. */
const EXCERPT_BYTES = 32 * 1024;

/** What a command wrote, bounded while it is written: the beginning and the end of it. */
export interface Excerpt {
  push(bytes: Uint8Array): void;
  text(): string;
}

export function createExcerpt(): Excerpt {
  const head: Uint8Array[] = [];
  let headSize = 0;
  let total = 0;
  const tail = createRingBuffer(EXCERPT_BYTES);
  return {
    push(bytes) {
      total += bytes.length;
      const first = bytes.subarray(0, EXCERPT_BYTES - headSize);
      // A copy: the runtime's piece may be one of a large buffer.
      if (first.length > 0) head.push(first.slice());
      headSize += first.length;
      tail.push(bytes.subarray(first.length));
    },
    text() {
      const { bytes } = tail.take(EXCERPT_BYTES);
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

/** The last bytes of a stream that is not read as fast as it is written. */
export interface RingBuffer {
  push(bytes: Uint8Array): void;
  /**
   * Takes the oldest bytes out, of `most` as many as `endOf` says; `lost` were overwritten before them
   * since the last time.
   */
  take(
    most: number,
    endOf?: (bytes: Uint8Array) => number,
  ): { readonly bytes: Uint8Array; readonly lost: number };
  /** Bytes that wait. */
  size(): number;
}

const FIRST_SIZE = 4096;

/** A ring of at most `capacity` bytes; it takes that much memory only once it holds that much. */
export function createRingBuffer(capacity: number): RingBuffer {
  let buffer = new Uint8Array(Math.min(FIRST_SIZE, capacity));
  let start = 0;
  let size = 0;
  let lost = 0;
  const copied = (most: number): Uint8Array => {
    const bytes = new Uint8Array(most);
    const first = buffer.subarray(start, start + most);
    bytes.set(first);
    bytes.set(buffer.subarray(0, most - first.length), first.length);
    return bytes;
  };
  const grow = (wanted: number): void => {
    const larger = new Uint8Array(Math.min(capacity, Math.max(wanted, buffer.length * 2)));
    larger.set(copied(size));
    buffer = larger;
    start = 0;
  };
  const drop = (bytes: number): void => {
    start = (start + bytes) % buffer.length;
    size -= bytes;
  };
  return {
    size: () => size,
    push(all) {
      const bytes = all.subarray(Math.max(0, all.length - capacity));
      lost += all.length - bytes.length;
      if (size + bytes.length > buffer.length && buffer.length < capacity)
        grow(size + bytes.length);
      const over = Math.max(0, size + bytes.length - buffer.length);
      drop(over);
      lost += over;
      const end = (start + size) % buffer.length;
      const first = bytes.subarray(0, buffer.length - end);
      buffer.set(first, end);
      buffer.set(bytes.subarray(first.length), 0);
      size += bytes.length;
    },
    take(most, endOf = ({ length }) => length) {
      const oldest = copied(Math.min(most, size));
      const bytes = oldest.subarray(0, endOf(oldest));
      const before = lost;
      drop(bytes.length);
      lost = 0;
      return { bytes, lost: before };
    },
  };
}

/** Bytes after which a stream rests. */
const BURST_BYTES = 1024 * 1024;
/** Milliseconds of rest. */
const REST_MS = 5;

/**
 * Hands on what a command writes as it comes, and not faster than 200 MB/s: the pipe makes the command
 * wait. Without rests `yes` takes the event loop from all others, and Deno, which collects buffers late,
 * grew to 1.4 GB in half a minute.
 */
export function readPaced(stream: Readable, take: (bytes: Uint8Array) => void): void {
  let since = 0;
  let isResting = false;
  const pull = (): void => {
    if (isResting) return;
    for (let piece = readPiece(stream); piece !== undefined; piece = readPiece(stream)) {
      take(piece);
      since += piece.length;
      if (since >= BURST_BYTES) return rest();
    }
  };
  const rest = (): void => {
    since = 0;
    isResting = true;
    setTimeout(() => {
      isResting = false;
      pull();
    }, REST_MS);
  };
  stream.on("readable", pull);
}

function readPiece(stream: Readable): Uint8Array | undefined {
  const piece: unknown = stream.read();
  return piece instanceof Uint8Array ? piece : undefined;
}
