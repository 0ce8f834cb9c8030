import { randomBytes } from "node:crypto";
import { auth, computeScopeUnion } from "@modelcontextprotocol/client";
import type {
  OAuthClientProvider,
  OAuthDiscoveryState,
  StoredOAuthClientInformation,
  StoredOAuthTokens,
} from "@modelcontextprotocol/client";
import { Failure } from "../../../../base/failure.ts";
import { VERSION } from "../../../../base/version.ts";
import type { McpServerSettings } from "../../../../config/contract.ts";
import { headersOf } from "../http.ts";
import { ServerError } from "../server-error.ts";
import { tokenError } from "./errors.ts";
import { readLogin, writeLogin } from "./login-document.ts";
import { isAllowed, oauthFetch } from "./oauth-fetch.ts";
import { challengeOf } from "./token-source.ts";
import type { Challenge, TokensOptions } from "./token-source.ts";

export interface LoginOptions extends TokensOptions {
  readonly settings: TokensOptions["settings"] & Pick<McpServerSettings, "headers">;
  /**
   * Sends a person to the first address. Resolves with the parameters of the second, to which the browser was sent
   * back; its `state` is not yet compared.
   */
  readonly authorize: (address: URL, redirectUrl: string) => Promise<URLSearchParams>;
}

/** The address that the browser is sent back to (RFC 8252, section 7.3). */
function redirectUrlOf({ redirect_port }: { readonly redirect_port: number }): string {
  return `http://127.0.0.1:${redirect_port}/callback`;
}

/**
 * Asks a person to allow the server, and keeps the tokens for the gateway. Throws a `ServerError`, and the `Failure` of
 * `authorize`.
 */
export async function logIn(options: LoginOptions): Promise<void> {
  const { settings, authorize } = options;
  const { url } = settings;
  try {
    const fetchFn = oauthFetch(options.fetch, url);
    const challenge = await firstChallenge(options);
    const { wanted } = (await readLogin(options).catch(() => undefined)) ?? {};
    const scope = computeScopeUnion(settings.auth.scope || challenge?.scope, wanted);
    const provider = new LoginProvider(options);
    const request = {
      serverUrl: url,
      fetchFn,
      ...(scope !== undefined && { scope }),
      ...(challenge?.resourceMetadataUrl && { resourceMetadataUrl: challenge.resourceMetadataUrl }),
    };
    await auth(provider, request);
    const { address } = provider;
    if (address === undefined || !isAllowed(address, url)) {
      throw new ServerError("token", "its authorization server has no page of https to allow it");
    }
    const answer = codeIn(await authorize(address, provider.redirectUrl), provider.state());
    await auth(provider, { ...request, ...answer });
    await provider.keep();
  } catch (thrown) {
    if (thrown instanceof Failure) throw thrown;
    throw tokenError(thrown);
  }
}

/** Milliseconds for the answer to it. */
const FIRST_MS = 20_000;

/** What the server says to a request without a token; undefined if it answers that. */
async function firstChallenge({ settings, fetch }: LoginOptions): Promise<Challenge | undefined> {
  const clientInfo = { name: "picoclaw", version: VERSION };
  const params = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo };
  const response = await fetch(settings.url, {
    method: "POST",
    redirect: "manual",
    signal: AbortSignal.timeout(FIRST_MS),
    headers: {
      ...headersOf(settings),
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params }),
  });
  await response.body?.cancel();
  return challengeOf(response);
}

/** The code of an authorization response, and who sent it (RFC 6749, section 4.1.2; RFC 9207). */
function codeIn(answer: URLSearchParams, state: string) {
  if (answer.get("state") !== state) {
    throw new ServerError("token", "the address belongs to another login: begin anew");
  }
  const error = answer.get("error");
  if (error !== null) {
    const code = /^[\w-]{1,40}$/.test(error) ? error : "an error without a code";
    throw new ServerError("token", `it was not allowed: ${code}`);
  }
  const authorizationCode = answer.get("code");
  if (authorizationCode === null) throw new ServerError("token", "the address holds no code");
  const iss = answer.get("iss");
  return { authorizationCode, ...(iss !== null && { iss }) };
}

/** What the library asks for, and what it finds, in one login. */
class LoginProvider implements OAuthClientProvider {
  /** Where a person allows it. */
  address: URL | undefined;
  readonly redirectUrl: string;
  readonly #options: LoginOptions;
  readonly #state = randomBytes(24).toString("base64url");
  #client: StoredOAuthClientInformation | undefined;
  #tokens: StoredOAuthTokens | undefined;
  #discovered: OAuthDiscoveryState | undefined;
  #verifier = "";

  constructor(options: LoginOptions) {
    this.#options = options;
    const { client_id, client_secret, issuer, redirect_port } = options.settings.auth;
    this.redirectUrl = redirectUrlOf({ redirect_port });
    if (client_id === "") return;
    this.#client = {
      client_id,
      ...(client_secret && { client_secret: client_secret.reveal() }),
      ...(issuer !== "" && { issuer }),
    };
  }

  get clientMetadata() {
    return {
      client_name: "picoclaw",
      redirect_uris: [this.redirectUrl],
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
    };
  }

  state(): string {
    return this.#state;
  }

  clientInformation(): StoredOAuthClientInformation | undefined {
    return this.#client;
  }

  saveClientInformation(client: StoredOAuthClientInformation): void {
    this.#client = client;
  }

  /** Never the old ones: they would be renewed without a person. */
  tokens(): undefined {}

  saveTokens(tokens: StoredOAuthTokens): void {
    this.#tokens = tokens;
  }

  redirectToAuthorization(address: URL): void {
    this.address = address;
  }

  saveCodeVerifier(verifier: string): void {
    this.#verifier = verifier;
  }

  codeVerifier(): string {
    return this.#verifier;
  }

  /** Is called before anything is sent to the authorization server but the question for its metadata. */
  saveDiscoveryState(discovered: OAuthDiscoveryState): void {
    const { issuer } = this.#options.settings.auth;
    const { authorizationServerMetadata: metadata, authorizationServerUrl: address } = discovered;
    if (issuer !== "" && withoutSlash(metadata?.issuer ?? address) !== withoutSlash(issuer)) {
      throw new ServerError("token", "it names another authorization server than auth.issuer");
    }
    this.#discovered = discovered;
  }

  discoveryState(): OAuthDiscoveryState | undefined {
    return this.#discovered;
  }

  /** Writes what a gateway needs. */
  async keep(): Promise<void> {
    const [client, tokens, discovered] = [this.#client, this.#tokens, this.#discovered];
    if (client === undefined || tokens === undefined || discovered === undefined) {
      throw new ServerError("token", "its authorization server gave no token");
    }
    await writeLogin(
      { url: this.#options.settings.url, client, tokens, discovered },
      this.#options,
    );
  }
}

function withoutSlash(address: string): string {
  return address.replace(/\/$/, "");
}
