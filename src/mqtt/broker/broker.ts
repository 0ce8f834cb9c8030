import { timingSafeEqual, createHash } from "node:crypto";
import { createServer, type AddressInfo, type Server } from "node:net";
import type { Duplex } from "node:stream";
import { Aedes } from "aedes";
import type { AedesOptions, Client } from "aedes";
import { settlesWithin } from "../../base/async.ts";
import { Failure } from "../../base/failure.ts";
import { SILENT, type Log } from "../../base/log.ts";
import { shouldLog } from "../../base/log.ts";
import { isLoopback } from "../../base/url.ts";
import { parseBroker } from "../../config/broker.ts";
import type { MqttSettings } from "../../config/contract.ts";
import { packetLimit } from "../limiter/rules.ts";
import { createBackpressure } from "./backpressure.ts";
import { createDeferredAcks } from "./backpressure.ts";
import type { Backpressure } from "./backpressure.ts";
import type { DeferredAcks } from "./backpressure.ts";
import { createConnections, type ConnectionLimits, type Connections } from "./connections.ts";
import { createMqtt5 } from "./mqtt5.ts";
import type { Mqtt5 } from "./mqtt5.ts";
import type { BrokerPacket } from "./queues.ts";
import { createBrokerStore, type BrokerStore, type StoreLimits } from "./sessions.ts";
import type { Filter } from "./sessions.ts";
import { createSubscriptionAcl, type FilterLimits } from "./subscriptions.ts";
import type { SubscriptionAcl } from "./subscriptions.ts";

/** The built-in broker while it listens. It speaks MQTT 3.1.1 and 5, and keeps nothing on disk. */
export interface Broker {
  readonly host: string;
  readonly port: number;
  /**
   * Whether anybody gets a message of that topic that is published now at QoS 1: a client that is connected
   * and subscribed, or one with a session that is kept and a subscription of QoS 1 or 2.
   */
  hasSubscriber(topic: string): boolean;
  close(): Promise<void>;
}

type BrokerSettings = Pick<MqttSettings, "broker" | "username" | "password"> &
  Partial<Pick<MqttSettings, "max_payload_bytes">>;

/** What clients may take of the memory: more than any board serves, less than it has. */
export type BrokerLimits = Omit<ConnectionLimits, "packetBytes"> &
  AedesLimits &
  FilterLimits &
  StoreLimits & {
    readonly connections: number;
    /** Milliseconds without progress after which no client waits for a gateway whose queue is full. */
    readonly stallMs: number;
  };

export const BROKER_LIMITS: BrokerLimits = {
  connections: 1_000,
  connectMs: 10_000,
  clientIdBytes: 256,
  topicLevels: 32,
  stallMs: 60_000,
  unreadBytes: 4_194_304,
  unreadMs: 20_000,
  heldBytes: 33_554_432,
  filters: 100,
  filtersOfAll: 10_000,
  filterBytes: 1_024,
  retained: 1_000,
  retainedBytes: 4_194_304,
  queued: 1_000,
  queuedBytes: 8_388_608,
  requests: 10_000,
  requestBytes: 33_554_432,
  inflight: 1_000,
  sessions: 100,
};

const DEFAULT_PAYLOAD_BYTES = 262_144;
const CLOSE_MS = 1_000;

/**
 * Starts the broker that `embedded` or `embedded://host:port` names (port 0 takes a free one). What goes
 * beyond the limits is told to the log. Throws a `Failure`: `config` beyond the loopback without username
 * and password, `failed` where the port is taken.
 */
export async function openBroker(
  settings: BrokerSettings,
  log: Log = SILENT,
  limits: BrokerLimits = BROKER_LIMITS,
): Promise<Broker> {
  const address = parseBroker(settings.broker);
  if (address.kind !== "embedded")
    throw new Failure("config", "the broker is not the built-in one");
  const { host, port } = address;
  if (!isLoopback(host) && !hasCredentials(settings)) {
    throw new Failure("config", `the built-in broker will not listen on ${host} for everyone`, {
      why: "beyond the loopback anyone could ask and answer",
      remedy: "set username and password of the channel, or use broker: embedded",
    });
  }
  const packetBytes = packetLimit(settings.max_payload_bytes ?? DEFAULT_PAYLOAD_BYTES);
  const parts = createParts({ ...limits, packetBytes }, createLimitLog(log));
  const aedes = await createAedes(settings, limits, parts);
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.setNoDelay(true);
    socket.on("error", () => socket.destroy());
    aedes.handle(parts.connections.accept(socket));
  });
  server.maxConnections = limits.connections;
  try {
    await listening(server, host, port);
  } catch (error) {
    // The library's timers would keep the process alive.
    aedes.close();
    throw error;
  }
  return {
    host,
    port: portOf(server),
    hasSubscriber: (topic) => hasSubscriber(parts, topic),
    close: () => closeAll(aedes, server, parts.connections),
  };
}

function createParts(limits: BrokerLimits & { packetBytes: number }, onFull: OnFull): Parts {
  const sessions = new WeakMap<Duplex, string>();
  const connections = createConnections(limits, (stream) => store.release(sessions.get(stream)));
  const store: BrokerStore = createBrokerStore({
    limits,
    onFull,
    onShorter: (session) => backpressure.onShorter(session),
    hasRoom: ({ conn }, bytes, ahead) => connections.hasRoom(conn, bytes, ahead),
    windowOf: (client) =>
      Math.min(limits.inflight, mqtt5.sessionOf(client)?.receiveMaximum ?? limits.inflight),
    receiptOf: (payload) => receipts.of(payload),
    isWanted: (client, packet) => mqtt5.isWanted(client, packet),
  });
  const receipts = createDeferredAcks({
    send: (stream, bytes) => connections.send(stream, bytes),
    patienceMs: limits.stallMs,
  });
  const mqtt5 = createMqtt5({
    packetBytes: limits.packetBytes,
    translate: (stream, change) => connections.translate(stream, change),
    defersAck: (stream, id, bytes) => receipts.defersAck(stream, id, bytes),
  });
  const backpressure = createBackpressure({
    ...store,
    hold: ({ conn }, bytes) => connections.hold(conn, bytes),
    stallMs: limits.stallMs,
  });
  return {
    connections,
    store,
    grants: createSubscriptionAcl(limits, onFull),
    backpressure,
    mqtt5,
    receipts,
    sessions,
    onFull,
  };
}

function createLimitLog(log: Log): OnFull {
  const told = new Map<string, number>();
  return (what) => {
    const times = (told.get(what) ?? 0) + 1;
    told.set(what, times);
    if (shouldLog(times))
      log.warn("the built-in broker leaves out what is too much", { what, times });
  };
}

function listening(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => {
      reject(
        new Failure("failed", `the built-in broker cannot listen on ${host}:${port}`, {
          why: error.message,
          remedy: "stop what listens there, or choose another port: embedded://127.0.0.1:1884",
          cause: error,
        }),
      );
    });
    server.listen(port, host, resolve);
  });
}

function portOf(server: Server): number {
  const address: AddressInfo | string | null = server.address();
  return typeof address === "object" && address ? address.port : 0;
}

async function closeAll(aedes: Aedes, server: Server, connections: Connections): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  aedes.close();
  connections.destroy();
  await settlesWithin(closed, CLOSE_MS);
}

interface AedesLimits {
  /** Milliseconds in which a CONNECT must be whole. */
  readonly connectMs: number;
  readonly clientIdBytes: number;
  readonly topicLevels: number;
}

/** Is told what there was too much of. */
type OnFull = (what: string) => void;

/** What the library works with. */
interface Parts {
  readonly connections: Connections;
  readonly store: BrokerStore;
  readonly grants: SubscriptionAcl;
  readonly backpressure: Backpressure;
  readonly mqtt5: Mqtt5;
  readonly receipts: DeferredAcks;
  /** Whose the streams are whose client is online. */
  readonly sessions: WeakMap<Duplex, string>;
  readonly onFull: OnFull;
}

/** The broker library, with what it keeps and whom it lets do what. */
async function createAedes(
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
function hasSubscriber({ grants, store }: Pick<Parts, "grants" | "store">, topic: string): boolean {
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

type Credentials = Pick<MqttSettings, "username" | "password">;

function hasCredentials({ username, password }: Credentials): boolean {
  return Boolean(username?.reveal()) && Boolean(password?.reveal());
}

/** Lets in with the credentials of the settings, or anyone where there are none; `onKnown` is told of each. */
function authenticator(
  { username, password }: Credentials,
  clientIdBytes: number,
  onKnown: (client: Client) => void,
): NonNullable<AedesOptions["authenticate"]> {
  return (client, name, word, done) => {
    if (Buffer.byteLength(client.id) > clientIdBytes) {
      return done(Object.assign(new Error("client id too long"), { returnCode: 2 }), false);
    }
    const known =
      username === undefined ||
      (same(name ?? "", username.reveal()) && same(word ?? "", password?.reveal() ?? ""));
    if (known) onKnown(client);
    // Without an error aedes answers a refusal with return code 5, not authorized.
    done(null, known);
  };
}

/** In a time that does not depend on where the two differ. */
function same(left: string | Uint8Array, right: string): boolean {
  return timingSafeEqual(digestOf(left), digestOf(right));
}

function digestOf(text: string | Uint8Array): Buffer {
  return createHash("sha256").update(text).digest();
}
