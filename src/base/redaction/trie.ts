/** Words to search for, as a tree of their symbols (Aho and Corasick, 1975). Each node is an index of these columns. */
export interface Trie {
  /** The children of the root by symbol. Those of any other node are a list of siblings. */
  readonly roots: Int32Array;
  readonly units: Uint16Array;
  readonly firstChild: Int32Array;
  readonly sibling: Int32Array;
  /** The node of the longest suffix of this node's word that also begins a word. */
  readonly fallback: Int32Array;
  readonly depth: Int32Array;
  /** Length of the longest word that ends at this node; 0 if none does. */
  readonly found: Int32Array;
  /** Length of the longest word; 0 if there are no words. */
  readonly longest: number;
}

/** The root: no word has begun. */
export const NOWHERE = 0;

/** A trie of non-empty words. A step takes constant time on average; each unit of a word takes 24 bytes. */
export function createTrie(words: readonly string[]): Trie {
  const size = words.reduce((sum, { length }) => sum + length, 1);
  const column = (): Int32Array => new Int32Array(size);
  const trie: Trie = {
    roots: new Int32Array(words.reduce((top, word) => Math.max(top, word.charCodeAt(0) + 1), 0)),
    units: new Uint16Array(size),
    firstChild: column(),
    sibling: column(),
    fallback: column(),
    depth: column(),
    found: column(),
    longest: words.reduce((most, { length }) => Math.max(most, length), 0),
  };
  let count = 1;
  for (const word of words) {
    let node = NOWHERE;
    for (let index = 0; index < word.length; index += 1) {
      const unit = word.charCodeAt(index);
      let child = childOf(trie, node, unit);
      if (child === NOWHERE) {
        child = count;
        count += 1;
        addChild(trie, node, child, unit);
      }
      node = child;
    }
    trie.found[node] = word.length;
  }
  linkFallbacks(trie);
  return trie;
}

function addChild(trie: Trie, parent: number, child: number, unit: number): void {
  const { roots, units, firstChild, sibling, depth } = trie;
  units[child] = unit;
  depth[child] = depth[parent]! + 1;
  sibling[child] = firstChild[parent]!;
  firstChild[parent] = child;
  if (parent === NOWHERE) roots[unit] = child;
}

/** Goes level by level, since a fallback is always shorter. */
function linkFallbacks(trie: Trie): void {
  const { units, firstChild, sibling, fallback, found } = trie;
  let level = [...trie.roots].filter((node) => node !== NOWHERE);
  while (level.length > 0) {
    const next: number[] = [];
    for (const node of level) {
      found[node] ||= found[fallback[node]!]!;
      for (let child = firstChild[node]!; child !== NOWHERE; child = sibling[child]!) {
        fallback[child] = nextNode(trie, fallback[node]!, units[child]!);
        next.push(child);
      }
    }
    level = next;
  }
}

/** The node of the longest end of the symbols so far and this one that begins a word. */
function nextNode(trie: Trie, from: number, unit: number): number {
  for (let node = from; ; node = trie.fallback[node]!) {
    const next = childOf(trie, node, unit);
    if (next !== NOWHERE || node === NOWHERE) return next;
  }
}

function childOf({ roots, units, firstChild, sibling }: Trie, node: number, unit: number): number {
  if (node === NOWHERE) return roots[unit] ?? NOWHERE;
  let child = firstChild[node]!;
  while (child !== NOWHERE && units[child] !== unit) child = sibling[child]!;
  return child;
}

/** Skipped symbols between two symbols of a word at most; symbols further apart are not one word. */
export const MOST_BETWEEN = 128;

/** Receives the positions where a secret begins and ends. */
export type Cover = (start: number, end: number) => void;

/**
 * Searches for words in a sequence of symbols of which some do not count. It remembers the position of each
 * counted symbol, for as many symbols as the longest word has.
 */
export class Search {
  readonly #trie: Trie;
  readonly #cover: Cover;
  /** A ring buffer: the position of symbol number n is at n modulo its size. */
  readonly #starts: number[] = [];
  readonly #mask: number;
  /** `NOWHERE` while the symbols so far begin no word. Setting it to that starts again. */
  node = NOWHERE;
  #count = 0;
  #between = 0;

  constructor(trie: Trie, cover: Cover) {
    this.#trie = trie;
    this.#cover = cover;
    this.#mask = 2 ** Math.ceil(Math.log2(trie.longest + 2)) - 1;
  }

  /** Reads a symbol that counts. Covers a word that ends with it, and returns whether one does. */
  step(unit: number, start: number, end: number): boolean {
    this.node = nextNode(this.#trie, this.node, unit);
    if (this.node === NOWHERE) return false;
    this.#starts[this.#count & this.#mask] = start;
    this.#count += 1;
    this.#between = 0;
    const length = this.#trie.found[this.node]!;
    if (length > 0) this.#cover(this.#startOf(length), end);
    return length > 0;
  }

  /** Reads a symbol that may end a word, but no word continues after it. Returns whether one ends. */
  endWith(unit: number, start: number, end: number): boolean {
    const [node, count] = [this.node, this.#count];
    const isFound = this.step(unit, start, end);
    this.node = node;
    this.#count = count;
    return isFound;
  }

  /** Skips a symbol that does not count. */
  skip(): void {
    if (this.node === NOWHERE) return;
    this.#between += 1;
    if (this.#between > MOST_BETWEEN) this.node = NOWHERE;
  }

  /** The position where a word begins that may still become longer; infinity if there is none. */
  get openFrom(): number {
    const { firstChild, fallback, depth } = this.#trie;
    let { node } = this;
    while (node !== NOWHERE && firstChild[node] === NOWHERE) node = fallback[node]!;
    return node === NOWHERE ? Number.POSITIVE_INFINITY : this.#startOf(depth[node]!);
  }

  /** The position of the symbol `count` before the next one. */
  #startOf(count: number): number {
    return this.#starts[(this.#count - count) & this.#mask] ?? 0;
  }
}
