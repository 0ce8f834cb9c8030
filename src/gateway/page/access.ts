import type { IncomingMessage } from "node:http";
import { hasLocalName, hasOwnOrigin, isFromThisMachine } from "../http/local-access.ts";
import { bearerOf, createTokenCheck } from "../http/token-check.ts";

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

export function createAccessControl({ token, now }: AccessOptions): AccessControl {
  // Whoever logged in does so again after a restart.
  const { digest, isSame, mayTry, countWrong } = createTokenCheck(now);
  const cookieFor = (text: string): string => digest(`cookie ${text}`).toString("base64url");

  const knowsToken = async (request: IncomingMessage): Promise<boolean> => {
    const bearer = bearerOf(request);
    const cookie = cookieOf(request);
    if (bearer === undefined && cookie === undefined) return false;
    const expected = await token();
    if (cookie !== undefined && isSame(cookie, cookieFor(expected))) return true;
    return bearer !== undefined && isRight(request, bearer, expected);
  };
  const isRight = (request: IncomingMessage, shown: string, expected: string): boolean => {
    if (!mayTry(request)) return false;
    if (isSame(shown, expected)) return true;
    countWrong(request);
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
  // Not a browser: it has no cookies of others to use.
  if (headers.origin === undefined) return headers.authorization !== undefined;
  return hasOwnOrigin(headers);
}
