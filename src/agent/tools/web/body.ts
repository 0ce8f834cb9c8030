import { Readable } from "node:stream";
import type { Transform } from "node:stream";
import { TextDecoder } from "node:util";
import { onAbort } from "../../../base/async.ts";

/** What a server sends. */
export interface Received {
  /** The value of a header, or "". */
  readonly header: (name: string) => string;
  /** The bytes as received, still compressed. Throws if the connection breaks off. */
  readonly body: AsyncIterable<Uint8Array>;
}

/** The part of a body that arrived. */
export interface Body {
  readonly bytes: Uint8Array;
  /** Why it is incomplete. */
  readonly cut?: "too large" | "crowded" | "slow" | "broken off" | undefined;
}

/** A limit for the bytes of all bodies that are being read. */
export interface ByteBudget {
  /** Takes bytes if so many are left; returns whether they were. */
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

/** Nested encodings of one body; more are an attack. */
const MAX_ENCODINGS = 2;

/**
 * Reads and decompresses up to `most` bytes of a body. If the budget is used up, the signal is aborted or
 * the connection breaks off, returns the part that has arrived. Throws for an unknown encoding.
 */
export async function readBody({ header, body }: Received, options: ReadOptions): Promise<Body> {
  const { most, signal } = options;
  const names = header("content-encoding")
    .toLowerCase()
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "" && name !== "identity");
  if (names.length > MAX_ENCODINGS) throw new Error("it is compressed too many times");
  // All decoders exist before data flows: an error without a listener would end the process.
  const decoders = await Promise.all(names.toReversed().map(decoderFor));
  const source = Readable.from(limitBytes(body, most), { objectMode: false });
  const streams: Readable[] = [source];
  for (const decoder of decoders) {
    const before = streams.at(-1) ?? source;
    before.on("error", (error) => decoder.destroy(error));
    streams.push(before.pipe(decoder));
  }
  const stopListening = onAbort(signal, () => streams.at(-1)?.destroy());
  try {
    return await collect(streams.at(-1) ?? source, options);
  } finally {
    stopListening();
    for (const stream of streams) stream.on("error", () => {}).destroy();
  }
}

/** Limits the compressed bytes too: endless data can decompress to nothing. */
async function* limitBytes(body: AsyncIterable<Uint8Array>, most: number) {
  let length = 0;
  for await (const chunk of body) {
    yield chunk;
    length += chunk.length;
    if (length > most) return;
  }
}

async function collect(stream: Readable, { most, budget, signal }: ReadOptions): Promise<Body> {
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
  return { bytes: Buffer.concat(chunks), cut };
}

async function decoderFor(name: string): Promise<Transform> {
  const zlib = await import("node:zlib");
  // Returns the decompressed part of a body that breaks off.
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
      throw new Error(`its encoding ${JSON.stringify(name.slice(0, 20))} is not supported`);
  }
}

/** Bytes at the beginning of a page that may name its encoding (HTML, 13.2.3.2, says 1024). */
const HEAD = 4096;

/** The text of a page. A byte order mark, the header or the page itself names the encoding. */
export function decodeText(bytes: Uint8Array, type: string, isWhole: boolean): string {
  const named = markOf(bytes) ?? charsetIn(type) ?? charsetInside(bytes);
  const decoder = named === undefined ? undefined : decoderOf(named);
  if (decoder !== undefined) return decoder.decode(bytes);
  try {
    // A body that was cut may end with an incomplete character.
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
  // The page is readable as ASCII up to here, so it cannot be UTF-16 (HTML, 13.2.3.3).
  return named !== undefined && /^utf-?16/i.test(named) ? "utf-8" : named;
}

function decoderOf(name: string): TextDecoder | undefined {
  try {
    return new TextDecoder(name);
  } catch {
    return undefined;
  }
}
