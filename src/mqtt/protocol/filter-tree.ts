/** Topic filters with values, found by topic (MQTT 5 section 4.7). */
export class FilterTree<Value> {
  readonly #root = createNode<Value>();

  add(filter: string, value: Value): void {
    let node = this.#root;
    for (const level of filter.split("/")) {
      const child = node.children.get(level) ?? createNode<Value>();
      node.children.set(level, child);
      node = child;
    }
    node.values.add(value);
  }

  remove(filter: string, value: Value): void {
    removeFrom(this.#root, filter.split("/"), value);
  }

  /** The values of all filters that match, each once. */
  match(topic: string): ReadonlySet<Value> {
    const found = new Set<Value>();
    collect(this.#root, { levels: topic.split("/"), at: 0, found });
    return found;
  }
}

interface Node<Value> {
  readonly children: Map<string, Node<Value>>;
  readonly values: Set<Value>;
}

function createNode<Value>(): Node<Value> {
  return { children: new Map(), values: new Set() };
}

/** Returns whether the node is empty now. */
function removeFrom<Value>(node: Node<Value>, levels: readonly string[], value: Value): boolean {
  const [level, ...rest] = levels;
  if (level === undefined) node.values.delete(value);
  else {
    const child = node.children.get(level);
    if (child && removeFrom(child, rest, value)) node.children.delete(level);
  }
  return node.values.size + node.children.size === 0;
}

interface Search<Value> {
  readonly levels: readonly string[];
  readonly at: number;
  readonly found: Set<Value>;
}

function collect<Value>(node: Node<Value>, search: Search<Value>): void {
  const { levels, at, found } = search;
  const level = levels[at];
  // A wildcard at the beginning does not match topics that begin with `$` (section 4.7.2).
  const isWild = at > 0 || level?.startsWith("$") !== true;
  // `a/#` matches `a` as well.
  if (isWild) for (const value of node.children.get("#")?.values ?? []) found.add(value);
  if (level === undefined) {
    for (const value of node.values) found.add(value);
    return;
  }
  const next = { levels, at: at + 1, found };
  const exact = node.children.get(level);
  if (exact) collect(exact, next);
  const any = isWild ? node.children.get("+") : undefined;
  if (any) collect(any, next);
}
