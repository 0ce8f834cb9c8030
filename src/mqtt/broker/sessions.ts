import { Readable } from "node:stream";
import type { Client } from "aedes";
import { MAX_TIMER_MS } from "../../base/async.ts";
import { matchesFilter } from "../../base/topic-filter.ts";
import { FilterTree } from "../protocol/filter-tree.ts";
import { bytesOf, ownCopyOf, type BrokerPacket, type Owner } from "./queues.ts";
import { createOutgoing, type QueueLimits, type QueueOptions } from "./queues.ts";

/** A subscription, as the broker library has it. */
export interface Filter {
  readonly topic: string;
  readonly qos: 0 | 1 | 2;
}

export interface StoreLimits extends QueueLimits {
  /** Topics with a retained message, and bytes of all of them. */
  readonly retained: number;
  readonly retainedBytes: number;
  /** Sessions of disconnected clients; beyond it the oldest is deleted. */
  readonly sessions: number;
}

export type BrokerStore = ReturnType<typeof createBrokerStore>;

type StoreOptions = Omit<QueueOptions, "limits" | "isRequest"> & {
  readonly limits: StoreLimits;
};

/** The end of a gateway's subscription. */
const OF_A_GATEWAY = "/+/request";

/**
 * The persistence of aedes in memory, each kind of data within its limits, and the sessions of disconnected
 * clients. Calls `onFull` with what exceeds a limit; nobody is disconnected for it.
 */
export function createBrokerStore(options: StoreOptions) {
  const { limits, onFull } = options;
  const incoming = createIncoming();
  const { gatewaysOf, isAnswer, isQueued, match, ...filters } = createFilters();
  const { clear, online, offline, isConnected, release, isReleased, takesRequests, ...outgoing } =
    createOutgoing({
      ...options,
      isRequest: (id, topic) => gatewaysOf(topic).has(id),
    });
  const expiry = createSessionExpiry(limits.sessions, (id) => {
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
    /** The sessions of gateways for which a message of the topic is a request. */
    gatewaysOf,
    /** Whether the session is a gateway's and the topic one of its answers. */
    isAnswer,
    takesRequests,
    isConnected,
    /** Whether a session gets a message of QoS 1 on the topic. */
    hasSession: (topic: string) => match(topic).size > 0,
    /** Whether the message, of QoS 1 or 2, must go through the client's queue. */
    isQueued: ({ id }: Owner, packet: BrokerPacket): boolean =>
      isQueued(id, packet.topic ?? "") && !isReleased(id, packet),
    isReleased,
    release,
    forget: expiry.forget,
    connecting: expiry.connecting,
    connected: (client: Client, isCleanStart: boolean): void => {
      expiry.connected(client);
      if (isCleanStart) clear(client.id);
    },
    online,
    /** Keeps the session for so many seconds. */
    disconnected: (client: Client, expirySecs: number): void => {
      offline(client);
      if (expiry.disconnected(client, expirySecs)) onFull("sessions of disconnected clients");
    },
  };
}

const MOST_TIMER_SECS = Math.floor(MAX_TIMER_MS / 1000);

/** The sessions of disconnected clients: a limited number, each until it expires. */
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
    connecting: (client: Client): void => {
      next.set(client.id, client);
      client.conn.once("close", () => {
        if (next.get(client.id) === client) next.delete(client.id);
      });
    },
    connected: ({ id }: Owner): void => {
      clearTimeout(away.get(id));
      away.delete(id);
      next.delete(id);
    },
    /** Returns whether there were too many, so that the oldest was deleted. */
    disconnected: ({ id }: Client, expirySecs: number): boolean => {
      if (expirySecs <= 0 && !next.has(id)) {
        forget(id);
        return false;
      }
      const timer =
        expirySecs <= MOST_TIMER_SECS ? setTimeout(() => forget(id), expirySecs * 1000) : undefined;
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
  const messages = new Map<string, BrokerPacket>();
  let held = 0;
  return {
    async storeRetained(packet: BrokerPacket): Promise<void> {
      const { topic = "", payload = "" } = packet;
      const former = messages.get(topic);
      // The former message is outdated, even if there is no room for the new one.
      messages.delete(topic);
      held -= former === undefined ? 0 : bytesOf(former);
      if (payload.length === 0) return;
      const bytes = bytesOf(packet);
      if (messages.size >= limits.retained || held + bytes > limits.retainedBytes) {
        return onFull("retained messages");
      }
      held += bytes;
      messages.set(topic, ownCopyOf(packet));
    },
    createRetainedStreamCombi: (patterns: readonly string[]) =>
      Readable.from(matchingMessages(messages, patterns)),
  };
}

/** Yields to the event loop between filters: a client may subscribe to many, again and again. */
async function* matchingMessages(
  messages: ReadonlyMap<string, BrokerPacket>,
  patterns: readonly string[],
): AsyncGenerator<BrokerPacket> {
  for (const pattern of patterns) {
    await new Promise(setImmediate);
    for (const [topic, packet] of messages) if (matchesFilter(pattern, topic)) yield packet;
  }
}

/** The filters of persistent sessions. */
function createFilters() {
  const sessions = new Map<string, Map<string, Filter>>();
  /** Filters of QoS 1 and 2, and those of gateways among them. */
  const all = new FilterTree<string>();
  const gateways = new FilterTree<string>();
  const treesOf = (topic: string, mayBeGateway = true) =>
    mayBeGateway && topic.endsWith(OF_A_GATEWAY) ? [all, gateways] : [all];
  const remove = (id: string, topic: string): void => {
    sessions.get(id)?.delete(topic);
    for (const tree of treesOf(topic)) tree.remove(topic, id);
  };
  return {
    gatewaysOf: (topic: string) => gateways.match(topic),
    isAnswer: (id: string, topic: string): boolean =>
      [...(sessions.get(id)?.values() ?? [])].some(
        (filter) =>
          filter.qos > 0 &&
          filter.topic.endsWith(OF_A_GATEWAY) &&
          topic.startsWith(filter.topic.slice(0, 1 - OF_A_GATEWAY.length)),
      ),
    match: (topic: string) => all.match(topic),
    isQueued: (id: string, topic: string): boolean =>
      [...(sessions.get(id)?.values() ?? [])].some(
        (filter) => filter.qos > 0 && matchesFilter(filter.topic, topic),
      ),
    /** A session that ends with its connection is no gateway's. */
    async addSubscriptions(
      { id }: Owner,
      added: readonly Filter[],
      mayBeGateway: boolean,
    ): Promise<void> {
      const known = sessions.get(id) ?? new Map<string, Filter>();
      sessions.set(id, known);
      for (const { topic, qos } of added) {
        remove(id, topic);
        known.set(topic, { topic, qos });
        if (qos > 0) for (const tree of treesOf(topic, mayBeGateway)) tree.add(topic, id);
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
      return [...all.match(topic)].map((clientId) => ({ clientId, topic, qos: 1 as const }));
    },
    async cleanSubscriptions({ id }: Owner): Promise<void> {
      for (const topic of sessions.get(id)?.keys() ?? []) remove(id, topic);
      sessions.delete(id);
    },
  };
}

/** The will of each connected client. */
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
 * The ids of unreleased inbound messages of QoS 2: the incoming part of aedes' persistence. A message is
 * forwarded when it comes; only its id is needed later.
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

/** One bit for each packet id, 8 KiB for all. */
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
