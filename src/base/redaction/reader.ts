import { escapeAt, isEscapeBegun } from "./secret-encodings.ts";
import type { StartFilter } from "./start-filter.ts";
import {
  BASE64,
  BLANK,
  ESCAPE,
  HEX,
  INVISIBLE,
  isDecimal,
  KINDS,
  lowered,
  NEWLINE,
  ROW,
  SEPARATOR,
} from "./symbols.ts";
import { MOST_BETWEEN, NOWHERE, Search } from "./trie.ts";
import type { Cover, Trie } from "./trie.ts";

/** The words to search for, by the way the text is read. */
export interface Tries {
  /** Unit for unit. */
  readonly written: Trie;
  /** With escapes decoded, in lower case, without invisible characters. */
  readonly plain: Trie;
  /** Only characters of base64, in the alphabet with `+` and `/`. */
  readonly base64: Trie;
  /** Only hexadecimal digits, in lower case. */
  readonly hex: Trie;
  /** Finds where any of them may begin. */
  readonly starts: StartFilter;
}

const ZERO = 0x30;
const SMALL_X = 0x78;
const COMMA = 0x2c;

/** Reads a text once, in all of these ways at the same time. */
export class Reader {
  readonly #starts: StartFilter;
  readonly #written: Search;
  readonly #plain: Search;
  readonly #base64: Search;
  readonly #hex: Search;
  readonly #dump: DumpReader;
  /** The position up to which the text was read. */
  #at: number;

  /**
   * `start` is the position of the first unit, with which a row of a dump may begin; `cover` receives the
   * positions of what is found.
   */
  constructor(tries: Tries, start: number, isRow: boolean, cover: Cover) {
    this.#starts = tries.starts;
    this.#written = new Search(tries.written, cover);
    this.#plain = new Search(tries.plain, cover);
    this.#base64 = new Search(tries.base64, cover);
    this.#hex = new Search(tries.hex, cover);
    this.#dump = new DumpReader(tries.hex, cover);
    this.#at = start;
    if (isRow) this.#dump.startRow();
  }

  /**
   * Continues in a text that begins at position `base`. An incomplete escape or `0x` at its end waits for the
   * rest. Returns the position from which on the text may still become a secret.
   */
  read(text: string, base: number, isEnd: boolean): number {
    let index = this.#at - base;
    for (;;) {
      const isIdle = this.#isIdle();
      if (isIdle) index = this.#starts.next(text, index);
      if (index >= text.length || (!isEnd && isSymbolBegun(text, index))) {
        this.#at = base + index;
        return isIdle ? this.#at : this.#openFrom();
      }
      const end = index + this.#readSymbol(text, index, base);
      for (; index < end; index += 1) {
        this.#written.step(text.charCodeAt(index), base + index, base + index + 1);
      }
    }
  }

  /** Whether no secret has begun. */
  #isIdle(): boolean {
    const nodes = this.#written.node | this.#plain.node | this.#base64.node | this.#hex.node;
    return nodes === NOWHERE && this.#dump.isIdle;
  }

  #openFrom(): number {
    return Math.min(
      this.#at,
      this.#written.openFrom,
      this.#plain.openFrom,
      this.#base64.openFrom,
      this.#hex.openFrom,
      this.#dump.openFrom,
    );
  }

  /** Reads a character or an escape in every way but as it is written, and returns its length. */
  #readSymbol(text: string, index: number, base: number): number {
    const unit = text.charCodeAt(index);
    const kinds = KINDS[unit]!;
    const start = base + index;
    if ((kinds & ESCAPE) !== 0) {
      const length = this.#readEscape(text, index, start);
      if (length > 0) return length;
    }
    if ((kinds & INVISIBLE) !== 0) {
      this.#skip();
      return 1;
    }
    const next = text.charCodeAt(index + 1);
    const isPrefix = unit === ZERO && lowered(next) === SMALL_X;
    this.#readCharacter(unit, start, start + 1);
    this.#readDigit(unit, start, start + 1, isPrefix);
    if (!isPrefix) return 1;
    this.#readCharacter(next, start + 1, start + 2);
    this.#readDigit(COMMA, start + 1, start + 2);
    return 2;
  }

  /** Returns the length of the escape; 0 if there is none. */
  #readEscape(text: string, index: number, start: number): number {
    const escape = escapeAt(text, index);
    if (escape === undefined) return 0;
    const { means, length, digits = means } = escape;
    const end = start + length;
    if (means === "" || (KINDS[means.charCodeAt(0)]! & INVISIBLE) !== 0) this.#skip();
    else {
      for (let at = 0; at < means.length; at += 1) {
        this.#readCharacter(means.charCodeAt(at), start, end);
      }
      for (let at = 0; at < digits.length; at += 1) {
        this.#readDigit(digits.charCodeAt(at), start, end);
      }
    }
    return length;
  }

  #readCharacter(unit: number, start: number, end: number): void {
    const kinds = KINDS[unit]!;
    this.#plain.step(lowered(unit), start, end);
    if ((kinds & BASE64) !== 0) this.#base64.step(standard(unit), start, end);
    else if ((kinds & BLANK) !== 0) this.#base64.skip();
    else this.#base64.node = NOWHERE;
  }

  /** `isPrefix`: the zero of a `0x`, which separates digits as a comma does. */
  #readDigit(unit: number, start: number, end: number, isPrefix = false): void {
    readHex(this.#hex, unit, start, end, isPrefix);
    this.#dump.read(unit, start, end, isPrefix);
  }

  /** Skips an invisible character. */
  #skip(): void {
    this.#plain.skip();
    this.#base64.skip();
    this.#hex.skip();
    this.#dump.skip();
  }
}

/** Whether the text ends within an escape or a `0x` that begins at `index`. */
function isSymbolBegun(text: string, index: number): boolean {
  const unit = text.charCodeAt(index);
  if (unit === ZERO) return index === text.length - 1;
  return (KINDS[unit]! & ESCAPE) !== 0 && isEscapeBegun(text, index);
}

/** Maps characters of base64url (RFC 4648 section 5) to those of base64. */
function standard(unit: number): number {
  if (unit === 0x2d) return 0x2b;
  return unit === 0x5f ? 0x2f : unit;
}

/**
 * Searches in hexadecimal digits; white space, `:`, `-` and `,` between them do not count, nor does the zero of
 * a prefix. Returns whether a word ends with this unit.
 */
function readHex(
  search: Search,
  unit: number,
  start: number,
  end: number,
  isPrefix: boolean,
): boolean {
  const kinds = KINDS[unit]!;
  if (isPrefix) return search.endWith(unit, start, end);
  if ((kinds & HEX) !== 0) return search.step(lowered(unit), start, end);
  if ((kinds & (BLANK | SEPARATOR)) !== 0) search.skip();
  else search.node = NOWHERE;
  return false;
}

const COLON = 0x3a;
const BAR = 0x7c;
const GREATER = 0x3e;
/** Digits of an offset at least; `od` writes seven, `xxd` and `hexdump` eight. */
const LEAST_OFFSET = 6;
const BYTES_IN_ROW = 16;

/**
 * Searches for words in rows as `hexdump`, `xxd` and `od` print them: an offset, bytes in hexadecimal, and
 * sometimes the bytes as text. Offsets and texts do not count. After a word the rest of its row is covered
 * too, because the text column repeats the bytes.
 */
class DumpReader {
  readonly #bytes: Search;
  readonly #cover: Cover;
  /** The current column of the row; "none" if the row began without an offset. */
  #column: "offset" | "bytes" | "text" | "none" = "none";
  #hasColon = false;
  #digits = 0;
  #blanks = 0;
  /** How many of the next symbols of this row to cover. */
  #toCover = 0;

  constructor(trie: Trie, cover: Cover) {
    this.#cover = cover;
    this.#bytes = new Search(trie, cover);
  }

  /** Whether no row is being read. */
  get isIdle(): boolean {
    return this.#column === "none";
  }

  get openFrom(): number {
    return this.#bytes.openFrom;
  }

  /** A row begins after the end of a line and after a quote, and it may begin with the text. */
  startRow(): void {
    this.#column = "offset";
    this.#hasColon = false;
    this.#digits = 0;
    this.#blanks = 0;
    this.#toCover = 0;
    this.#bytes.skip();
  }

  read(unit: number, start: number, end: number, isPrefix: boolean): void {
    const kinds = KINDS[unit]!;
    const isInRow = this.#column === "bytes" || this.#column === "text";
    if ((kinds & (isInRow ? NEWLINE : ROW)) !== 0) {
      this.startRow();
      return;
    }
    if (this.#toCover > 0) {
      this.#toCover -= 1;
      this.#cover(start, end);
    }
    if (this.#column === "offset") this.#readOffset(unit, kinds, end - start > 1);
    else if (this.#column === "bytes") this.#readBytes(unit, start, end, isPrefix);
    else this.#bytes.skip();
  }

  /** Skips an invisible character. No offset begins with one. */
  skip(): void {
    this.#bytes.skip();
    if (this.#column === "offset" && this.#digits === 0) this.#leaveOffset(false);
  }

  #readOffset(unit: number, kinds: number, isEscaped: boolean): void {
    this.#bytes.skip();
    const isFirst = isDecimal(unit) && !isEscaped;
    if ((kinds & HEX) !== 0 && (this.#digits > 0 || isFirst)) {
      this.#digits += 1;
      return;
    }
    this.#hasColon = unit === COLON;
    const isClosed = this.#hasColon || (kinds & BLANK) !== 0;
    this.#leaveOffset(isClosed && this.#digits >= LEAST_OFFSET);
    this.#digits = 0;
  }

  /** Without an offset, a word that has begun continues in the next row. */
  #leaveOffset(isOffset: boolean): void {
    if (isOffset) this.#column = "bytes";
    else this.#column = this.#bytes.node === NOWHERE ? "none" : "text";
  }

  #readBytes(unit: number, start: number, end: number, isPrefix: boolean): void {
    const kinds = KINDS[unit]!;
    if ((kinds & BLANK) !== 0) this.#blanks += 1;
    else if (this.#isTextNext(unit)) this.#column = "text";
    else this.#blanks = 0;
    if (unit === COLON) this.#hasColon = true;
    if ((kinds & HEX) !== 0) this.#digits += 1;
    if (this.#column === "text") this.#bytes.skip();
    else if (readHex(this.#bytes, unit, start, end, isPrefix)) this.#toCover = MOST_BETWEEN;
  }

  /** The text column stands between `|` or `>`, or after two blanks. */
  #isTextNext(unit: number): boolean {
    if (this.#bytes.node === NOWHERE) return false;
    if (unit === BAR || unit === GREATER) return true;
    return this.#blanks > 1 && (this.#hasColon || this.#digits >= BYTES_IN_ROW * 2);
  }
}
