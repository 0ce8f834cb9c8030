import { DumpReader } from "./dump-reader.ts";
import { HexReader } from "./dump-reader.ts";
import { escapeAt, isEscapeBegun } from "./secret-encodings.ts";
import type { StartFilter } from "./start-filter.ts";
import { BASE64, BLANK, ESCAPE, INVISIBLE, kindsOf, lowered } from "./symbols.ts";
import { Matcher } from "./trie.ts";
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
