import { createServer, type AddressInfo, type Server } from "node:net";
import type { Duplex } from "node:stream";
import type { Aedes } from "aedes";
import { Failure } from "../base/failure.ts";
import { SILENT, type Log } from "../base/log.ts";
import { isLoopback } from "../base/loopback.ts";
import { isTold } from "../base/thin.ts";
import { parseBroker } from "../config/broker.ts";
import type { MqttSettings } from "../config/contract.ts";
import {
  createAedes,
  hasSubscriber,
  type AedesLimits,
  type OnFull,
  type Parts,
} from "./broker-aedes.ts";
import { createBackpressure } from "./broker-backpressure.ts";
import {
  createConnections,
  type ConnectionLimits,
  type Connections,
} from "./broker-connections.ts";
import { hasCredentials } from "./broker-credentials.ts";
import { createGrants, type FilterLimits } from "./broker-filters.ts";
import { createMqtt5 } from "./broker-mqtt5.ts";
import { createReceipts } from "./broker-receipts.ts";
import { createBrokerStore, type BrokerStore, type StoreLimits } from "./broker-store.ts";
import { packetLimit } from "./packet-rules.ts";

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
    readonly patienceMs: number;
  };

export const BROKER_LIMITS: BrokerLimits = {
  connections: 1_000,
  connectMs: 10_000,
  clientIdBytes: 256,
  topicLevels: 32,
  patienceMs: 60_000,
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
  const parts = createParts({ ...limits, packetBytes }, createTelling(log));
  const aedes = await createAedes(settings, limits, parts);
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.setNoDelay(true);
    socket.on("error", () => socket.destroy());
    aedes.handle(parts.connections.accept(socket));
  });
  server.maxConnections = limits.connections;
  await listening(server, host, port);
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
  const receipts = createReceipts({
    send: (stream, bytes) => connections.send(stream, bytes),
    patienceMs: limits.patienceMs,
  });
  const mqtt5 = createMqtt5({
    packetBytes: limits.packetBytes,
    translate: (stream, change) => connections.translate(stream, change),
    keepsBack: (stream, id, bytes) => receipts.keepsBack(stream, id, bytes),
  });
  const backpressure = createBackpressure({
    ...store,
    hold: ({ conn }, bytes) => connections.hold(conn, bytes),
    patienceMs: limits.patienceMs,
  });
  return {
    connections,
    store,
    grants: createGrants(limits, onFull),
    backpressure,
    mqtt5,
    receipts,
    sessions,
    onFull,
  };
}

function createTelling(log: Log): OnFull {
  const told = new Map<string, number>();
  return (what) => {
    const times = (told.get(what) ?? 0) + 1;
    told.set(what, times);
    if (isTold(times)) log.warn("the built-in broker leaves out what is too much", { what, times });
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
  const late = Promise.withResolvers<void>();
  const timer = setTimeout(late.resolve, CLOSE_MS);
  aedes.close();
  connections.destroy();
  await Promise.race([closed, late.promise]);
  clearTimeout(timer);
}
