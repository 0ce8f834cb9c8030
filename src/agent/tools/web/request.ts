import { lookup as lookupAll } from "node:dns/promises";
import type { ClientRequest } from "node:http";
import { isIP } from "node:net";
import { abortable, startDeadline } from "../../../base/async.ts";
import { Failure } from "../../../base/failure.ts";
import { compressedOption } from "../../../base/host.ts";
import { VERSION } from "../../../base/version.ts";
import type { Fetch } from "../../model/contract.ts";
import { throughProxy } from "../../model/proxy.ts";
import type { IsAllowed } from "./addresses.ts";
import { plainHost } from "./addresses.ts";

/** Resolves all addresses of a name. */
export type Lookup = (host: string) => Promise<readonly { readonly address: string }[]>;

/** A response whose body has not been read yet. */
export interface Answer {
  readonly status: number;
  /** The value of a header, or "". */
  readonly header: (name: string) => string;
  /** The bytes as received, still compressed. Throws if the connection breaks off. */
  readonly body: AsyncIterable<Uint8Array>;
  /** Closes the connection, whether the body was read or not. */
  close(): void;
}

/** The request must not be sent. The message is for a model. */
export class Refusal extends Error {}

export interface RequestOptions {
  readonly isAllowed: IsAllowed;
  readonly lookup?: Lookup;
  /** Fetches through a proxy; absent without one. */
  readonly proxied?: Fetch;
  readonly signal: AbortSignal;
}

const HEADERS = {
  "User-Agent": `Mozilla/5.0 (compatible; picoclaw/${VERSION})`,
  Accept: "text/html,application/xhtml+xml,application/json,text/*;q=0.9,*/*;q=0.5",
  "Accept-Encoding": "gzip, br",
};

/** Addresses of one name that are tried in turn, and milliseconds for each but the last. */
const MAX_ADDRESSES = 4;
const CONNECT_MS = 8_000;
/** Responses with status 1xx before the final one (RFC 9110, 15.2). Some servers send them without end. */
const MAX_INTERIM = 16;
/** Milliseconds to resolve a name if a proxy resolves it anyway. */
const LOOKUP_MS = 3_000;

/**
 * Sends one request and follows no redirect. It resolves the name, checks the addresses and connects to a
 * checked address, so a second DNS answer cannot change the target. Throws a `Refusal` if no address is
 * allowed.
 */
export async function request(url: URL, options: RequestOptions): Promise<Answer> {
  const { proxied } = options;
  if (proxied !== undefined) return await requestThroughProxy(url, proxied, options);
  const addresses = await allowedAddresses(url, options);
  for (const [index, address] of addresses.entries()) {
    const isLast = index === addresses.length - 1;
    try {
      return await requestAt(address, url, { ...options, isLast });
    } catch (error) {
      options.signal.throwIfAborted();
      if (isLast) throw error;
    }
  }
  throw new Error("the host has no address");
}

async function allowedAddresses(url: URL, options: RequestOptions): Promise<string[]> {
  const host = plainHost(url.hostname);
  const all = isIP(host) === 0 ? await resolveHost(host, options) : [host];
  const allowed = all.filter((address) => options.isAllowed(address, host));
  if (allowed.length === 0 && all.length > 0) {
    throw new Refusal("its address is not public, and not on private_host_whitelist");
  }
  return allowed.slice(0, MAX_ADDRESSES);
}

async function resolveHost(host: string, { lookup, signal }: RequestOptions): Promise<string[]> {
  const look = lookup ?? ((name: string) => lookupAll(name, { all: true }));
  const found = await abortable(look(host), signal);
  return [...new Set(found.map(({ address }) => address))];
}

async function requestAt(
  address: string,
  url: URL,
  { signal, isLast }: RequestOptions & { readonly isLast: boolean },
): Promise<Answer> {
  const host = plainHost(url.hostname);
  const isSecure = url.protocol === "https:";
  const { request: send } = await (isSecure ? import("node:https") : import("node:http"));
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const sent = send({
    host: address,
    port: url.port === "" ? (isSecure ? 443 : 80) : Number(url.port),
    path: `${url.pathname}${url.search}`,
    // A new connection: a pool finds connections by name and could return an older one.
    agent: false,
    headers: { Host: url.host, ...HEADERS },
    // The certificate must match the name; without a name, the address.
    ...(isIP(host) === 0 && { servername: host }),
  });
  const onAbort = (): void => void sent.destroy(new Error("broken off"));
  const timer = isLast ? undefined : setTimeout(onAbort, CONNECT_MS);
  signal.addEventListener("abort", onAbort, { once: true });
  sent.on("error", reject);
  boundInterim(sent);
  sent.on("response", (response) => {
    clearTimeout(timer);
    // A reader of the body gets the error too; without a reader it does not matter.
    response.on("error", () => {});
    resolve({
      status: response.statusCode ?? 0,
      header: (name) => [response.headers[name] ?? []].flat().join(", "),
      body: response,
      close() {
        signal.removeEventListener("abort", onAbort);
        sent.destroy();
      },
    });
  });
  sent.end();
  try {
    return await promise;
  } catch (error) {
    signal.removeEventListener("abort", onAbort);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function boundInterim(sent: ClientRequest): void {
  let count = 0;
  sent.on("information", () => {
    count += 1;
    if (count > MAX_INTERIM) sent.destroy(new Error("it sends interim responses without end"));
  });
}

/** The proxy resolves names that this machine cannot. A name with no allowed address is refused. */
async function requestThroughProxy(
  url: URL,
  proxied: Fetch,
  options: RequestOptions,
): Promise<Answer> {
  const limit = startDeadline(LOOKUP_MS, { parent: options.signal });
  try {
    await allowedAddresses(url, { ...options, signal: limit.signal });
  } catch (error) {
    options.signal.throwIfAborted();
    if (error instanceof Refusal) throw error;
  } finally {
    limit.close();
  }
  const { signal } = options;
  const compressed = compressedOption();
  const address = `${url.origin}${url.pathname}${url.search}`;
  const response = await proxied(address, {
    signal,
    redirect: "manual",
    headers: HEADERS,
    ...compressed,
  });
  const isDecompressed = compressed === undefined;
  return {
    status: response.status,
    header: (name) =>
      isDecompressed && name === "content-encoding" ? "" : (response.headers.get(name) ?? ""),
    body: response.body ?? new ReadableStream<Uint8Array>(),
    close: () => void response.body?.cancel().catch(() => {}),
  };
}

/** A `fetch` through `tools.web.proxy`; an error for the model if this runtime has no proxies. */
export function proxiedFetch(fetch: Fetch, proxy: string): Fetch | string {
  try {
    return throughProxy(fetch, proxy, "tools.web");
  } catch (thrown) {
    if (!(thrown instanceof Failure)) throw thrown;
    const { message, why } = thrown;
    return `error: ${message}${why === undefined ? "" : `: ${why}`}`;
  }
}
