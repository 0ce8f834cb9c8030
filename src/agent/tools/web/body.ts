import { Readable } from "node:stream";
import type { Transform } from "node:stream";
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
  const onAbort = (): void => void streams.at(-1)?.destroy();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await collected(streams.at(-1) ?? source, options);
  } finally {
    signal.removeEventListener("abort", onAbort);
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
