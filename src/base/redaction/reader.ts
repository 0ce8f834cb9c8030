import { escapeAt, isEscapeBegun } from "./secret-encodings.ts";
import type { StartFilter } from "./start-filter.ts";
import {
  BASE64,
  BLANK,
  ESCAPE,
  INVISIBLE,
  kindsOf,
  lowered,
  HEX,
  NEWLINE,
  ROW,
  SEPARATOR,
} from "./symbols.ts";
import { Matcher, MOST_BETWEEN } from "./trie.ts";
import type { Cover } from "./trie.ts";
import type { Trie } from "./trie.ts";

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

/** Reads a text once, in all of these ways at the same time. */
export class Reader {
  readonly #starts: StartFilter;
  readonly #written: Matcher;
  readonly #plain: Matcher;
  readonly #base64: Matcher;
  readonly #hexMatcher: Matcher;
  readonly #hex: HexReader;
  readonly #dump: DumpReader;
  /** The positions up to which the text was read unit by unit, and with escapes decoded. */
  #at: number;
  #unescapedAt: number;

  /** `start` is the position of the first unit; `cover` receives the positions of what is found. */
  constructor(tries: Tries, start: number, cover: Cover) {
    this.#starts = tries.starts;
    this.#written = new Matcher(tries.written, cover);
    this.#plain = new Matcher(tries.plain, cover);
    this.#base64 = new Matcher(tries.base64, cover);
    this.#hexMatcher = new Matcher(tries.hex, cover);
    this.#hex = new HexReader(this.#hexMatcher);
    this.#dump = new DumpReader(tries.hex, cover);
    this.#at = start;
    this.#unescapedAt = start;
  }

  get #isIdle(): boolean {
    return (
      !this.#written.isOpen &&
      !this.#plain.isOpen &&
      !this.#base64.isOpen &&
      this.#hex.isIdle &&
      this.#dump.isIdle
    );
  }

  /** The position where a possible secret begins that is not complete. */
  get openFrom(): number {
    if (this.#isIdle) return this.#unescapedAt;
    return Math.min(
      this.#unescapedAt,
      this.#written.openFrom,
      this.#plain.openFrom,
      this.#base64.openFrom,
      this.#hex.openFrom,
      this.#dump.openFrom,
    );
  }

  /** Whether no secret has begun and none begins in this piece; then the piece counts as read. */
  passes(piece: string): boolean {
    if (!this.#isIdle || this.#starts.next(piece, 0) < piece.length) return false;
    this.#unescapedAt += piece.length;
    this.#at = this.#unescapedAt;
    return true;
  }

  /** Continues in a text that begins at position `base`. An incomplete escape at its end waits for the rest. */
  read(text: string, base: number, isEnd: boolean): void {
    let index = this.#unescapedAt - base;
    for (;;) {
      if (this.#isIdle) {
        index = this.#starts.next(text, index);
        this.#at = Math.max(this.#at, base + index);
      }
      if (index >= text.length) break;
      const unit = text.charCodeAt(index);
      const kinds = kindsOf(unit);
      if ((kinds & ESCAPE) === 0) {
        this.#readUnit(unit, kinds, base + index);
        index += 1;
      } else {
        if (!isEnd && isEscapeBegun(text, index)) break;
        index += this.#readEscape(text, index, base);
      }
      this.#readWritten(text, index, base);
    }
    this.#unescapedAt = base + index;
    this.#readWritten(text, text.length, base);
  }

  #readWritten(text: string, end: number, base: number): void {
    for (; this.#at < base + end; this.#at += 1) {
      this.#written.step(text.charCodeAt(this.#at - base), this.#at, this.#at + 1);
    }
  }

  #readUnit(unit: number, kinds: number, start: number): void {
    if ((kinds & INVISIBLE) !== 0) {
      this.#skip();
      return;
    }
    this.#readCharacter(unit, kinds, start, start + 1);
    this.#hex.read(unit, kinds, start, start + 1);
    this.#dump.read(unit, kinds, start, start + 1);
  }

  /** Returns the length of the escape. */
  #readEscape(text: string, index: number, base: number): number {
    const escape = escapeAt(text, index);
    if (escape === undefined) {
      const unit = text.charCodeAt(index);
      this.#readUnit(unit, kindsOf(unit), base + index);
      return 1;
    }
    const { means, length, digits = means } = escape;
    const [start, end] = [base + index, base + index + length];
    if (means === "" || (kindsOf(means.charCodeAt(0)) & INVISIBLE) !== 0) {
      this.#skip();
      return length;
    }
    for (let at = 0; at < means.length; at += 1) {
      const unit = means.charCodeAt(at);
      this.#readCharacter(unit, kindsOf(unit), start, end);
    }
    for (let at = 0; at < digits.length; at += 1) {
      const unit = digits.charCodeAt(at);
      this.#hex.read(unit, kindsOf(unit), start, end);
      this.#dump.read(unit, kindsOf(unit), start, end);
    }
    return length;
  }

  #readCharacter(unit: number, kinds: number, start: number, end: number): void {
    this.#plain.step(lowered(unit), start, end);
    if ((kinds & BASE64) !== 0) this.#base64.step(standard(unit), start, end);
    else if ((kinds & BLANK) !== 0) this.#base64.skip();
    else this.#base64.reset();
  }

  #skip(): void {
    this.#plain.skip();
    this.#base64.skip();
    this.#hexMatcher.skip();
    this.#dump.skip();
  }
}

/** Maps characters of base64url (RFC 4648 section 5) to those of base64. */
function standard(unit: number): number {
  if (unit === 0x2d) return 0x2b;
  return unit === 0x5f ? 0x2f : unit;
}

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
class DumpReader {
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
class HexReader {
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
