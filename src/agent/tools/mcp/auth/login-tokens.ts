import { computeScopeUnion, refreshAuthorization } from "@modelcontextprotocol/client";
import { createSerialQueue, pause } from "../../../../base/async.ts";
import { ServerError } from "../server-error.ts";
import { tokenError } from "./errors.ts";
import { readLogin, writeLogin } from "./login-document.ts";
import type { Login } from "./login-document.ts";
import { oauthFetch, TokenRefusal } from "./oauth-fetch.ts";
import { widened } from "./token-source.ts";
import type { Challenge, TokenSource, TokensOptions } from "./token-source.ts";

/** Milliseconds in which another process writes its new tokens. */
const WRITE_MS = 1000;

/** Tokens that a person allowed with `picoclaw mcp login` (RFC 6749, section 4.1), and that are renewed here. */
export function loginTokens(options: TokensOptions): TokenSource {
  const { settings } = options;
  const inTurn = createSerialQueue();
  let login: Login | undefined;
  let isWritten = true;
  const wanted = (why: string): ServerError =>
    new ServerError("login", `${why}: picoclaw mcp login ${settings.name}`);
  const renew = async (refused: string | undefined, challenge: Challenge): Promise<void> => {
    // Another request, or another process, was faster.
    if (isWritten) login = await readLogin(options);
    if (login === undefined || login.tokens?.access_token !== refused) return;
    if (challenge.isTooNarrow) {
      const wider = withScopes(login, challenge);
      if (wider !== login) await keep(wider);
      login = wider;
      throw wanted("a person has to allow more of it first");
    }
    login = await renewed(login, options);
    if (login.tokens === undefined) login = (await renewedElsewhere(refused, options)) ?? login;
    else await keep(login);
    if (login.tokens !== undefined) return;
    await keep(login);
    throw wanted("a person has to allow it anew");
  };
  const ifKnown = (thrown: unknown): Login => {
    if (login === undefined) throw thrown;
    return login;
  };
  // A token that cannot be written is still of use until the end of the process.
  const keep = async (changed: Login): Promise<void> => {
    isWritten = false;
    isWritten = await writeLogin(changed, options).then(
      () => true,
      () => false,
    );
  };
  return {
    async token() {
      // A logout counts from the next request on.
      const found = isWritten ? await readLogin(options).catch(ifKnown) : login;
      if (isWritten) login = found;
      const token = login?.tokens?.access_token;
      if (token === undefined) throw wanted("a person has to allow it first");
      return token;
    },
    renew: (refused, challenge) => inTurn(() => renew(refused, challenge)),
  };
}

/** The login, with the scopes that the server wants now. */
function withScopes(login: Login, { scope }: Challenge): Login {
  const wider = widened(computeScopeUnion(login.wanted, login.tokens?.scope), scope);
  return wider === undefined || wider === login.wanted ? login : { ...login, wanted: wider };
}

/** The login with new tokens, or with none if the authorization server refuses them. Throws a `ServerError`. */
async function renewed(
  { tokens: old, ...login }: Login,
  { settings, fetch }: TokensOptions,
): Promise<Login> {
  if (old?.refresh_token === undefined) return login;
  const {
    authorizationServerUrl,
    authorizationServerMetadata: metadata,
    resourceMetadata,
  } = login.discovered;
  try {
    const tokens = await refreshAuthorization(authorizationServerUrl, {
      clientInformation: login.client,
      refreshToken: old.refresh_token,
      fetchFn: oauthFetch(fetch, settings.url),
      ...(metadata && { metadata }),
      ...(resourceMetadata && { resource: resourceMetadata.resource }),
    });
    return { ...login, tokens: { ...old, ...tokens } };
  } catch (thrown) {
    if (thrown instanceof TokenRefusal && FINAL.has(thrown.code)) return login;
    throw tokenError(thrown);
  }
}

/** The login of another process, which used the refresh token just before; undefined if none did. */
async function renewedElsewhere(
  refused: string | undefined,
  options: TokensOptions,
): Promise<Login | undefined> {
  await pause(WRITE_MS, new AbortController().signal);
  const login = await readLogin(options);
  return login?.tokens?.access_token === refused ? undefined : login;
}

/** Refusals that only another login ends. */
const FINAL: ReadonlySet<string> = new Set([
  "invalid_grant",
  "invalid_client",
  "unauthorized_client",
]);
