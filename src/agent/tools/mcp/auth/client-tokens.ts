import { createPrivateKey } from "node:crypto";
import {
  auth,
  ClientCredentialsProvider,
  PrivateKeyJwtProvider,
} from "@modelcontextprotocol/client";
import { createSerialQueue } from "../../../../base/async.ts";
import type { McpAuthSettings } from "../../../../config/contract.ts";
import { ServerError } from "../server-error.ts";
import { tokenError } from "./errors.ts";
import { oauthFetch } from "./oauth-fetch.ts";
import { widened } from "./token-source.ts";
import type { TokenSource, TokensOptions } from "./token-source.ts";

/** Tokens for the gateway itself, as a client of the authorization server (RFC 6749, section 4.4). In memory only. */
export function clientTokens({ settings, fetch, learn }: TokensOptions): TokenSource {
  const { url } = settings;
  const inTurn = createSerialQueue();
  let token: string | undefined;
  let scope: string | undefined = settings.auth.scope || undefined;
  return {
    token: () => Promise.resolve(token),
    renew: (refused, challenge) =>
      inTurn(async () => {
        // Another request was faster.
        if (refused !== token) return;
        const { resourceMetadataUrl, isTooNarrow } = challenge;
        const isGiven = settings.auth.scope !== "" && !isTooNarrow;
        scope = isGiven ? scope : widened(scope, challenge.scope);
        try {
          const provider = providerOf(settings.auth);
          await auth(provider, {
            serverUrl: url,
            fetchFn: oauthFetch(fetch, url),
            ...(scope !== undefined && { scope }),
            ...(resourceMetadataUrl && { resourceMetadataUrl }),
          });
          token = provider.tokens()?.access_token;
          if (token !== undefined) learn([token], `mcp ${settings.name}`);
        } catch (thrown) {
          throw tokenError(thrown);
        }
      }),
  };
}

function providerOf({ client_id, client_secret, private_key, issuer }: McpAuthSettings) {
  const common = { clientId: client_id, clientName: "picoclaw", expectedIssuer: issuer };
  if (private_key === undefined) {
    const clientSecret = client_secret?.reveal() ?? "";
    return new ClientCredentialsProvider({ ...common, clientSecret });
  }
  return new PrivateKeyJwtProvider({ ...common, ...signingKey(private_key.reveal()) });
}

/** A key as the library takes it, and its algorithm of signatures (RFC 7518, section 3.1). Throws a `ServerError`. */
function signingKey(pem: string): { readonly privateKey: string; readonly algorithm: string } {
  try {
    const key = createPrivateKey(pem);
    const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
    const algorithm = type === "rsa" ? "RS256" : CURVES[details?.namedCurve ?? ""];
    if (algorithm !== undefined) {
      return { privateKey: key.export({ type: "pkcs8", format: "pem" }), algorithm };
    }
  } catch {
    // The error can quote the key.
  }
  throw new ServerError("token", "auth.private_key is no RSA or EC key in PEM");
}

const CURVES: Readonly<Record<string, string>> = {
  prime256v1: "ES256",
  secp384r1: "ES384",
  secp521r1: "ES512",
};
