import { BLANK, HEX, NEWLINE, ROW, lowered, SEPARATOR } from "./symbols.ts";
import { Matcher, MOST_BETWEEN } from "./trie.ts";
import type { Cover } from "./trie.ts";
import type { Trie } from "./trie.ts";

const COLON = 0x3a;
const BAR = 0x7c;
const GREATER = 0x3e;
/** The first digit of an offset is decimal and not escaped; the start filter relies on that. */
const NINE = 0x39;
/** Digits of an offset at least; `od` writes seven, `xxd` and `hexdump` eight. */
const LEAST_OFFSET = 6;
const BYTES_IN_ROW = 16;

/**
 * Searches for words in rows as `hexdump`, `xxd` and `od` print them: an offset, bytes in hexadecimal, and
 * sometimes the bytes as text. Offsets and texts do not count. After a word the rest of its row is covered
 * too, because the text column repeats the bytes.
 */
export class DumpReader {
  readonly #matcher: Matcher;
  readonly #bytes: HexReader;
  readonly #cover: Cover;
  /** The current column of the row; "none" if the row began without an offset. */
  #column: "offset" | "bytes" | "text" | "none" = "offset";
  #hasColon = false;
  #digits = 0;
  #blanks = 0;
  /** How many of the next symbols of this row to cover. */
  #toCover = 0;

  constructor(trie: Trie, cover: Cover) {
    this.#cover = cover;
    this.#matcher = new Matcher(trie, cover);
    this.#bytes = new HexReader(this.#matcher);
  }

  /** Whether no row is being read. */
  get isIdle(): boolean {
    return this.#column === "none";
  }

  get openFrom(): number {
    return this.#bytes.openFrom;
  }

  read(unit: number, kinds: number, start: number, end: number): void {
    const isInRow = this.#column === "bytes" || this.#column === "text";
    if ((kinds & (isInRow ? NEWLINE : ROW)) !== 0) {
      this.#nextRow();
      return;
    }
    if (this.#toCover > 0) {
      this.#toCover -= 1;
      this.#cover(start, end);
    }
    if (this.#column === "offset") this.#readOffset(unit, kinds, end - start > 1);
    else if (this.#column === "bytes") this.#readBytes(unit, kinds, start, end);
    else this.#matcher.skip();
  }

  /** Skips an invisible character. */
  skip(): void {
    this.#matcher.skip();
    if (this.#column === "offset" && this.#digits === 0) this.#endOffset(false);
  }

  #nextRow(): void {
    this.#column = "offset";
    this.#hasColon = false;
    this.#digits = 0;
    this.#blanks = 0;
    this.#toCover = 0;
    this.#matcher.skip();
  }

  #readOffset(unit: number, kinds: number, isEscaped: boolean): void {
    this.#matcher.skip();
    const isFirst = unit <= NINE && !isEscaped;
    if ((kinds & HEX) !== 0 && (this.#digits > 0 || isFirst)) {
      this.#digits += 1;
      return;
    }
    this.#hasColon = unit === COLON;
    this.#endOffset(this.#hasColon || (kinds & BLANK) !== 0);
  }

  #endOffset(isClosed: boolean): void {
    const isRow = this.#digits >= LEAST_OFFSET && isClosed;
    this.#digits = 0;
    if (isRow) this.#column = "bytes";
    else this.#column = this.#matcher.isOpen ? "text" : "none";
  }

  #readBytes(unit: number, kinds: number, start: number, end: number): void {
    if ((kinds & BLANK) !== 0) this.#blanks += 1;
    else if (this.#isTextNext(unit)) this.#column = "text";
    else this.#blanks = 0;
    if (unit === COLON) this.#hasColon = true;
    if ((kinds & HEX) !== 0) this.#digits += 1;
    if (this.#column === "text") this.#matcher.skip();
    else if (this.#bytes.read(unit, kinds, start, end)) this.#toCover = MOST_BETWEEN;
  }

  /** The text column stands between `|` or `>`, or after two blanks. */
  #isTextNext(unit: number): boolean {
    if (!this.#matcher.isOpen) return false;
    if (unit === BAR || unit === GREATER) return true;
    return this.#blanks > 1 && (this.#hasColon || this.#digits >= BYTES_IN_ROW * 2);
  }
}

const ZERO = 0x30;
const SMALL_X = 0x78;

/** Searches for words in hexadecimal digits; white space, `:`, `-`, `,` and `0x` between them do not count. */
export class HexReader {
  readonly #matcher: Matcher;
  #isAfterZero = false;

  constructor(matcher: Matcher) {
    this.#matcher = matcher;
  }

  /** Whether no word has begun, and no `0x` after a zero. */
  get isIdle(): boolean {
    return !this.#isAfterZero && !this.#matcher.isOpen;
  }

  get openFrom(): number {
    return this.#isAfterZero ? this.#matcher.openFromUndone : this.#matcher.openFrom;
  }

  /** Returns whether a word ends with this unit. */
  read(unit: number, kinds: number, start: number, end: number): boolean {
    const isAfterZero = this.#isAfterZero;
    this.#isAfterZero = unit === ZERO;
    if ((kinds & HEX) !== 0) return this.#matcher.step(lowered(unit), start, end);
    if ((kinds & (BLANK | SEPARATOR)) !== 0) this.#matcher.skip();
    else if (isAfterZero && lowered(unit) === SMALL_X) this.#matcher.undo();
    else this.#matcher.reset();
    return false;
  }
}
