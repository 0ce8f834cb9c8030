import { lookup as lookupAll } from "node:dns/promises";
import type { ClientRequest } from "node:http";
import { isIP } from "node:net";
import { abortable, onAbort, startDeadline } from "../../../base/async.ts";
import { Failure } from "../../../base/failure.ts";
import { compressedOption } from "../../../base/host.ts";
import { VERSION } from "../../../base/version.ts";
import type { Fetch } from "../../model/contract.ts";
import { throughProxy } from "../../model/proxy.ts";
import { ToolError } from "../contract.ts";
import type { IsAllowed } from "./addresses.ts";
import { plainHost } from "./addresses.ts";
import { readBody } from "./body.ts";
import type { Body, ByteBudget, Received } from "./body.ts";

/** A page that was fetched. */
export interface Page {
  /** The URL after all redirects. */
  readonly url: URL;
  readonly status: number;
  /** The content type that the server sent, or "". */
  readonly type: string;
  /** Absent if the type is not a text type. */
  readonly body?: Body | undefined;
  /** The content length that the server sent, or "". */
  readonly length: string;
}

export interface PageOptions {
  readonly isAllowed: IsAllowed;
  /** Default: the resolver of the system. */
  readonly lookup?: Lookup | undefined;
  /** Fetches through a proxy; absent without one. */
  readonly proxied?: Fetch | undefined;
  readonly signal: AbortSignal;
  /** The most bytes of a body. */
  readonly most: number;
  /** Limits the bytes of all bodies that are being read. */
  readonly budget: ByteBudget;
  /** Total time, from the first DNS lookup to the last byte. */
  readonly milliseconds: number;
}

/** Resolves all addresses of a name. */
export type Lookup = (host: string) => Promise<readonly { readonly address: string }[]>;

/** The request must not be sent. The message is for a model. */
export class Refusal extends Error {}

const MAX_REDIRECTS = 5;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/**
 * Fetches a page and follows redirects; each redirect is checked like the first URL. Throws a `Refusal` for
 * a URL that must not be fetched, an error in plain words if it cannot be, and the signal's reason.
 */
export async function fetchPage(start: URL, options: PageOptions): Promise<Page> {
  const limit = startDeadline(options.milliseconds, { parent: options.signal });
  try {
    return await followRedirects(start, { ...options, signal: limit.signal });
  } catch (error) {
    options.signal.throwIfAborted();
    if (!limit.isOver()) throw error;
    throw new Error(`no answer within ${options.milliseconds / 1000} s`, { cause: error });
  } finally {
    limit.close();
  }
}

async function followRedirects(start: URL, options: PageOptions): Promise<Page> {
  let url = start;
  for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects += 1) {
    assertFetchable(url);
    const answer = await request(url, options);
    try {
      const next = REDIRECTS.has(answer.status) ? answer.header("location") : "";
      if (next === "") return await pageOf(url, answer, options);
      url = nextUrl(next, url);
    } finally {
      answer.close();
    }
  }
  throw new Error(`it redirects more than ${MAX_REDIRECTS} times`);
}

function nextUrl(location: string, base: URL): URL {
  const url = URL.parse(location, base.href);
  if (url === null) throw new Error("it redirects to an invalid URL");
  if (url.hash === "") url.hash = base.hash;
  return url;
}

async function pageOf(url: URL, answer: Answer, options: PageOptions): Promise<Page> {
  const { status, header } = answer;
  const type = header("content-type").trim().slice(0, 200);
  const body = isText(type) ? await readBody(answer, options) : undefined;
  return { url, status, type, body, length: header("content-length") };
}

/** Whether bodies of a type are text. A body without a type may be text too. */
function isText(type: string): boolean {
  const name = type.split(";")[0]?.trim().toLowerCase() ?? "";
  return (
    name === "" ||
    name.startsWith("text/") ||
    /^application\/(?:.*\+)?(?:json|xml|yaml|x-yaml|toml|javascript|ecmascript|x-javascript|x-ndjson|ndjson|jsonl|sql|x-sh|graphql|x-www-form-urlencoded|rtf|x-tex|xhtml)$/.test(
      name,
    ) ||
    name === "image/svg+xml"
  );
}

/**
 * Ports of services with another protocol that could misread a request as their own: those that browsers
 * block (WHATWG Fetch, "port blocking"), and those of brokers, databases and desktops.
 */
const REFUSED_PORTS: ReadonlySet<number> = new Set([
  0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102,
  103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 445,
  465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 873, 989,
  990, 993, 995, 1433, 1521, 1719, 1720, 1723, 1883, 2049, 3306, 3389, 3659, 4045, 4190, 5060, 5061,
  5432, 5671, 5672, 5900, 6000, 6379, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 8883, 9092,
  10080, 11211, 27017,
]);

/**
 * Checks a URL before its name is resolved, also at each redirect. Throws a `Refusal` for other schemes, for
 * credentials in the URL (`https://bank.example@evil.example` hides its host), and for blocked ports.
 */
function assertFetchable(url: URL): void {
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new Refusal("only http and https URLs can be fetched");
  }
  if (url.username !== "" || url.password !== "") {
    throw new Refusal("URLs with a user name or a password are not fetched");
  }
  if (url.port !== "" && REFUSED_PORTS.has(Number(url.port))) {
    throw new Refusal(`port ${url.port} is blocked`);
  }
}

/** A response whose body has not been read yet. */
interface Answer extends Received {
  readonly status: number;
  /** Closes the connection, whether the body was read or not. */
  close(): void;
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
async function request(url: URL, options: PageOptions): Promise<Answer> {
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

async function allowedAddresses(url: URL, options: PageOptions): Promise<string[]> {
  const host = plainHost(url.hostname);
  const all = isIP(host) === 0 ? await resolveHost(host, options) : [host];
  const allowed = all.filter((address) => options.isAllowed(address, host));
  if (allowed.length === 0 && all.length > 0) {
    throw new Refusal("its address is not public, and not on private_host_whitelist");
  }
  return allowed.slice(0, MAX_ADDRESSES);
}

async function resolveHost(host: string, { lookup, signal }: PageOptions): Promise<string[]> {
  const look = lookup ?? ((name: string) => lookupAll(name, { all: true }));
  const found = await abortable(look(host), signal);
  return [...new Set(found.map(({ address }) => address))];
}

async function requestAt(
  address: string,
  url: URL,
  { signal, isLast }: PageOptions & { readonly isLast: boolean },
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
  const breakOff = (): void => void sent.destroy(new Error("broken off"));
  const timer = isLast ? undefined : setTimeout(breakOff, CONNECT_MS);
  const stopListening = onAbort(signal, breakOff);
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
        stopListening();
        sent.destroy();
      },
    });
  });
  sent.end();
  try {
    return await promise;
  } catch (error) {
    stopListening();
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
  options: PageOptions,
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

/** A `fetch` through `tools.web.proxy`. Throws a `ToolError` if this runtime has no proxies. */
export function proxiedFetch(fetch: Fetch, proxy: string): Fetch {
  try {
    return throughProxy(fetch, proxy, "tools.web");
  } catch (thrown) {
    if (!(thrown instanceof Failure)) throw thrown;
    const { message, why } = thrown;
    throw new ToolError(`${message}${why === undefined ? "" : `: ${why}`}`);
  }
}
