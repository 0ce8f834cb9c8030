import { createReadStream } from "node:fs";
import { resolve } from "node:path";
import type { Readable } from "node:stream";
import { onAbort } from "../base/async.ts";
import { asFailure, Failure, messageOf } from "../base/failure.ts";
import type { Host } from "../base/host.ts";

/** Bytes of `\r\n`, which may follow a text of the maximum size. */
const LAST_NEWLINE = 2;

/** The source of the text of a message, chosen before anything is read. */
export type MessageSource =
  | { readonly from: "words"; readonly text: string }
  | { readonly from: "file"; readonly path: string }
  | { readonly from: "stdin" };

export interface MessageWords {
  readonly words: readonly string[];
  readonly file: string | undefined;
}

/**
 * Words take precedence over a pipe, which is then not read. `-` alone, as word or as file, is standard
 * input. Throws a usage `Failure` if there is no message.
 */
export function messageSource(
  { words, file }: MessageWords,
  host: Pick<Host, "stdin" | "cwd">,
): MessageSource {
  const fromStdin = words.length === 1 && words[0] === "-";
  if (words.length > 0 && file !== undefined) {
    throw new Failure("usage", "the message is given twice: as words and with --file", {
      remedy: "use only one of them",
    });
  }
  if (fromStdin || file === "-") return { from: "stdin" };
  if (words.length > 0) return { from: "words", text: notBlank(words.join(" ")) };
  if (file !== undefined) return { from: "file", path: resolve(host.cwd, file) };
  if (host.stdin.isTTY) {
    throw new Failure("usage", "there is no message to send", {
      remedy: "write it after the client, pipe it in, or name a file with -f",
    });
  }
  return { from: "stdin" };
}

export interface ReadLimits {
  /** Longer messages are refused without reading them to the end. */
  readonly maxBytes: number;
  /** The setting that sets this limit. */
  readonly setBy?: string;
  readonly signal: AbortSignal;
}

/**
 * Reads the text of the message: not blank, UTF-8, without the last newline of a file or a pipe. Throws a
 * usage `Failure` if it is not, and `signal.reason` when aborted.
 */
export async function readMessage(
  source: MessageSource,
  host: Pick<Host, "stdin">,
  limits: ReadLimits,
): Promise<string> {
  if (source.from === "words") {
    checkSize(Buffer.byteLength(source.text), limits);
    return source.text;
  }
  const name = source.from === "file" ? source.path : "standard input";
  const stream = source.from === "file" ? createReadStream(source.path) : host.stdin.stream;
  const bytes = await readBytes(stream, name, limits);
  const text = decode(bytes, name).replace(/\r?\n$/, "");
  checkSize(Buffer.byteLength(text), limits);
  return notBlank(text);
}

async function readBytes(stream: Readable, name: string, limits: ReadLimits): Promise<Uint8Array> {
  const { signal } = limits;
  const chunks: Uint8Array[] = [];
  let size = 0;
  // Destroys the stream with the reason, because only that ends a pending read.
  const stop = () => stream.destroy(asFailure(signal.reason));
  let stopListening: (() => void) | undefined;
  try {
    signal.throwIfAborted();
    stopListening = onAbort(signal, stop);
    for await (const chunk of stream) {
      const bytes = Buffer.from(chunk);
      size += bytes.byteLength;
      checkSize(size - LAST_NEWLINE, limits);
      chunks.push(bytes);
    }
  } catch (error) {
    if (error instanceof Failure) throw error;
    const why = messageOf(error);
    throw new Failure("usage", `the message cannot be read from ${name}`, { why, cause: error });
  } finally {
    stopListening?.();
    // An open pipe would keep the process alive.
    stream.destroy();
  }
  return Buffer.concat(chunks);
}

function checkSize(size: number, { maxBytes, setBy }: ReadLimits): void {
  if (size <= maxBytes) return;
  const limit = setBy === undefined ? "the limit" : `the limit, ${setBy},`;
  throw new Failure("usage", "the message is too long", { why: `${limit} is ${maxBytes} bytes` });
}

function decode(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw new Failure("usage", `the message in ${name} is not UTF-8 text`, { cause: error });
  }
}

function notBlank(text: string): string {
  if (text.trim() !== "") return text;
  throw new Failure("usage", "the message is blank");
}
