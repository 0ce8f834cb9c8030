import { NOWHERE } from "./trie.ts";
import type { Trie } from "./trie.ts";

/** Symbols between two of a word; what lies further apart does not belong together. */
export const MOST_BETWEEN = 128;

/** Takes where in the text something secret begins, and where it ends. */
export type Cover = (start: number, end: number) => void;

/**
 * Looks for words in the symbols of a text of which some do not count, and knows where in the text each
 * symbol that counts stood. It holds the places of as many symbols as the longest word has.
 */
export class Matcher {
  readonly #trie: Trie;
  readonly #cover: Cover;
  /** A ring: the place of the symbol with number n is at n modulo its size. */
  readonly #starts: number[] = [];
  readonly #mask: number;
  #node = NOWHERE;
  #count = 0;
  #between = 0;
  #nodeBefore = NOWHERE;

  constructor(trie: Trie, cover: Cover) {
    this.#trie = trie;
    this.#cover = cover;
    this.#mask = 2 ** Math.ceil(Math.log2(trie.longest + 2)) - 1;
  }

  /** Whether what was read may become a word. */
  get isOpen(): boolean {
    return this.#node !== NOWHERE;
  }

  /** Reads a symbol that counts; whether a word ends with it, which is then covered. */
  step(unit: number, start: number, end: number): boolean {
    this.#nodeBefore = this.#node;
    this.#node = this.#trie.step(this.#node, unit);
    if (this.#node === NOWHERE) return false;
    this.#starts[this.#count & this.#mask] = start;
    this.#count += 1;
    this.#between = 0;
    const length = this.#trie.found(this.#node);
    if (length === 0) return false;
    this.#cover(this.#startOf(length), end);
    return true;
  }

  /** Takes the last symbol back, as one that does not count after all. */
  undo(): void {
    if (this.#node !== NOWHERE) this.#count -= 1;
    this.#node = this.#nodeBefore;
  }

  /** Passes over a symbol that does not count. */
  skip(): void {
    this.#nodeBefore = NOWHERE;
    if (this.#node === NOWHERE) return;
    this.#between += 1;
    if (this.#between > MOST_BETWEEN) this.reset();
  }

  /** Begins anew behind what can stand in no word. */
  reset(): void {
    this.#nodeBefore = NOWHERE;
    this.#node = NOWHERE;
  }

  /** Where that begins which may still become a word; infinity where nothing may. */
  get openFrom(): number {
    const length = this.#trie.open(this.#node);
    return length === 0 ? Number.POSITIVE_INFINITY : this.#startOf(length);
  }

  /** The same where the last symbol may still be taken back. */
  get openFromUndone(): number {
    const length = this.#trie.open(this.#nodeBefore);
    const last = this.#node === NOWHERE ? 0 : 1;
    return length === 0 ? this.openFrom : Math.min(this.openFrom, this.#startOf(length + last));
  }

  /** The place of the symbol that many before the next. */
  #startOf(count: number): number {
    return this.#starts[(this.#count - count) & this.#mask] ?? 0;
  }
}
