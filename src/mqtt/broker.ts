import { timingSafeEqual, createHash } from "node:crypto";
import { createServer, type AddressInfo, type Server } from "node:net";
import { Aedes, type AedesOptions, type Client } from "aedes";
import { Failure } from "../base/failure.ts";
import { SILENT, type Log } from "../base/log.ts";
import { isTold } from "../base/thin.ts";
import { parseBroker } from "../config/broker.ts";
import type { MqttSettings } from "../config/contract.ts";
import {
  createConnections,
  type ConnectionLimits,
  type Connections,
} from "./broker-connections.ts";
import { createGrants, type FilterLimits, type Grants } from "./broker-filters.ts";
import {
  createBrokerStore,
  type BrokerStore,
  type Filter,
  type StoreLimits,
} from "./broker-store.ts";
import { packetLimit } from "./packet-rules.ts";

/** The built-in broker while it listens. It speaks MQTT 3.1.1 and keeps nothing on disk. */
export interface Broker {
  readonly host: string;
  readonly port: number;
  close(): Promise<void>;
}

type BrokerSettings = Pick<MqttSettings, "broker" | "username" | "password"> &
  Partial<Pick<MqttSettings, "max_payload_bytes">>;

/** What clients may take of the memory: more than any board serves, less than it has. */
export type BrokerLimits = Omit<ConnectionLimits, "packetBytes"> &
  FilterLimits &
  StoreLimits & {
    readonly connections: number;
    /** Milliseconds in which a CONNECT must be whole. */
    readonly connectMs: number;
    readonly clientIdBytes: number;
    /** Messages of QoS 2 that one client may leave unreleased. */
    readonly unreleased: number;
    readonly topicLevels: number;
  };

export const BROKER_LIMITS: BrokerLimits = {
  connections: 1_000,
  connectMs: 10_000,
  clientIdBytes: 256,
  unreleased: 100,
  topicLevels: 32,
  unreadBytes: 4_194_304,
  unreadMs: 20_000,
  heldBytes: 33_554_432,
  filters: 100,
  filtersOfAll: 10_000,
  filterBytes: 1_024,
  retained: 1_000,
  retainedBytes: 4_194_304,
  queued: 100,
  queuedBytes: 8_388_608,
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
  const connections = createConnections({ ...limits, packetBytes });
  const aedes = await createAedes(settings, limits, { connections, onFull: createTelling(log) });
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.setNoDelay(true);
    socket.on("error", () => socket.destroy());
    aedes.handle(connections.accept(socket));
  });
  server.maxConnections = limits.connections;
  await listening(server, host, port);
  return { host, port: portOf(server), close: () => closeAll(aedes, server, connections) };
}

type OnFull = (what: string) => void;

async function createAedes(
  settings: BrokerSettings,
  limits: BrokerLimits,
  { connections, onFull }: { connections: Connections; onFull: OnFull },
): Promise<Aedes> {
  const store = createBrokerStore(limits, onFull);
  const grants = createGrants(limits, onFull);
  const aedes = await Aedes.createBroker({
    persistence: withGrants(store, grants),
    connectTimeout: limits.connectMs,
    maxInflightInbound: limits.unreleased,
    maxTopicLevels: limits.topicLevels,
    authenticate: authenticator(settings, limits.clientIdBytes),
    authorizeSubscribe: (client, filter, done) =>
      grants.ask(client, filter.topic, (isGranted) => done(null, isGranted ? filter : null)),
    authorizeForward(client, packet) {
      if (connections.hasRoom(client.conn, packet.payload.length)) return packet;
      onFull("messages for a client that does not read");
      return null;
    },
  });
  aedes.on("client", store.arrived);
  aedes.on("clientDisconnect", store.left);
  aedes.on("unsubscribe", (topics, client) => grants.drop(client, topics));
  // A client that misbehaves is disconnected by the broker itself; nothing else follows from it.
  aedes.on("clientError", () => {});
  aedes.on("connectionError", () => {});
  return aedes;
}

/** The library keeps all filters of a SUBSCRIBE, also those that were refused. */
function withGrants(store: BrokerStore, grants: Grants) {
  return {
    ...store,
    addSubscriptions: (client: Client, filters: readonly Filter[]) =>
      store.addSubscriptions(
        client,
        filters.filter(({ topic }) => grants.has(client, topic)),
      ),
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

function hasCredentials({ username, password }: BrokerSettings): boolean {
  return Boolean(username?.reveal()) && Boolean(password?.reveal());
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}

function authenticator(
  { username, password }: BrokerSettings,
  clientIdBytes: number,
): NonNullable<AedesOptions["authenticate"]> {
  return ({ id }, name, word, done) => {
    if (Buffer.byteLength(id) > clientIdBytes) {
      return done(Object.assign(new Error("client id too long"), { returnCode: 2 }), false);
    }
    const known =
      username === undefined ||
      (same(name ?? "", username.reveal()) && same(word ?? "", password?.reveal() ?? ""));
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
