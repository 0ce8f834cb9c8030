import { Readable } from "node:stream";
import { matchesFilter } from "../base/topic-filter.ts";
import {
  bytesOf,
  createIncoming,
  createOutgoing,
  ownCopyOf,
  type BrokerPacket,
  type Owner,
  type QueueLimits,
} from "./broker-queues.ts";

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

/**
 * What the built-in broker keeps, in memory alone and each kind within its limits: the persistence of
 * aedes, and the coming and going of those for whom a session is kept. `onFull` is told what there is too
 * much of; it costs nobody a connection.
 */
export function createBrokerStore(limits: StoreLimits, onFull: (what: string) => void) {
  const { clear, ...outgoing } = createOutgoing(limits, onFull);
  const incoming = createIncoming();
  const filters = createFilters();
  const away = new Set<string>();
  const forget = (id: string): void => {
    away.delete(id);
    clear(id);
    void incoming.cleanIncoming({ id });
    void filters.cleanSubscriptions({ id });
  };
  return {
    async setup(): Promise<void> {},
    ...createRetained(limits, onFull),
    ...filters,
    ...outgoing,
    ...incoming,
    ...createWills(),
    arrived: ({ id }: Owner): boolean => away.delete(id),
    left: ({ id, clean }: Owner & { readonly clean: boolean }): void => {
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
  return {
    async addSubscriptions({ id }: Owner, added: readonly Filter[]): Promise<void> {
      const known = sessions.get(id) ?? new Map<string, Filter>();
      for (const { topic, qos } of added) known.set(topic, { topic, qos });
      sessions.set(id, known);
    },
    async removeSubscriptions({ id }: Owner, topics: readonly string[]): Promise<void> {
      const known = sessions.get(id);
      for (const topic of topics) known?.delete(topic);
      if (known?.size === 0) sessions.delete(id);
    },
    subscriptionsByClient: async ({ id }: Owner): Promise<readonly Filter[]> =>
      [...(sessions.get(id)?.values() ?? [])].map(({ topic, qos }) => ({
        topic,
        qos,
      })),
    async subscriptionsByTopic(topic: string) {
      const found: (Filter & { clientId: string })[] = [];
      for (const [clientId, known] of sessions) {
        const filter = [...known.values()].find(
          (one) => one.qos > 0 && matchesFilter(one.topic, topic),
        );
        if (filter) found.push({ ...filter, clientId });
      }
      return found;
    },
    async cleanSubscriptions({ id }: Owner): Promise<void> {
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
