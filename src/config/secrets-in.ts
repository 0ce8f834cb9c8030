import { decodeUrlPart } from "../base/url.ts";
import type { Config } from "./contract.ts";

/** Whether the name of a header or query parameter suggests a secret. */
export function isSecretName(name: string): boolean {
  return /auth|key|token|secret|cookie|sig|pass/i.test(name);
}

/**
 * Every secret of a configuration, for redaction: keys of models and searches, passwords of brokers, and
 * credentials in headers, in variables of hooks and in URLs.
 */
export function secretsIn({
  model_list,
  channels,
  tools,
  hooks,
}: Pick<Config, "model_list" | "channels" | "tools" | "hooks">): readonly string[] {
  const { brave, tavily, searxng, proxy } = tools.web;
  const keys = [...model_list, brave, tavily].flatMap(({ api_keys }) => api_keys);
  const passwords = channels.flatMap(({ settings: { password } }) => password ?? []);
  const urls = [
    proxy,
    searxng.base_url,
    tavily.base_url,
    ...model_list.flatMap((entry) => [entry.proxy, entry.api_base]),
    ...channels.map(({ settings }) => settings.broker),
  ];
  return [
    ...[...keys, ...passwords].map((secret) => secret.reveal()),
    ...model_list.flatMap(({ custom_headers }) => headerSecrets(custom_headers)),
    ...model_list.flatMap(({ extra_body }) => bodySecrets(extra_body)),
    ...(hooks?.processes ?? []).flatMap(({ env }) => bodySecrets(env)),
    ...urls.flatMap(urlSecrets),
  ];
}

/** Names of body fields that hold a credential; `tokenizer` and `prompt_cache_key` do not. */
const CREDENTIAL =
  /^(?:.*[_-])?(?:api_?key|access_?key|secret_?key|token|secret|password|authorization)$/i;

/** Texts in the body of model calls, or in variables of hooks, whose names suggest a secret. */
function bodySecrets(body: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(body).flatMap(([name, value]): string[] => {
    if (typeof value === "string") return CREDENTIAL.test(name) ? [value] : [];
    return typeof value === "object" && value !== null ? bodySecrets({ ...value }) : [];
  });
}

/** Passwords of proxies in the environment. */
export function proxySecretsIn(env: Readonly<Record<string, string | undefined>>): string[] {
  const proxies = Object.entries(env).filter(([name]) => /^(?:https?|all)_proxy$/i.test(name));
  return proxies.flatMap(([, text = ""]) => urlSecrets(text));
}

/** Of `Bearer sk-…`, both the whole text and the key. */
function headerSecrets(headers: Config["model_list"][number]["custom_headers"]): string[] {
  const secret = Object.entries(headers).filter(([name]) => isSecretName(name));
  const values = secret.map(([, value]) => value.reveal());
  return values.flatMap((value) => [value, value.replace(/^\w+\s+/, "")]);
}

/** The password before the host, as written and decoded, and `?api_key=…`. */
function urlSecrets(text: string): string[] {
  const url = URL.parse(text.trim());
  if (url === null) return [];
  const { password, searchParams } = url;
  const named = [...searchParams].filter(([name]) => isSecretName(name));
  return [password, decodeUrlPart(password), ...named.map(([, value]) => value)];
}
