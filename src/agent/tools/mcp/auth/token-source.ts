import { computeScopeUnion, extractWWWAuthenticateParams } from "@modelcontextprotocol/client";
import type { FetchLike } from "@modelcontextprotocol/client";
import type { McpAuthSettings, McpServerSettings } from "../../../../config/contract.ts";
import type { Fetch } from "../../../model/contract.ts";
import type { Learn, McpDocuments } from "../contract.ts";
import { ServerError } from "../server-error.ts";

export interface TokensOptions {
  readonly settings: Pick<McpServerSettings, "name" | "url"> & { readonly auth: McpAuthSettings };
  readonly documents: McpDocuments;
  readonly fetch: Fetch;
  /** Learns the tokens; under a name only the last ones. */
  readonly learn: Learn;
}

/** The tokens of OAuth for one server. */
export interface TokenSource {
  /** For the next request; undefined if there is none yet. Throws a `ServerError`. */
  readonly token: () => Promise<string | undefined>;
  /** Gets another token after the server refused this one. Throws a `ServerError`. */
  readonly renew: (refused: string | undefined, challenge: Challenge) => Promise<void>;
}

/** What a server says with a refusal (RFC 6750, section 3; RFC 9728, section 5.1). Untrusted. */
export interface Challenge {
  /** Where the metadata of the server is. */
  readonly resourceMetadataUrl?: URL | undefined;
  /** The scopes that it wants. */
  readonly scope?: string | undefined;
  /** The token is good, but not for this. */
  readonly isTooNarrow: boolean;
}

/** New tokens for one request: the second after one of a wider scope was asked for. */
const MAX_RENEWALS = 2;

/** Sends requests to the server with a token, and again with a new one when it refuses that. */
export function withTokens(
  fetch: FetchLike,
  tokens: TokenSource,
  onNoToken: (error: ServerError) => void,
): FetchLike {
  return async (address, init) => {
    try {
      for (let renewals = 0; ; renewals += 1) {
        const token = await tokens.token();
        const headers = new Headers(init?.headers);
        if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
        const response = await fetch(address, { ...init, headers });
        const challenge = challengeOf(response);
        if (challenge === undefined || renewals === MAX_RENEWALS) return response;
        await response.body?.cancel();
        await tokens.renew(token, challenge);
      }
    } catch (thrown) {
      if (thrown instanceof ServerError) onNoToken(thrown);
      throw thrown;
    }
  };
}

/** Undefined if it is not a token that is wanted. */
export function challengeOf(response: Response): Challenge | undefined {
  const { resourceMetadataUrl, scope, error } = extractWWWAuthenticateParams(response);
  const isTooNarrow = response.status === 403 && error === "insufficient_scope";
  if (response.status !== 401 && !isTooNarrow) return undefined;
  return { resourceMetadataUrl, scope, isTooNarrow };
}

/** Characters of all scopes together: a server can want others each time. */
const MOST_SCOPE = 2_000;

/** The scopes, with those of a challenge unless they are too many. */
export function widened(known: string | undefined, wanted: string | undefined): string | undefined {
  const all = computeScopeUnion(known, wanted);
  return all !== undefined && all.length > MOST_SCOPE ? known : all;
}
