import { selectClientAuthMethod } from "@modelcontextprotocol/client";
import type { FetchLike } from "@modelcontextprotocol/client";
import { at } from "../../../../base/unknown.ts";
import { tokenError } from "./errors.ts";
import { forgetLogin, readAnyLogin } from "./login-document.ts";
import type { Login, Place } from "./login-document.ts";
import { oauthFetch, TokenRefusal } from "./oauth-fetch.ts";
import type { TokensOptions } from "./token-source.ts";

/** What became of a login. `issuer` is its authorization server. */
export type Logout =
  | { readonly kind: "none" }
  | { readonly kind: "revoked" | "not offered"; readonly issuer: string }
  | { readonly kind: "failed"; readonly issuer: string; readonly why: string };

/**
 * Forgets the login of a server, and then has its tokens revoked where the authorization server offers that (RFC 7009).
 * A gateway that still runs cannot renew them meanwhile. Throws the errors of the file system.
 */
export async function logOut(options: Place & Pick<TokensOptions, "fetch">): Promise<Logout> {
  // What cannot be read is forgotten all the same.
  const login = await readAnyLogin(options).catch(() => undefined);
  await forgetLogin(options);
  if (login?.tokens === undefined) return { kind: "none" };
  const { authorizationServerUrl: issuer, authorizationServerMetadata: metadata } =
    login.discovered;
  const endpoint = at(metadata, "revocation_endpoint");
  if (typeof endpoint !== "string") return { kind: "not offered", issuer };
  const { access_token, refresh_token } = login.tokens;
  const send = oauthFetch(options.fetch, login.url);
  try {
    // With it the access token ends too, at most servers.
    if (refresh_token !== undefined) await revoke({ refresh_token }, { login, endpoint, send });
    await revoke({ access_token }, { login, endpoint, send });
    return { kind: "revoked", issuer };
  } catch (thrown) {
    return { kind: "failed", issuer, why: reasonOf(thrown) };
  }
}

interface Revoking {
  readonly login: Login;
  readonly endpoint: string;
  readonly send: FetchLike;
}

/** Section 2.1. A token that the server does not know is revoked. Throws if it refuses. */
async function revoke(
  named: Readonly<Record<string, string>>,
  { login, endpoint, send }: Revoking,
): Promise<void> {
  const { client, discovered } = login;
  const { authorizationServerMetadata: metadata } = discovered;
  const methods =
    at(metadata, "revocation_endpoint_auth_methods_supported") ??
    metadata?.token_endpoint_auth_methods_supported;
  const supported = Array.isArray(methods) ? methods.map(String) : [];
  const { client_id, client_secret = "" } = client;
  const headers = new Headers({ "content-type": "application/x-www-form-urlencoded" });
  const body = new URLSearchParams();
  for (const [hint, token] of Object.entries(named)) {
    body.set("token", token);
    body.set("token_type_hint", hint);
  }
  const method = selectClientAuthMethod(client, supported);
  if (method === "client_secret_basic") {
    headers.set("authorization", `Basic ${btoa(`${client_id}:${client_secret}`)}`);
  } else {
    body.set("client_id", client_id);
    if (method === "client_secret_post") body.set("client_secret", client_secret);
  }
  await send(endpoint, { method: "POST", headers, body: body.toString() });
}

function reasonOf(thrown: unknown): string {
  if (!(thrown instanceof TokenRefusal)) return tokenError(thrown).message;
  return `its authorization server does not take them back: ${thrown.code || "it refuses without a code"}`;
}
