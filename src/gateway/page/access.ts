import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { callerOf, hasLocalName, isFromThisMachine, MACHINE } from "../http/local-access.ts";

/**
 * Who a request of the page is from: `full` showed the token; `local` is from this machine without it, and sees no
 * text of anyone; `none` has to show the token first; `refused` came with the name of another site.
 */
export type Access = "full" | "local" | "none" | "refused";

export interface AccessOptions {
  /** The token that opens everything. Read again for each request that shows it, or its cookie. */
  readonly token: () => Promise<string>;
  readonly now: () => number;
}

/** Decides who sees what. */
export interface AccessControl {
  accessOf(request: IncomingMessage): Promise<Access>;
  /** The cookie of whoever knows the token; undefined for a wrong one, and after too many of those. */
  login(request: IncomingMessage, token: string): Promise<string | undefined>;
  /** Whether another login may be tried now. */
  mayTry(request: IncomingMessage): boolean;
}

const COOKIE = "picoclaw_page";
/** Wrong tokens a minute: of this machine, of each address, and of all addresses together that are too many. */
const WRONG_PER_MINUTE = 10;
const ADDRESSES = 64;
const FURTHER = "further addresses";

export function createAccessControl({ token, now }: AccessOptions): AccessControl {
  // Whoever logged in does so again after a restart.
  const key = randomBytes(32);
  const digest = (text: string): Buffer => createHmac("sha256", key).update(text).digest();
  const isSame = (left: string, right: string): boolean =>
    timingSafeEqual(digest(left), digest(right));
  const cookieFor = (text: string): string => digest(`cookie ${text}`).toString("base64url");
  /** The times of wrong tokens in the last minute. */
  const wrong = new Map<string, readonly number[]>();

  const knowsToken = async (request: IncomingMessage): Promise<boolean> => {
    const bearer = /^Bearer (.{1,512})$/.exec(request.headers.authorization ?? "")?.[1];
    const cookie = cookieOf(request);
    if (bearer === undefined && cookie === undefined) return false;
    const expected = await token();
    if (cookie !== undefined && isSame(cookie, cookieFor(expected))) return true;
    return bearer !== undefined && isRight(request, bearer, expected);
  };
  /** Where the wrong tokens of a caller are counted. */
  const counterOf = (request: IncomingMessage): string => {
    for (const [caller, times] of wrong) {
      const recent = times.filter((at) => now() - at < 60_000);
      if (recent.length === 0) wrong.delete(caller);
      else wrong.set(caller, recent);
    }
    const caller = callerOf(request);
    const isCounted = wrong.has(caller) || wrong.size < ADDRESSES || caller === MACHINE;
    return isCounted ? caller : FURTHER;
  };
  const mayTry = (request: IncomingMessage): boolean =>
    (wrong.get(counterOf(request)) ?? []).length < WRONG_PER_MINUTE;
  const isRight = (request: IncomingMessage, shown: string, expected: string): boolean => {
    if (!mayTry(request)) return false;
    if (isSame(shown, expected)) return true;
    const counter = counterOf(request);
    wrong.set(counter, [...(wrong.get(counter) ?? []), now()]);
    return false;
  };

  return {
    async accessOf(request) {
      if (await knowsToken(request)) return "full";
      if (!isFromThisMachine(request)) return "none";
      return hasLocalName(request) ? "local" : "refused";
    },
    async login(request, shown) {
      const expected = await token();
      if (!isRight(request, shown, expected)) return undefined;
      // Without a path it is of the folder that the browser sees, also behind a proxy.
      return `${COOKIE}=${cookieFor(expected)}; HttpOnly; SameSite=Strict`;
    },
    mayTry,
  };
}

/** What ends a login. */
export const EXPIRED_COOKIE = `${COOKIE}=; HttpOnly; SameSite=Strict; Max-Age=0`;

function cookieOf({ headers }: IncomingMessage): string | undefined {
  const found = /(?:^|; )picoclaw_page=([A-Za-z0-9_-]{1,128})(?:;|$)/.exec(headers.cookie ?? "");
  return found?.[1];
}

/**
 * Whether the page itself sent this form. Browsers say so in `Sec-Fetch-Site` where the connection is safe, and
 * otherwise send the origin, which must be the host.
 */
export function isOwnForm({ headers }: IncomingMessage): boolean {
  const site = headers["sec-fetch-site"];
  if (site !== undefined) return site === "same-origin";
  const { origin } = headers;
  // Not a browser: it has no cookies of others to use.
  if (origin === undefined) return headers.authorization !== undefined;
  if (!URL.canParse(origin)) return false;
  const { host } = new URL(origin);
  return host !== "" && (host === headers.host || host === headers["x-forwarded-host"]);
}
