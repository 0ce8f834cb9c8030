import type { McpServerSettings } from "../../../../config/contract.ts";
import type { TokenSource, TokensOptions } from "./token-source.ts";

/** The tokens of a server; undefined if it needs none. Loads only what its grant needs. */
export async function openTokens(
  settings: McpServerSettings,
  options: Omit<TokensOptions, "settings">,
): Promise<TokenSource | undefined> {
  const { type, auth, name, url } = settings;
  if (auth === undefined || type !== "http") return undefined;
  const given = { ...options, settings: { name, url, auth } };
  if (auth.grant === "client_credentials") {
    return (await import("./client-tokens.ts")).clientTokens(given);
  }
  return (await import("./login-tokens.ts")).loginTokens(given);
}
