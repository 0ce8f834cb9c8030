import type { IncomingMessage } from "node:http";
import type { GatewayStatus } from "../statistics/contract.ts";

/** The names under which a program of this machine reaches it. */
const LOCAL_NAMES: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "[::1]"]);
const LOOPBACK = /^(?:::ffff:)?127\.|^::1$/;
/** A proxy adds these: then the connection from this machine does not tell where the request comes from. */
const PROXY_HEADERS = ["x-forwarded-for", "x-forwarded-host", "forwarded", "x-real-ip", "via"];

/**
 * Whether a program or a page of this machine asks. A browser says from which page it asks: that must be one of ours.
 */
export function isLocal(request: IncomingMessage): boolean {
  if (!isFromThisMachine(request) || !hasLocalName(request)) return false;
  const { host = "", origin, "sec-fetch-site": site } = request.headers;
  if (site !== undefined && site !== "same-origin" && site !== "none") return false;
  return origin === undefined || origin === `http://${host}`;
}

/** Whether the connection comes from this machine, and not from a proxy on it that asks for somebody else. */
export function isFromThisMachine({ socket, headers }: IncomingMessage): boolean {
  if (!LOOPBACK.test(socket.remoteAddress ?? "")) return false;
  return PROXY_HEADERS.every((name) => headers[name] === undefined);
}

/** Whether `Host` names this machine: no foreign page asks by a name that it points here (DNS rebinding). */
export function hasLocalName({ headers: { host = "" } }: IncomingMessage): boolean {
  return LOCAL_NAMES.has(host.replace(/:\d{1,5}$/, "").toLowerCase());
}

/** What every user of this machine may see: nothing of the texts that `--log-content` remembers. */
export function withoutTexts(status: GatewayStatus): GatewayStatus {
  const recent = status.recent.map(({ question: _q, answer: _a, message: _m, ...facts }) => facts);
  return { ...status, recent };
}
