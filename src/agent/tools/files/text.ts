/** A NUL in this many bytes at the beginning means that a file is not text. */
const LOOKED_AT = 8192;
/** A file with a larger share of invalid UTF-8 is not text. */
const MOST_FOREIGN = 0.1;

/** Whether bytes are text: no NUL, and nearly all valid UTF-8. */
export function isText(bytes: Uint8Array): boolean {
  if (bytes.subarray(0, LOOKED_AT).includes(0)) return false;
  const text = textOf(bytes);
  let foreign = 0;
  for (const character of text) if (character === "\ufffd") foreign += 1;
  return foreign <= text.length * MOST_FOREIGN;
}

/** Bytes as text. Invalid UTF-8 becomes U+FFFD, and a byte order mark stays. */
export function textOf(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}

/**
 * The bytes without half characters at the edges: without continuation bytes at the beginning (if there
 * are bytes `before`), and without an incomplete character at the end (if there are bytes `after`).
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

/** Where the last complete character ends; 0 if there is only the beginning of one. */
export function lastWholeEnd(bytes: Uint8Array): number {
  let lead = bytes.length - 1;
  while (lead > 0 && bytes.length - lead < 4 && isContinuation(bytes[lead])) lead -= 1;
  return lead + lengthOf(bytes[lead] ?? 0) > bytes.length ? lead : bytes.length;
}

function isContinuation(byte = 0): boolean {
  return (byte & 0xc0) === 0x80;
}

/** Length in bytes of the character that begins with this byte. */
function lengthOf(byte: number): number {
  if (byte >= 0xf0) return 4;
  if (byte >= 0xe0) return 3;
  return byte >= 0xc0 ? 2 : 1;
}
