import { readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { codeOf, Failure } from "../base/failure.ts";
import { nearestWord } from "../base/spelling.ts";
import { upgraded, versionFailure, withProvidersAsModels } from "./compat/go/migrate.ts";
import type { Warning } from "./findings.ts";
import { didYouMean, lineOf } from "./findings.ts";
import { treeOfJson } from "./json.ts";
import { channelType } from "./keys/channel.ts";
import {
  branch,
  branchAt,
  childOf,
  DEFAULT,
  list,
  mergeBranches,
  textAt,
  withChild,
  withDeepChild,
  withoutChild,
} from "./tree.ts";
import type { Branch, List, Tree } from "./tree.ts";
import { treeOfYaml } from "./yaml.ts";

export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly userHome: string;
  /** Base of relative paths in variables and flags. */
  readonly cwd: string;
}

export interface ConfigPaths {
  /** `$PICOCLAW_HOME`, else `~/.picoclaw`. */
  readonly home: string;
  /** `$PICOCLAW_CONFIG`, else `<home>/config.json`. */
  readonly file: string;
}

/** The absolute paths of the configuration. An empty variable counts as unset. */
export function configPaths({ env, userHome, cwd }: Surroundings): ConfigPaths {
  const absolute = (path: string): string => absolutePath(path, { folder: cwd, userHome });
  const home = absolute(env["PICOCLAW_HOME"] || "~/.picoclaw");
  const file = env["PICOCLAW_CONFIG"];
  return { home, file: file ? absolute(file) : join(home, "config.json") };
}

/** The absolute path of a path in a file or a variable: relative to `folder`, with `~` as `userHome`. */
export function absolutePath(path: string, { folder, userHome }: PathBases): string {
  const isHome = path === "~" || path.startsWith("~/");
  return resolve(folder, isHome ? join(userHome || ".", path.slice(1)) : path);
}

export interface PathBases {
  readonly folder: string;
  readonly userHome: string;
}

export interface ConfigFiles {
  /** Both files at version 3: .security.yml over config.json. */
  readonly tree: Branch;
  /** config.json alone, at version 3. */
  readonly config: Branch;
  /** Whether there is a config.json. */
  readonly found: boolean;
  readonly warnings: readonly Warning[];
}

/** The file of secrets in the folder of config.json. */
export const SECURITY = ".security.yml";

const NOTHING: Branch = branch([], DEFAULT);

/**
 * Reads config.json and the .security.yml in the same folder. A missing file is empty. `draft` has texts to
 * take in place of those of the files.
 */
export async function readFiles(
  file: string,
  draft?: ReadonlyMap<string, string>,
): Promise<ConfigFiles | Failure> {
  const text = draft?.get(file) ?? readText(file);
  if (text instanceof Failure) return text;
  const read = text === undefined ? { tree: NOTHING, warnings: [] } : await treeOfJson(text, file);
  if (read instanceof Failure) return read;
  const failure = versionFailure(read.tree);
  if (failure !== undefined) return failure;
  const security = await readSecurity(join(dirname(file), SECURITY), draft);
  if (security instanceof Failure) return security;
  const config = upgraded(read.tree);
  const { tree, warnings } = withSecurity(config, security);
  return { tree, config, found: text !== undefined, warnings: [...read.warnings, ...warnings] };
}

async function readSecurity(
  file: string,
  draft?: ReadonlyMap<string, string>,
): Promise<Branch | Failure> {
  const text = draft?.get(file) ?? readText(file);
  return typeof text === "string" ? treeOfYaml(text, file) : (text ?? NOTHING);
}

/**
 * Merges both files into one tree at version 3. `.security.yml` may have every shape at every version:
 * flat and nested channels, keys as a list or single, models by `name` or `name:index`.
 */
function withSecurity(
  config: Branch,
  security: Branch,
): { readonly tree: Branch; readonly warnings: readonly Warning[] } {
  const channels = branchAt(config, "channel_list");
  const upper = upgraded(security, (name, entry) =>
    channelType(name, childOf(channels, name) ?? entry),
  );
  const others = withSearches(withoutChild(withoutChild(upper, "model_list"), "version"));
  const tree = withProvidersAsModels(mergeBranches(config, others));
  const keys = upper.entries.get("model_list");
  const models = tree.entries.get("model_list") ?? list([], tree.origin);
  if (keys === undefined || models.kind !== "list") return { tree, warnings: [] };
  if (keys.kind !== "branch")
    return { tree, warnings: [warningOf("", keys, "is not a map of names")] };
  const { items, warnings } = withKeys(models, keys);
  return { tree: withChild(tree, "model_list", { ...models, items }), warnings };
}

/** `web` is `tools.web`, which wins. A search without keys removes none. */
function withSearches(security: Branch): Branch {
  const web = branchAt(security, "web");
  const tools = branchAt(security, "tools");
  const inner = branchAt(tools, "web");
  const both = web === undefined ? inner : inner === undefined ? web : mergeBranches(web, inner);
  if (both === undefined) return security;
  const entries = [...both.entries].map(([name, entry]): [string, Tree] => [
    name,
    entry.kind === "branch" ? withoutEmptyKeys(entry) : entry,
  ]);
  const searches = branch(entries, both.origin);
  return withDeepChild(withoutChild(security, "web"), ["tools", "web"], searches);
}

/** Merges each entry with `name:index`, counted among equal names, or with `name`. */
function withKeys(models: List, keys: Branch): { items: Tree[]; warnings: Warning[] } {
  const counts = new Map<string, number>();
  const used = new Set<string>();
  const items = models.items.map((entry) => {
    const name = textAt(entry, "model_name");
    const count = counts.get(name) ?? 0;
    counts.set(name, count + 1);
    const words = [name, `${name}:${count}`].filter((word) => branchAt(keys, word) !== undefined);
    for (const word of words) used.add(word);
    const secrets = branchAt(keys, words.at(-1) ?? "");
    if (entry.kind !== "branch" || secrets === undefined) return entry;
    return mergeBranches(entry, withoutEmptyKeys(secrets));
  });
  const warnings = [...keys.entries].flatMap(([key, entry]) => {
    if (used.has(key)) return [];
    if (entry.kind !== "branch") return [warningOf(key, entry, "is not a map with api_keys")];
    const meant = didYouMean(nearestWord(key.replace(/:\d+$/, ""), counts.keys()));
    return [warningOf(key, entry, `names no entry of model_list${meant}`)];
  });
  return { items, warnings };
}

/** An entry without keys must not remove those of config.json, as it does in Go PicoClaw. */
function withoutEmptyKeys(secrets: Branch): Branch {
  const keys = secrets.entries.get("api_keys");
  const isEmpty =
    keys?.kind === "list" ? keys.items.length === 0 : textAt(secrets, "api_keys") === "";
  return isEmpty ? withoutChild(secrets, "api_keys") : secrets;
}

function warningOf(key: string, { origin }: Tree, text: string): Warning {
  const path = key === "" ? ["model_list"] : ["model_list", key];
  return {
    message: lineOf({ origin, path, text: `${text}, so it has no effect` }),
    remedy: "write api_keys under the model_name of an entry, or under name:index",
  };
}

/** Bytes; a Go PicoClaw home with all its defaults written out has about 30,000. */
const MAX_BYTES = 1_048_576;

/**
 * Reads a UTF-8 file, without its byte order mark; undefined if there is no file. Returns a Failure for
 * anything but a regular file of a sensible size: reading a pipe or a device might never end.
 */
export function readText(file: string): string | undefined | Failure {
  let bytes: Uint8Array;
  try {
    bytes = readRegularFile(file, MAX_BYTES);
  } catch (error) {
    const code = codeOf(error);
    return code === "ENOENT" ? undefined : unreadable(file, code || "unknown error");
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return unreadable(file, "ENCODING");
  }
}

/**
 * Reads a file. Throws a coded error; `SPECIAL` for what is not a regular file, `EFBIG` for a large one. It
 * blocks: at the start of a command nothing else is to be done, and threads for it would take longer.
 */
function readRegularFile(file: string, most: number): Uint8Array {
  const facts = statSync(file);
  if (facts.isDirectory()) throw new UnfitFile("EISDIR");
  if (!facts.isFile()) throw new UnfitFile("SPECIAL");
  if (facts.size > most) throw new UnfitFile("EFBIG");
  return readFileSync(file);
}

/** Bytes of a secret or key. */
const MAX_SECRET_BYTES = 65_536;

/** Why a reference could not be resolved. It never quotes the reference or the secret. */
export interface SecretFault {
  readonly fault: string;
}

/** Reads a file that holds one secret, and trims it. Throws a coded error. */
export function readSecretFile(file: string): string {
  return new TextDecoder().decode(readSecretBytes(file)).trim();
}

/** Reads the bytes of a key. Throws a coded error. */
export function readSecretBytes(file: string): Uint8Array {
  return readRegularFile(file, MAX_SECRET_BYTES);
}

class UnfitFile extends Error {
  readonly code: string;
  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

const REASONS: Readonly<Record<string, readonly [why: string, remedy: string]>> = {
  EISDIR: ["it is a directory", "name a file in it"],
  SPECIAL: ["it is not a regular file", "put the text into a regular file"],
  EFBIG: [`it has more than ${MAX_BYTES} bytes`, "check that it is the right file"],
  ENCODING: ["it is not UTF-8 text", "save it as UTF-8"],
  EACCES: ["permission was denied (EACCES)", "let the user that runs picoclaw read it"],
  ENOTDIR: ["a part of its path is not a directory (ENOTDIR)", "check the path"],
};

function unreadable(file: string, reason: string): Failure {
  const [why, remedy] = REASONS[reason] ?? [`reading it failed (${reason})`, "check the path"];
  return new Failure("config", `${file} cannot be read`, { why, remedy });
}
