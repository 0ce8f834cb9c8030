/** Searches for many words at once, character by character (Aho and Corasick, 1975). */
export interface Trie {
  /** The node after `node` and the next UTF-16 unit; `NOWHERE` is the root. */
  step(node: number, unit: number): number;
  /** Length of the longest word that ends at this node; 0 if none does. */
  found(node: number): number;
  /** How many of the last units may still become a word, or a longer word if one ends here. */
  open(node: number): number;
  /** Length of the longest word; 0 if there are no words. */
  readonly longest: number;
}

const NOWHERE = 0;

/** A trie of non-empty words. A step takes constant time on average; each unit of a word takes 24 bytes. */
export function createTrie(words: readonly string[]): Trie {
  const nodes = nodesOf(words);
  const { firstChild, fallback, depth, longest } = nodes;
  linkFallbacks(nodes);
  return {
    longest: words.reduce((most, { length }) => Math.max(most, length), 0),
    step(from, unit) {
      for (let node = from; ; node = at(fallback, node)) {
        const next = childOf(nodes, node, unit);
        if (next !== NOWHERE) return next;
        if (node === NOWHERE) return NOWHERE;
      }
    },
    found: (node) => at(longest, node),
    open(from) {
      let node = from;
      while (node !== NOWHERE && at(firstChild, node) === NOWHERE) node = at(fallback, node);
      return at(depth, node);
    },
  };
}

/** The nodes as columns. The children of a node are a list of siblings; those of the root are indexed by unit. */
interface Nodes {
  readonly roots: Int32Array;
  readonly units: Uint16Array;
  readonly firstChild: Int32Array;
  readonly sibling: Int32Array;
  /** The node of the longest suffix of this node's word that also begins a word. */
  readonly fallback: Int32Array;
  readonly depth: Int32Array;
  readonly longest: Int32Array;
}

function nodesOf(words: readonly string[]): Nodes {
  const most = words.reduce((sum, { length }) => sum + length, 1);
  const column = (): Int32Array => new Int32Array(most);
  const nodes: Nodes = {
    roots: new Int32Array(words.reduce((top, word) => Math.max(top, word.charCodeAt(0) + 1), 0)),
    units: new Uint16Array(most),
    firstChild: column(),
    sibling: column(),
    fallback: column(),
    depth: column(),
    longest: column(),
  };
  let count = 1;
  for (const word of words) {
    let node = NOWHERE;
    for (let index = 0; index < word.length; index += 1) {
      const unit = word.charCodeAt(index);
      let child = childOf(nodes, node, unit);
      if (child === NOWHERE) {
        child = count;
        count += 1;
        addChild(nodes, node, child, unit);
      }
      node = child;
    }
    nodes.longest[node] = word.length;
  }
  return nodes;
}

function addChild(nodes: Nodes, parent: number, child: number, unit: number): void {
  const { roots, units, firstChild, sibling, depth } = nodes;
  units[child] = unit;
  depth[child] = at(depth, parent) + 1;
  sibling[child] = at(firstChild, parent);
  firstChild[parent] = child;
  if (parent === NOWHERE) roots[unit] = child;
}

function childOf({ roots, units, firstChild, sibling }: Nodes, node: number, unit: number): number {
  if (node === NOWHERE) return at(roots, unit);
  let child = at(firstChild, node);
  while (child !== NOWHERE && units[child] !== unit) child = at(sibling, child);
  return child;
}

/** Goes level by level, since a fallback is always shorter. */
function linkFallbacks(nodes: Nodes): void {
  const { units, firstChild, sibling, fallback, longest } = nodes;
  let level = [...nodes.roots].filter((node) => node !== NOWHERE);
  while (level.length > 0) {
    const next: number[] = [];
    for (const node of level) {
      longest[node] ||= at(longest, at(fallback, node));
      for (let child = at(firstChild, node); child !== NOWHERE; child = at(sibling, child)) {
        fallback[child] = fallbackOf(nodes, node, at(units, child));
        next.push(child);
      }
    }
    level = next;
  }
}

function fallbackOf(nodes: Nodes, parent: number, unit: number): number {
  let node = parent;
  while (node !== NOWHERE) {
    node = at(nodes.fallback, node);
    const child = childOf(nodes, node, unit);
    if (child !== NOWHERE) return child;
  }
  return NOWHERE;
}

function at(column: Int32Array | Uint16Array, index: number): number {
  return column[index] ?? 0;
}

/** Skipped symbols between two symbols of a word at most; symbols further apart are not one word. */
export const MOST_BETWEEN = 128;

/** Receives the positions where a secret begins and ends. */
export type Cover = (start: number, end: number) => void;

/**
 * Searches for words in a sequence of symbols of which some do not count. It remembers the position of each
 * counted symbol, for as many symbols as the longest word has.
 */
export class Matcher {
  readonly #trie: Trie;
  readonly #cover: Cover;
  /** A ring buffer: the position of symbol number n is at n modulo its size. */
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

  /** Whether the symbols so far may become a word. */
  get isOpen(): boolean {
    return this.#node !== NOWHERE;
  }

  /** Reads a symbol that counts. Covers a word that ends with it, and returns whether one does. */
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

  /** Takes back the last symbol: it does not count after all. */
  undo(): void {
    if (this.#node !== NOWHERE) this.#count -= 1;
    this.#node = this.#nodeBefore;
  }

  /** Skips a symbol that does not count. */
  skip(): void {
    this.#nodeBefore = NOWHERE;
    if (this.#node === NOWHERE) return;
    this.#between += 1;
    if (this.#between > MOST_BETWEEN) this.reset();
  }

  /** Starts again after a symbol that no word contains. */
  reset(): void {
    this.#nodeBefore = NOWHERE;
    this.#node = NOWHERE;
  }

  /** The position where a possible word begins; infinity if there is none. */
  get openFrom(): number {
    const length = this.#trie.open(this.#node);
    return length === 0 ? Number.POSITIVE_INFINITY : this.#startOf(length);
  }

  /** As `openFrom`, if the last symbol may still be taken back. */
  get openFromUndone(): number {
    const length = this.#trie.open(this.#nodeBefore);
    const last = this.#node === NOWHERE ? 0 : 1;
    return length === 0 ? this.openFrom : Math.min(this.openFrom, this.#startOf(length + last));
  }

  /** The position of the symbol `count` before the next one. */
  #startOf(count: number): number {
    return this.#starts[(this.#count - count) & this.#mask] ?? 0;
  }
}
