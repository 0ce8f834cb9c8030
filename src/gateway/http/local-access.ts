import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { isIPv4, isIPv6 } from "node:net";
import type { GatewayStatus } from "../statistics/contract.ts";

/** The names under which a program of this machine reaches it. */
const LOCAL_NAMES: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "[::1]", "::1"]);
/** The caller of requests from this machine. */
export const MACHINE = "this machine";
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
export function isFromThisMachine(request: IncomingMessage): boolean {
  const { socket, headers, httpVersion } = request;
  if (!LOOPBACK.test(socket.remoteAddress ?? "")) return false;
  if (PROXY_HEADERS.some((name) => headers[name] !== undefined)) return false;
  // No browser speaks 1.0, and nginx does unless it is told otherwise.
  return httpVersion !== "1.0" && !isFromForeignPage(request);
}

/**
 * Whether a browser asks for a page that it knows by another name: a proxy that adds no header replaces `Host` alone.
 * A link on another site says `cross-site`.
 */
function isFromForeignPage({ headers }: IncomingMessage): boolean {
  const { origin, referer = "", "sec-fetch-site": site = "same-origin" } = headers;
  const page = origin ?? referer;
  return site === "same-origin" && URL.canParse(page) && !isLocalName(new URL(page).host);
}

/** Whether `Host` names this machine: no foreign page asks by a name that it points here (DNS rebinding). */
export function hasLocalName({ headers: { host = "" } }: IncomingMessage): boolean {
  return isLocalName(host);
}

/** Whether a name, perhaps with a port, or `gateway.host` is one under which only this machine reaches itself. */
export function isLocalName(host: string): boolean {
  return LOCAL_NAMES.has(host.replace(/(?<=[^:]):\d{1,5}$/, "").toLowerCase());
}

/** Whether the page that asks is one of the name by which it asks, as a browser says. */
export function hasOwnOrigin({ origin = "", ...headers }: IncomingHttpHeaders): boolean {
  if (!URL.canParse(origin)) return false;
  const { host } = new URL(origin);
  return host !== "" && (host === headers.host || host === headers["x-forwarded-host"]);
}

/**
 * For whom wrong tokens count: this machine, or an address; of IPv6 the network of 64 bits, in which a machine takes
 * any address. A proxy on this machine writes for which address it asks, behind what its client may have written.
 */
export function callerOf(request: IncomingMessage): string {
  const { remoteAddress = "" } = request.socket;
  if (!LOOPBACK.test(remoteAddress)) return networkOf(remoteAddress);
  if (isFromThisMachine(request)) return MACHINE;
  const forwarded = String(request.headers["x-forwarded-for"] ?? "");
  return networkOf(forwarded.slice(forwarded.lastIndexOf(",") + 1).trim());
}

function networkOf(written: string): string {
  const address = written.replace(/^::ffff:(?=\d+\.)/i, "").replace(/%.*$/, "");
  if (!isIPv6(address)) return isIPv4(address) ? address : "unknown";
  const [head = "", tail] = address.toLowerCase().split("::");
  const [first, last] = [head.split(":"), tail?.split(":") ?? []];
  const zeros = Array.from({ length: Math.max(8 - first.length - last.length, 0) }, () => "0");
  return [...first, ...zeros, ...last].slice(0, 4).join(":");
}

/** What every user of this machine may see: nothing of the texts that `--log-content` remembers. */
export function withoutTexts(status: GatewayStatus): GatewayStatus {
  const recent = status.recent.map(({ question: _q, answer: _a, message: _m, ...facts }) => facts);
  return { ...status, recent };
}
