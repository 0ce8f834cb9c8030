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
import { isDecimal } from "./symbols.ts";
import { createTrie } from "./trie.ts";
import type { Trie } from "./trie.ts";

/** Masks secrets in everything that leaves the process. */
export interface Redactor {
  /**
   * Adds secrets. They are never removed, but those with a name: the last two lists under it count, so that secrets
   * that are renewed all the time take no more room.
   */
  add(secrets: Iterable<string>, name?: string): void;
  /** The text with every secret masked, in each of its encodings. */
  redact(text: string): string;
  /** The same for text that arrives in pieces; a secret may be split across them. */
  stream(): RedactionStream;
}

export interface RedactionStream {
  /**
   * Returns the text that is safe to emit: everything but an end that may still become a secret. That end
   * is at most as long as the longest encoding of a secret, plus at most 128 characters between each two
   * characters of base64 or hexadecimal.
   */
  push(piece: string): string;
  /** Returns the rest. No piece may follow. */
  end(): string;
}

const MASK = "[FILTERED]";
/** Lists of secrets under one name: an old token may still hold for a while. */
const MOST_LISTS = 2;
/** Characters of a secret at least; masking shorter ones would mask ordinary words. */
const LEAST = 4;

/**
 * Masks these secrets and those added later: plain, escaped for JSON, URLs and HTML, and in base64 and
 * hexadecimal, also as tools print these over several lines. The time depends only on the length of the
 * text, not on the number of secrets.
 */
export function createRedactor(secrets: Iterable<string> = []): Redactor {
  const secretSet = new Set<string>();
  const renewed = new Map<string, readonly (readonly string[])[]>();
  let tries: Tries | undefined;
  const add = (more: Iterable<string>, name?: string): void => {
    const values = [...more].flatMap((secret) => [secret, secret.trim()]);
    const long = [...new Set(values.filter((value) => value.length >= LEAST))];
    if (name !== undefined) {
      const [newest = [], ...others] = renewed.get(name) ?? [];
      if (long.join("\n") === newest.join("\n")) return;
      renewed.set(name, [long, newest, ...others].slice(0, MOST_LISTS));
      tries = undefined;
      return;
    }
    const before = secretSet.size;
    for (const value of long) secretSet.add(value);
    if (secretSet.size > before) tries = undefined;
  };
  add(secrets);
  // Built when first needed: most commands print nothing that could hold a secret.
  const currentTries = (): Tries | undefined => {
    if (tries !== undefined || secretSet.size + renewed.size === 0) return tries;
    tries = triesOf([...new Set([...secretSet, ...[...renewed.values()].flat(2)])]);
    return tries;
  };
  const stream = (): RedactionStream => createStream(currentTries);
  return {
    add,
    redact(text) {
      if (isClean(text, currentTries())) return text;
      const whole = stream();
      return whole.push(text) + whole.end();
    },
    stream,
  };
}

/** Whether the text is no row of a dump, and no secret begins far enough before its end. */
function isClean(text: string, tries: Tries | undefined): boolean {
  if (tries === undefined) return true;
  return !isDecimal(text.charCodeAt(0)) && tries.starts.next(text, 0) > text.length - LEAST;
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

/** When `current` changes between two pieces, the text that is held back is searched again. */
function createStream(current: () => Tries | undefined): RedactionStream {
  let tries: Tries | undefined;
  /** Undefined while no secret can have begun. */
  let reader: Reader | undefined;
  let isAtStart = true;
  let held = "";
  /** The position of the first unit of `held` in the whole text. */
  let base = 0;
  /** The secrets found, in order, overlapping ones joined; they can begin before `base`. */
  let covers: Cover[] = [];
  /** Whether the output ends with a mask; a secret that touches it gets no second mask. */
  let isMasked = false;

  const emit = (upTo: number): string => {
    if (upTo <= base) return "";
    let out = "";
    let at = base;
    for (const { start, end } of covers) {
      if (start >= upTo) break;
      if (start > at) isMasked = false;
      out += held.slice(at - base, Math.max(at, start) - base) + (isMasked ? "" : MASK);
      isMasked = true;
      at = Math.min(end, upTo);
    }
    if (at < upTo) isMasked = false;
    out += held.slice(at - base, upTo - base);
    held = held.slice(upTo - base);
    if (covers.length > 0) covers = covers.filter(({ end }) => end > upTo);
    base = upTo;
    return out;
  };
  return {
    push(piece) {
      const latest = current();
      if (tries !== latest) {
        tries = latest;
        reader = undefined;
        isAtStart = true;
      }
      held += piece;
      if (tries === undefined || held === "") return emit(base + held.length);
      if (reader === undefined) {
        const isRow = isAtStart && isDecimal(held.charCodeAt(0));
        isAtStart = false;
        if (!isRow && tries.starts.next(held, 0) === held.length) return emit(base + held.length);
        reader = new Reader(tries, base, isRow, (start, end) => cover(covers, start, end));
      }
      return emit(reader.read(held, base, false));
    },
    end() {
      reader?.read(held, base, true);
      return emit(base + held.length);
    },
  };
}

/** Joins secrets that overlap or touch, so that no end of one remains beside another. */
function cover(covers: Cover[], start: number, end: number): void {
  const after = covers.findLastIndex((one) => one.start <= end) + 1;
  const first = covers.findLastIndex((one) => one.end < start) + 1;
  const joined = covers.slice(first, after);
  covers.splice(first, after - first, {
    start: Math.min(start, joined[0]?.start ?? start),
    end: Math.max(end, joined.at(-1)?.end ?? end),
  });
}

/** The failure with secrets masked in its texts. Returns the value itself if it is not a `Failure` or has no secrets. */
export function redactFailure(thrown: unknown, redactor: Pick<Redactor, "redact">): unknown {
  if (!(thrown instanceof Failure)) return thrown;
  const { code, message, why, remedy, retryAfter, cause } = thrown;
  const words = [message, why, remedy].map((text) => text && redactor.redact(text));
  const [redacted = "", redactedWhy, redactedRemedy] = words;
  if (redacted === message && redactedWhy === why && redactedRemedy === remedy) return thrown;
  return new Failure(code, redacted, {
    why: redactedWhy,
    remedy: redactedRemedy,
    retryAfter,
    cause,
  });
}
