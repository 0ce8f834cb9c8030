import { Failure } from "./failure.ts";
import { spellingsOf } from "./spellings.ts";
import { createTrie, NOWHERE } from "./trie.ts";
import type { Trie } from "./trie.ts";

/** Covers secrets in whatever leaves the process. */
export interface Veil {
  /** Adds secrets; what was learned once stays known. */
  learn(secrets: Iterable<string>): void;
  /** The text with every secret in it, in any of its spellings, masked. */
  text(text: string): string;
  /** The same for a text that comes in pieces, however a secret is cut by them. */
  stream(): VeilStream;
}

export interface VeilStream {
  /**
   * What can be let through: all but the end that may still become a secret, which is never longer than
   * the longest spelling of one.
   */
  push(piece: string): string;
  /** What was held back; no piece may come afterwards. */
  end(): string;
}

const MASK = "[FILTERED]";
/** Characters; shorter values would mask ordinary words. */
const LEAST = 4;

/**
 * A veil over these secrets, and those it learns: as they are, and in JSON, base64, hexadecimal and URL
 * encoding. It takes time by the length of the text alone, not by the number of secrets.
 */
export function createVeil(secrets: Iterable<string> = []): Veil {
  const known = new Set<string>();
  let trie: Trie | undefined;
  const learn = (more: Iterable<string>): void => {
    const before = known.size;
    for (const secret of more) {
      for (const value of [secret, secret.trim()]) if (value.length >= LEAST) known.add(value);
    }
    if (known.size > before) trie = undefined;
  };
  learn(secrets);
  // Planted when it is first needed: most commands print nothing in which it is looked for.
  const planted = (): Trie | undefined => {
    if (known.size > 0) trie ??= createTrie([...known].flatMap(spellingsOf));
    return trie;
  };
  const stream = (): VeilStream => createStream(planted);
  return {
    learn,
    text(text) {
      if (known.size === 0) return text;
      const whole = stream();
      return whole.push(text) + whole.end();
    },
    stream,
  };
}

interface Cover {
  readonly start: number;
  end: number;
}

/** `current` can change between two pieces: what is held back is then looked at again. */
function createStream(current: () => Trie | undefined): VeilStream {
  let trie = current();
  let node = NOWHERE;
  let held = "";
  /** Found secrets, overlapping ones joined, in order; positions are in `held`, and can begin before it. */
  let covers: Cover[] = [];
  /** The last character that was let through was a mask's: another that touches it is the same one. */
  let isMasked = false;

  const look = (text: string, from: number): void => {
    if (trie === undefined) return;
    for (let at = from; at < text.length; at += 1) {
      node = trie.step(node, text.charCodeAt(at));
      const length = trie.found(node);
      if (length > 0) cover(covers, at + 1 - length, at + 1);
    }
  };
  const letThrough = (upTo: number): string => {
    let [passed, at] = ["", 0];
    for (const { start, end } of covers) {
      if (start >= upTo) break;
      if (start > at) isMasked = false;
      passed += held.slice(at, Math.max(at, start)) + (isMasked ? "" : MASK);
      isMasked = true;
      at = Math.min(end, upTo);
    }
    if (at < upTo) isMasked = false;
    passed += held.slice(at, upTo);
    held = held.slice(upTo);
    covers = covers.flatMap(({ start, end }) =>
      end > upTo ? [{ start: start - upTo, end: end - upTo }] : [],
    );
    return passed;
  };
  return {
    push(piece) {
      if (trie !== current()) {
        trie = current();
        node = NOWHERE;
        look(held, 0);
      }
      const from = held.length;
      held += piece;
      look(held, from);
      return letThrough(held.length - (trie?.open(node) ?? 0));
    },
    end: () => letThrough(held.length),
  };
}

/** Secrets that overlap or touch are covered together, so that no end of one is left behind another. */
function cover(covers: Cover[], from: number, end: number): void {
  let start = from;
  for (let last = covers.at(-1); last !== undefined && last.end >= start; last = covers.at(-1)) {
    start = Math.min(start, last.start);
    covers.pop();
  }
  covers.push({ start, end });
}

/** What was thrown, with its words veiled; itself where they hold no secret, for its caller may know it. */
export function veiledFailure(thrown: unknown, veil: Pick<Veil, "text">): unknown {
  if (!(thrown instanceof Failure)) return thrown;
  const { code, message, why, remedy, retryAfter, cause } = thrown;
  const words = [message, why, remedy].map((text) => text && veil.text(text));
  const [said = "", veiledWhy, veiledRemedy] = words;
  if (said === message && veiledWhy === why && veiledRemedy === remedy) return thrown;
  return new Failure(code, said, {
    ...(veiledWhy !== undefined && { why: veiledWhy }),
    ...(veiledRemedy !== undefined && { remedy: veiledRemedy }),
    ...(retryAfter !== undefined && { retryAfter }),
    cause,
  });
}
