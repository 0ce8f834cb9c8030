import { Buffer } from "node:buffer";
import { crc32 } from "node:zlib";
import { ModelError } from "../errors.ts";

/** Total length, length of the headers, and a checksum of both. */
const PRELUDE = 12;
const CHECKSUM = 4;
/** Bytes of one message. */
const MAX_MESSAGE = 1024 * 1024;

/**
 * Turns Amazon's event stream (docs.aws.amazon.com/AmazonS3, "Response"; smithy.io, "Event stream"), cut anywhere,
 * into server-sent events: `{<event>: <payload>}`, and `{"error": …}` for an exception. An incomplete message at
 * the end is dropped. A malformed one ends the stream with a `ModelError`.
 */
export function eventStreamToServerSentEvents(): TransformStream<Uint8Array, Uint8Array> {
  let pieces: Uint8Array[] = [];
  let [size, needed] = [0, PRELUDE];
  return new TransformStream({
    transform(piece, controller) {
      pieces.push(piece);
      size += piece.length;
      // Pieces are joined once for each message, however small they are.
      if (size < needed) return;
      let held = Buffer.concat(pieces);
      while (held.length >= PRELUDE && held.length >= messageLength(held)) {
        const length = messageLength(held);
        controller.enqueue(Buffer.from(eventOf(held.subarray(0, length))));
        held = held.subarray(length);
      }
      [pieces, size] = [[held], held.length];
      needed = size < PRELUDE ? PRELUDE : messageLength(held);
    },
  });
}

function messageLength(bytes: Buffer): number {
  checkSum(bytes, PRELUDE);
  const length = bytes.readUInt32BE(0);
  if (length > MAX_MESSAGE) {
    throw new ModelError("oversized", "an event of the stream is too long");
  }
  if (length < PRELUDE + bytes.readUInt32BE(4) + CHECKSUM) throw damaged();
  return length;
}

/** Throws if the last four of the first `end` bytes are no checksum of those before them. */
function checkSum(bytes: Buffer, end: number): void {
  const start = end - CHECKSUM;
  if (crc32(bytes.subarray(0, start)) !== bytes.readUInt32BE(start)) throw damaged();
}

function damaged(): ModelError {
  return new ModelError("broken_off", "an event of the stream is damaged");
}

function eventOf(message: Buffer): string {
  checkSum(message, message.length);
  const end = PRELUDE + message.readUInt32BE(4);
  const headers = headersIn(message.subarray(PRELUDE, end));
  const payload = message.toString("utf8", end, message.length - CHECKSUM);
  const name = headers.get(":event-type") ?? "";
  const json =
    headers.get(":message-type") === "event"
      ? `{${JSON.stringify(name)}:${payload.replaceAll(/[\r\n]/g, " ") || "{}"}}`
      : JSON.stringify({ error: exceptionIn(headers, payload) });
  return `data: ${json}\n\n`;
}

function exceptionIn(headers: ReadonlyMap<string, string>, payload: string) {
  const type = headers.get(":exception-type") ?? headers.get(":error-code") ?? "";
  const message = /"message"\s*:\s*("(?:[^"\\]|\\.)*")/i.exec(payload)?.[1];
  const words = message === undefined ? headers.get(":error-message") : String(JSON.parse(message));
  return { type, message: [type, words || payload].join(": ") };
}

/** Bytes of a header's value by its type; those of types 6 and 7 tell their length. */
const SIZES = [0, 0, 1, 2, 4, 8, undefined, undefined, 8, 16];
const TEXT = 7;

/** The headers whose value is a text. */
function headersIn(bytes: Buffer): Map<string, string> {
  const headers = new Map<string, string>();
  for (let at = 0; at < bytes.length;) {
    const nameEnd = at + 1 + (bytes[at] ?? 0);
    const name = bytes.toString("utf8", at + 1, nameEnd);
    const type = bytes[nameEnd] ?? SIZES.length;
    if (type >= SIZES.length) throw damaged();
    const fixed = SIZES[type];
    const start = nameEnd + (fixed === undefined ? 3 : 1);
    const end = start + (fixed ?? lengthAt(bytes, nameEnd + 1));
    if (end > bytes.length) throw damaged();
    if (type === TEXT) headers.set(name, bytes.toString("utf8", start, end));
    at = end;
  }
  return headers;
}

function lengthAt(bytes: Buffer, at: number): number {
  if (at + 2 > bytes.length) throw damaged();
  return bytes.readUInt16BE(at);
}
