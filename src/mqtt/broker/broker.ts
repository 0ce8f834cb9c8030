import { timingSafeEqual, createHash } from "node:crypto";
import { createServer, type AddressInfo, type Server } from "node:net";
import type { Duplex } from "node:stream";
import { Aedes, type AedesOptions, type Client } from "aedes";
import { settlesWithin } from "../../base/async.ts";
import { Failure } from "../../base/failure.ts";
import { SILENT, type Log, shouldLog } from "../../base/log.ts";
import { authorityOf, isLoopback } from "../../base/url.ts";
import { parseBroker } from "../../config/broker.ts";
import type { MqttSettings } from "../../config/contract.ts";
import { packetLimit } from "../limiter/framing.ts";
import { ProtocolFault } from "../limiter/packet-limiter.ts";
import { agentAddressOf, requestFilter } from "../protocol/topics.ts";
import { Backpressure } from "./backpressure.ts";
import { createConnections, type ConnectionLimits, type Connections } from "./connections.ts";
import { DeferredAcks } from "./deferred-acks.ts";
import { createMqtt5, type Mqtt5 } from "./mqtt5.ts";
import type { BrokerPacket } from "./queues.ts";
import { createBrokerStore, type BrokerStore, type StoreLimits, type Filter } from "./sessions.ts";
import { SubscriptionAcl, type FilterLimits } from "./subscriptions.ts";

/** The running built-in broker. It speaks MQTT 3.1.1 and 5, and keeps nothing on disk. */
export interface Broker {
  readonly host: string;
  readonly port: number;
  /**
   * Whether a message that is published to the topic now at QoS 1 has a receiver: a connected client that is
   * subscribed, or a persistent session with a subscription of QoS 1 or 2.
   */
  hasSubscriber(topic: string): boolean;
  /**
   * Makes requests of QoS 1 and 2 wait until a gateway with these settings is subscribed: it connects after
   * devices can, and what is acknowledged before would be lost.
   */
  awaitGateway(settings: Pick<MqttSettings, "topic_prefix" | "agent_id" | "qos">): void;
  close(): Promise<void>;
}

type BrokerSettings = { readonly broker: string } & Pick<MqttSettings, "username" | "password"> &
  Partial<Pick<MqttSettings, "max_payload_bytes">>;

/** Bounds on what clients use: more than any board serves, less than its memory. */
export type BrokerLimits = Omit<ConnectionLimits, "packetBytes"> &
  AedesLimits &
  FilterLimits &
  StoreLimits & {
    readonly connections: number;
    /**
     * Milliseconds without progress after which clients no longer wait for a gateway whose queue is full, and
     * a gateway no longer for a client.
     */
    readonly stallMs: number;
    /** Milliseconds without progress of a client after which a gateway must keep an answer for it. */
    readonly answerMs: number;
  };

export const BROKER_LIMITS: BrokerLimits = {
  connections: 1_000,
  connectMs: 10_000,
  clientIdBytes: 256,
  topicLevels: 32,
  stallMs: 60_000,
  answerMs: 5_000,
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
 * Starts the broker at the address `embedded` or `embedded://host:port` (port 0 is a free one). It logs what
 * exceeds the limits. Throws a `Failure`: `config` beyond the loopback without username and password,
 * `failed` if the port is taken.
 */
export async function openBroker(
  settings: BrokerSettings,
  log: Log = SILENT,
  limits: BrokerLimits = BROKER_LIMITS,
): Promise<Broker> {
  const address = parseBroker(settings.broker);
  if (address.kind !== "embedded")
    throw new Failure("config", "the broker is not the built-in broker");
  const { host, port } = address;
  if (!isLoopback(host) && !hasCredentials(settings)) {
    throw new Failure(
      "config",
      `the built-in broker does not listen on ${host} without a password`,
      {
        why: "beyond the loopback anyone could pose as a client or as the gateway",
        remedy: "set username and password of the channel, or use broker: embedded",
      },
    );
  }
  const packetBytes = packetLimit(settings.max_payload_bytes ?? DEFAULT_PAYLOAD_BYTES);
  const parts = createParts({ ...limits, packetBytes }, createLimitLog(log));
  const aedes = await createAedes(settings, limits, parts);
  const logFault = createFaultLog(log);
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.setNoDelay(true);
    socket.on("error", (error) => {
      if (error instanceof ProtocolFault) logFault(error.message);
      socket.destroy();
    });
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
    awaitGateway(gateway) {
      if (gateway.qos === 0) return;
      parts.backpressure.awaitSubscription(requestFilter(agentAddressOf(gateway)));
    },
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
    deferredAckOf: (payload) => deferredAcks.of(payload),
    isWanted: (client, packet) => mqtt5.isWanted(client, packet),
  });
  const deferredAcks = new DeferredAcks({
    ...limits,
    send: (stream, bytes) => connections.send(stream, bytes),
    onRefused: (sender, messageId) => mqtt5.refused(sender, messageId),
    isConnected: store.isConnected,
  });
  const mqtt5 = createMqtt5({
    packetBytes: limits.packetBytes,
    translate: (stream, change) => connections.translate(stream, change),
    defersAck: (stream, id, encode) => deferredAcks.defersAck(stream, id, encode),
  });
  const backpressure = new Backpressure({
    ...store,
    hold: ({ conn }, bytes) => connections.hold(conn, bytes),
    stallMs: limits.stallMs,
  });
  return {
    connections,
    store,
    grants: new SubscriptionAcl(limits, onFull),
    backpressure,
    mqtt5,
    deferredAcks,
    sessions,
    onFull,
  };
}

function createLimitLog(log: Log): OnFull {
  const counts = new Map<string, number>();
  return (what) => {
    const times = (counts.get(what) ?? 0) + 1;
    counts.set(what, times);
    if (shouldLog(times)) log.warn("built-in broker dropped data over a limit", { what, times });
  };
}

/** Logs which packet ended a client's connection: the client is not told, and may send it again and again. */
function createFaultLog(log: Log): (why: string) => void {
  let times = 0;
  return (why) => {
    times += 1;
    if (shouldLog(times)) log.warn("built-in broker disconnected a client", { why, times });
  };
}

function listening(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => {
      reject(
        new Failure("failed", `the built-in broker cannot listen on ${authorityOf(host, port)}`, {
          why: error.message,
          remedy:
            "stop the program that listens there, or choose another port: embedded://127.0.0.1:1884",
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

/** Called with what exceeded a limit. */
type OnFull = (what: string) => void;

/** The parts that the library calls. */
interface Parts {
  readonly connections: Connections;
  readonly store: BrokerStore;
  readonly grants: SubscriptionAcl;
  readonly backpressure: Backpressure;
  readonly mqtt5: Mqtt5;
  readonly deferredAcks: DeferredAcks;
  /** The session of each stream whose client is connected. */
  readonly sessions: WeakMap<Duplex, string>;
  readonly onFull: OnFull;
}

/** The broker library with our persistence, authentication and authorization. */
async function createAedes(
  settings: Pick<MqttSettings, "username" | "password">,
  limits: AedesLimits,
  parts: Parts,
): Promise<Aedes> {
  const { store, grants, backpressure, sessions, mqtt5, deferredAcks } = parts;
  const connected = new Map<string, Client>();
  const aedes = await Aedes.createBroker({
    persistence: withAccounts(parts),
    connectTimeout: limits.connectMs,
    // We keep only packet ids of them, and count those with the client's memory.
    maxInflightInbound: 0,
    maxTopicLevels: limits.topicLevels,
    preConnect: mqtt5.preConnect,
    authenticate: authenticator(settings, limits.clientIdBytes, (client) => {
      const former = connected.get(client.id);
      const endsFormer = former !== undefined && mqtt5.isCleanSession(former);
      if (endsFormer || mqtt5.lifetimeOf(client).isCleanStart) store.forget(client.id);
      store.connecting(client);
    }),
    authorizePublish: publishing(parts),
    authorizeSubscribe: (client, filter, done) =>
      filter.nl === true && mqtt5.sessionOf(client)
        ? done(null, null)
        : grants.ask(client, filter.topic, (isGranted) => done(null, isGranted ? filter : null)),
    authorizeForward: forwarding(parts),
  });
  aedes.on("client", (client) => {
    connected.set(client.id, client);
    store.connected(client, mqtt5.lifetimeOf(client).isCleanStart);
  });
  aedes.on("clientReady", (client) => {
    sessions.set(client.conn, client.id);
    store.online(client);
  });
  aedes.on("clientDisconnect", (client) => {
    if (connected.get(client.id) === client) connected.delete(client.id);
    store.disconnected(client, mqtt5.lifetimeOf(client).expirySecs);
    deferredAcks.disconnected(client.id);
    backpressure.disconnected(client);
  });
  aedes.on("unsubscribe", (topics, client) => grants.drop(client, topics));
  // The library itself disconnects a client that misbehaves; we need not do anything.
  aedes.on("clientError", () => {});
  aedes.on("connectionError", () => {});
  return aedes;
}

function publishing(parts: Parts): NonNullable<AedesOptions["authorizePublish"]> {
  const { backpressure, mqtt5, deferredAcks, store } = parts;
  return (sender, packet, done) => {
    const { topic, payload, qos, retain } = packet;
    if (topic.startsWith("$SYS/")) return done(new Error("the topic is the broker's own"));
    if (sender === null) return done(null);
    const isHeard = (): boolean => hasSubscriber(parts, topic) || backpressure.isAwaited(topic);
    mqtt5.published(sender, packet, isHeard);
    if (sender.closed || qos === 0) return done(null);
    backpressure.take({ sender, topic, bytes: payload.length }, () => {
      if (store.gatewaysOf(topic).size > 0) deferredAcks.expect(sender, "request", packet);
      else if (!retain && store.isAnswer(sender.id, topic))
        deferredAcks.expect(sender, "answer", packet);
      done(null);
    });
  };
}

function forwarding(parts: Parts): NonNullable<AedesOptions["authorizeForward"]> {
  const { connections, store, mqtt5, onFull } = parts;
  return (client, packet) => {
    // A retained message has no broker id: it comes once, to a new subscription, and bypasses the queue.
    if (packet.qos > 0 && Boolean(packet.brokerId) && store.isQueued(client, packet)) return null;
    const isReleased = packet.qos > 0 && store.isReleased(client.id, packet);
    if (!isReleased && !connections.hasRoom(client.conn, packet.payload.length)) {
      onFull("messages for a client that does not read");
      return null;
    }
    return mqtt5.forwarded(client, packet);
  };
}

/** Whether a connected client or a persistent session gets a message of QoS 1 on the topic. */
function hasSubscriber({ grants, store }: Pick<Parts, "grants" | "store">, topic: string): boolean {
  return grants.match(topic) || store.hasSession(topic);
}

/** The cost of the id of an unreleased message of QoS 2, in the library and here. */
const UNRELEASED_BYTES = 64;

function withAccounts({ store, grants, connections, mqtt5, backpressure }: Parts) {
  const { persistence } = store;
  return {
    ...persistence,
    /** The library adds all filters of a SUBSCRIBE, also refused ones. */
    async addSubscriptions(client: Client, filters: readonly Filter[]): Promise<void> {
      const granted = filters.filter(({ topic }) => grants.has(client, topic));
      await persistence.addSubscriptions(client, granted, !mqtt5.isCleanSession(client));
      for (const { topic } of granted) backpressure.subscribed(topic);
    },
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

/** Accepts the credentials of the settings, or everyone if there are none; calls `onAccepted` for each client. */
function authenticator(
  { username, password }: Credentials,
  clientIdBytes: number,
  onAccepted: (client: Client) => void,
): NonNullable<AedesOptions["authenticate"]> {
  return (client, name, secret, done) => {
    if (Buffer.byteLength(client.id) > clientIdBytes) {
      return done(Object.assign(new Error("client id too long"), { returnCode: 2 }), false);
    }
    const isAccepted =
      username === undefined ||
      (same(name ?? "", username.reveal()) && same(secret ?? "", password?.reveal() ?? ""));
    if (isAccepted) onAccepted(client);
    // Without an error aedes answers a refusal with return code 5, not authorized.
    done(null, isAccepted);
  };
}

/** Compares in constant time. */
function same(left: string | Uint8Array, right: string): boolean {
  return timingSafeEqual(digestOf(left), digestOf(right));
}

function digestOf(text: string | Uint8Array): Buffer {
  return createHash("sha256").update(text).digest();
}
