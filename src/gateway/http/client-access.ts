import type { IncomingMessage } from "node:http";
import { hasOwnOrigin, isLocal } from "./local-access.ts";
import { bearerOf, createTokenCheck } from "./token-check.ts";

export interface ClientAccessOptions {
  /** By client id. Once there is one, every request has to show one; before, only this machine may ask. */
  readonly tokens: ReadonlyMap<string, string>;
  /** The client of requests from this machine, while there is no token. */
  readonly local: string;
  /** Whether commands of clients reach this port: then a request from this machine may be any client's. */
  readonly isOpenToCommands: () => boolean;
  readonly now: () => number;
}

/** The client that a request is from, or why it is refused. */
export type ClientAccess = { readonly client: string } | Refusal;

interface Refusal {
  readonly status: 401 | 403 | 429;
  /** For a person at the other end. */
  readonly message: string;
}

/** Returns which client a request is from. */
export function createClientAccess({
  tokens,
  local,
  isOpenToCommands,
  now,
}: ClientAccessOptions): (request: IncomingMessage) => ClientAccess {
  const { isSame, mayTry, countWrong } = createTokenCheck(now);
  const clientWith = (shown: string): string | undefined =>
    [...tokens].find(([, token]) => isSame(shown, token))?.[0];
  return (request) => {
    if (isFromForeignPage(request)) return FOREIGN_PAGE;
    if (tokens.size === 0) {
      if (!isLocal(request)) return NOT_LOCAL;
      return isOpenToCommands() ? OPEN_TO_COMMANDS : { client: local };
    }
    const shown = bearerOf(request);
    if (shown === undefined) return NO_TOKEN;
    if (!mayTry(request)) return TOO_MANY;
    const client = clientWith(shown);
    if (client !== undefined) return { client };
    countWrong(request);
    return WRONG_TOKEN;
  };
}

/** A browser asks for a page of another site: nothing here is for those. */
function isFromForeignPage({ headers }: IncomingMessage): boolean {
  const site = headers["sec-fetch-site"];
  if (site !== undefined && site !== "same-origin" && site !== "none") return true;
  return headers.origin !== undefined && !hasOwnOrigin(headers);
}

const FOREIGN_PAGE: Refusal = { status: 403, message: "pages of other sites may not ask here" };
const NOT_LOCAL: Refusal = {
  status: 403,
  message: "without a token (gateway.tokens) only this machine may ask, by the name localhost",
};
const OPEN_TO_COMMANDS: Refusal = {
  status: 403,
  message:
    "a token is needed (gateway.tokens): commands of clients reach this port (tools.exec.allow_network)",
};
const NO_TOKEN: Refusal = { status: 401, message: "a bearer token is needed (gateway.tokens)" };
const WRONG_TOKEN: Refusal = { status: 401, message: "this token is not one of gateway.tokens" };
const TOO_MANY: Refusal = { status: 429, message: "too many wrong tokens: try again in a minute" };
