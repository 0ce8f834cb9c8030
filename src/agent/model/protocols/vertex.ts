import { Buffer } from "node:buffer";
import { createSign } from "node:crypto";
import { readFile } from "node:fs/promises";
import { messageOf } from "../../../base/failure.ts";
import { at, fromJson, textAt } from "../../../base/unknown.ts";
import { isCredentialsFile, UNKNOWN_PROJECT } from "../cloud-endpoint.ts";
import type { Attempt, Fetch, Protocol } from "../contract.ts";
import { ModelError } from "../errors.ts";
import { errorOf } from "../http/error-response.ts";
import type { RequestSettings } from "../http/protocol.ts";
import { createGeminiProtocol } from "./gemini.ts";

/**
 * Gemini's content generation on Vertex AI. A key is an API key, or the path of the JSON file of a service
 * account, whose access tokens are sent.
 */
export function createVertexProtocol(settings: RequestSettings, fetch: Fetch): Protocol {
  const withApiKey = createGeminiProtocol(settings, fetch);
  const accounts = new Map<string, Protocol>();
  return (attempt: Attempt) => {
    const { key = "" } = attempt;
    if (!isCredentialsFile(key)) return withApiKey(attempt);
    const protocol =
      accounts.get(key) ?? createGeminiProtocol(settings, fetchWithToken(fetch, key));
    accounts.set(key, protocol);
    return protocol(attempt);
  };
}

interface Token {
  readonly text: string;
  readonly project: string;
  /** In milliseconds. */
  readonly endsAt: number;
}

/** Sends requests with an access token in place of the key, and with the account's project where none is named. */
function fetchWithToken(fetch: Fetch, path: string): Fetch {
  let token: Token | undefined;
  return async (url, init) => {
    const headers = new Headers(init.headers);
    if (headers.get("x-goog-api-key") === path) headers.delete("x-goog-api-key");
    if (token === undefined || Date.now() >= token.endsAt) {
      token = await requestToken(fetch, path, init);
    }
    if (!headers.has("authorization")) headers.set("authorization", `Bearer ${token.text}`);
    const project = `/projects/${encodeURIComponent(token.project)}/`;
    return fetch(url.replace(`/projects/${UNKNOWN_PROJECT}/`, project), { ...init, headers });
  };
}

const LIFETIME_SECS = 3600;
/** A token is not used in its last seconds. */
const MARGIN_SECS = 60;

/** Requests a token with a signed assertion (RFC 7523; developers.google.com, "OAuth 2.0 for service accounts"). */
async function requestToken(
  fetch: Fetch,
  path: string,
  init: Parameters<Fetch>[1],
): Promise<Token> {
  const account = await accountIn(path);
  const uri = textAt(account, "token_uri") || "https://oauth2.googleapis.com/token";
  const assertion = assertionOf(account, uri);
  const grant = { grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer", assertion };
  const response = await fetch(uri, {
    ...init,
    headers: new Headers({ "content-type": "application/x-www-form-urlencoded" }),
    body: new URLSearchParams(grant).toString(),
  });
  if (!response.ok) throw await tokenError(response);
  const answer: unknown = await response.json();
  const seconds = Number(at(answer, "expires_in") ?? LIFETIME_SECS);
  return {
    text: textAt(answer, "access_token"),
    project: textAt(account, "project_id"),
    endsAt: Date.now() + (seconds - MARGIN_SECS) * 1000,
  };
}

async function accountIn(path: string): Promise<unknown> {
  let account: unknown;
  try {
    account = fromJson(await readFile(path, "utf8"));
  } catch (cause) {
    throw refused(`the file of the service account cannot be read: ${messageOf(cause)}`);
  }
  if (textAt(account, "type") !== "service_account") {
    throw refused("the file is not of a service account: its type is another one");
  }
  return account;
}

function assertionOf(account: unknown, audience: string): string {
  const now = Math.floor(Date.now() / 1000);
  const head = { alg: "RS256", typ: "JWT", kid: textAt(account, "private_key_id") };
  const claims = {
    iss: textAt(account, "client_email"),
    scope: "https://www.googleapis.com/auth/cloud-platform",
    aud: audience,
    iat: now,
    exp: now + LIFETIME_SECS,
  };
  const parts = [head, claims].map((part) =>
    Buffer.from(JSON.stringify(part)).toString("base64url"),
  );
  const text = parts.join(".");
  try {
    const key = textAt(account, "private_key");
    return `${text}.${createSign("RSA-SHA256").update(text).sign(key, "base64url")}`;
  } catch {
    throw refused("the private key of the service account is invalid");
  }
}

/** Google answers a wrong account or clock with a 400, which is about the key. */
async function tokenError(response: Response): Promise<ModelError> {
  const error = await errorOf(response);
  return (error.status ?? 0) < 500 ? refused(`no access token: ${error.message}`) : error;
}

function refused(message: string): ModelError {
  return new ModelError("refused", message, { status: 401 });
}
