import { nearestWord } from "../base/spelling.ts";
import { decodeUrlPart } from "../base/url.ts";

/** Where a broker listens, as `settings.broker` names it. */
export type BrokerAddress =
  | {
      readonly kind: "tcp" | "tls" | "ws" | "wss";
      /** A name or an address; an IPv6 address without its brackets. */
      readonly host: string;
      readonly port: number;
      /** With its query; `/` by default. MQTT over TCP or TLS ignores it. */
      readonly path: string;
    }
  | { readonly kind: "unix"; readonly path: string }
  /** The built-in broker; port 0 is a free one. */
  | { readonly kind: "embedded"; readonly host: string; readonly port: number };

/** Why a text is not a broker. The reason never quotes the text, which can hold a password. */
export interface InvalidBroker {
  readonly kind: "invalid";
  readonly reason: string;
}

export interface BrokerCredentials {
  /** The text without the credentials. */
  readonly broker: string;
  readonly username?: string;
  readonly password?: string;
}

type Transport = Exclude<BrokerAddress["kind"], "unix" | "embedded">;

const TRANSPORTS: ReadonlyMap<string, Transport> = new Map<string, Transport>([
  ["tcp", "tcp"],
  ["mqtt", "tcp"],
  ["ssl", "tls"],
  ["tls", "tls"],
  ["mqtts", "tls"],
  ["mqtt+ssl", "tls"],
  ["tcps", "tls"],
  ["ws", "ws"],
  ["wss", "wss"],
]);

const DEFAULT_PORTS = { tcp: 1883, tls: 8883, ws: 80, wss: 443 } as const;
const SCHEMES = [...TRANSPORTS.keys(), "unix", "embedded"];
const LOOPBACK = "127.0.0.1";

/**
 * Reads a broker URL: `mqtts://broker.lan`, `tcp://[::1]:1883`, `ws://host/mqtt`,
 * `unix:///run/mosquitto.sock`, `embedded`, `host:port`. Ignores credentials in it, which
 * `brokerCredentials` reads. Never throws.
 */
export function parseBroker(text: string): BrokerAddress | InvalidBroker {
  const { scheme, rest } = splitScheme(text);
  if (text === "embedded") return { kind: "embedded", host: LOOPBACK, port: DEFAULT_PORTS.tcp };
  if (/[\s\p{Cc}\p{Cs}]/u.test(text)) return invalid("it contains a blank or a control character");
  if (scheme === "unix") {
    if (rest.startsWith("/") && !rest.endsWith("/")) return { kind: "unix", path: rest };
    return invalid("a socket needs its absolute path, as in unix:///run/mosquitto.sock");
  }
  const parts = partsOf(brokerCredentials(rest).broker);
  if ("reason" in parts) return parts;
  if (scheme === "embedded") return embedded(parts);
  const kind = TRANSPORTS.get(scheme);
  if (kind === undefined) return unknownScheme(scheme);
  if (parts.host === "") return invalid("it has no host");
  const port = portOf(parts.port, DEFAULT_PORTS[kind], 1);
  if (port === undefined) return invalid("its port is not a number from 1 to 65535");
  return { kind, host: parts.host, port, path: parts.path };
}

/** Splits user name and password (percent-decoded) off a broker URL, so that the rest can be shown. */
export function brokerCredentials(text: string): BrokerCredentials {
  const { start, rest } = splitScheme(text);
  const authority = rest.slice(0, rest.search(/[/?#]|$/));
  const end = authority.lastIndexOf("@");
  if (end === -1) return { broker: text };
  const broker = `${start}${rest.slice(end + 1)}`;
  const [username = "", ...password] = authority.slice(0, end).split(":");
  const named = username === "" ? {} : { username: decodeUrlPart(username) };
  return password.length === 0
    ? { broker, ...named }
    : { broker, ...named, password: decodeUrlPart(password.join(":")) };
}

interface Parts {
  readonly host: string;
  readonly port: string;
  readonly path: string;
}

/** Splits `host:port/path`; port and path may be missing. */
function partsOf(text: string): Parts | InvalidBroker {
  const authority = text.slice(0, text.search(/[/?]|$/));
  const path = text.slice(authority.length);
  if (/[#@]/.test(path) || authority.includes("#")) {
    return invalid("a # / or @ in a user name or password must be written as %23, %2F or %40");
  }
  const [, address, name, port = ""] =
    /^(?:\[([^\]]*)\]|([^:[\]%\\"<>^`{|}@]*))(?::([^:]*))?$/.exec(authority) ?? [];
  if (address === undefined && name === undefined) {
    return invalid("its host is not a name or an address; IPv6 is written as in tcp://[::1]:1883");
  }
  if (address !== undefined && !isIPv6(address)) return invalid("its host is not an IPv6 address");
  return { host: address ?? name ?? "", port, path: path.startsWith("/") ? path : `/${path}` };
}

function embedded({ host, port, path }: Parts): BrokerAddress | InvalidBroker {
  const number = portOf(port, DEFAULT_PORTS.tcp, 0);
  if (number === undefined) return invalid("its port is not a number from 0 to 65535");
  if (path !== "/")
    return invalid("the built-in broker has no path, as in embedded://127.0.0.1:1883");
  return { kind: "embedded", host: host || LOOPBACK, port: number };
}

function splitScheme(text: string): { scheme: string; start: string; rest: string } {
  const [start, scheme] = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text) ?? ["", "tcp"];
  return { scheme: (scheme ?? "tcp").toLowerCase(), start, rest: text.slice(start.length) };
}

function portOf(text: string, otherwise: number, least: number): number | undefined {
  if (text === "") return otherwise;
  const port = /^\d{1,5}$/.test(text) ? Number(text) : NaN;
  return port >= least && port <= 65_535 ? port : undefined;
}

/** RFC 4291, with the zone of a link-local address (RFC 4007). */
function isIPv6(text: string): boolean {
  const [address = "", ...zone] = text.split("%");
  return zone.every((word) => /^[\w.-]+$/.test(word)) && URL.canParse(`http://[${address}]`);
}

function unknownScheme(scheme: string): InvalidBroker {
  const nearest = nearestWord(scheme, SCHEMES);
  const meant = nearest === undefined ? "" : ` (did you mean ${nearest}?)`;
  return invalid(`its scheme is unknown${meant}; use ${SCHEMES.join(", ")}`);
}

function invalid(reason: string): InvalidBroker {
  return { kind: "invalid", reason };
}
