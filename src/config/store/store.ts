import { dirname } from "node:path";
import type { PostgresAddress, PostgresHost, PostgresTls } from "../../base/contract.ts";
import { Secret } from "../../base/secret.ts";
import { absolutePath } from "../files.ts";
import type { PathBases, Surroundings } from "../files.ts";
import type { Findings } from "../findings.ts";
import { childOf, leaf, textAt, withDeepChild } from "../tree.ts";
import type { Branch } from "../tree.ts";
import { passwordFile } from "./pgpass.ts";
import { parseStore, storeCredentials } from "./store-url.ts";
import type { StoreUrl } from "./store-url.ts";

const STORE = ["gateway", "store"] as const;
const PASSWORD = ["gateway", "store_password"] as const;

/** Seconds for one host to be reached. */
const CONNECT_TIMEOUT = 3;

/**
 * Moves the password of the store's URL to `gateway.store_password`, because URLs are shown. It replaces none from
 * the same layer or a higher one.
 */
export function withoutStorePassword(tree: Branch): Branch {
  const url = childOf(tree, ...STORE);
  if (url?.kind !== "leaf") return tree;
  const { store, password } = storeCredentials(url.text);
  if (password === undefined) return tree;
  const bare = withDeepChild(tree, STORE, leaf(store, url.origin));
  const isGiven = textAt(tree, ...PASSWORD) !== "";
  return isGiven ? bare : withDeepChild(bare, PASSWORD, leaf(password, url.origin));
}

export interface PostgresStore {
  readonly address: PostgresAddress;
  /** Files that hold its secrets. */
  readonly secretFiles: readonly string[];
}

/**
 * The address of a URL, with what libpq's variables and its file of passwords say; undefined, with a problem, if it
 * is wrong.
 */
export function postgresStore(
  tree: Branch,
  findings: Findings,
  place: Surroundings & { readonly file: string },
): PostgresStore | undefined {
  const url = parseStore(textAt(tree, ...STORE));
  const fault = (text: string): undefined => {
    findings.problem(STORE, text);
  };
  if (url.kind === "sqlite") return undefined;
  if (url.kind === "invalid") return fault(`is no store: ${url.reason}`);
  const { env } = place;
  const user = url.user ?? userIn(env);
  if (user === "") {
    return fault("is no store: it has no user, as in postgres://user@db.lan/picoclaw");
  }
  const { sslcert, sslkey, connect_timeout, application_name } = url.parameters;
  if ((sslcert === undefined) !== (sslkey === undefined)) {
    return fault("needs sslcert and sslkey together: a certificate and its private key");
  }
  const named = { user, database: url.database ?? user };
  const tls = tlsOf(url, { folder: dirname(place.file), userHome: place.userHome });
  const { hosts, file } = withPasswords(url, named, {
    own: textAt(tree, ...PASSWORD),
    findings,
    place,
  });
  warnOfOpenNetwork(url, tls, findings);
  const address = {
    ...named,
    hosts,
    tls,
    connectTimeoutMs: (connect_timeout ?? CONNECT_TIMEOUT) * 1000,
    applicationName: application_name ?? (env["PGAPPNAME"] || "picoclaw"),
  };
  return { address, secretFiles: [tls.keyFile, file].filter((each) => each !== undefined) };
}

function userIn(env: Surroundings["env"]): string {
  return env["PGUSER"] || env["USER"] || env["LOGNAME"] || "";
}

/** `sslmode=require` with certificates verifies the server, as libpq does. */
function tlsOf({ parameters }: StoreUrl, bases: PathBases): PostgresTls {
  const { sslmode = "prefer", sslrootcert, sslcert, sslkey } = parameters;
  const absolute = (file: string): string => absolutePath(file, bases);
  const hasRoot = sslrootcert !== undefined && sslrootcert !== "system";
  return {
    mode: sslmode === "require" && sslrootcert !== undefined ? "verify-ca" : sslmode,
    ...(hasRoot && { rootFile: absolute(sslrootcert) }),
    ...(sslcert !== undefined && { certificateFile: absolute(sslcert) }),
    ...(sslkey !== undefined && { keyFile: absolute(sslkey) }),
  };
}

/** The password is that of the configuration, else of `PGPASSWORD`, else of the file for that host. */
function withPasswords(
  url: StoreUrl,
  named: { readonly user: string; readonly database: string },
  facts: {
    readonly own: string;
    readonly findings: Findings;
    readonly place: Surroundings;
  },
): { readonly hosts: readonly PostgresHost[]; readonly file: string | undefined } {
  const { findings, place } = facts;
  const own = facts.own || place.env["PGPASSWORD"];
  if (own) {
    const password = new Secret(own);
    return {
      hosts: url.hosts.map(({ host, port }) => ({ host, port, password })),
      file: undefined,
    };
  }
  const passwords = passwordFile(place);
  if (passwords?.fault !== undefined) {
    findings.warn(STORE, `${passwords.file} ${passwords.fault}`, `chmod 600 ${passwords.file}`);
  }
  const hosts = url.hosts.map(({ host, port }) => {
    const text = passwords?.passwordOf({ host, port, ...named });
    return text === undefined ? { host, port } : { host, port, password: new Secret(text) };
  });
  return { hosts, file: passwords?.file };
}

function warnOfOpenNetwork({ hosts }: StoreUrl, { mode }: PostgresTls, findings: Findings): void {
  if (mode.startsWith("verify-")) return;
  const isFar = hosts.some(({ host }) => !/^(?:\/|localhost$|127\.|::1$)/.test(host));
  if (!isFar) return;
  const text =
    mode === "disable" || mode === "allow"
      ? "its connection is not encrypted: whoever is between reads the password and all conversations"
      : "the certificate of its database is not verified: whoever is between can pose as the database";
  findings.warn(STORE, text, "add ?sslmode=verify-full&sslrootcert=/path/of/ca.pem to the URL");
}
