import {
  BLANK,
  ESCAPE,
  INVISIBLE,
  isDecimal,
  KINDS,
  lowered,
  NEWLINE,
  ROW,
  SEPARATOR,
} from "./symbols.ts";

const ZERO = 0x30;
const PLUS = 0x2b;
const SLASH = 0x2f;
const UNDERSCORE = 0x5f;

/** Classes of units. Units of one class look the same to the filter. */
const SKIPPED = 0;
const ESCAPED = 1;
/** The end of the text so far. */
const END = 2;
const LINE_END = 3;
const QUOTE = 4;
const DIGITS = Array.from({ length: 10 }, (_, digit) => 5 + digit);
/** Letters and other signs of ASCII, by value. */
const FIRST_SIGN = 15;
/** All characters beyond ASCII that count; words rarely begin with one. */
const BEYOND = 63;
const CLASSES = 64;
const ALL = Array.from({ length: CLASSES }, (_, index) => index);
/** What can stand between two symbols of a word. */
const BETWEEN = [SKIPPED, LINE_END, ESCAPED, END];

const ASCII = 128;
const ASCII_CLASSES = Uint8Array.from({ length: ASCII }, (_, unit) => classOf(unit));

/** `-` and `+`, and `/` and `_`, stand for the same value in the two alphabets of base64. */
function classOf(unit: number): number {
  const kinds = KINDS[unit]!;
  if (unit >= ASCII && kinds === 0) return BEYOND;
  if ((kinds & ESCAPE) !== 0) return ESCAPED;
  if ((kinds & NEWLINE) !== 0) return LINE_END;
  if ((kinds & (INVISIBLE | BLANK | SEPARATOR)) !== 0 || unit === PLUS) return SKIPPED;
  if ((kinds & ROW) !== 0) return QUOTE;
  if (isDecimal(unit)) return DIGITS[unit - ZERO]!;
  return FIRST_SIGN + ((unit === SLASH ? UNDERSCORE : lowered(unit)) % (BEYOND - FIRST_SIGN));
}

/** Finds by three units where a word may begin, so that the reader can skip everything between. */
export class StartFilter {
  /** One bit for each three classes: 32 KiB, which fits into the cache of a processor. */
  readonly #table = new Uint8Array(CLASSES ** 3 / 8);

  /** The reader must look at every escape, and at an offset that begins a row of a dump. */
  constructor() {
    this.#mark([ESCAPED], ALL, ALL);
    this.#mark([LINE_END, QUOTE], [...DIGITS, END], ALL);
  }

  /** After two hexadecimal digits of a word a `0x` may follow, so its `0` is marked as a third unit. */
  add(words: readonly string[], isHex = false): void {
    for (const word of words) {
      const [first = END, second = END, third = END] = [0, 1, 2].map((at) => classAt(word, at));
      const zero = isHex ? [DIGITS[0]!] : [];
      this.#mark([first], [second], [third, ...BETWEEN, ...zero]);
      this.#mark([first], [SKIPPED, LINE_END], [second, ...BETWEEN]);
      this.#mark([first], [ESCAPED], ALL);
      this.#mark([first], [END], [END]);
    }
  }

  /** The first position from `from` on where a word may begin or the reader must look; the end if there is none. */
  next(text: string, from: number): number {
    const table = this.#table;
    let first = classAt(text, from);
    let second = classAt(text, from + 1);
    for (let at = from; at < text.length; at += 1) {
      const third = classAt(text, at + 2);
      const index = (first << 12) | (second << 6) | third;
      if (((table[index >> 3]! >> (index & 7)) & 1) !== 0) return at;
      first = second;
      second = third;
    }
    return text.length;
  }

  #mark(firsts: readonly number[], seconds: readonly number[], thirds: readonly number[]): void {
    for (const first of firsts) {
      for (const second of seconds) {
        for (const third of thirds) {
          const index = (first << 12) | (second << 6) | third;
          this.#table[index >> 3]! |= 1 << (index & 7);
        }
      }
    }
  }
}

function classAt(text: string, at: number): number {
  if (at >= text.length) return END;
  const unit = text.charCodeAt(at);
  return unit < ASCII ? ASCII_CLASSES[unit]! : classOf(unit);
}
