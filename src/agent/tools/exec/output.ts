import { Buffer } from "node:buffer";
import type { Readable } from "node:stream";
import { prefixOf } from "../../../base/truncate.ts";

/** Characters of output that a model gets at once; a tool's result has at most 10,000. */
export const MAX_SHOWN = 9500;
/** Bytes of the beginning and of the end in memory: a character may have three, and colours need more. */
const EXCERPT_BYTES = 32 * 1024;

/** The beginning and the end of a command's output, in bounded memory. */
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
      // A copy: the runtime's chunk may be a part of a large buffer.
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

function joined(beginning: string, end: string, total: string): string {
  const half = MAX_SHOWN / 2;
  const head = prefixOf(beginning, half);
  const tail = end.slice(-half).replace(/^[\udc00-\udfff]/, "");
  return `${head}\n… (the middle is left out: ${total}) …\n${tail}`;
}

/** Terminal sequences: cursor, colours, window title; in both forms, also cut off at the end. */
const SEQUENCES =
  // oxlint-disable-next-line no-control-regex
  /(?:\u001b\[|\u009b)[0-?]*[ -/]*(?:[@-~]|$)|(?:\u001b[\]PX^_]|[\u009d\u0090\u0098\u009e\u009f])[^\u0007\u001b\u009c]*(?:\u0007|\u001b\\|\u009c|$)?|\u001b[ -/]*[0-~]?/g;
/** Other control characters, and those that change the direction of text. */
// oxlint-disable-next-line no-control-regex
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** A program's output as plain text: without terminal sequences, each line in its final state. */
export function readable(bytes: Uint8Array): string {
  const text = new TextDecoder().decode(bytes).replace(SEQUENCES, "").replaceAll("\r\n", "\n");
  return text.split("\n").map(lastWritten).join("\n").replace(CONTROLS, "");
}

/** The final state of a line that a progress bar overwrites. */
function lastWritten(line: string): string {
  return line.replace(/\r+$/, "").split("\r").at(-1) ?? "";
}

/** The last bytes of a stream that is read more slowly than it is written. */
export interface RingBuffer {
  push(bytes: Uint8Array): void;
  /**
   * Removes the oldest bytes: of `max` as many as `endOf` returns. `lost` bytes before them were
   * overwritten since the last call.
   */
  take(
    max: number,
    endOf?: (bytes: Uint8Array) => number,
  ): { readonly bytes: Uint8Array; readonly lost: number };
  /** Bytes in the buffer. */
  size(): number;
}

const FIRST_SIZE = 4096;

/** A ring of at most `capacity` bytes. Its memory grows with its content. */
export function createRingBuffer(capacity: number): RingBuffer {
  let buffer = new Uint8Array(Math.min(FIRST_SIZE, capacity));
  let start = 0;
  let size = 0;
  let lost = 0;
  const copied = (length: number): Uint8Array => {
    const bytes = new Uint8Array(length);
    const first = buffer.subarray(start, start + length);
    bytes.set(first);
    bytes.set(buffer.subarray(0, length - first.length), first.length);
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
    take(max, endOf = ({ length }) => length) {
      const oldest = copied(Math.min(max, size));
      const bytes = oldest.subarray(0, endOf(oldest));
      const before = lost;
      drop(bytes.length);
      lost = 0;
      return { bytes, lost: before };
    },
  };
}

/** Bytes after which reading pauses. */
const BURST_BYTES = 1024 * 1024;
/** Milliseconds of a pause. */
const PAUSE_MS = 5;

/**
 * Passes on a command's output as it arrives, at no more than 200 MB/s; the pipe makes the command wait.
 * Without pauses `yes` blocks the event loop, and Deno, which frees buffers late, grew to 1.4 GB in half
 * a minute.
 */
export function readPaced(stream: Readable, take: (bytes: Uint8Array) => void): void {
  let since = 0;
  let isPaused = false;
  const pull = (): void => {
    if (isPaused) return;
    for (let piece = readPiece(stream); piece !== undefined; piece = readPiece(stream)) {
      take(piece);
      since += piece.length;
      if (since >= BURST_BYTES) return pauseReading();
    }
  };
  const pauseReading = (): void => {
    since = 0;
    isPaused = true;
    setTimeout(() => {
      isPaused = false;
      pull();
    }, PAUSE_MS);
  };
  stream.on("readable", pull);
}

function readPiece(stream: Readable): Uint8Array | undefined {
  const piece: unknown = stream.read();
  return piece instanceof Uint8Array ? piece : undefined;
}
