import type { Endpoint } from "../endpoint.ts";
import { chatUrl } from "./request.ts";

/**
 * The URL of chat completions on Azure, which has two APIs (learn.microsoft.com, "Azure OpenAI v1 API"):
 *
 * - v1, without versions: `<resource>/openai/v1/chat/completions`; the body's `model` names the
 *   deployment. This is what a plain base, `https://<name>.openai.azure.com`, is asked in.
 * - the classic one: `<resource>/openai/deployments/<deployment>/chat/completions?api-version=<date>`.
 *   A base with a deployment in its path, or with `api-version` in its query, is taken as it is; where
 *   such a base names only the resource, the model names the deployment.
 */
export function azureUrl({ base, model }: Pick<Endpoint, "base" | "model">): string {
  const url = new URL(base);
  const path = url.pathname.replace(/\/+$/, "");
  const isClassic = /\/deployments\//.test(path) || url.searchParams.has("api-version");
  const isResource = path === "" || path === "/openai";
  if (isResource) {
    const rest = isClassic ? `deployments/${encodeURIComponent(model)}` : "v1";
    url.pathname = `/openai/${rest}`;
  } else if (!isClassic && !/\/v\d+$|\/chat\/completions$/.test(path)) {
    url.pathname = `${path}/openai/v1`;
  }
  return chatUrl(url.href);
}
