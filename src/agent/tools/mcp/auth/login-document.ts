import type {
  OAuthServerInfo,
  StoredOAuthClientInformation,
  StoredOAuthTokens,
} from "@modelcontextprotocol/client";
import { codeOf } from "../../../../base/failure.ts";
import { at, isObject, textAt } from "../../../../base/unknown.ts";
import { ServerError } from "../server-error.ts";
import type { TokensOptions } from "./token-source.ts";

/** What a login leaves behind for the gateway. */
export interface Login {
  /** The server that it is for. */
  readonly url: string;
  readonly client: StoredOAuthClientInformation;
  /** Absent after they were refused. */
  readonly tokens?: StoredOAuthTokens;
  /** Where tokens are renewed: as it was at the login, whatever the server names later. */
  readonly discovered: OAuthServerInfo;
  /** The scopes that the server wanted later, for the next login. */
  readonly wanted?: string;
}

export interface Place extends Pick<TokensOptions, "documents" | "learn"> {
  readonly settings: Pick<TokensOptions["settings"], "name" | "url">;
}

/** The login of a server; undefined if there is none for its address. Learns its secrets. Throws a `ServerError`. */
export async function readLogin(place: Place): Promise<Login | undefined> {
  const login = await readAnyLogin(place);
  return login?.url === place.settings.url ? login : undefined;
}

/** The login under the name of a server, also if that had another address then. Throws a `ServerError`. */
export async function readAnyLogin({
  settings,
  documents,
  learn,
}: Place): Promise<Login | undefined> {
  const found = await documents.read(nameOf(settings)).catch((thrown: unknown) => {
    throw new ServerError(
      "login",
      `the tokens for it cannot be read (${codeOf(thrown) || "no JSON"})`,
    );
  });
  if (!isLogin(found)) return undefined;
  learn(secretsOf(found), nameOf(settings));
  return found;
}

/** Rejects with the errors of the file system. */
export async function writeLogin(
  login: Login,
  { settings, documents, learn }: Place,
): Promise<void> {
  learn(secretsOf(login), nameOf(settings));
  await documents.write(nameOf(settings), login);
}

/** Rejects with the errors of the file system. */
export async function forgetLogin({ settings, documents }: Place): Promise<void> {
  await documents.remove(nameOf(settings));
}

function nameOf({ name }: Place["settings"]): string {
  return `mcp-login-${name}`;
}

/** Only this program writes it; what is missing is looked at. */
function isLogin(found: unknown): found is Login {
  const tokens = at(found, "tokens");
  const isWhole =
    typeof at(at(found, "client"), "client_id") === "string" &&
    typeof at(at(found, "discovered"), "authorizationServerUrl") === "string";
  return (
    isWhole && (tokens === undefined || textAt(tokens, "access_token") !== "") && isObject(found)
  );
}

function secretsOf({ tokens, client }: Login): readonly string[] {
  const secrets = [tokens?.access_token, tokens?.refresh_token, at(client, "client_secret")];
  return secrets.filter((each) => typeof each === "string");
}
