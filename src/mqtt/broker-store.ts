import { Readable } from "node:stream";
import type { Client } from "aedes";
import { matchesFilter } from "../base/topic-filter.ts";
import { createIncoming } from "./broker-incoming.ts";
import {
  bytesOf,
  createOutgoing,
  ownCopyOf,
  type BrokerPacket,
  type Owner,
  type QueueLimits,
  type QueueOptions,
} from "./broker-queues.ts";
import { createFilterTree } from "./filter-tree.ts";

/** A subscription as the broker library gives it, and wants it back. */
export interface Filter {
  readonly topic: string;
  readonly qos: 0 | 1 | 2;
}

export interface StoreLimits extends QueueLimits {
  /** Topics with a retained message, and bytes of all of them. */
  readonly retained: number;
  readonly retainedBytes: number;
  /** Sessions that are kept for clients that are away; the one that left first is forgotten. */
  readonly sessions: number;
}

export type BrokerStore = ReturnType<typeof createBrokerStore>;

type StoreOptions = Pick<QueueOptions, "onFull" | "onShorter" | "hasRoom"> & {
  readonly limits: StoreLimits;
};

/** How a gateway subscribes to the requests of all its clients. */
const OF_A_GATEWAY = "/+/request";

/**
 * What the built-in broker keeps, in memory alone and each kind within its limits: the persistence of
 * aedes, and the coming and going of those for whom a session is kept. `onFull` is told what there is too
 * much of; it costs nobody a connection.
 */
export function createBrokerStore(options: StoreOptions) {
  const { limits, onFull } = options;
  const incoming = createIncoming();
  const { gatewaysOf, keeps, match, ...filters } = createFilters();
  const { clear, online, offline, release, isReleased, takesRequests, ...outgoing } =
    createOutgoing({
      ...options,
      isRequest: (id, topic) => gatewaysOf(topic).has(id),
    });
  const away = new Set<string>();
  const forget = (id: string): void => {
    away.delete(id);
    clear(id);
    void incoming.cleanIncoming({ id });
    void filters.cleanSubscriptions({ id });
  };
  return {
    persistence: {
      async setup(): Promise<void> {},
      ...createRetained(limits, onFull),
      ...filters,
      ...outgoing,
      ...incoming,
      ...createWills(),
    },
    /** The sessions of gateways that a message of that topic is a request for. */
    gatewaysOf,
    takesRequests,
    /** Whether somebody who is connected or comes back gets a message of QoS 1. */
    hasSession: (topic: string) => match(topic).size > 0,
    /** Whether the message, of QoS 1 or 2, goes through the client's queue, and may not be sent past it. */
    isQueued: ({ id }: Owner, packet: BrokerPacket): boolean =>
      keeps(id, packet.topic ?? "") && !isReleased(id, packet),
    release,
    arrived: ({ id, clean }: Client): void => {
      away.delete(id);
      if (clean) clear(id);
    },
    online,
    left: ({ id, clean }: Client): void => {
      offline({ id });
      if (clean) return forget(id);
      away.add(id);
      const [first] = away;
      if (away.size <= limits.sessions || first === undefined) return;
      forget(first);
      onFull("sessions of clients that are away");
    },
  };
}

function createRetained(limits: StoreLimits, onFull: (what: string) => void) {
  const kept = new Map<string, BrokerPacket>();
  let held = 0;
  return {
    async storeRetained(packet: BrokerPacket): Promise<void> {
      const { topic = "", payload = "" } = packet;
      const former = kept.get(topic);
      // What is no longer true is not kept in the place of what finds no room.
      kept.delete(topic);
      held -= former === undefined ? 0 : bytesOf(former);
      if (payload.length === 0) return;
      const bytes = bytesOf(packet);
      if (kept.size >= limits.retained || held + bytes > limits.retainedBytes) {
        return onFull("retained messages");
      }
      held += bytes;
      kept.set(topic, ownCopyOf(packet));
    },
    createRetainedStreamCombi: (patterns: readonly string[]) =>
      Readable.from(matching(kept, patterns)),
  };
}

/** Each with others' turns in between: a client may ask for many filters, again and again. */
async function* matching(
  kept: ReadonlyMap<string, BrokerPacket>,
  patterns: readonly string[],
): AsyncGenerator<BrokerPacket> {
  for (const pattern of patterns) {
    await new Promise(setImmediate);
    for (const [topic, packet] of kept) if (matchesFilter(pattern, topic)) yield packet;
  }
}

/** The filters of sessions that outlive their connections. */
function createFilters() {
  const sessions = new Map<string, Map<string, Filter>>();
  /** Those of QoS 1 and 2, and of them those of gateways. */
  const kept = createFilterTree<string>();
  const gateways = createFilterTree<string>();
  const treesOf = (topic: string) => (topic.endsWith(OF_A_GATEWAY) ? [kept, gateways] : [kept]);
  const remove = (id: string, topic: string): void => {
    sessions.get(id)?.delete(topic);
    for (const tree of treesOf(topic)) tree.remove(topic, id);
  };
  return {
    gatewaysOf: gateways.match,
    match: kept.match,
    keeps: (id: string, topic: string): boolean =>
      [...(sessions.get(id)?.values() ?? [])].some(
        (filter) => filter.qos > 0 && matchesFilter(filter.topic, topic),
      ),
    async addSubscriptions({ id }: Owner, added: readonly Filter[]): Promise<void> {
      const known = sessions.get(id) ?? new Map<string, Filter>();
      sessions.set(id, known);
      for (const { topic, qos } of added) {
        remove(id, topic);
        known.set(topic, { topic, qos });
        if (qos > 0) for (const tree of treesOf(topic)) tree.add(topic, id);
      }
    },
    async removeSubscriptions({ id }: Owner, topics: readonly string[]): Promise<void> {
      for (const topic of topics) remove(id, topic);
      if (sessions.get(id)?.size === 0) sessions.delete(id);
    },
    subscriptionsByClient: async ({ id }: Owner): Promise<readonly Filter[]> =>
      [...(sessions.get(id)?.values() ?? [])].map(({ topic, qos }) => ({
        topic,
        qos,
      })),
    async subscriptionsByTopic(topic: string) {
      return [...kept.match(topic)].map((clientId) => ({ clientId, topic, qos: 1 as const }));
    },
    async cleanSubscriptions({ id }: Owner): Promise<void> {
      for (const topic of sessions.get(id)?.keys() ?? []) remove(id, topic);
      sessions.delete(id);
    },
  };
}

/** One for each client that is connected. */
function createWills() {
  const wills = new Map<string, object>();
  return {
    putWill: async ({ id }: Owner, will: object): Promise<void> => void wills.set(id, will),
    delWill: async ({ id }: Owner): Promise<void> => void wills.delete(id),
    streamWill: () => Readable.from([]),
  };
}
