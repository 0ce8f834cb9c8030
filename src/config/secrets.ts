import { isDisabled, isEnabled, mqttNames } from "./channels.ts";
import { fileOf, isReference, resolveCredential } from "./credential.ts";
import type { CredentialSurroundings } from "./credential.ts";
import type { Problem } from "./findings.ts";
import { goesBy } from "./models.ts";
import { isSecretName } from "./secrets-in.ts";
import { branch, branchAt, childOf, leaf, list, textAt, withChild, withDeepChild } from "./tree.ts";
import type { Branch, Path, Tree } from "./tree.ts";

export interface WithSecrets {
  readonly tree: Branch;
  readonly problems: readonly Problem[];
  /** Files that hold secrets: those in which one stands in plain, and those that references lead to. */
  readonly files: ReadonlySet<string>;
}

/** The tree with the secrets themselves instead of references to them, and what went wrong. */
export async function withSecrets(
  tree: Branch,
  surroundings: CredentialSurroundings,
): Promise<WithSecrets> {
  const problems: Problem[] = [];
  const files = new Set<string>();
  const resolve: Resolve = (node, path) => {
    const file = fileOfSecret(node, path, surroundings);
    if (file !== undefined) files.add(file);
    return resolved(node, path, { surroundings, problems });
  };
  const withModels = await withModelSecrets(tree, resolve);
  const withSearches = await withSearchSecrets(withModels, resolve);
  return { tree: await withChannelSecrets(withSearches, resolve), problems, files };
}

/** User names, and headers such as Accept, are resolved as secrets are and are none. */
function fileOfSecret(
  node: Tree,
  path: Path,
  surroundings: CredentialSurroundings,
): string | undefined {
  const isHeader = path.at(-2) === "custom_headers";
  const isNone = isHeader ? !isSecretName(String(path.at(-1))) : path.at(-1) === "username";
  if (node.kind !== "leaf" || node.text === "" || isNone) return undefined;
  if (isReference(node.text)) return fileOf(node.text, surroundings);
  return node.origin.from === "file" ? node.origin.file : undefined;
}

type Resolve = (node: Tree, path: Path) => Promise<Tree | undefined>;

interface Resolving {
  readonly surroundings: CredentialSurroundings;
  readonly problems: Problem[];
}

/** Undefined for a reference that leads nowhere. What a flag says is meant literally. */
async function resolved(
  node: Tree,
  path: Path,
  { surroundings, problems }: Resolving,
): Promise<Tree | undefined> {
  if (node.kind !== "leaf" || node.origin.from === "flag") return node;
  const secret = await resolveCredential(node.text, surroundings);
  if (typeof secret === "string") return secret === node.text ? node : leaf(secret, node.origin);
  problems.push({ origin: node.origin, path, text: secret.fault });
  return undefined;
}

async function withChannelSecrets(tree: Branch, resolve: Resolve): Promise<Branch> {
  let result = tree;
  for (const name of mqttNames(tree)) {
    const entry = branchAt(branchAt(tree, "channel_list"), name);
    if (entry === undefined || !isEnabled(entry)) continue;
    for (const key of ["username", "password"]) {
      const path = ["channel_list", name, "settings", key];
      const node = childOf(branchAt(entry, "settings"), key);
      const secret = node === undefined ? undefined : await resolve(node, path);
      if (secret !== undefined) result = withDeepChild(result, path, secret);
    }
  }
  return result;
}

/** Entries that are not used keep no references: nobody would resolve them. */
async function withModelSecrets(tree: Branch, resolve: Resolve): Promise<Branch> {
  const models = tree.entries.get("model_list");
  if (models?.kind !== "list") return tree;
  const defaults = branchAt(branchAt(tree, "agents"), "defaults");
  const wanted = textAt(defaults, "model_name");
  const items: Tree[] = [];
  for (const [index, entry] of models.items.entries()) {
    const isOff = textAt(entry, "enabled") === "false" && !(wanted !== "" && goesBy(wanted, entry));
    const how = isOff ? notResolved : resolve;
    const keyed = await withKeys(entry, ["model_list", index], how);
    items.push(await withHeaders(keyed, ["model_list", index], how));
  }
  return withChild(tree, "model_list", { ...models, items });
}

/** The keys of searches that are switched on; of others no reference is followed. */
async function withSearchSecrets(tree: Branch, resolve: Resolve): Promise<Branch> {
  const web = branchAt(branchAt(tree, "tools"), "web");
  if (web === undefined) return tree;
  let result = tree;
  for (const name of ["brave", "tavily"]) {
    const search = branchAt(web, name);
    if (search === undefined) continue;
    const isAsked = isEnabled(search) && !isDisabled(web);
    const path = ["tools", "web", name];
    result = withDeepChild(
      result,
      path,
      await withKeys(search, path, isAsked ? resolve : notResolved),
    );
  }
  return result;
}

async function withKeys(entry: Tree, path: Path, resolve: Resolve): Promise<Tree> {
  const keys = childOf(entry, "api_keys");
  if (entry.kind !== "branch" || keys === undefined || keys.kind === "branch") return entry;
  const several = keys.kind === "list" ? keys.items : [keys];
  const items: Tree[] = [];
  for (const [position, key] of several.entries()) {
    const secret = await resolve(key, [...path, "api_keys", position]);
    if (secret !== undefined) items.push(secret);
  }
  return withChild(entry, "api_keys", list(items, keys.origin));
}

async function withHeaders(entry: Tree, path: Path, resolve: Resolve): Promise<Tree> {
  const headers = branchAt(entry, "custom_headers");
  if (entry.kind !== "branch" || headers === undefined) return entry;
  const entries: [string, Tree][] = [];
  for (const [name, value] of headers.entries) {
    const secret = await resolve(value, [...path, "custom_headers", name]);
    if (secret !== undefined) entries.push([name, secret]);
  }
  return withChild(entry, "custom_headers", branch(entries, headers.origin));
}

function notResolved(node: Tree): Promise<Tree | undefined> {
  return Promise.resolve(node.kind === "leaf" && isReference(node.text) ? undefined : node);
}
