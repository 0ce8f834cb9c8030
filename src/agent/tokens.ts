import type { Message } from "./contract.ts";
import type { PromptMessage } from "./model/contract.ts";

/** Tokens of a message in addition to its text. */
const PER_MESSAGE = 4;
/** Tokens of an image: providers count 85 to 1,600 by its size. */
const PER_IMAGE = 1000;
/** Tokens of a byte of JSON: no longer text of people has more. */
const MOST_PER_BYTE = 0.6;

/** The most tokens that so many bytes of JSON are likely to have. */
export function mostTokens(bytes: number): number {
  return Math.ceil(bytes * MOST_PER_BYTE);
}

/** Estimates the tokens of a text or of messages. Cheap, and never exact. */
export function estimatedTokens(texts: string | readonly CountedMessage[]): number {
  if (typeof texts === "string") return tokensOf(texts);
  let total = 0;
  for (const message of texts) {
    let tokens = counted.get(message);
    if (tokens === undefined) counted.set(message, (tokens = tokensOfMessage(message)));
    total += tokens;
  }
  return total;
}

/** By message: a conversation has the same ones in its next turn. */
const counted = new WeakMap<CountedMessage, number>();

type CountedMessage = Message & Partial<Pick<PromptMessage, "images" | "reasoning">>;

function tokensOfMessage(message: CountedMessage): number {
  const { images, reasoning } = message;
  let total = PER_MESSAGE + tokensOf(message.text) + PER_IMAGE * (images?.length ?? 0);
  if (reasoning !== undefined) total += tokensOf(reasoning);
  if (message.role === "user") return total + tokensOf(message.preface ?? "");
  if (message.role !== "assistant") return total;
  for (const call of message.toolCalls ?? []) {
    total += tokensOf(call.name) + tokensOf(call.arguments);
  }
  return total;
}

/** Hundredths of a token. */
const WORD = 100;
/** Of each letter of a word after the first four. */
const LONG_WORD = 11;
const FREE_LETTERS = 4;
const DIGIT = 50;
const MARK = 60;
const LINE = 50;
/** Of a blank next to another one. */
const INDENT = 25;

/**
 * Hundredths of a token of one code unit, by the last unit of each range: counted with OpenAI's o200k. Blanks
 * between words are free, so that they are in the numbers of the scripts.
 */
const SCRIPTS: readonly (readonly [last: number, hundredths: number])[] = [
  [0x024f, 45], // Latin with marks
  [0x036f, 60], // phonetic letters, marks
  [0x03ff, 47], // Greek
  [0x052f, 31], // Cyrillic
  [0x058f, 60], // Armenian
  [0x05ff, 49], // Hebrew
  [0x07ff, 38], // Arabic
  [0x0dff, 40], // scripts of India
  [0x0e7f, 45], // Thai
  [0x10ff, 55], // Lao to Georgian
  [0x11ff, 60], // Hangul, in parts
  [0x1dff, 60],
  [0x1eff, 55], // Vietnamese
  [0x1fff, 70],
  [0x2bff, 85], // punctuation, symbols
  [0x2fff, 90],
  [0x30ff, 71], // punctuation of Chinese, kana
  [0x33ff, 90],
  [0x9fff, 76], // Chinese characters
  [0xabff, 90],
  [0xd7af, 68], // Hangul
  [0xdfff, 95], // half of a character outside of the basic plane: emoji
  [0xfdff, 90],
  [0xfe0f, 60], // variation selectors
  [0xffff, 80], // wide forms
];

/**
 * The tokens of a text, in one pass. Words of Latin letters cost by their number and length, digits and marks
 * each, other scripts by their characters.
 */
function tokensOf(text: string): number {
  let hundredths = 0;
  /** Letters of this word so far. */
  let letters = 0;
  let [isBlank, isCapital] = [false, false];
  for (let index = 0; index < text.length; index += 1) {
    const unit = text.charCodeAt(index);
    // 0x20 makes a capital a small letter.
    const letter = unit | 0x20;
    if (letter >= 0x61 && letter <= 0x7a && unit < 0x80) {
      // A capital in a word often begins a token.
      letters = unit === letter || isCapital ? letters + 1 : 1;
      isCapital = unit !== letter;
      if (letters === 1) hundredths += WORD;
      else if (letters > FREE_LETTERS) hundredths += LONG_WORD;
      isBlank = false;
      continue;
    }
    if (unit < 0x80) {
      letters = 0;
      hundredths += asciiCost(unit, isBlank);
      isBlank = unit === 0x20;
      continue;
    }
    // A letter with a mark does not end a word.
    if (unit > 0x24f) letters = 0;
    hundredths += costOf(unit);
    isBlank = false;
  }
  return Math.ceil(hundredths / 100);
}

function asciiCost(unit: number, isAfterBlank: boolean): number {
  if (unit === 0x20) return isAfterBlank ? INDENT : 0;
  if (unit >= 0x30 && unit <= 0x39) return DIGIT;
  return unit < 0x20 ? LINE : MARK;
}

/** The costs of 16 code units each: every range ends with such a group. */
const GROUPS = new Uint8Array(0x1000);

/** Fills the table with the first text that needs it. */
function costOf(unit: number): number {
  if (GROUPS[0] === 0) {
    let first = 0;
    for (const [last, hundredths] of SCRIPTS) {
      GROUPS.fill(hundredths, first, (last >> 4) + 1);
      first = (last >> 4) + 1;
    }
  }
  return GROUPS[unit >> 4] ?? 0;
}
