import type { Client } from "aedes";
import { isTopicFilter } from "../base/topic-filter.ts";
import { createFilterTree } from "./filter-tree.ts";

export interface FilterLimits {
  /** Filters of one client, and of all. */
  readonly filters: number;
  readonly filtersOfAll: number;
  readonly filterBytes: number;
}

/** Which filters each connected client has. */
export interface Grants {
  /** Says in its turn whether the client may have the filter; a refusal is SUBACK's failure. */
  ask(client: Client, topic: string, answer: (isGranted: boolean) => void): void;
  has(client: Client, topic: string): boolean;
  drop(client: Client, topics: readonly string[]): void;
  /** Whether a client has a filter that matches. */
  match(topic: string): boolean;
}

interface Granted {
  readonly topics: Set<string>;
  /** Questions that wait for their turn. */
  waiting: number;
}

export function createGrants(limits: FilterLimits, onFull: (what: string) => void): Grants {
  const clients = new WeakMap<Client, Granted>();
  const tree = createFilterTree<Client>();
  const inTurn = createTurns();
  let total = 0;
  const remove = (client: Client, topic: string): void => {
    if (clients.get(client)?.topics.delete(topic) !== true) return;
    tree.remove(topic, client);
    total -= 1;
  };
  const grantedTo = (client: Client): Granted => {
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
  const mayHave = ({ topics }: Granted, topic: string): boolean =>
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

/** One after another, with all else in between: what a filter leads to costs far more than its bytes. */
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
