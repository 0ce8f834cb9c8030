import type { Client } from "aedes";
import { isTopicFilter } from "../base/topic-filter.ts";

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
}

interface Granted {
  readonly topics: Set<string>;
  /** Questions that wait for their turn. */
  waiting: number;
}

export function createGrants(limits: FilterLimits, onFull: (what: string) => void): Grants {
  const clients = new WeakMap<Client, Granted>();
  const inTurn = createTurns();
  let total = 0;
  const grantedTo = (client: Client): Granted => {
    const known = clients.get(client);
    if (known) return known;
    const granted = { topics: new Set<string>(), waiting: 0 };
    clients.set(client, granted);
    client.conn.once("close", () => {
      total -= granted.topics.size;
      clients.delete(client);
    });
    return granted;
  };
  const mayHave = ({ topics }: Granted, topic: string): boolean =>
    topics.has(topic) || (topics.size < limits.filters && total < limits.filtersOfAll);
  return {
    ask(client, topic, answer) {
      const granted = grantedTo(client);
      if (!isTopicFilter(topic) || Buffer.byteLength(topic) > limits.filterBytes) {
        return answer(false);
      }
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
          total += 1;
        }
        answer(isGranted);
      });
    },
    has: (client, topic) => clients.get(client)?.topics.has(topic) === true,
    drop(client, topics) {
      const granted = clients.get(client);
      for (const topic of topics) if (granted?.topics.delete(topic) === true) total -= 1;
    },
  };
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
