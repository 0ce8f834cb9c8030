import { readFile, stat } from "node:fs/promises";
import { codeOf } from "../../../base/failure.ts";
import { variable } from "../../../base/host.ts";
import type { McpServerSettings } from "../../../config/contract.ts";
import { isServerSecret, urlSecrets } from "../../../config/secrets.ts";
import { NEVER_GIVEN } from "../../../config/values.ts";
import { commandEnvironment } from "../exec/environment.ts";
import { ServerError } from "./server-error.ts";

export interface EnvironmentOptions {
  /** Absolute path. `PATH` has no folder below it. */
  readonly workspace: string;
  /** Learns the secrets of the file. */
  readonly learn: (secrets: Iterable<string>) => void;
}

/** The variables of a server's program: a few of this program's, those of its file, and its own. */
export async function serverEnvironment(
  { env, env_file: file }: Pick<McpServerSettings, "env" | "env_file">,
  { workspace, learn }: EnvironmentOptions,
): Promise<Readonly<Record<string, string>>> {
  const common = commandEnvironment(variable, workspace);
  const ofFile = file === undefined ? {} : await readVariables(file, learn);
  const own = Object.entries(env).map(([name, value]) => [name, value.reveal()] as const);
  return { ...common, ...ofFile, ...Object.fromEntries(own) };
}

const MAX_BYTES = 64 * 1024;

/**
 * The variables of a file: `NAME=value` in each line, perhaps in quotes; `#` begins a comment. `learn` hears the
 * secrets among them. Throws a `ServerError` that does not quote the file.
 */
async function readVariables(
  file: string,
  learn: (secrets: Iterable<string>) => void,
): Promise<Readonly<Record<string, string>>> {
  const text = await textOf(file);
  const pairs = text.split(/\r?\n/).flatMap((written, index) => {
    const line = written.trim();
    if (line === "" || line.startsWith("#")) return [];
    const found = /^(?:export\s+)?([^=\s]+)\s*=\s*(.*)$/.exec(line);
    if (found === null) {
      throw new ServerError("lost", `line ${index + 1} of its env_file is not NAME=value`);
    }
    const [, name = "", value = ""] = found;
    return NEVER_GIVEN.has(name) ? [] : [[name, unquoted(value)] as const];
  });
  learn(
    pairs.flatMap(([name, value]) => [
      ...(isServerSecret(name, value) ? [value] : []),
      ...urlSecrets(value),
    ]),
  );
  return Object.fromEntries(pairs);
}

async function textOf(file: string): Promise<string> {
  try {
    const { size } = await stat(file);
    if (size > MAX_BYTES) throw new ServerError("lost", "its env_file is too long");
    return await readFile(file, "utf8");
  } catch (thrown) {
    if (thrown instanceof ServerError) throw thrown;
    throw new ServerError("lost", `its env_file cannot be read (${codeOf(thrown)})`);
  }
}

function unquoted(value: string): string {
  return /^(["'])(.*)\1$/s.exec(value)?.[2] ?? value;
}
