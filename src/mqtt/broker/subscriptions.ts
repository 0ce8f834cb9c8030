import type { Client } from "aedes";
import { isTopicFilter } from "../../base/topic-filter.ts";

export interface FilterLimits {
  /** Filters of one client, and of all. */
  readonly filters: number;
  readonly filtersOfAll: number;
  readonly filterBytes: number;
}

/** The filters of each connected client, within limits. */
export interface SubscriptionAcl {
  /** Answers later whether the client may have the filter; a refusal becomes a SUBACK failure. */
  ask(client: Client, topic: string, answer: (isGranted: boolean) => void): void;
  has(client: Client, topic: string): boolean;
  drop(client: Client, topics: readonly string[]): void;
  /** Whether some client has a filter that matches. */
  match(topic: string): boolean;
}

interface ClientFilters {
  readonly topics: Set<string>;
  /** Pending calls of `ask`. */
  waiting: number;
}

export function createSubscriptionAcl(
  limits: FilterLimits,
  onFull: (what: string) => void,
): SubscriptionAcl {
  const clients = new WeakMap<Client, ClientFilters>();
  const tree = createFilterTree<Client>();
  const inTurn = createTurns();
  let total = 0;
  const remove = (client: Client, topic: string): void => {
    if (clients.get(client)?.topics.delete(topic) !== true) return;
    tree.remove(topic, client);
    total -= 1;
  };
  const grantedTo = (client: Client): ClientFilters => {
    const known = clients.get(client);
    if (known) return known;
    const granted = { topics: new Set<string>(), waiting: 0 };
    clients.set(client, granted);
    client.conn.once("close", () => {
      for (const topic of granted.topics) remove(client, topic);
      clients.delete(client);
    });
    return granted;
  };
  const mayHave = ({ topics }: ClientFilters, topic: string): boolean =>
    topics.has(topic) || (topics.size < limits.filters && total < limits.filtersOfAll);
  return {
    ask(client, topic, answer) {
      const granted = grantedTo(client);
      if (!isAllowed(topic, limits.filterBytes)) return answer(false);
      if (granted.waiting >= limits.filters || !mayHave(granted, topic)) {
        onFull("subscriptions");
        return answer(false);
      }
      granted.waiting += 1;
      inTurn(() => {
        granted.waiting -= 1;
        const isGranted = !client.closed && mayHave(granted, topic);
        if (isGranted && !granted.topics.has(topic)) {
          granted.topics.add(topic);
          tree.add(topic, client);
          total += 1;
        }
        answer(isGranted);
      });
    },
    has: (client, topic) => clients.get(client)?.topics.has(topic) === true,
    drop(client, topics) {
      for (const topic of topics) remove(client, topic);
    },
    match: (topic) => tree.match(topic).size > 0,
  };
}

function isAllowed(topic: string, most: number): boolean {
  return isTopicFilter(topic) && Buffer.byteLength(topic) <= most;
}

/** Runs one task for each turn of the event loop: a filter causes far more work than its bytes. */
function createTurns(): (work: () => void) => void {
  const waiting: (() => void)[] = [];
  const next = (): void => {
    waiting.shift()?.();
    if (waiting.length > 0) setImmediate(next);
  };
  return (work) => {
    waiting.push(work);
    if (waiting.length === 1) setImmediate(next);
  };
}

/** Topic filters with values, found by topic (MQTT 5 section 4.7). */
interface FilterTree<Value> {
  add(filter: string, value: Value): void;
  remove(filter: string, value: Value): void;
  /** The values of all filters that match, each once. */
  readonly match: (topic: string) => ReadonlySet<Value>;
}

interface Node<Value> {
  readonly children: Map<string, Node<Value>>;
  readonly values: Set<Value>;
}

export function createFilterTree<Value>(): FilterTree<Value> {
  const root = createNode<Value>();
  return {
    add(filter, value) {
      let node = root;
      for (const level of filter.split("/")) {
        const child = node.children.get(level) ?? createNode<Value>();
        node.children.set(level, child);
        node = child;
      }
      node.values.add(value);
    },
    remove: (filter, value) => void removeFrom(root, filter.split("/"), value),
    match(topic) {
      const found = new Set<Value>();
      collect(root, { levels: topic.split("/"), at: 0, found });
      return found;
    },
  };
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
