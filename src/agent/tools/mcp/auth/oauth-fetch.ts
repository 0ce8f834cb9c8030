import type { FetchLike } from "@modelcontextprotocol/client";
import { fromJson, textAt } from "../../../../base/unknown.ts";
import { isLoopback } from "../../../../base/url.ts";
import type { Fetch } from "../../../model/contract.ts";
import { ServerError } from "../server-error.ts";

/** Milliseconds for one answer of an authorization server. */
const PATIENCE_MS = 20_000;
/** Bytes of its answers. */
const MAX_BODY = 2 ** 20;

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
 * Sends the requests of OAuth, whose addresses a server can name: by https, or to the server itself; on this
 * machine to all that is there.
 * A refusal of the token endpoint is thrown with its code only, because its text could hold what was sent.
 */
export function oauthFetch(fetch: Fetch, server: string): FetchLike {
  return async (address, init) => {
    const url = new URL(String(address));
    if (!isAllowed(url, server)) {
      throw new ServerError(
        "token",
        `${url.origin}, which gives its tokens, is not reached by https`,
      );
    }
    const isPost = init?.method === "POST";
    const signals = [AbortSignal.timeout(PATIENCE_MS), ...(init?.signal ? [init.signal] : [])];
    const response = await fetch(url.href, {
      ...init,
      signal: AbortSignal.any(signals),
      ...(isPost && { redirect: "error" }),
    });
    const body = await boundedBody(response);
    if (isPost && !response.ok && isForm(init)) {
      throw new TokenRefusal(codeIn(body));
    }
    const { status, statusText, headers } = response;
    return new Response(isBodiless(status) ? null : body, { status, statusText, headers });
  };
}

/** Whether an address that a server names is one for secrets. */
export function isAllowed(url: URL, server: string): boolean {
  const { origin, hostname } = new URL(server);
  if (url.protocol === "https:" || url.origin === origin) return true;
  return url.protocol === "http:" && isLoopback(url.hostname) && isLoopback(hostname);
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
