import { dirname } from "node:path";
import { mqttNames, withSettings, withoutUrlCredentials } from "./channel-tree.ts";
import { upgraded } from "./compat/go/migrate.ts";
import type { Warning } from "./contract.ts";
import { unknownVariables, withEnvironment } from "./environment.ts";
import type { ConfigFiles } from "./files.ts";
import type { ConfigPaths, Surroundings } from "./paths.ts";
import type { Problem } from "./problem.ts";
import { withSecrets } from "./secrets.ts";
import { withSecurity } from "./security.ts";
import type { Branch } from "./tree.ts";

export interface Layered {
  /** At version 3, secrets resolved, without defaults. */
  readonly tree: Branch;
  readonly problems: readonly Problem[];
  readonly warnings: readonly Warning[];
  /** Files that hold secrets. */
  readonly secretFiles: ReadonlySet<string>;
}

/** Everything that was set, in one tree: config.json < .security.yml < environment < flags. */
export async function layered(
  { config, security, found }: ConfigFiles,
  flags: Branch | undefined,
  { env, userHome, file }: Surroundings & ConfigPaths,
): Promise<Layered> {
  const files = withSecurity(config, security);
  const target = {
    channels: mqttNames(files.tree),
    inFile: mqttNames(upgraded(config)).length > 0,
  };
  const environment = withEnvironment(files.tree, env, target);
  const all = flags === undefined ? environment.tree : withSettings(environment.tree, flags);
  const folder = dirname(file);
  const secrets = await withSecrets(withoutUrlCredentials(all), { env, userHome, folder });
  return {
    tree: secrets.tree,
    problems: [...environment.problems, ...secrets.problems],
    secretFiles: secrets.files,
    warnings: [...files.warnings, ...unknownVariables(env), ...missingFile(found, env, file)],
  };
}

/** A file that was named and is not there was meant to be. */
function missingFile(found: boolean, env: Surroundings["env"], file: string): Warning[] {
  if (found || !env["PICOCLAW_CONFIG"]) return [];
  const message = `environment PICOCLAW_CONFIG: there is no file ${file}`;
  return [{ message, remedy: "correct the path, or unset the variable" }];
}
