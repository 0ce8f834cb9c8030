import { realpath } from "node:fs/promises";
import { join } from "node:path";
import { codeOf } from "../base/failure.ts";
import { isInside } from "../base/path-contains.ts";
import { Secret } from "../base/secret.ts";
import { decodeUrlPart } from "../base/url.ts";
import { decrypted, sshKeyFile } from "./compat/go/enc.ts";
import { readSecretFile } from "./files.ts";
import type { SecretFault, Surroundings } from "./files.ts";
import type { Problem } from "./findings.ts";
import { channelType } from "./keys/channel.ts";
import type { Row } from "./keys/key.ts";
import { KEYS } from "./keys/keys.ts";
import { isNameOf } from "./models.ts";
import { leaf, list, mapChildren, textAt } from "./tree.ts";
import type { Branch, Leaf, Path, Tree } from "./tree.ts";
import { enabledOf } from "./values.ts";

export interface SecretSurroundings extends Pick<Surroundings, "env" | "userHome"> {
  /** The folder of config.json, in which `file://` stays. */
  readonly folder: string;
}

export interface WithSecrets {
  readonly tree: Branch;
  readonly problems: readonly Problem[];
  /** Files that hold secrets: in plain text, or as the target of a reference. */
  readonly files: ReadonlySet<string>;
}

/**
 * Replaces references by their secrets. Drops references of entries that are not used, without following
 * them, and references that cannot be resolved, with a problem.
 */
export async function withSecrets(
  tree: Branch,
  surroundings: SecretSurroundings,
): Promise<WithSecrets> {
  const problems: Problem[] = [];
  const files = new Set<string>();
  const resolve = async (node: Leaf, path: Path): Promise<Tree | undefined> => {
    const file = fileOfSecret(node, path, surroundings);
    if (file !== undefined) files.add(file);
    // The value of a flag is literal.
    if (node.origin.from === "flag") return node;
    const secret = await resolveReference(node.text, surroundings);
    if (typeof secret === "string") return secret === node.text ? node : leaf(secret, node.origin);
    problems.push({ origin: node.origin, path, text: secret.fault });
    return undefined;
  };
  const result = await mapChildren(tree, (node, name) =>
    withSecretsIn(node, rowAt(KEYS, name), { path: [name], root: tree, resolve }),
  );
  return { tree: result, problems, files };
}

interface Resolving {
  readonly path: Path;
  readonly root: Branch;
  /** Undefined for entries that are not used. */
  readonly resolve: ((node: Leaf, path: Path) => Promise<Tree | undefined>) | undefined;
}

async function withSecretsIn(
  node: Tree,
  row: Row | undefined,
  { path, root, resolve }: Resolving,
): Promise<Tree | undefined> {
  if (row === undefined || (row.kind === "key" && row.reference !== true)) return node;
  if (node.kind === "leaf") {
    if (row.kind !== "key") return node;
    const isSingle = path.at(-1) === "api_keys";
    if (isSingle) return withSecretsIn(list([node], node.origin), row, { path, root, resolve });
    if (resolve !== undefined) return resolve(node, path);
    return isReference(node.text) ? undefined : node;
  }
  return mapChildren(node, (child, name) => {
    const at = [...path, name];
    const inner = row.kind === "key" ? row : rowAt(row, name);
    const isUsed = resolve !== undefined && isUsedAt(at, child, root);
    return withSecretsIn(child, inner, { path: at, root, resolve: isUsed ? resolve : undefined });
  });
}

function rowAt(row: Row, name: string | number): Row | undefined {
  if (row.kind === "key") return undefined;
  if (row.kind !== "group") return row.each;
  return Object.hasOwn(row.rows, name) ? row.rows[name] : undefined;
}

/** What is used only if it is enabled. */
const SWITCHED_OFF = /^tools\.(?:web\.(?:brave|tavily)|mcp(?:\.servers\.[^.]+)?)$/;

/** Whether a channel, model, search or server is used. */
function isUsedAt(path: Path, node: Tree, root: Branch): boolean {
  const place = path.map((name) => (typeof name === "number" ? "*" : name)).join(".");
  if (node.kind !== "branch") return true;
  if (place === "model_list.*") {
    const wanted = textAt(root, "agents", "defaults", "model_name");
    return textAt(node, "enabled") !== "false" || (wanted !== "" && isNameOf(wanted, node));
  }
  if (path[0] === "channel_list" && path.length === 2) {
    return channelType(String(path[1]), node) === "mqtt" && enabledOf(node) === true;
  }
  if (place === "tools.web") return enabledOf(node) !== false;
  return !SWITCHED_OFF.test(place) || enabledOf(node) === true;
}

/** Objects whose entries are secrets by their names: `Authorization`, but not `Accept`. */
const TABLES: ReadonlySet<unknown> = new Set(["custom_headers", "headers", "env"]);
/** Those for servers of others, where names say little: all but ordinary values are secrets. */
const OF_SERVERS: ReadonlySet<unknown> = new Set(["headers", "env"]);

/** Short words, and some that variables often hold. */
const WORD =
  /^(?:[a-z]{1,7}|true|false|debug|info|warn(?:ing)?|error|production|development|localhost)$/i;
const PATH = /^(?:~|\.{1,2}|[A-Za-z]:)?[/\\](?:[\w .-]{1,40}(?:[/\\]|$))*$/;
/** `application/json`, `Europe/Berlin`. */
const TYPE = /^[A-Za-z]{2,14}\/[\w.+*-]{1,40}(?:[;,][ -~]*)?$/;
/** `192.168.1.2`, `broker.local:1883`. */
const HOST =
  /^(?:\d{1,3}(?:\.\d{1,3}){3}|[a-z][a-z\d-]{0,40}\.(?:home|internal|lan|local))(?::\d{1,5})?$/i;
/** `2025-06-18`, `en_US.UTF-8`. */
const DATE_OR_LOCALE = /^(?:\d{4}-\d\d-\d\d|[a-z]{2}_[A-Z]{2}(?:\.UTF-8)?)$/;
const ORDINARY = [/^\d{1,5}$/, WORD, PATH, TYPE, HOST, DATE_OR_LOCALE];

/** Whether a variable or a header of a server is plainly none: masking it would mask what everybody writes. */
function isOrdinary(text: string): boolean {
  // The address of a webhook is a secret.
  if (text.split(/[^\w-]/).some((part) => isRandom(part))) return false;
  const isUrl = /^https?:\/\/\S+$/.test(text) && urlSecrets(text).every((secret) => secret === "");
  return isUrl || ORDINARY.some((one) => one.test(text));
}

function isRandom(part: string): boolean {
  if (part.length < 20) return false;
  return /^[\da-f]{32,}$/i.test(part) || [/\d/, /[a-z]/, /[A-Z]/].every((one) => one.test(part));
}

/** Whether an entry of `env` or `headers` of a server is a secret. */
export function isServerSecret(name: string, text: string): boolean {
  return isSecretName(name) || !isOrdinary(text.trim());
}

/** Whether an entry of the table of that name, or of an object that is none, is a secret. */
export function isTableSecret(table: unknown, name: string, text: string): boolean {
  return OF_SERVERS.has(table) ? isServerSecret(name, text) : isSecretName(name);
}

/** User names, and headers such as Accept, may be references but are not secrets. */
function fileOfSecret(
  { text, origin }: Leaf,
  path: Path,
  surroundings: SecretSurroundings,
): string | undefined {
  const [table, name] = [path.at(-2), String(path.at(-1))];
  const isNone = TABLES.has(table) ? !isTableSecret(table, name, text) : name === "username";
  if (text === "" || isNone) return undefined;
  if (isReference(text)) return fileOf(text, surroundings);
  return origin.from === "file" ? origin.file : undefined;
}

/** The target of `file://`, or the SSH key that `enc://` needs. */
function fileOf(text: string, surroundings: SecretSurroundings): string | undefined {
  if (text.startsWith("file://")) return join(surroundings.folder, text.slice(7).trim());
  return text.startsWith("enc://") ? sshKeyFile(surroundings).file || undefined : undefined;
}

/**
 * The secret of a text: `file://name` is a file in the folder of config.json, `cred://name` a credential of the
 * systemd service, `enc://…` an encrypted secret; any other text is the secret itself.
 */
export async function resolveReference(
  text: string,
  surroundings: SecretSurroundings,
): Promise<string | SecretFault> {
  if (text.startsWith("file://")) return fileCredential(text.slice(7).trim(), surroundings.folder);
  if (text.startsWith("cred://")) return systemCredential(text.slice(7).trim(), surroundings.env);
  if (text.startsWith("enc://")) return decrypted(text.slice(6), surroundings);
  return text;
}

/** Whether a text is a reference to a secret. */
export function isReference(text: string): boolean {
  return /^(?:file|cred|enc):\/\//.test(text);
}

/** Resolves symbolic links before it checks that the file is inside the folder. */
async function fileCredential(name: string, folder: string): Promise<string | SecretFault> {
  if (name === "") return { fault: "has no file name after file://" };
  try {
    const base = await realpath(folder);
    const file = await realpath(join(base, name));
    if (!isInside(file, base)) {
      return { fault: "names a file outside of the folder of config.json" };
    }
    const secret = readSecretFile(file);
    return secret === "" ? { fault: "names a file that is empty" } : secret;
  } catch (error) {
    return { fault: `names a file in ${folder} that cannot be read (${codeOf(error)})` };
  }
}

/**
 * A credential that systemd gives to this service only (systemd.exec(5), LoadCredential=): a file in the
 * folder CREDENTIALS_DIRECTORY.
 */
function systemCredential(name: string, env: SecretSurroundings["env"]): string | SecretFault {
  if (!isCredentialName(name))
    return { fault: "is not the name of a credential: one word without / is expected" };
  const folder = env["CREDENTIALS_DIRECTORY"];
  const remedy = `LoadCredential=${name}:/path/of/the/file in the [Service] section of its unit`;
  if (!folder) return { fault: `is a credential, and CREDENTIALS_DIRECTORY is not set: ${remedy}` };
  try {
    const secret = readSecretFile(join(folder, name));
    return secret === "" ? { fault: `names the credential ${name}, which is empty` } : secret;
  } catch (error) {
    const code = codeOf(error);
    return { fault: `names the credential ${name}, which cannot be read (${code}): ${remedy}` };
  }
}

/** As systemd accepts them: at most 255 characters, no path. */
function isCredentialName(name: string): boolean {
  return /^[!-.0-~]{1,255}$/.test(name) && name !== "." && name !== "..";
}

/** Whether the name of a header or query parameter suggests a secret. */
export function isSecretName(name: string): boolean {
  return /auth|key|token|secret|cookie|sig|pass/i.test(name);
}

/** Whether a body field or a variable holds a credential; `tokenizer` and `prompt_cache_key` do not. */
export function isCredential(name: string): boolean {
  return /^(?:.*[_-])?(?:api_?key|access_?key|secret_?key|token|secret|password|authorization)$/i.test(
    name,
  );
}

/**
 * Every secret of a configuration, or of a part of it, that must not be sent anywhere: values of type `Secret` but
 * user names, headers and texts whose names suggest a secret, and credentials in URLs.
 */
export function secretsIn(config: object): readonly string[] {
  return foundIn(config, (_table, name) => isSecretName(name));
}

/** The same for redaction: with all variables and headers of servers that are not ordinary. */
export function maskedIn(config: object): readonly string[] {
  return foundIn(config, isTableSecret);
}

type IsEntrySecret = (table: string, name: string, text: string) => boolean;

function foundIn(config: object, isSecret: IsEntrySecret): readonly string[] {
  return Object.entries(config).flatMap(([name, value]: [string, unknown]): readonly string[] => {
    if (value instanceof Secret) return name === "username" ? [] : [value.reveal()];
    if (typeof value === "string") {
      return urlSecrets(value).concat(isCredential(name) ? value : []);
    }
    if (typeof value !== "object" || value === null) return [];
    return TABLES.has(name)
      ? entriesFoundIn(value, (...entry) => isSecret(name, ...entry))
      : foundIn(value, isSecret);
  });
}

/** Of headers and variables; of `Bearer sk-…`, both the whole text and the key. */
function entriesFoundIn(
  table: object,
  isSecret: (name: string, text: string) => boolean,
): readonly string[] {
  return Object.entries(table).flatMap(([name, value]: [string, unknown]) => {
    if (!(value instanceof Secret)) return secretsIn({ [name]: value });
    const text = value.reveal();
    const whole = isSecret(name, text) ? [text, text.replace(/^\w+\s+/, "")] : [];
    return whole.concat(urlSecrets(text));
  });
}

/** Passwords of proxies in the environment. */
export function proxySecretsIn(env: Readonly<Record<string, string | undefined>>): string[] {
  const proxies = Object.entries(env).filter(([name]) => /^(?:https?|all)_proxy$/i.test(name));
  return proxies.flatMap(([, text = ""]) => urlSecrets(text));
}

/** Secrets in a URL: the password before the host, as written and decoded, and `?api_key=…`. */
export function urlSecrets(text: string): string[] {
  const url = /[@?]/.test(text) ? URL.parse(text.trim()) : null;
  if (url === null) return [];
  const { password, searchParams } = url;
  const named = [...searchParams].filter(([name]) => isSecretName(name));
  return [password, decodeUrlPart(password), ...named.map(([, value]) => value)];
}
