import type { Client } from "aedes";
import { createSerialQueue } from "../../base/async.ts";
import { isTopicFilter } from "../../base/topic-filter.ts";

export interface FilterLimits {
  /** Filters of one client, and of all. */
  readonly filters: number;
  readonly filtersOfAll: number;
  readonly filterBytes: number;
}

interface ClientFilters {
  readonly topics: Set<string>;
  /** Pending calls of `ask`. */
  waiting: number;
}

/** The filters of each connected client, within limits. */
export class SubscriptionAcl {
  readonly #limits: FilterLimits;
  readonly #onFull: (what: string) => void;
  readonly #clients = new WeakMap<Client, ClientFilters>();
  readonly #tree = new FilterTree<Client>();
  readonly #inTurn = createSerialQueue();
  #total = 0;

  constructor(limits: FilterLimits, onFull: (what: string) => void) {
    this.#limits = limits;
    this.#onFull = onFull;
  }

  /** Answers later whether the client may have the filter; a refusal becomes a SUBACK failure. */
  ask(client: Client, topic: string, answer: (isGranted: boolean) => void): void {
    const { filters, filterBytes } = this.#limits;
    const granted = this.#grantedTo(client);
    if (!isTopicFilter(topic) || Buffer.byteLength(topic) > filterBytes) return answer(false);
    if (granted.waiting >= filters || !this.#mayHave(granted, topic)) {
      this.#onFull("subscriptions");
      return answer(false);
    }
    granted.waiting += 1;
    void this.#inTurn(async () => {
      // Others get a turn of the event loop in between: a filter causes far more work than its bytes.
      await new Promise(setImmediate);
      granted.waiting -= 1;
      const isGranted = !client.closed && this.#mayHave(granted, topic);
      if (isGranted && !granted.topics.has(topic)) {
        granted.topics.add(topic);
        this.#tree.add(topic, client);
        this.#total += 1;
      }
      answer(isGranted);
    });
  }

  has(client: Client, topic: string): boolean {
    return this.#clients.get(client)?.topics.has(topic) === true;
  }

  drop(client: Client, topics: Iterable<string>): void {
    for (const topic of topics) {
      if (this.#clients.get(client)?.topics.delete(topic) !== true) continue;
      this.#tree.remove(topic, client);
      this.#total -= 1;
    }
  }

  /** Whether some client has a filter that matches. */
  match(topic: string): boolean {
    return this.#tree.match(topic).size > 0;
  }

  #grantedTo(client: Client): ClientFilters {
    const known = this.#clients.get(client);
    if (known) return known;
    const granted = { topics: new Set<string>(), waiting: 0 };
    this.#clients.set(client, granted);
    client.conn.once("close", () => {
      this.drop(client, granted.topics);
      this.#clients.delete(client);
    });
    return granted;
  }

  #mayHave({ topics }: ClientFilters, topic: string): boolean {
    const { filters, filtersOfAll } = this.#limits;
    return topics.has(topic) || (topics.size < filters && this.#total < filtersOfAll);
  }
}

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
