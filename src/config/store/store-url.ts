import { nearestWord } from "../../base/spelling.ts";
import { decodeUrlPart } from "../../base/url.ts";
import { didYouMean, quotable } from "../findings.ts";

/** A PostgreSQL URL as it is written, without its password. */
export interface StoreUrl {
  readonly kind: "postgres";
  readonly user: string | undefined;
  readonly database: string | undefined;
  /** A host that begins with `/` is the folder of a socket. */
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  readonly parameters: StoreParameters;
}

export interface StoreParameters {
  readonly sslmode: SslMode | undefined;
  readonly sslrootcert: string | undefined;
  readonly sslcert: string | undefined;
  readonly sslkey: string | undefined;
  /** Seconds. */
  readonly connect_timeout: number | undefined;
  readonly application_name: string | undefined;
}

type SslMode = (typeof SSL_MODES)[number];

/** Why a text names no store. The reason never quotes the text, which can hold a password. */
export interface InvalidStore {
  readonly kind: "invalid";
  readonly reason: string;
}

const SSL_MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] as const;
/** The store needs a server that takes writes, so these mean the same. */
const TARGETS = ["any", "read-write", "primary"];
const PARAMETERS = [
  "host",
  "port",
  "sslmode",
  "sslrootcert",
  "sslcert",
  "sslkey",
  "connect_timeout",
  "application_name",
  "target_session_attrs",
] as const;
const DEFAULT_PORT = 5432;
const EXAMPLE = "as in postgres://user@db1.lan,db2.lan/picoclaw";

/**
 * Reads `sqlite`, or a URL as libpq does (PostgreSQL's documentation, section 34.1.1.2): several hosts with commas,
 * `postgres://user@%2Fvar%2Frun%2Fpostgresql/db` for a socket. Ignores a password in it, which `storeCredentials`
 * reads. Never throws.
 */
export function parseStore(text: string): { readonly kind: "sqlite" } | StoreUrl | InvalidStore {
  if (text === "sqlite") return { kind: "sqlite" };
  if (/[\s\p{Cc}\p{Cs}]/u.test(text)) return invalid("it contains a blank or a control character");
  const [, scheme, rest = ""] = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/is.exec(text) ?? [];
  if (scheme === undefined || !/^postgres(?:ql)?$/i.test(scheme)) {
    return invalid(`it is neither "sqlite" nor a URL that begins with postgres://`);
  }
  return urlOf(rest);
}

/** What follows the scheme. */
function urlOf(rest: string): StoreUrl | InvalidStore {
  const { authority, path, query } = partsOf(rest);
  if (/[#@]/.test(path)) {
    return invalid("a # / or @ in a user name or password must be written as %23, %2F or %40");
  }
  const parameters = parametersIn(query);
  if ("reason" in parameters) return parameters;
  const end = authority.lastIndexOf("@");
  const hosts = hostsIn(authority.slice(end + 1), parameters.words);
  if ("reason" in hosts) return hosts;
  const [user = ""] = authority.slice(0, Math.max(end, 0)).split(":");
  return {
    kind: "postgres",
    user: decodeUrlPart(user) || undefined,
    database: decodeUrlPart(path.slice(1)) || undefined,
    hosts: hosts.hosts,
    parameters: parameters.values,
  };
}

/** Splits the password (percent-decoded) off a URL of PostgreSQL, so that the rest can be shown. */
export function storeCredentials(text: string): {
  readonly store: string;
  readonly password?: string;
} {
  const [, start = "", rest] = /^(postgres(?:ql)?:\/\/)(.*)$/is.exec(text) ?? [];
  if (rest === undefined) return { store: text };
  const { authority } = partsOf(rest);
  const end = authority.lastIndexOf("@");
  const [user = "", ...password] = end === -1 ? [] : authority.slice(0, end).split(":");
  if (password.length === 0) return { store: text };
  return {
    store: `${start}${user}${rest.slice(end)}`,
    password: decodeUrlPart(password.join(":")),
  };
}

function partsOf(rest: string) {
  const authority = rest.slice(0, rest.search(/[/?#]|$/));
  const [path = "", ...query] = rest.slice(authority.length).split("?");
  return { authority, path, query: query.join("?") };
}

interface Words {
  readonly host?: string | undefined;
  readonly port?: string | undefined;
}

function parametersIn(
  query: string,
): { readonly values: StoreParameters; readonly words: Words } | InvalidStore {
  const given = new Map(new URLSearchParams(query.replaceAll("+", "%2B")));
  const fault = faultOfNames(given.keys()) ?? faultOfValues(given);
  if (fault !== undefined) return invalid(fault);
  const text = (name: (typeof PARAMETERS)[number]) => given.get(name) || undefined;
  const seconds = text("connect_timeout");
  return {
    values: {
      sslmode: SSL_MODES.find((mode) => mode === given.get("sslmode")),
      connect_timeout: seconds === undefined ? undefined : Number(seconds),
      sslrootcert: text("sslrootcert"),
      sslcert: text("sslcert"),
      sslkey: text("sslkey"),
      application_name: text("application_name"),
    },
    words: { host: text("host"), port: text("port") },
  };
}

function faultOfNames(names: Iterable<string>): string | undefined {
  for (const name of names) {
    if (/pass/i.test(name)) {
      return "its password must not be a parameter: set gateway.store_password";
    }
    if (PARAMETERS.some((known) => known === name)) continue;
    return `its parameter ${quotable(name)} is unknown${didYouMean(nearestWord(name, PARAMETERS))}`;
  }
  return undefined;
}

function faultOfValues(given: ReadonlyMap<string, string>): string | undefined {
  const {
    target_session_attrs = "any",
    sslmode,
    connect_timeout = "1",
  } = Object.fromEntries(given);
  if (!TARGETS.includes(target_session_attrs)) {
    return `its target_session_attrs must be ${TARGETS.join(", ")}: a store is written to`;
  }
  if (sslmode !== undefined && !SSL_MODES.some((mode) => mode === sslmode)) {
    return `its sslmode must be one of ${SSL_MODES.join(", ")}`;
  }
  return /^(?:[1-9]\d?|[12]\d\d|300)$/.test(connect_timeout)
    ? undefined
    : "its connect_timeout is not a number of seconds from 1 to 300";
}

type Host = StoreUrl["hosts"][number];

/** The hosts of the authority, or those of the parameters. */
function hostsIn(
  authority: string,
  words: Words,
): { readonly hosts: readonly Host[] } | InvalidStore {
  const ports = words.port?.split(",") ?? [];
  const portAt = (index: number): string => (ports.length === 1 ? ports[0] : ports[index]) ?? "";
  const hosts: Host[] = [];
  for (const [index, text] of (authority || words.host || "").split(",").entries()) {
    const host = hostOf(authority === "" ? encodeURIComponent(text) : text, portAt(index));
    if ("reason" in host) return host;
    hosts.push(host);
  }
  return { hosts };
}

/** Reads `name`, `address:port` or `[address]:port`, percent-encoded. */
function hostOf(text: string, otherPort: string): Host | InvalidStore {
  const [, address, name = "", own] =
    /^(?:\[([^\]]+)\]|([^:[\]\\"<>^`{|}]*))(?::(\d*))?$/.exec(text) ?? [];
  const host = address ?? decodeUrlPart(name);
  if (host === "") return invalid(`it has no host, ${EXAMPLE}`);
  if (address !== undefined && !URL.canParse(`http://[${address}]`)) {
    return invalid("its host is not an IPv6 address");
  }
  const port = portOf(own || otherPort);
  return port === undefined ? invalid("its port is not a number from 1 to 65535") : { host, port };
}

function portOf(text: string): number | undefined {
  if (text === "") return DEFAULT_PORT;
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65_535 ? port : undefined;
}

function invalid(reason: string): InvalidStore {
  return { kind: "invalid", reason };
}
