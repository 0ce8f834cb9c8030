import { timingSafeEqual, createHash } from "node:crypto";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { Aedes, type AedesOptions } from "aedes";
import { Failure } from "../base/failure.ts";
import { parseBroker } from "../config/broker.ts";
import type { MqttSettings } from "../config/contract.ts";

/** The built-in broker while it listens. It speaks MQTT 3.1.1 and keeps nothing on disk. */
export interface Broker {
  readonly host: string;
  readonly port: number;
  close(): Promise<void>;
}

type BrokerSettings = Pick<MqttSettings, "broker" | "username" | "password">;

/** More at once than any board serves; a flood of connections must not take the memory. */
const MAX_CONNECTIONS = 1_000;
const CLOSE_MS = 1_000;

/**
 * Starts the broker that `embedded` or `embedded://host:port` names (port 0 takes a free one). Throws a
 * `Failure`: `config` beyond the loopback without username and password, `failed` where the port is taken.
 */
export async function openBroker(settings: BrokerSettings): Promise<Broker> {
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
  const aedes = await Aedes.createBroker({ authenticate: authenticator(settings) });
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    aedes.handle(socket);
  });
  server.maxConnections = MAX_CONNECTIONS;
  // A client that misbehaves is disconnected by the broker itself; nothing else follows from it.
  aedes.on("clientError", () => {});
  aedes.on("connectionError", () => {});
  await listening(server, host, port);
  return { host, port: portOf(server), close: () => closeAll(aedes, server, sockets) };
}

function hasCredentials({ username, password }: BrokerSettings): boolean {
  return Boolean(username?.reveal()) && Boolean(password?.reveal());
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}

function authenticator({
  username,
  password,
}: BrokerSettings): NonNullable<AedesOptions["authenticate"]> {
  return (_client, name, word, done) => {
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

async function closeAll(aedes: Aedes, server: Server, sockets: Set<Socket>): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  const late = Promise.withResolvers<void>();
  const timer = setTimeout(late.resolve, CLOSE_MS);
  aedes.close();
  for (const socket of sockets) socket.destroy();
  await Promise.race([closed, late.promise]);
  clearTimeout(timer);
}
