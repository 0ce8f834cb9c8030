import { Readable } from "node:stream";
import type { Client } from "aedes";
import { MAX_TIMER_MS } from "../../base/async.ts";
import { matchesFilter } from "../../base/topic-filter.ts";
import { bytesOf, ownCopyOf, type BrokerPacket, type Owner } from "./queues.ts";
import { createOutgoing, type QueueLimits, type QueueOptions } from "./queues.ts";
import { createFilterTree } from "./subscriptions.ts";

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

type StoreOptions = Omit<QueueOptions, "limits" | "isRequest"> & {
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
  const away = createSessionExpiry(limits.sessions, (id) => {
    clear(id);
    void incoming.cleanIncoming({ id });
    void filters.cleanSubscriptions({ id });
  });
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
    isReleased,
    release,
    forget: away.forget,
    entering: away.entering,
    arrived: (client: Client): void => {
      away.arrived(client);
      if (client.clean) clear(client.id);
    },
    online,
    /** Keeps the session for so many seconds. */
    left: (client: Client, keptSecs: number): void => {
      offline(client);
      if (away.left(client, keptSecs)) onFull("sessions of clients that are away");
    },
  };
}

const MOST_TIMER_SECS = Math.floor(MAX_TIMER_MS / 1000);

/** Whose sessions are kept while they are away: no more than so many, and none for longer than its time. */
function createSessionExpiry(most: number, end: (id: string) => void) {
  const away = new Map<string, ReturnType<typeof setTimeout> | undefined>();
  const next = new Map<string, Client>();
  const forget = (id: string): void => {
    clearTimeout(away.get(id));
    away.delete(id);
    end(id);
  };
  return {
    forget,
    /** The client takes the session over. */
    entering: (client: Client): void => {
      next.set(client.id, client);
      client.conn.once("close", () => {
        if (next.get(client.id) === client) next.delete(client.id);
      });
    },
    arrived: ({ id }: Owner): void => {
      clearTimeout(away.get(id));
      away.delete(id);
      next.delete(id);
    },
    /** Whether there were too many, and the one that left first is forgotten. */
    left: ({ id, clean }: Client, keptSecs: number): boolean => {
      if (clean || (keptSecs <= 0 && !next.has(id))) {
        forget(id);
        return false;
      }
      const timer =
        keptSecs <= MOST_TIMER_SECS ? setTimeout(() => forget(id), keptSecs * 1000) : undefined;
      timer?.unref();
      away.set(id, timer);
      const [first] = away.keys();
      if (away.size <= most || first === undefined) return false;
      forget(first);
      return true;
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

const PACKET_IDS = 65_536;

/**
 * Which messages of QoS 2 have come and are not released yet, as the persistence of aedes has them. The
 * message itself goes on when it comes; its id is all that is asked for later.
 */
function createIncoming() {
  const sessions = new Map<string, ReceivedIds>();
  const find = ({ id }: Owner, { messageId = 0 }: BrokerPacket): ReceivedIds => {
    const ids = sessions.get(id);
    if (ids === undefined || !hasBit(ids, messageId)) throw new Error("no such packet");
    return ids;
  };
  return {
    async incomingStorePacket({ id }: Owner, { messageId = 0 }: BrokerPacket): Promise<void> {
      const ids = sessions.get(id) ?? { bits: new Uint8Array(PACKET_IDS / 8), count: 0 };
      sessions.set(id, ids);
      if (hasBit(ids, messageId)) return;
      flip(ids, messageId);
      ids.count += 1;
    },
    async incomingGetPacket(client: Owner, packet: BrokerPacket): Promise<BrokerPacket> {
      find(client, packet);
      return packet;
    },
    async incomingDelPacket(client: Owner, packet: BrokerPacket): Promise<void> {
      const ids = find(client, packet);
      flip(ids, packet.messageId ?? 0);
      ids.count -= 1;
      if (ids.count === 0) sessions.delete(client.id);
    },
    async cleanIncoming({ id }: Owner): Promise<void> {
      sessions.delete(id);
    },
  };
}

/** A bit for each packet id: all of them are 8 KiB. */
interface ReceivedIds {
  readonly bits: Uint8Array;
  count: number;
}

function hasBit({ bits }: ReceivedIds, id: number): boolean {
  return ((bits[id >> 3] ?? 0) & (1 << (id & 7))) !== 0;
}

function flip({ bits }: ReceivedIds, id: number): void {
  bits[id >> 3] = (bits[id >> 3] ?? 0) ^ (1 << (id & 7));
}
