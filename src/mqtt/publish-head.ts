/** The start of the body of an MQTT 5 PUBLISH, up to and with its Property Length (MQTT 5 section 3.3.2). */
export interface PublishHead {
  /** Reads on from there; the position behind what it took. It is whole when that is not the chunk's end. */
  take(chunk: Buffer, at: number): number;
  readonly isWhole: () => boolean;
  readonly bytes: () => Buffer;
  /** The same with a Property Length of 0. */
  readonly bare: () => Buffer;
  /** Property Length; undefined where it is malformed. */
  readonly propertyBytes: () => number | undefined;
}

const LENGTH_BYTES = 2;
const ID_BYTES = 2;
const MOST_DIGITS = 4;

/** Holds no more bytes than the head has: at most 65,543. */
export function createPublishHead(qos: number): PublishHead {
  const idBytes = qos > 0 ? ID_BYTES : 0;
  let held = Buffer.alloc(LENGTH_BYTES);
  let size = 0;
  /** Where the Property Length begins; unknown while the topic's length is. */
  let end: number | undefined;
  let digits = 0;
  const isWhole = (): boolean =>
    digits === MOST_DIGITS || (digits > 0 && (held[size - 1] ?? 0) < 128);
  return {
    take(chunk, begin) {
      let at = begin;
      while (at < chunk.length && !isWhole()) {
        const most = end === undefined || size < end ? (end ?? LENGTH_BYTES) - size : 1;
        const taken = chunk.copy(held, size, at, Math.min(at + most, chunk.length));
        if (end !== undefined && size >= end) digits += 1;
        size += taken;
        at += taken;
        if (end !== undefined || size < LENGTH_BYTES) continue;
        end = LENGTH_BYTES + held.readUInt16BE(0) + idBytes;
        held = Buffer.concat([held, Buffer.alloc(end - size + MOST_DIGITS)]);
      }
      return at;
    },
    isWhole,
    bytes: () => held.subarray(0, size),
    bare: () => Buffer.concat([held.subarray(0, end), Buffer.of(0)]),
    propertyBytes() {
      const number = [...held.subarray(end, size)];
      const value = number.reduce((sum, digit, index) => sum + (digit & 127) * 128 ** index, 0);
      return (number.at(-1) ?? 128) < 128 ? value : undefined;
    },
  };
}
