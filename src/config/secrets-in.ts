import { Secret } from "../base/secret.ts";
import { decodeUrlPart } from "../base/url.ts";

/** Whether the name of a header or query parameter suggests a secret. */
export function isSecretName(name: string): boolean {
  return /auth|key|token|secret|cookie|sig|pass/i.test(name);
}

/** Names of body fields and variables that hold a credential; `tokenizer` and `prompt_cache_key` do not. */
const CREDENTIAL =
  /^(?:.*[_-])?(?:api_?key|access_?key|secret_?key|token|secret|password|authorization)$/i;

/**
 * Every secret of a configuration, or of a part of it, for redaction: values of type `Secret` but user names,
 * headers and texts whose names suggest a secret, and credentials in URLs.
 */
export function secretsIn(config: object): readonly string[] {
  return Object.entries(config).flatMap(([name, value]: [string, unknown]): readonly string[] => {
    if (value instanceof Secret) return name === "username" ? [] : [value.reveal()];
    if (typeof value === "string") {
      return CREDENTIAL.test(name) ? [value, ...urlSecrets(value)] : urlSecrets(value);
    }
    if (typeof value !== "object" || value === null) return [];
    return name === "custom_headers" ? headerSecrets(value) : secretsIn(value);
  });
}

/** Of `Bearer sk-…`, both the whole text and the key. */
function headerSecrets(headers: object): string[] {
  const secret = Object.entries(headers).filter(([name]) => isSecretName(name));
  const values = secret.flatMap(([, value]) => (value instanceof Secret ? value.reveal() : []));
  return values.flatMap((value) => [value, value.replace(/^\w+\s+/, "")]);
}

/** Passwords of proxies in the environment. */
export function proxySecretsIn(env: Readonly<Record<string, string | undefined>>): string[] {
  const proxies = Object.entries(env).filter(([name]) => /^(?:https?|all)_proxy$/i.test(name));
  return proxies.flatMap(([, text = ""]) => urlSecrets(text));
}

/** The password before the host, as written and decoded, and `?api_key=…`. */
function urlSecrets(text: string): string[] {
  const url = /[@?]/.test(text) ? URL.parse(text.trim()) : null;
  if (url === null) return [];
  const { password, searchParams } = url;
  const named = [...searchParams].filter(([name]) => isSecretName(name));
  return [password, decodeUrlPart(password), ...named.map(([, value]) => value)];
}
