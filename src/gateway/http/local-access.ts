import type { IncomingMessage } from "node:http";
import type { GatewayStatus } from "../statistics/contract.ts";

/** The names under which a program of this machine reaches it. */
const LOCAL_NAMES: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "[::1]"]);
const LOOPBACK = /^(?:::ffff:)?127\.|^::1$/;

/**
 * Whether a program or a page of this machine asks: the connection comes from it, and `Host` names it, so that no
 * foreign page can ask by a name that it points to this machine (DNS rebinding). A browser also says from which page
 * it asks: that must be one of ours. A proxy on this machine asks for somebody else, so it is refused.
 */
export function isLocal({ socket, headers }: IncomingMessage): boolean {
  if (!LOOPBACK.test(socket.remoteAddress ?? "")) return false;
  if (headers["x-forwarded-for"] !== undefined || headers.forwarded !== undefined) return false;
  const { host = "", origin } = headers;
  if (!LOCAL_NAMES.has(host.replace(/:\d+$/, "").toLowerCase())) return false;
  const site = headers["sec-fetch-site"];
  if (site !== undefined && site !== "same-origin" && site !== "none") return false;
  return origin === undefined || origin === `http://${host}`;
}

/** What every user of this machine may see: nothing of the texts that `--log-content` remembers. */
export function withoutTexts(status: GatewayStatus): GatewayStatus {
  const recent = status.recent.map(({ question: _q, answer: _a, message: _m, ...facts }) => facts);
  return { ...status, recent };
}
