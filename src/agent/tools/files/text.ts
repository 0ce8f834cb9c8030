/** Bytes at the beginning of a file in which a NUL tells that it is no text. */
const LOOKED_AT = 8192;
/** Share of bytes that are no UTF-8 above which it is no text either. */
const MOST_FOREIGN = 0.1;

/** Whether bytes are those of a text: without NUL, and nearly all of them UTF-8. */
export function isText(bytes: Uint8Array): boolean {
  if (bytes.subarray(0, LOOKED_AT).includes(0)) return false;
  const text = textOf(bytes);
  let foreign = 0;
  for (const character of text) if (character === "\ufffd") foreign += 1;
  return foreign <= text.length * MOST_FOREIGN;
}

/** Bytes as text; what is no UTF-8 shows as U+FFFD, and a byte order mark is kept. */
export function textOf(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}

/**
 * The piece of bytes that begins and ends between characters: the first ones that go on with a
 * character from before are left out (only where there is a before), and a last one that is not whole
 * (only where there is more to come).
 */
export function wholeCharacters(
  bytes: Uint8Array,
  { before, after }: { readonly before: boolean; readonly after: boolean },
): { readonly skipped: number; readonly bytes: Uint8Array } {
  let start = 0;
  if (before) while (start < Math.min(3, bytes.length) && isContinuation(bytes[start])) start += 1;
  const end = after ? wholeEnd(bytes, start) : bytes.length;
  return { skipped: start, bytes: bytes.subarray(start, end) };
}

function wholeEnd(bytes: Uint8Array, start: number): number {
  const end = lastWholeEnd(bytes.subarray(start));
  return end === 0 ? bytes.length : start + end;
}

/** Where the last character ends that is whole; 0 where there is but the beginning of one. */
export function lastWholeEnd(bytes: Uint8Array): number {
  let lead = bytes.length - 1;
  while (lead > 0 && bytes.length - lead < 4 && isContinuation(bytes[lead])) lead -= 1;
  return lead + lengthOf(bytes[lead] ?? 0) > bytes.length ? lead : bytes.length;
}

function isContinuation(byte = 0): boolean {
  return (byte & 0xc0) === 0x80;
}

/** Bytes of the character that this one begins. */
function lengthOf(byte: number): number {
  if (byte >= 0xf0) return 4;
  if (byte >= 0xe0) return 3;
  return byte >= 0xc0 ? 2 : 1;
}
