import type { Readable } from "node:stream";

/** Bytes after which a stream rests. */
const STRETCH = 1024 * 1024;
/** Milliseconds of rest. */
const REST_MS = 5;

/**
 * Hands on what a command writes as it comes, and not faster than 200 MB/s: the pipe makes the command
 * wait. Without rests `yes` takes the event loop from all others, and Deno, which collects buffers late,
 * grew to 1.4 GB in half a minute.
 */
export function drain(stream: Readable, take: (bytes: Uint8Array) => void): void {
  let since = 0;
  let isResting = false;
  const pull = (): void => {
    if (isResting) return;
    for (let piece = pieceOf(stream); piece !== undefined; piece = pieceOf(stream)) {
      take(piece);
      since += piece.length;
      if (since >= STRETCH) return rest();
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

function pieceOf(stream: Readable): Uint8Array | undefined {
  const piece: unknown = stream.read();
  return piece instanceof Uint8Array ? piece : undefined;
}
