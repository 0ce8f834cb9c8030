import { hostName } from "../../base/host.ts";
import { isLoopback } from "../../base/url.ts";
import type { MqttSettings } from "../../config/contract.ts";
import { dialAddressOf } from "../../mqtt/client/transport.ts";
import type { GatewayFacts } from "../../mqtt/protocol/info.ts";

/** `every request is answered twice`, for one gateway beside ours. */
function answeredText(others: number): string {
  return `every request is answered ${others === 1 ? "twice" : `${others + 1} times`}`;
}

/** `every request is answered twice, also by the gateway 9f3a… on kitchen (0.1.0, since …)`. */
export function othersText(others: readonly GatewayFacts[]): string {
  const names = others.map(gatewayText).join(" and ");
  const word = others.length === 1 ? "the gateway" : "the gateways";
  return `${answeredText(others.length)}, also by ${word} ${names}`;
}

function gatewayText({ instance, host, version, since }: GatewayFacts): string {
  return `${instance}${host === undefined ? "" : ` on ${host}`} (${version}, since ${since})`;
}

/** Addresses of a local network (RFC 1918, RFC 4193, link-local), and names that only it knows. */
const LOCAL =
  /^(?:10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|169\.254\.|f[cd][0-9a-f]{2}:|fe80:|[^.:]+$)|\.(?:local|lan|home|internal|home\.arpa)$/i;

/**
 * The name of this machine, where the readers of `info` may know it: the brokers are in the local network, or
 * ask for credentials. A public broker tells everyone.
 */
export function announcedHost({ broker, username, tls }: MqttSettings): string | undefined {
  const hasCredentials = username !== undefined || tls.cert_file !== undefined;
  return hasCredentials || broker.every(isLocal) ? hostName() : undefined;
}

function isLocal(broker: string): boolean {
  const address = dialAddressOf(broker);
  return address.kind === "unix" || isLoopback(address.host) || LOCAL.test(address.host);
}
