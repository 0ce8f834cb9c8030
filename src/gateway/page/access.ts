import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { hasLocalName, isFromThisMachine } from "../http/local-access.ts";

/**
 * Who a request of the page is from: `full` showed the token; `local` is from this machine without it, and sees no
 * text of anyone; `none` has to show the token first; `refused` came with the name of another site.
 */
export type Access = "full" | "local" | "none" | "refused";

export interface AccessOptions {
  /** The token that opens everything. Read again for each login. */
  readonly token: () => Promise<string>;
  readonly now: () => number;
}

/** Decides who sees what. */
export interface AccessControl {
  accessOf(request: IncomingMessage): Promise<Access>;
  /** The cookie of whoever knows the token; undefined for a wrong one, `"later"` after too many of those. */
  login(token: string): Promise<string | undefined>;
  /** Whether another login may be tried now. */
  mayTry(): boolean;
}

const COOKIE = "picoclaw_page";
/** Wrong tokens a minute, of everyone together. */
const WRONG_PER_MINUTE = 10;

export function createAccessControl({ token, now }: AccessOptions): AccessControl {
  // Whoever logged in does so again after a restart.
  const key = randomBytes(32);
  const digest = (text: string): Buffer => createHmac("sha256", key).update(text).digest();
  const isSame = (left: string, right: string): boolean =>
    timingSafeEqual(digest(left), digest(right));
  const cookieFor = (text: string): string => digest(`cookie ${text}`).toString("base64url");
  let wrong: readonly number[] = [];

  const knowsToken = async (request: IncomingMessage): Promise<boolean> => {
    const bearer = /^Bearer (.{1,512})$/.exec(request.headers.authorization ?? "")?.[1];
    const cookie = cookieOf(request);
    if (bearer === undefined && cookie === undefined) return false;
    const expected = await token();
    if (cookie !== undefined && isSame(cookie, cookieFor(expected))) return true;
    if (bearer === undefined) return false;
    return isRight(bearer, expected);
  };
  const mayTry = (): boolean => {
    wrong = wrong.filter((at) => now() - at < 60_000);
    return wrong.length < WRONG_PER_MINUTE;
  };
  const isRight = (shown: string, expected: string): boolean => {
    if (!mayTry()) return false;
    if (isSame(shown, expected)) return true;
    wrong = [...wrong, now()];
    return false;
  };

  return {
    async accessOf(request) {
      if (await knowsToken(request)) return "full";
      if (!isFromThisMachine(request)) return "none";
      return hasLocalName(request) ? "local" : "refused";
    },
    async login(shown) {
      const expected = await token();
      if (!isRight(shown, expected)) return undefined;
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
