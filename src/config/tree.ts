/** Where a value came from. */
export type Origin =
  | { readonly from: "default" }
  | { readonly from: "file"; readonly file: string; readonly line: number }
  | { readonly from: "environment"; readonly variable: string }
  | { readonly from: "flag"; readonly flag: string };

/**
 * A value of the configuration with its origin. Layers (files, environment, flags) are such trees; every
 * value keeps its origin when they are migrated and merged.
 */
export type Tree = Leaf | Branch | List;

export interface Leaf {
  readonly kind: "leaf";
  readonly value: string | number | boolean;
  /** As written: `0123e5` may be a password. */
  readonly text: string;
  /** From a source without types (environment, plain YAML): the key decides the type. */
  readonly untyped: boolean;
  readonly origin: Origin;
}

export interface Branch {
  readonly kind: "branch";
  readonly entries: ReadonlyMap<string, Tree>;
  readonly origin: Origin;
}

export interface List {
  readonly kind: "list";
  readonly items: readonly Tree[];
  readonly origin: Origin;
}

/** Where in a tree: keys of branches, indexes of lists. */
export type Path = readonly (string | number)[];

/** A text of a file with its place, so that it alone can be replaced. */
export interface PlacedText {
  readonly path: Path;
  readonly text: string;
  /** UTF-16 units of the file's text. */
  readonly start: number;
  readonly end: number;
  readonly line: number;
}

export const DEFAULT: Origin = { from: "default" };

/** Go PicoClaw writes it into config.json in place of a secret. It counts as no value. */
export const PLACEHOLDER = "[NOT_HERE]";

export function leaf(value: Leaf["value"], origin: Origin, text = String(value)): Leaf {
  return { kind: "leaf", value, text, untyped: false, origin };
}

export function untypedLeaf(text: string, origin: Origin): Leaf {
  return { kind: "leaf", value: text, text, untyped: true, origin };
}

export function branch(entries: Iterable<readonly [string, Tree]>, origin: Origin): Branch {
  return { kind: "branch", entries: new Map(entries), origin };
}

export function list(items: readonly Tree[], origin: Origin): List {
  return { kind: "list", items, origin };
}

/** Whether a value counts as none, so that it does not replace the value of another layer. */
export function isPlaceholder(tree: Tree): boolean {
  return tree.kind === "leaf" && tree.text === PLACEHOLDER;
}

/** A key that begins with `_`, `$` or `//` is a comment to everyone. */
export function isComment(key: string): boolean {
  return /^(?:_|\$|\/\/)/.test(key);
}

/** The value at a path of keys. */
export function childOf(tree: Tree | undefined, ...path: readonly string[]): Tree | undefined {
  let node = tree;
  for (const key of path) node = node?.kind === "branch" ? node.entries.get(key) : undefined;
  return node;
}

export function branchAt(tree: Tree | undefined, ...path: readonly string[]): Branch | undefined {
  const child = childOf(tree, ...path);
  return child?.kind === "branch" ? child : undefined;
}

/** The trimmed text of a scalar at a path of keys; empty if there is none. */
export function textAt(tree: Tree | undefined, ...path: readonly string[]): string {
  const child = childOf(tree, ...path);
  return child?.kind === "leaf" ? child.text.trim() : "";
}

/** Adds or replaces a value. */
export function withChild(tree: Branch, key: string, child: Tree): Branch {
  return { ...tree, entries: new Map(tree.entries).set(key, child) };
}

export function withoutChild(tree: Branch, key: string): Branch {
  if (!tree.entries.has(key)) return tree;
  return branch(
    [...tree.entries].filter(([name]) => name !== key),
    tree.origin,
  );
}

/**
 * Adds or replaces the value at a path of keys. Changes nothing if the path leads through anything but a
 * branch, so that this value is still reported as wrong.
 */
export function withDeepChild(tree: Branch, path: readonly string[], child: Tree): Branch {
  const [key, ...rest] = path;
  if (key === undefined) return tree;
  if (rest.length === 0) return withChild(tree, key, child);
  const inner = tree.entries.get(key) ?? branch([], child.origin);
  return inner.kind === "branch" ? withChild(tree, key, withDeepChild(inner, rest, child)) : tree;
}

/**
 * Merges two layers: branches key by key; otherwise the upper value wins. A lower value that should have
 * been a branch stays, so that it is reported as wrong.
 */
export function merge(lower: Tree, upper: Tree): Tree {
  if (upper.kind !== "branch") return upper;
  return lower.kind === "branch" ? mergeBranches(lower, upper) : lower;
}

export function mergeBranches(lower: Branch, upper: Branch): Branch {
  const entries = new Map(lower.entries);
  for (const [key, child] of upper.entries) {
    const below = entries.get(key);
    entries.set(key, below === undefined ? child : merge(below, child));
  }
  return { ...lower, entries };
}

/** Replaces each child of a node; undefined removes it. */
export async function mapChildren<Node extends Tree>(
  node: Node,
  change: (child: Tree, name: string | number) => Promise<Tree | undefined>,
): Promise<Node> {
  if (node.kind === "branch") {
    const entries: [string, Tree][] = [];
    for (const [name, child] of node.entries) {
      const changed = await change(child, name);
      if (changed !== undefined) entries.push([name, changed]);
    }
    return { ...node, entries: new Map(entries) };
  }
  if (node.kind === "leaf") return node;
  const items: Tree[] = [];
  for (const [index, child] of node.items.entries()) {
    const changed = await change(child, index);
    if (changed !== undefined) items.push(changed);
  }
  return { ...node, items };
}

/** The node at a path, or the deepest existing one above it. */
export function nearestTo(tree: Tree, path: Path): Tree {
  let node = tree;
  for (const key of path) {
    const next =
      node.kind === "list" && typeof key === "number"
        ? node.items[key]
        : childOf(node, String(key));
    if (next === undefined) return node;
    node = next;
  }
  return node;
}

/** `channel_list.mqtt.settings.qos`, `model_list[0].model`. */
export function pathText(path: Path): string {
  return path
    .map((key, index) => (typeof key === "number" ? `[${key}]` : `${index === 0 ? "" : "."}${key}`))
    .join("");
}
