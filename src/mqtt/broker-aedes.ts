import type { Duplex } from "node:stream";
import { Aedes, type AedesOptions, type Client } from "aedes";
import type { MqttSettings } from "../config/contract.ts";
import type { Backpressure } from "./broker-backpressure.ts";
import type { Connections } from "./broker-connections.ts";
import { authenticator } from "./broker-credentials.ts";
import type { Grants } from "./broker-filters.ts";
import type { Mqtt5 } from "./broker-mqtt5.ts";
import type { BrokerPacket } from "./broker-packets.ts";
import type { Receipts } from "./broker-receipts.ts";
import type { BrokerStore, Filter } from "./broker-store.ts";

export interface AedesLimits {
  /** Milliseconds in which a CONNECT must be whole. */
  readonly connectMs: number;
  readonly clientIdBytes: number;
  readonly topicLevels: number;
}

/** Is told what there was too much of. */
export type OnFull = (what: string) => void;

/** What the library works with. */
export interface Parts {
  readonly connections: Connections;
  readonly store: BrokerStore;
  readonly grants: Grants;
  readonly backpressure: Backpressure;
  readonly mqtt5: Mqtt5;
  readonly receipts: Receipts;
  /** Whose the streams are whose client is online. */
  readonly sessions: WeakMap<Duplex, string>;
  readonly onFull: OnFull;
}

/** The broker library, with what it keeps and whom it lets do what. */
export async function createAedes(
  settings: Pick<MqttSettings, "username" | "password">,
  limits: AedesLimits,
  parts: Parts,
): Promise<Aedes> {
  const { store, grants, backpressure, sessions, mqtt5 } = parts;
  const aedes = await Aedes.createBroker({
    persistence: withAccounts(parts),
    connectTimeout: limits.connectMs,
    // Ids are all that is kept of them, and counted with what is held for the client.
    maxInflightInbound: 0,
    maxTopicLevels: limits.topicLevels,
    preConnect: mqtt5.preConnect,
    authenticate: authenticator(settings, limits.clientIdBytes, (client) => {
      if (mqtt5.sessionOf(client)?.isCleanStart === true) store.forget(client.id);
      store.entering(client);
    }),
    authorizePublish: publishing(parts),
    authorizeSubscribe: (client, filter, done) =>
      filter.nl === true && mqtt5.sessionOf(client)
        ? done(null, null)
        : grants.ask(client, filter.topic, (isGranted) => done(null, isGranted ? filter : null)),
    authorizeForward: forwarding(parts),
  });
  aedes.on("client", store.arrived);
  aedes.on("clientReady", (client) => {
    if (client.clean) return;
    sessions.set(client.conn, client.id);
    store.online(client);
  });
  aedes.on("clientDisconnect", (client) => {
    store.left(client, mqtt5.sessionOf(client)?.expirySecs ?? Number.POSITIVE_INFINITY);
    backpressure.left(client);
  });
  aedes.on("unsubscribe", (topics, client) => grants.drop(client, topics));
  // A client that misbehaves is disconnected by the broker itself; nothing else follows from it.
  aedes.on("clientError", () => {});
  aedes.on("connectionError", () => {});
  return aedes;
}

function publishing(parts: Parts): NonNullable<AedesOptions["authorizePublish"]> {
  const { backpressure, mqtt5, receipts, store } = parts;
  return (sender, packet, done) => {
    const { topic, payload, qos } = packet;
    if (topic.startsWith("$SYS/")) return done(new Error("the topic is the broker's own"));
    if (sender === null) return done(null);
    mqtt5.published(sender, packet, () => hasSubscriber(parts, topic));
    if (sender.closed || qos === 0) return done(null);
    if (store.gatewaysOf(topic).size > 0) receipts.expect(sender, packet);
    backpressure.take({ sender, topic, bytes: payload.length }, () => done(null));
  };
}

function forwarding(parts: Parts): NonNullable<AedesOptions["authorizeForward"]> {
  const { connections, store, mqtt5, onFull } = parts;
  return (client, packet) => {
    // What is retained has no number of the broker's: it comes once, to a new subscription, past the queue.
    if (packet.qos > 0 && Boolean(packet.brokerId) && store.isQueued(client, packet)) return null;
    const isReleased = packet.qos > 0 && store.isReleased(client.id, packet);
    if (!isReleased && !connections.hasRoom(client.conn, packet.payload.length)) {
      onFull("messages for a client that does not read");
      return null;
    }
    return mqtt5.forwarded(client, packet);
  };
}

/** Whether anybody who is connected or comes back gets a message of QoS 1 on the topic. */
export function hasSubscriber(
  { grants, store }: Pick<Parts, "grants" | "store">,
  topic: string,
): boolean {
  return grants.match(topic) || store.hasSession(topic);
}

/** What an id costs in the library and here, of a message of QoS 2 that is not released. */
const UNRELEASED_BYTES = 64;

function withAccounts({ store, grants, connections, mqtt5 }: Parts) {
  const { persistence } = store;
  return {
    ...persistence,
    /** The library keeps all filters of a SUBSCRIBE, also those that were refused. */
    addSubscriptions: (client: Client, filters: readonly Filter[]) =>
      persistence.addSubscriptions(
        client,
        filters.filter(({ topic }) => grants.has(client, topic)),
      ),
    removeSubscriptions(client: Client, topics: readonly string[]) {
      mqtt5.sessionOf(client)?.unsubscribed.push(topics.length);
      return persistence.removeSubscriptions(client, topics);
    },
    async incomingStorePacket(client: Client, packet: BrokerPacket): Promise<void> {
      await persistence.incomingStorePacket(client, packet);
      connections.hold(client.conn, UNRELEASED_BYTES);
    },
    async incomingDelPacket(client: Client, packet: BrokerPacket): Promise<void> {
      await persistence.incomingDelPacket(client, packet);
      connections.hold(client.conn, -UNRELEASED_BYTES);
    },
  };
}
