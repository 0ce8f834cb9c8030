import type { Matcher } from "./matcher.ts";
import { BLANK, HEX, lowered, SEPARATOR } from "./symbols.ts";

const ZERO = 0x30;
const SMALL_X = 0x78;

/** Looks for words in hexadecimal digits; white space, `:`, `-`, `,` and `0x` between them do not count. */
export class HexReader {
  readonly #matcher: Matcher;
  #isAfterZero = false;

  constructor(matcher: Matcher) {
    this.#matcher = matcher;
  }

  /** Nothing may become a word, nor a zero the beginning of `0x`. */
  get isIdle(): boolean {
    return !this.#isAfterZero && !this.#matcher.isOpen;
  }

  get openFrom(): number {
    return this.#isAfterZero ? this.#matcher.openFromUndone : this.#matcher.openFrom;
  }

  /** Whether a word ends with this unit. */
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
