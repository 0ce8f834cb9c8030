import { createHash } from "node:crypto";
import { isObject } from "../../../base/unknown.ts";
import type { Endpoint } from "../endpoint.ts";

/** The two APIs of OpenAI, by their paths. */
type OpenAIPath = "chat/completions" | "responses";

/** The URL of an API under the base of an endpoint, which may already contain the path of either API. */
export function openaiUrl(endpoint: Endpoint, api: OpenAIPath): string {
  const url = new URL(endpoint.base);
  const path = url.pathname.replace(/\/+$/, "").replace(/\/(?:chat\/completions|responses)$/, "");
  const isWhole = path !== url.pathname.replace(/\/+$/, "");
  const isAzure = endpoint.facts.dialect === "azure";
  const before = isAzure ? azurePath(endpoint, { path, isWhole, api }) : path;
  url.pathname = `${before}/${api}`;
  return url.href;
}

/** The path of an endpoint's base, without that of an API. */
interface BasePath {
  readonly path: string;
  /** The base had the path of an API. */
  readonly isWhole: boolean;
  readonly api: OpenAIPath;
}

/**
 * The path before that of an API on Azure, which has two APIs (learn.microsoft.com, "Azure OpenAI v1 API"):
 *
 * - v1, without versions: `<resource>/openai/v1/chat/completions`; the body's `model` names the
 *   deployment. This is what a plain base, `https://<name>.openai.azure.com`, is asked in.
 * - the classic one: `<resource>/openai/deployments/<deployment>/chat/completions?api-version=<date>`, and
 *   `<resource>/openai/responses?api-version=<date>`. A base with a deployment in its path, or with
 *   `api-version` in its query, is taken as it is; where such a base names only the resource, the model names
 *   the deployment.
 */
function azurePath(endpoint: Endpoint, { path, isWhole, api }: BasePath): string {
  const isClassic = isClassicAzure(endpoint);
  if (path === "" || path === "/openai") {
    if (!isClassic) return "/openai/v1";
    return api === "responses"
      ? "/openai"
      : `/openai/deployments/${encodeURIComponent(endpoint.model)}`;
  }
  if (isClassic && api === "responses") return path.replace(/\/deployments\/[^/]+/, "");
  return isClassic || isWhole || /\/v\d+$/.test(path) ? path : `${path}/openai/v1`;
}

/** Whether a base is one of Azure's classic API, whose versions mostly have no Responses. */
function isClassicAzure({ base }: Pick<Endpoint, "base">): boolean {
  const { pathname, searchParams } = new URL(base);
  return pathname.includes("/deployments/") || searchParams.has("api-version");
}

/** The header of a key; Azure has another one. */
export function openaiHeaders(endpoint: Pick<Endpoint, "facts">) {
  const isAzure = endpoint.facts.dialect === "azure";
  return (key: string | undefined): Record<string, string> => {
    if (key === undefined) return {};
    return isAzure ? { "api-key": key } : { authorization: `Bearer ${key}` };
  };
}

const OWN_HOSTS =
  /(?:^|\.)(?:api\.openai\.com|(?:openai|services\.ai|cognitiveservices)\.azure\.(?:com|us))$/;

/** Whether an endpoint is OpenAI's own, or Azure's with the v1 API: both have both APIs. */
export function hasBothApis(endpoint: Pick<Endpoint, "base">): boolean {
  return OWN_HOSTS.test(new URL(endpoint.base).hostname) && !isClassicAzure(endpoint);
}

/**
 * The field that routes the calls of one owner to one machine of OpenAI, whose cache holds the beginning of
 * their prompt; undefined elsewhere, where servers may refuse it.
 */
export function cacheKeysOf({ base }: Pick<Endpoint, "base">) {
  if (new URL(base).hostname !== "api.openai.com") return undefined;
  return (owner: string | undefined, system: string) =>
    owner === undefined
      ? {}
      : { prompt_cache_key: hashOf(JSON.stringify([owner, system])).slice(0, 32) };
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** The arguments of an earlier call: strict servers parse them, and malformed ones would make all later requests fail. */
export function objectText(words: string): string {
  try {
    const value: unknown = JSON.parse(words);
    return isObject(value) ? words : "{}";
  } catch {
    return "{}";
  }
}
