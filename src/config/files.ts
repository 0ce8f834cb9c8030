import { dirname, join } from "node:path";
import { Failure } from "../base/failure.ts";
import { versionFailure } from "./compat/go/migrate.ts";
import type { Warning } from "./contract.ts";
import { treeOfJson } from "./json.ts";
import { readText } from "./read.ts";
import { DEFAULT, branch } from "./tree.ts";
import type { Branch } from "./tree.ts";
import { treeOfYaml } from "./yaml.ts";

/** What the two files hold, as they are written. */
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

/** Reads config.json and the .security.yml beside it; a file that is missing holds nothing. */
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
