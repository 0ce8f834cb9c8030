import type { Output } from "../../src/base/host.ts";

export interface MemoryOutput extends Output {
  /** All that was written. */
  text(): string;
  bytes(): Uint8Array;
  /** The reader goes. */
  closeReader(): void;
}

/** A stream that keeps what is written to it. */
export function createMemoryOutput({ isTTY = false, columns = 80 } = {}): MemoryOutput {
  const written: Uint8Array[] = [];
  const closed = new AbortController();
  return {
    isTTY,
    columns,
    closed: closed.signal,
    write(text) {
      if (!closed.signal.aborted) written.push(Buffer.from(text));
      return Promise.resolve();
    },
    text: () => Buffer.concat(written).toString("utf8"),
    bytes: () => Buffer.concat(written),
    closeReader: () => closed.abort(),
  };
}
