import { Failure } from "../failure.ts";
import { Reader } from "./reader.ts";
import type { Tries } from "./reader.ts";
import {
  base64SpellingsOf,
  hexSpellingsOf,
  plainSpellingsOf,
  spellingsOf,
} from "./secret-encodings.ts";
import { StartFilter } from "./start-filter.ts";
import { createTrie } from "./trie.ts";
import type { Trie } from "./trie.ts";

/** Covers secrets in whatever leaves the process. */
export interface Redactor {
  /** Adds secrets; what was learned once stays known. */
  add(secrets: Iterable<string>): void;
  /** The text with every secret in it, in any of its spellings, masked. */
  redact(text: string): string;
  /** The same for a text that comes in pieces, however a secret is cut by them. */
  stream(): RedactionStream;
}

export interface RedactionStream {
  /**
   * What can be let through: all but the end that may still become a secret. That has no more characters
   * than the longest spelling of one, and in base64 and hexadecimal at most 128 between each two of them.
   */
  push(piece: string): string;
  /** What was held back; no piece may come afterwards. */
  end(): string;
}

const MASK = "[FILTERED]";
/** Characters; shorter values would mask ordinary words. */
const LEAST = 4;

/**
 * A redactor over these secrets, and those it learns: as they are, escaped for JSON, URLs and HTML, and in
 * base64 and hexadecimal, also as tools print these over several lines. It takes time by the length of the
 * text alone, not by the number of secrets.
 */
export function createRedactor(secrets: Iterable<string> = []): Redactor {
  const known = new Set<string>();
  let tries: Tries | undefined;
  const add = (more: Iterable<string>): void => {
    const before = known.size;
    for (const secret of more) {
      for (const value of [secret, secret.trim()]) if (value.length >= LEAST) known.add(value);
    }
    if (known.size > before) tries = undefined;
  };
  add(secrets);
  // Planted when it is first needed: most commands print nothing in which it is looked for.
  const planted = (): Tries | undefined => {
    if (known.size > 0) tries ??= triesOf([...known]);
    return tries;
  };
  const stream = (): RedactionStream => createStream(planted);
  return {
    add,
    redact(text) {
      if (known.size === 0) return text;
      const whole = stream();
      return whole.push(text) + whole.end();
    },
    stream,
  };
}

function triesOf(secrets: readonly string[]): Tries {
  const starts = new StartFilter();
  const plant = (words: readonly string[], isHex = false): Trie => {
    starts.add(words, isHex);
    return createTrie(words);
  };
  return {
    written: plant(secrets.flatMap(spellingsOf)),
    plain: plant(secrets.flatMap(plainSpellingsOf)),
    base64: plant(secrets.flatMap(base64SpellingsOf)),
    hex: plant(secrets.flatMap(hexSpellingsOf), true),
    starts,
  };
}

interface Cover {
  readonly start: number;
  readonly end: number;
}

/** `current` can change between two pieces: what is held back is then looked at again. */
function createStream(current: () => Tries | undefined): RedactionStream {
  let tries: Tries | undefined;
  let reader: Reader | undefined;
  let held = "";
  /** The place of the first unit of `held` in the whole text. */
  let base = 0;
  /** Found secrets, overlapping ones joined, in order; they can begin before `base`. */
  let covers: Cover[] = [];
  /** The last character that was let through was a mask's: another that touches it is the same one. */
  let isMasked = false;

  const letThrough = (upTo: number): string => {
    if (upTo <= base) return "";
    let passed = "";
    let at = base;
    for (const { start, end } of covers) {
      if (start >= upTo) break;
      if (start > at) isMasked = false;
      passed += held.slice(at - base, Math.max(at, start) - base) + (isMasked ? "" : MASK);
      isMasked = true;
      at = Math.min(end, upTo);
    }
    if (at < upTo) isMasked = false;
    passed += held.slice(at - base, upTo - base);
    held = held.slice(upTo - base);
    if (covers.length > 0) covers = covers.filter(({ end }) => end > upTo);
    base = upTo;
    return passed;
  };
  return {
    push(piece) {
      const latest = current();
      if (tries !== latest) {
        tries = latest;
        reader = latest && new Reader(latest, base, (start, end) => cover(covers, start, end));
      }
      if (held === "" && piece !== "" && reader?.passes(piece) === true) {
        base += piece.length;
        isMasked = false;
        return piece;
      }
      held += piece;
      reader?.read(held, base, false);
      return letThrough(Math.min(base + held.length, reader?.openFrom ?? Number.POSITIVE_INFINITY));
    },
    end() {
      reader?.read(held, base, true);
      return letThrough(base + held.length);
    },
  };
}

/** Secrets that overlap or touch are covered together, so that no end of one is left behind another. */
function cover(covers: Cover[], start: number, end: number): void {
  const after = covers.findLastIndex((one) => one.start <= end) + 1;
  const first = covers.findLastIndex((one) => one.end < start) + 1;
  const joined = covers.slice(first, after);
  covers.splice(first, after - first, {
    start: Math.min(start, joined[0]?.start ?? start),
    end: Math.max(end, joined.at(-1)?.end ?? end),
  });
}

/** What was thrown, with its words redacted; itself where they hold no secret, for its caller may know it. */
export function redactFailure(thrown: unknown, redactor: Pick<Redactor, "redact">): unknown {
  if (!(thrown instanceof Failure)) return thrown;
  const { code, message, why, remedy, retryAfter, cause } = thrown;
  const words = [message, why, remedy].map((text) => text && redactor.redact(text));
  const [said = "", redactedWhy, redactedRemedy] = words;
  if (said === message && redactedWhy === why && redactedRemedy === remedy) return thrown;
  return new Failure(code, said, {
    ...(redactedWhy !== undefined && { why: redactedWhy }),
    ...(redactedRemedy !== undefined && { remedy: redactedRemedy }),
    ...(retryAfter !== undefined && { retryAfter }),
    cause,
  });
}
