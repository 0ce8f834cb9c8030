import { readFile, stat } from "node:fs/promises";
import { join, resolve, dirname } from "node:path";
import { codeOf, Failure } from "../base/failure.ts";
import { versionFailure } from "./compat/go/migrate.ts";
import type { Warning } from "./findings.ts";
import { treeOfJson } from "./json.ts";
import { DEFAULT, branch } from "./tree.ts";
import type { Branch } from "./tree.ts";
import { treeOfYaml } from "./yaml.ts";

/** Bytes; a Go PicoClaw home with all its defaults written out has about 30,000. */
const MAX_BYTES = 1_048_576;

/**
 * Reads a UTF-8 file, without its byte order mark; undefined if there is no file. Returns a Failure for
 * anything but a regular file of a sensible size: reading a pipe or a device might never end.
 */
export async function readText(file: string): Promise<string | undefined | Failure> {
  let bytes: Uint8Array;
  try {
    bytes = await readRegularFile(file, MAX_BYTES);
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

/** Reads a file. Throws a coded error; `SPECIAL` for what is not a regular file, `EFBIG` for a large one. */
async function readRegularFile(file: string, most: number): Promise<Uint8Array> {
  const facts = await stat(file);
  if (facts.isDirectory()) throw new UnfitFile("EISDIR");
  if (!facts.isFile()) throw new UnfitFile("SPECIAL");
  if (facts.size > most) throw new UnfitFile("EFBIG");
  return readFile(file);
}

/** Bytes of a secret or key. */
const MAX_SECRET_BYTES = 65_536;

/** Why a reference could not be resolved. It never quotes the reference or the secret. */
export interface SecretFault {
  readonly fault: string;
}

/** Reads a file that holds one secret, and trims it. Throws a coded error. */
export async function readSecretFile(file: string): Promise<string> {
  return new TextDecoder().decode(await readSecretBytes(file)).trim();
}

/** Reads the bytes of a key. Throws a coded error. */
export function readSecretBytes(file: string): Promise<Uint8Array> {
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
  const absolute = (path: string): string => resolve(cwd, expandHome(path, userHome));
  const home = absolute(env["PICOCLAW_HOME"] || "~/.picoclaw");
  const file = env["PICOCLAW_CONFIG"];
  return { home, file: file ? absolute(file) : join(home, "config.json") };
}

/** `~` and `~/…` as the user's home directory; any other path unchanged. */
export function expandHome(path: string, userHome: string): string {
  return path === "~" || path.startsWith("~/") ? join(userHome || ".", path.slice(1)) : path;
}

/** The content of both files, as written. */
export interface ConfigFiles {
  readonly config: Branch;
  readonly security: Branch;
  /** Whether there is a config.json. */
  readonly found: boolean;
  readonly warnings: readonly Warning[];
}

/** The file of secrets beside config.json. */
export const SECURITY = ".security.yml";

const NOTHING: Branch = branch([], DEFAULT);

/** Reads config.json and the .security.yml beside it. A missing file is empty. */
export async function readFiles(file: string): Promise<ConfigFiles | Failure> {
  const text = await readText(file);
  if (text instanceof Failure) return text;
  const read = text === undefined ? { tree: NOTHING, warnings: [] } : await treeOfJson(text, file);
  if (read instanceof Failure) return read;
  const failure = versionFailure(read.tree);
  if (failure !== undefined) return failure;
  const security = await readSecurity(join(dirname(file), SECURITY));
  if (security instanceof Failure) return security;
  return { config: read.tree, security, found: text !== undefined, warnings: read.warnings };
}

async function readSecurity(file: string): Promise<Branch | Failure> {
  const text = await readText(file);
  return typeof text === "string" ? treeOfYaml(text, file) : (text ?? NOTHING);
}
