import { createHash, randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { fromJson, isObject, textAt } from "../../src/base/unknown.ts";
import { sdkHandler } from "./mcp-sdk-server.ts";
import { openWebServer } from "./web-server.ts";
import type { Handler, WebServer } from "./web-server.ts";

/** The client that may have tokens by its secret. */
export const CLIENT = { id: "kitchen", secret: "s3cret-of-the-client" };
const BASIC = `Basic ${Buffer.from(`${CLIENT.id}:${CLIENT.secret}`).toString("base64")}`;

/** An MCP server, and its authorization server at the same address. */
export interface OAuthServer extends AsyncDisposable {
  /** The address of the MCP server. */
  readonly url: string;
  readonly issuer: string;
  /** The grants of the tokens that were asked for. */
  readonly grants: readonly string[];
  /** Every token that was given. */
  readonly given: readonly string[];
  /** What signed requests for tokens were signed with. */
  readonly algorithms: readonly string[];
  /** Every token that was taken back. */
  readonly revoked: readonly string[];
  /** From now on all access tokens are refused. */
  readonly expire: () => void;
  /** From now on all refresh tokens are refused. */
  readonly revoke: () => void;
  /** From now on the MCP server refuses tokens without this scope. */
  readonly want: (scope: string) => void;
}

interface OAuthServerOptions {
  /** Another authorization server, which the MCP server names. */
  readonly issuer?: string;
  /** Where the token endpoint sends its clients. */
  readonly movedTo?: string;
  /** What it answers to a request to take a token back; it offers no such thing without it. */
  readonly revocation?: 200 | 503;
}

export async function openOAuthServer({
  issuer,
  movedTo,
  revocation,
}: OAuthServerOptions = {}): Promise<OAuthServer> {
  const tokens = new Tokens();
  const guarded = new Guarded(tokens);
  const web: WebServer = await openWebServer((request, response, body) => {
    const { pathname, searchParams } = new URL(request.url ?? "", web.base);
    const routes: Readonly<Record<string, () => void>> = {
      "/.well-known/oauth-protected-resource/mcp": () => {
        const authorization_servers = [issuer ?? web.base];
        send(response, 200, { resource: `${web.base}/mcp`, authorization_servers });
      },
      "/.well-known/oauth-authorization-server": () => {
        const more = revocation && { revocation_endpoint: `${web.base}/revoke` };
        send(response, 200, { ...metadataOf(web.base), ...more });
      },
      "/revoke": () => {
        if (revocation === 200) tokens.takeBack(request, new URLSearchParams(body));
        send(response, revocation ?? 404, {});
      },
      "/register": () => {
        const asked = fromJson(body);
        send(response, 201, { ...(isObject(asked) && asked), client_id: randomUUID() });
      },
      "/authorize": () => {
        response.writeHead(302, { location: tokens.allow(searchParams).href });
        response.end();
      },
      "/token": () => {
        if (movedTo === undefined) return tokens.send(request, response, new URLSearchParams(body));
        response.writeHead(307, { location: movedTo });
        response.end();
      },
      "/mcp": () => guarded.answer(request, response, body),
    };
    (routes[pathname] ?? (() => send(response, 404, {})))();
  });
  return {
    url: `${web.base}/mcp`,
    issuer: web.base,
    grants: tokens.grants,
    given: tokens.given,
    algorithms: tokens.algorithms,
    revoked: tokens.revoked,
    expire: () => tokens.access.clear(),
    revoke: () => tokens.refresh.clear(),
    want: (scope) => {
      guarded.scope = scope;
    },
    [Symbol.asyncDispose]: () => web[Symbol.asyncDispose](),
  };
}

class Guarded {
  scope = "";
  readonly #tokens: Tokens;
  readonly #mcp: Handler = sdkHandler();

  constructor(tokens: Tokens) {
    this.#tokens = tokens;
  }

  answer(request: IncomingMessage, response: ServerResponse, body: string): void {
    const token = request.headers.authorization?.replace(/^Bearer /, "") ?? "";
    const scope = this.#tokens.access.get(token);
    if (scope?.includes(this.scope) === true) return this.#mcp(request, response, body);
    const [status, error] =
      scope === undefined ? [401, "invalid_token"] : [403, "insufficient_scope"];
    const wanted = this.scope === "" ? "" : `, scope="${this.scope}"`;
    response.setHeader("www-authenticate", `Bearer error="${error}"${wanted}`);
    send(response, status, { error });
  }
}

class Tokens {
  readonly grants: string[] = [];
  readonly given: string[] = [];
  readonly algorithms: string[] = [];
  readonly revoked: string[] = [];
  /** The scopes of the access tokens. */
  readonly access = new Map<string, string>();
  readonly refresh = new Set<string>();
  readonly #codes = new Map<string, URLSearchParams>();

  /** Where the browser goes after a person has allowed what was asked for. */
  allow(asked: URLSearchParams): URL {
    const code = randomUUID();
    this.#codes.set(code, asked);
    const back = new URL(asked.get("redirect_uri") ?? "");
    back.searchParams.set("code", code);
    back.searchParams.set("state", asked.get("state") ?? "");
    return back;
  }

  /** A refusal quotes what was sent, as some authorization servers do. */
  send({ headers }: IncomingMessage, response: ServerResponse, form: URLSearchParams): void {
    const grant = form.get("grant_type") ?? "";
    this.grants.push(grant);
    const scope = this.#scopeFor(grant, headers.authorization, form);
    if (scope !== undefined) return send(response, 200, this.#create(scope));
    const error = grant === "client_credentials" ? "invalid_client" : "invalid_grant";
    const error_description = `${headers.authorization ?? ""} ${form.toString()}`;
    send(response, 400, { error, error_description });
  }

  /** RFC 7009, section 2.1. Clients that registered have no secret, and say their id. */
  takeBack({ headers }: IncomingMessage, form: URLSearchParams): void {
    const token = textOf(form, "token");
    const isRefresh = textOf(form, "token_type_hint") === "refresh_token";
    const isKnown = isRefresh ? this.refresh.delete(token) : this.access.delete(token);
    const isClient = form.has("client_id") || headers.authorization === BASIC;
    if (isKnown && isClient) this.revoked.push(token);
  }

  /** Undefined if there is no token for it. Each code and each refresh token counts once. */
  #scopeFor(grant: string, authorization = "", form: URLSearchParams): string | undefined {
    if (form.has("client_assertion")) {
      const [header = ""] = textOf(form, "client_assertion").split(".");
      this.algorithms.push(textAt(fromJson(Buffer.from(header, "base64url").toString()), "alg"));
      return "";
    }
    if (grant === "client_credentials") {
      return authorization === BASIC ? textOf(form, "scope") : undefined;
    }
    if (grant === "refresh_token") {
      return this.refresh.delete(textOf(form, "refresh_token")) ? "" : undefined;
    }
    const asked = this.#codes.get(textOf(form, "code")) ?? new URLSearchParams();
    this.#codes.clear();
    const proof = createHash("sha256").update(textOf(form, "code_verifier")).digest("base64url");
    return textOf(asked, "code_challenge") === proof ? textOf(asked, "scope") : undefined;
  }

  #create(scope: string): object {
    const [access_token, refresh_token] = [`access-${randomUUID()}`, randomUUID()];
    this.access.set(access_token, scope);
    this.refresh.add(refresh_token);
    this.given.push(access_token, refresh_token);
    return { access_token, refresh_token, token_type: "Bearer", expires_in: 3600, scope };
  }
}

function textOf(form: URLSearchParams, name: string): string {
  return form.get(name) ?? "";
}

function metadataOf(base: string): object {
  return {
    issuer: base,
    authorization_endpoint: `${base}/authorize`,
    token_endpoint: `${base}/token`,
    registration_endpoint: `${base}/register`,
    response_types_supported: ["code"],
    code_challenge_methods_supported: ["S256"],
    token_endpoint_auth_methods_supported: ["client_secret_basic", "private_key_jwt", "none"],
  };
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}
