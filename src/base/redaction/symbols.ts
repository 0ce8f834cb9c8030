/** Kinds of UTF-16 units in the search for secrets, as bits; a unit can have several. */
export const INVISIBLE = 1;
export const BLANK = 2;
export const NEWLINE = 4;
/** Of the alphabets of RFC 4648 sections 4 and 5. */
export const BASE64 = 8;
export const HEX = 16;
/** Characters that tools print between hexadecimal bytes. */
export const SEPARATOR = 32;
/** An escape can begin here. */
export const ESCAPE = 64;
/** A row of a hex dump can begin after it: the end of a line, the beginning of a JSON string. */
export const ROW = 128;

type Range = readonly [first: number, last: number];

/** Controls except white space, and Default_Ignorable_Code_Point (UAX #44), up to U+FFFF. */
const UNSEEN: readonly Range[] = [
  [0x00, 0x08],
  [0x0e, 0x1f],
  [0x7f, 0x84],
  [0x86, 0x9f],
  [0xad, 0xad],
  [0x034f, 0x034f],
  [0x061c, 0x061c],
  [0x115f, 0x1160],
  [0x17b4, 0x17b5],
  [0x180b, 0x180f],
  [0x200b, 0x200f],
  [0x202a, 0x202e],
  [0x2060, 0x206f],
  [0x3164, 0x3164],
  [0xfe00, 0xfe0f],
  [0xfeff, 0xfeff],
  [0xffa0, 0xffa0],
  [0xfff0, 0xfffb],
];

/** First halves of U+E0000 to U+E0FFF: invisible tags and variation selectors. */
const UNSEEN_PAIRS: Range = [0xdb40, 0xdb43];

/** The kinds of each UTF-16 unit, as joined bits. */
export const KINDS = kindsOfAll();

function kindsOfAll(): Uint8Array {
  const table = new Uint8Array(0x1_00_00);
  const mark = (kind: number, characters: string): void => {
    for (const character of characters) table[character.charCodeAt(0)]! |= kind;
  };
  const markAll = (kind: number, [first, last]: Range): void => {
    for (let unit = first; unit <= last; unit += 1) table[unit]! |= kind;
  };
  for (const range of UNSEEN) markAll(INVISIBLE, range);
  mark(BLANK, "\t\n\v\f\r \u0085\u00a0\u1680\u2028\u2029\u202f\u205f\u3000");
  markAll(BLANK, [0x2000, 0x200a]);
  mark(NEWLINE | ROW, "\n");
  mark(ROW, '"');
  mark(BASE64 | HEX, "0123456789abcdefABCDEF");
  mark(BASE64, "ghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ+/-_");
  mark(SEPARATOR, ":-,");
  mark(ESCAPE, "\\%&");
  markAll(ESCAPE, UNSEEN_PAIRS);
  return table;
}

/** Lowers ASCII capitals; returns other units unchanged. */
export function lowered(unit: number): number {
  return unit >= 0x41 && unit <= 0x5a ? unit + 0x20 : unit;
}

/** Whether the unit may be the first digit of an offset, which begins a row of a dump. */
export function isDecimal(unit: number): boolean {
  return unit >= 0x30 && unit <= 0x39;
}
