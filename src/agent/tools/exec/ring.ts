/** The last bytes of a stream that is not read as fast as it is written. */
export interface Ring {
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
export function createRing(capacity: number): Ring {
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
