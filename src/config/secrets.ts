import { realpath } from "node:fs/promises";
import { isAbsolute, join, relative, sep } from "node:path";
import { codeOf } from "../base/failure.ts";
import { isDisabled, isEnabled } from "./channels.ts";
import { decrypted, sshKeyFile } from "./compat/go/enc.ts";
import { channelType } from "./compat/go/migrate.ts";
import { readSecretFile } from "./files.ts";
import type { SecretFault, Surroundings } from "./files.ts";
import type { Problem } from "./findings.ts";
import type { Row } from "./keys/key.ts";
import { KEYS } from "./keys/keys.ts";
import { goesBy } from "./models.ts";
import { isSecretName } from "./secrets-in.ts";
import { branchAt, leaf, list, mapChildren, textAt } from "./tree.ts";
import type { Branch, Leaf, Path, Tree } from "./tree.ts";

export interface SecretSurroundings extends Pick<Surroundings, "env" | "userHome"> {
  /** The folder of config.json, in which `file://` stays. */
  readonly folder: string;
}

export interface WithSecrets {
  readonly tree: Branch;
  readonly problems: readonly Problem[];
  /** Files that hold secrets: those in which one stands in plain, and those that references lead to. */
  readonly files: ReadonlySet<string>;
}

/**
 * The tree with secrets in place of references to them. References of what is not used are dropped and
 * not followed; so are those that lead nowhere, which are problems.
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
    // What a flag says is meant literally.
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
  /** Undefined in what is not used. */
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

/** Whether channels, models and searches are used: those that are off keep no references. */
function isUsedAt(path: Path, node: Tree, root: Branch): boolean {
  const place = path.map((name) => (typeof name === "number" ? "*" : name)).join(".");
  if (node.kind !== "branch") return true;
  if (place === "model_list.*") {
    const wanted = textAt(branchAt(branchAt(root, "agents"), "defaults"), "model_name");
    return textAt(node, "enabled") !== "false" || (wanted !== "" && goesBy(wanted, node));
  }
  if (path[0] === "channel_list" && path.length === 2) {
    return channelType(String(path[1]), node) === "mqtt" && isEnabled(node);
  }
  if (place === "tools.web") return !isDisabled(node);
  return !["tools.web.brave", "tools.web.tavily"].includes(place) || isEnabled(node);
}

/** User names, and headers such as Accept, are resolved as secrets are and are none. */
function fileOfSecret(
  { text, origin }: Leaf,
  path: Path,
  surroundings: SecretSurroundings,
): string | undefined {
  const isHeader = path.at(-2) === "custom_headers";
  const isNone = isHeader ? !isSecretName(String(path.at(-1))) : path.at(-1) === "username";
  if (text === "" || isNone) return undefined;
  if (isReference(text)) return fileOf(text, surroundings);
  return origin.from === "file" ? origin.file : undefined;
}

/** The file beside config.json that a reference leads to, and the key that `enc://` needs beside the passphrase. */
function fileOf(text: string, surroundings: SecretSurroundings): string | undefined {
  if (text.startsWith("file://")) return join(surroundings.folder, text.slice(7).trim());
  return text.startsWith("enc://") ? sshKeyFile(surroundings).file || undefined : undefined;
}

/**
 * The secret that a text stands for: `file://name` is a file beside config.json, `cred://name` a
 * credential of the systemd service, `enc://…` is decrypted as Go PicoClaw encrypts, any other text is
 * the secret itself.
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

/** Whether a text stands for a secret, and is none itself. */
export function isReference(text: string): boolean {
  return /^(?:file|cred|enc):\/\//.test(text);
}

/** Symbolic links are followed before it is checked that the file lies inside the folder. */
async function fileCredential(name: string, folder: string): Promise<string | SecretFault> {
  if (name === "") return { fault: "names no file after file://" };
  try {
    const base = await realpath(folder);
    const file = await realpath(join(base, name));
    const path = relative(base, file);
    if (isAbsolute(path) || path === ".." || path.startsWith(`..${sep}`)) {
      return { fault: "names a file outside of the folder of config.json" };
    }
    const secret = await readSecretFile(file);
    return secret === "" ? { fault: "names a file that is empty" } : secret;
  } catch (error) {
    return { fault: `names a file that cannot be read (${codeOf(error)})` };
  }
}

/**
 * What systemd keeps for this service alone (systemd.exec(5), LoadCredential=): a file in the folder that
 * CREDENTIALS_DIRECTORY names.
 */
async function systemCredential(
  name: string,
  env: SecretSurroundings["env"],
): Promise<string | SecretFault> {
  if (!isCredentialName(name))
    return { fault: "names no credential: one word without / is wanted" };
  const folder = env["CREDENTIALS_DIRECTORY"];
  const remedy = `LoadCredential=${name}:/path/of/the/file in the [Service] section of its unit`;
  if (!folder) return { fault: `is a credential, and CREDENTIALS_DIRECTORY is not set: ${remedy}` };
  try {
    const secret = await readSecretFile(join(folder, name));
    return secret === "" ? { fault: `names the credential ${name}, which is empty` } : secret;
  } catch (error) {
    const code = codeOf(error);
    return { fault: `names the credential ${name}, which cannot be read (${code}): ${remedy}` };
  }
}

/** As systemd takes them: at most 255 characters, no path. */
function isCredentialName(name: string): boolean {
  return /^[!-.0-~]{1,255}$/.test(name) && name !== "." && name !== "..";
}
