import { Readable } from "node:stream";
import type { Transform } from "node:stream";
import { TextDecoder } from "node:util";
import { onAbort } from "../../../base/async.ts";
import type { Answer } from "./request.ts";

/** What came of a body. */
export interface Body {
  readonly bytes: Uint8Array;
  /** Why it is not whole. */
  readonly cut?: "too large" | "crowded" | "slow" | "broken off";
}

/** Bytes that all bodies may take together while they are read. */
export interface ByteBudget {
  /** Whether so many more are left; then they are taken. */
  take(bytes: number): boolean;
  giveBack(bytes: number): void;
}

export interface ReadOptions {
  /** Bytes of one body. */
  readonly most: number;
  readonly budget: ByteBudget;
  readonly signal: AbortSignal;
}

export function createByteBudget(most: number): ByteBudget {
  let taken = 0;
  return {
    take(bytes) {
      if (taken + bytes > most) return false;
      taken += bytes;
      return true;
    },
    giveBack(bytes) {
      taken -= bytes;
    },
  };
}

/** Encodings one over another that are undone; more is nothing but a trap. */
const MAX_ENCODINGS = 2;

/**
 * Reads a body as it comes, decompressed, up to `most` bytes; where the budget is used up, the signal is
 * aborted, or the connection breaks off, what had come. Throws for an encoding that is not known.
 */
export async function readBody(answer: Answer, options: ReadOptions): Promise<Body> {
  const { most, signal } = options;
  const names = answer
    .header("content-encoding")
    .toLowerCase()
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "" && name !== "identity");
  if (names.length > MAX_ENCODINGS) throw new Error("it is compressed too many times over");
  // All of them before anything flows: an error that nobody hears ends the process.
  const decoders = await Promise.all(names.toReversed().map(decoderFor));
  const source = Readable.from(bounded(answer.body, most), { objectMode: false });
  const streams: Readable[] = [source];
  for (const decoder of decoders) {
    const before = streams.at(-1) ?? source;
    before.on("error", (error) => decoder.destroy(error));
    streams.push(before.pipe(decoder));
  }
  const stopListening = onAbort(signal, () => streams.at(-1)?.destroy());
  try {
    return await collected(streams.at(-1) ?? source, options);
  } finally {
    stopListening();
    for (const stream of streams) stream.on("error", () => {}).destroy();
  }
}

/** The compressed bytes are bounded too: there are those that decompress to nothing, for ever. */
async function* bounded(body: AsyncIterable<Uint8Array>, most: number) {
  let length = 0;
  for await (const chunk of body) {
    yield chunk;
    length += chunk.length;
    if (length > most) return;
  }
}

async function collected(stream: Readable, { most, budget, signal }: ReadOptions): Promise<Body> {
  const chunks: Uint8Array[] = [];
  let [length, taken] = [0, 0];
  let cut: Body["cut"];
  try {
    for await (const chunk of stream) {
      const bytes: unknown = chunk;
      if (!(bytes instanceof Uint8Array)) continue;
      if (!budget.take(bytes.length)) {
        cut = "crowded";
        break;
      }
      taken += bytes.length;
      chunks.push(bytes.subarray(0, most - length));
      length += bytes.length;
      if (length > most) {
        cut = "too large";
        break;
      }
    }
  } catch (error) {
    if (chunks.length === 0 && !signal.aborted) throw error;
    cut = "broken off";
  } finally {
    budget.giveBack(taken);
  }
  if (signal.aborted) cut = "slow";
  const bytes = Buffer.concat(chunks);
  return cut === undefined ? { bytes } : { bytes, cut };
}

async function decoderFor(name: string): Promise<Transform> {
  const zlib = await import("node:zlib");
  // Of what breaks off, what had come is still to be read.
  const finishFlush = zlib.constants.Z_SYNC_FLUSH;
  switch (name) {
    case "gzip":
    case "x-gzip":
      return zlib.createGunzip({ finishFlush });
    case "deflate":
      return zlib.createInflate({ finishFlush });
    case "br":
      return zlib.createBrotliDecompress({
        finishFlush: zlib.constants.BROTLI_OPERATION_FLUSH,
      });
    default:
      throw new Error(`its encoding ${JSON.stringify(name.slice(0, 20))} is not known here`);
  }
}

/** Bytes at the start of a page in which it may name its encoding (HTML, 13.2.3.2, wants 1024). */
const HEAD = 4096;

/** The text of a page: its encoding is what the header says, a byte order mark, or the page itself. */
export function decodeText(bytes: Uint8Array, type: string, isWhole: boolean): string {
  const named = markOf(bytes) ?? charsetIn(type) ?? charsetInside(bytes);
  const decoder = named === undefined ? undefined : decoderOf(named);
  if (decoder !== undefined) return decoder.decode(bytes);
  try {
    // A body that was cut may end within a character.
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: !isWhole });
  } catch {
    return new TextDecoder("windows-1252").decode(bytes);
  }
}

function markOf(bytes: Uint8Array): string | undefined {
  const [first, second, third] = bytes;
  if (first === 0xef && second === 0xbb && third === 0xbf) return "utf-8";
  if (first === 0xff && second === 0xfe) return "utf-16le";
  return first === 0xfe && second === 0xff ? "utf-16be" : undefined;
}

/** `text/html; charset=utf-8`, `<meta charset="…">`, `<?xml encoding="…"?>`. */
function charsetIn(text: string): string | undefined {
  return /(?:charset|<\?xml[^>]{0,100}\sencoding)\s*=\s*["']?\s*([\w:.-]{2,40})/i.exec(text)?.[1];
}

function charsetInside(bytes: Uint8Array): string | undefined {
  const start = new TextDecoder("latin1").decode(bytes.subarray(0, HEAD));
  const named = /<(?:meta|\?xml)\b/i.test(start) ? charsetIn(start) : undefined;
  // It was read as ASCII so far, so it cannot be UTF-16, whatever it says (HTML, 13.2.3.3).
  return named !== undefined && /^utf-?16/i.test(named) ? "utf-8" : named;
}

function decoderOf(name: string): TextDecoder | undefined {
  try {
    return new TextDecoder(name);
  } catch {
    return undefined;
  }
}
