import { BLANK, ESCAPE, INVISIBLE, kindsOf, lowered, ROW, SEPARATOR } from "./symbols.ts";

const ZERO = 0x30;
const NINE = 0x39;
const PLUS = 0x2b;
const SLASH = 0x2f;
const UNDERSCORE = 0x5f;

/** Classes of units: those that may not count, those that begin an escape, the end of the text; others by value. */
const SKIPPED = 0;
const ESCAPED = 1;
const END = 2;
const CLASSES = 64;
const CLASS = CLASSES - 1;
/** Flags in addition to the class. */
const BEGINS_ESCAPE = 64;
const BEFORE_ROW = 128;
/** An offset can begin here: at a decimal digit, and after the end of the text so far. */
const BEGINS_OFFSET = 256;

const ASCII = 128;
/** All characters beyond ASCII that count; words rarely begin with one. */
const BEYOND = CLASS;
const CODES = Uint16Array.from({ length: ASCII }, (_, unit) => classCodeOf(unit));

function classCodeOf(unit: number): number {
  const kinds = kindsOf(unit);
  if (kinds === 0 && unit >= ASCII) return BEYOND;
  if ((kinds & ESCAPE) !== 0) return ESCAPED | BEGINS_ESCAPE;
  const row = (kinds & ROW) === 0 ? 0 : BEFORE_ROW;
  const offset = unit >= ZERO && unit <= NINE ? BEGINS_OFFSET : 0;
  const isSkipped = (kinds & (INVISIBLE | BLANK | SEPARATOR)) !== 0;
  return row | offset | (isSkipped ? SKIPPED : classOf(unit));
}

/** `-` and `+`, and `/` and `_`, stand for the same value in the two alphabets of base64. */
function classOf(unit: number): number {
  if (unit === PLUS) return SKIPPED;
  return END + 1 + ((unit === SLASH ? UNDERSCORE : lowered(unit)) % (BEYOND - END - 1));
}

/** Finds by three units where a word may begin, so that the reader can skip everything between. */
export class StartFilter {
  /** One bit for each three classes: 32 KiB, which fits into the cache of a processor. */
  readonly #table = new Uint8Array(CLASSES ** 3 / 8);

  /** After two hexadecimal digits of a word a `0x` may follow, so its `0` is marked as a third unit. */
  add(words: readonly string[], isHex = false): void {
    for (const word of words) {
      const [first = END, second = END, third = END] = [0, 1, 2].map((at) => codeAt(word, at));
      const thirds = [third, SKIPPED, ESCAPED, END, ...(isHex ? [classCodeOf(ZERO)] : [])];
      for (const next of thirds) this.#mark(first, second, next);
      for (const next of [second, SKIPPED, ESCAPED, END]) this.#mark(first, SKIPPED, next);
      for (let next = 0; next < CLASSES; next += 1) this.#mark(first, ESCAPED, next);
      this.#mark(first, END, END);
    }
  }

  /** The first position from `from` on where a word may begin or the reader must look; the end if there is none. */
  next(text: string, from: number): number {
    const table = this.#table;
    let first = codeAt(text, from);
    let second = codeAt(text, from + 1);
    for (let at = from; at < text.length; at += 1) {
      const third = codeAt(text, at + 2);
      const index = indexOf(first, second, third);
      if (((table[index >> 3] ?? 0) >> (index & 7)) & 1 || mustLook(first, second)) return at;
      first = second;
      second = third;
    }
    return text.length;
  }

  #mark(first: number, second: number, third: number): void {
    const index = indexOf(first, second, third);
    this.#table[index >> 3] = (this.#table[index >> 3] ?? 0) | (1 << (index & 7));
  }
}

/** Whether an escape begins here, or a row of a dump after it. */
function mustLook(first: number, second: number): boolean {
  if (first < BEGINS_ESCAPE) return false;
  if ((first & BEGINS_ESCAPE) !== 0) return true;
  return (first & BEFORE_ROW) !== 0 && (second & BEGINS_OFFSET) !== 0;
}

function codeAt(text: string, at: number): number {
  if (at >= text.length) return END | BEGINS_OFFSET;
  const unit = text.charCodeAt(at);
  return unit < ASCII ? (CODES[unit] ?? 0) : classCodeOf(unit);
}

function indexOf(first: number, second: number, third: number): number {
  return ((first & CLASS) << 12) | ((second & CLASS) << 6) | (third & CLASS);
}
