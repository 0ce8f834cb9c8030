import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { asFailure, codeOf, Failure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import { authorityOf } from "../base/url.ts";
import { hasLocalName, isLocal, isLocalName, withoutTexts } from "./http/local-access.ts";
import type { GatewayStatus } from "./statistics/contract.ts";

export type Readiness =
  | { readonly ready: true }
  | { readonly ready: false; readonly reason: string };

export interface HealthOptions {
  /** `localhost` is 127.0.0.1 and, with IPv6, ::1; it is not looked up by DNS. */
  readonly host: string;
  /** 0 picks a free port. */
  readonly port: number;
  readonly pid?: number;
  readonly ready: () => Readiness;
  /** What `GET /status` shows to this machine, and `GET /metrics` to all; both are absent without it. */
  readonly status?: () => Promise<GatewayStatus>;
  readonly log: Log;
  /** Answers all other requests. Must not reject. Without it they are not found. */
  readonly others?:
    | ((request: IncomingMessage, response: ServerResponse) => Promise<void>)
    | undefined;
}

/** What answers GET and HEAD of one path. */
interface Route {
  /**
   * `all`: whoever reaches the port, as for `/health`. `named`: the same, but on loopback alone by a name of this machine.
   * `local`: programs and pages of this machine.
   */
  readonly access: "all" | "named" | "local";
  /** Ends the response. A rejection is logged, and the answer is 500 if none has begun. */
  readonly answer: (request: IncomingMessage, response: ServerResponse) => Promise<void>;
}

/** Serves `/health`, `/ready`, `/status`, `/metrics` and the page. */
export interface Health {
  /** The URLs it listens on, such as `http://127.0.0.1:18790`. */
  readonly addresses: readonly string[];
  /** Closes at once, with all open connections. */
  close(): Promise<void>;
}

/** A probe is one small request: slower or larger ones, and further connections, are closed. */
const BOUNDS = {
  headersTimeout: 5000,
  requestTimeout: 5000,
  keepAliveTimeout: 5000,
  connectionsCheckingInterval: 1000,
  maxHeaderSize: 8192,
};
const LONGEST_SILENCE_MS = 10_000;
const CONNECTIONS = 64;
/** Attempts to find a port that is free on both loopback addresses. */
const TRIES = 5;

/** Listens, or throws a `Failure` that names the port and its setting. */
export async function openHealth(options: HealthOptions): Promise<Health> {
  const handler = createHandler(options);
  const servers = await listenOn(options, handler);
  return {
    addresses: servers.map(addressOf),
    close: async () => {
      await Promise.all(servers.map(close));
    },
  };
}

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

interface Reply {
  readonly status: number;
  readonly body: object;
}

function createHandler(options: HealthOptions): Handler {
  const { host, log, others } = options;
  const routes = new Map([...probesOf(options), ...statusRoutes(options.status)]);

  return (request, response) => {
    const route = routes.get(request.url?.split("?", 1)[0] ?? "");
    const { method = "" } = request;
    if (route === undefined && others) void others(request, response);
    else if (route === undefined) send(response, method, NOT_FOUND);
    else if (!mayAsk(route, request, host)) send(response, method, FORBIDDEN);
    else if (READING.includes(method)) void answerWith(route, request, response, log);
    else send(response.setHeader("allow", READING.join(", ")), method, NOT_ALLOWED);
  };
}

/** A gateway that listens on other interfaces is meant to be asked by its address or its name. */
function mayAsk({ access }: Route, request: IncomingMessage, host: string): boolean {
  if (access === "local") return isLocal(request);
  return access === "all" || !isLocalName(host) || hasLocalName(request);
}

async function answerWith(
  route: Route,
  request: IncomingMessage,
  response: ServerResponse,
  log: Log,
): Promise<void> {
  try {
    await route.answer(request, response);
  } catch (thrown) {
    log.error("HTTP request failed", { path: request.url, why: asFailure(thrown).why });
    if (response.headersSent) response.destroy();
    else send(response, request.method ?? "", FAILED);
  }
}

function probesOf({ pid, ready, log }: HealthOptions): readonly (readonly [string, Route])[] {
  const startedAt = performance.now();
  const uptime = (): number => Math.floor((performance.now() - startedAt) / 1000);
  const health = (): Reply => ({
    status: 200,
    body: { status: "ok", uptime: uptime(), ...(pid === undefined ? {} : { pid }) },
  });
  const readiness = (): Reply => {
    const state = readinessOf(ready, log);
    if (state.ready) return { status: 200, body: { status: "ready", uptime: uptime() } };
    const body = { status: "not ready", reason: state.reason, uptime: uptime() };
    return { status: 503, body };
  };
  return [
    ["/health", probeOf(health)],
    ["/ready", probeOf(readiness)],
  ];
}

function probeOf(reply: () => Reply): Route {
  return {
    access: "all",
    async answer({ method = "" }, response) {
      send(response, method, reply());
    },
  };
}

/** Client ids are for this machine alone; metrics have none. Texts are for the socket, which has an owner. */
function statusRoutes(status: HealthOptions["status"]): readonly (readonly [string, Route])[] {
  if (status === undefined) return [];
  const json: Route = {
    access: "local",
    async answer({ method = "" }, response) {
      send(response, method, { status: 200, body: withoutTexts(await status()) });
    },
  };
  const metrics: Route = {
    access: "named",
    async answer({ method = "" }, response) {
      const { METRICS_TYPE, metricsText } = await import("./http/metrics.ts");
      sendText(response, method, {
        status: 200,
        type: METRICS_TYPE,
        text: metricsText(await status()),
      });
    },
  };
  return [
    ["/status", json],
    ["/metrics", metrics],
  ];
}

const READING: readonly string[] = ["GET", "HEAD"];
const FORBIDDEN: Reply = { status: 403, body: { status: "only for this machine" } };
const FAILED: Reply = { status: 500, body: { status: "failed" } };
const NOT_FOUND: Reply = { status: 404, body: { status: "not found" } };
const NOT_ALLOWED: Reply = { status: 405, body: { status: "method not allowed" } };

function readinessOf(ready: HealthOptions["ready"], log: Log): Readiness {
  try {
    return ready();
  } catch (thrown) {
    log.error("readiness check failed", { why: asFailure(thrown).why });
    return { ready: false, reason: "the state is unknown" };
  }
}

function send(response: ServerResponse, method: string, { status, body }: Reply): void {
  const text = `${JSON.stringify(body)}\n`;
  sendText(response, method, { status, type: "application/json", text });
}

function sendText(
  response: ServerResponse,
  method: string,
  { status, type, text }: { readonly status: number; readonly type: string; readonly text: string },
): void {
  response.writeHead(status, {
    "content-type": type,
    "content-length": Buffer.byteLength(text),
    "cache-control": "no-store",
  });
  response.end(method === "HEAD" ? undefined : text);
}

async function listenOn(options: HealthOptions, handler: Handler): Promise<Server[]> {
  const { host, port } = options;
  if (host !== "localhost") return [await listen(handler, host, port)];
  for (let left = TRIES; ; left--) {
    const first = await listen(handler, "127.0.0.1", port);
    try {
      return [first, ...(await listenOnIPv6(handler, portOf(first)))];
    } catch (thrown) {
      await close(first);
      // A picked port may be in use on the other address: pick another.
      if (port !== 0 || left === 0) throw thrown;
    }
  }
}

const NO_IPV6: ReadonlySet<string> = new Set(["EADDRNOTAVAIL", "EAFNOSUPPORT", "EINVAL"]);

async function listenOnIPv6(handler: Handler, port: number): Promise<Server[]> {
  try {
    return [await listen(handler, "::1", port)];
  } catch (thrown) {
    if (thrown instanceof Failure && NO_IPV6.has(codeOf(thrown.cause))) return [];
    throw thrown;
  }
}

function listen(handler: Handler, host: string, port: number): Promise<Server> {
  const server = createServer(BOUNDS, handler);
  server.maxConnections = CONNECTIONS;
  server.setTimeout(LONGEST_SILENCE_MS);
  return new Promise((resolve, reject) => {
    server.once("error", (error) => reject(cannotListen(error, host, port)));
    server.listen(port, host, () => resolve(server));
  });
}

function cannotListen(error: Error, host: string, port: number): Failure {
  const code = codeOf(error);
  const taken = code === "EADDRINUSE";
  const why = taken
    ? `another process listens on port ${port} (setting gateway.port)`
    : `${error.message} (settings gateway.host and gateway.port)`;
  return new Failure("failed", `cannot listen on ${host} port ${port}`, {
    why,
    remedy: taken
      ? "stop that process (another picoclaw gateway?), or set PICOCLAW_GATEWAY_PORT to a free port"
      : "set gateway.host to an address of this machine, and gateway.port to one that may be used",
    cause: error,
  });
}

function addressInfoOf(server: Server): AddressInfo | undefined {
  const address = server.address();
  return typeof address === "object" && address !== null ? address : undefined;
}

function portOf(server: Server): number {
  return addressInfoOf(server)?.port ?? 0;
}

function addressOf(server: Server): string {
  const { address = "", port = 0 } = addressInfoOf(server) ?? {};
  return `http://${authorityOf(address, port)}`;
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
