import type { FetchLike } from "@modelcontextprotocol/client";
import { fromJson, textAt } from "../../../../base/unknown.ts";
import { isLoopback } from "../../../../base/url.ts";
import type { Fetch } from "../../../model/contract.ts";
import { ServerError } from "../server-error.ts";

/** Milliseconds for one answer of an authorization server. */
const PATIENCE_MS = 20_000;
/** Bytes of its answers. */
const MAX_BODY = 2 ** 20;
const MAX_REDIRECTS = 3;

/** The token endpoint refused, with a code of RFC 6749, section 5.2; "" if it gave none. */
export class TokenRefusal extends ServerError {
  readonly code: string;

  constructor(code: string) {
    super(
      "token",
      `its authorization server gives no token: ${code || "it refuses without a code"}`,
    );
    this.code = code;
  }
}

/**
 * Sends the requests of OAuth, whose addresses a server can name, and where these lead on: by https, or to the server
 * itself; on this machine to all that is there.
 * A refusal of the token endpoint is thrown with its code only, because its text could hold what was sent.
 */
export function oauthFetch(fetch: Fetch, server: string): FetchLike {
  return async (address, init) => {
    const signals = [AbortSignal.timeout(PATIENCE_MS), ...(init?.signal ? [init.signal] : [])];
    const limited = { ...init, signal: AbortSignal.any(signals) };
    const response = await followed(fetch, server, new URL(String(address)), limited);
    const body = await boundedBody(response);
    if (isPost(init) && !response.ok && isForm(init)) {
      throw new TokenRefusal(codeIn(body));
    }
    const { status, statusText, headers } = response;
    return new Response(isBodiless(status) ? null : body, { status, statusText, headers });
  };
}

async function followed(
  fetch: Fetch,
  server: string,
  address: URL,
  init: RequestInit,
): Promise<Response> {
  let url = address;
  for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects += 1) {
    if (!isAllowed(url, server)) {
      throw new ServerError(
        "token",
        `${url.origin}, which gives its tokens, is not reached by https`,
      );
    }
    if (isPost(init)) return fetch(url.href, { ...init, redirect: "error" });
    const response = await fetch(url.href, { ...init, redirect: "manual" });
    const next = response.status < 400 ? response.headers.get("location") : null;
    if (next === null) return response;
    await response.body?.cancel();
    url = new URL(next, url);
  }
  throw new ServerError("token", "its authorization server redirects without an end");
}

/** Whether an address that a server names is one for secrets. */
export function isAllowed(url: URL, server: string): boolean {
  const { origin, hostname } = new URL(server);
  if (url.protocol === "https:" || url.origin === origin) return true;
  return url.protocol === "http:" && isLoopback(url.hostname) && isLoopback(hostname);
}

function isPost(init: RequestInit | undefined): boolean {
  return init?.method === "POST";
}

function isForm(init: RequestInit | undefined): boolean {
  return new Headers(init?.headers).get("content-type")?.includes("form-urlencoded") === true;
}

function isBodiless(status: number): boolean {
  return status === 204 || status === 304;
}

async function boundedBody({ body }: Response): Promise<string> {
  if (body === null) return "";
  const decoder = new TextDecoder();
  let [text, bytes] = ["", 0];
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > MAX_BODY) throw new ServerError("token", "its authorization server sends too much");
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

function codeIn(body: string): string {
  try {
    const code = textAt(fromJson(body), "error");
    if (/^[\w-]{1,40}$/.test(code)) return code;
  } catch {
    // It is no JSON.
  }
  return "";
}
