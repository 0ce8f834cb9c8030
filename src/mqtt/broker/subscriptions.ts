import type { Client } from "aedes";
import { createSerialQueue } from "../../base/async.ts";
import { isTopicFilter } from "../../base/topic-filter.ts";
import { FilterTree } from "../protocol/filter-tree.ts";

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
