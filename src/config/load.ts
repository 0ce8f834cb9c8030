import { dirname, join } from "node:path";
import { Failure } from "../base/failure.ts";
import { assembled } from "./assemble.ts";
import type { Config, ConfigFlags, LoadedConfig } from "./contract.ts";
import { readFiles, SECURITY } from "./files.ts";
import { createFindings } from "./findings.ts";
import { flagSettings } from "./flags.ts";
import { layered } from "./layers.ts";
import { configPaths } from "./paths.ts";
import type { Surroundings } from "./paths.ts";
import { failureOf } from "./problem.ts";
import { refusalOf } from "./refusal.ts";
import { originsOf } from "./tree.ts";

export interface LoadOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The user's home directory. */
  readonly home: string;
  readonly flags?: ConfigFlags;
  /** What relative paths of flags and variables are relative to. */
  readonly cwd?: string;
}

/**
 * The configuration: defaults < config.json < .security.yml < environment < flags, with the files of
 * Go PicoClaw at versions 0 to 3 taken as they are. Returns a Failure of code `config` that names all
 * wrong values at once; never throws for what a file holds, and never writes one.
 */
export async function loadConfig(options: LoadOptions): Promise<LoadedConfig | Failure> {
  const { env, home: userHome, flags = {}, cwd = "." } = options;
  const surroundings: Surroundings = { env, userHome, cwd };
  const paths = configPaths(surroundings);
  const files = await readFiles(paths.file);
  if (files instanceof Failure) return files;
  const settings = await flagSettings(flags, cwd);
  if (settings instanceof Failure) return settings;
  const layers = await layered(files, settings, { ...surroundings, ...paths });
  const findings = createFindings(layers.tree);
  const config = assembled(layers.tree, findings, { ...surroundings, ...paths });
  const problems = [...layers.problems, ...findings.problems];
  if (config === undefined || problems.length > 0) return failureOf(problems, paths.file);
  const secretFiles = [
    ...layers.secretFiles,
    join(dirname(paths.file), SECURITY),
    ...keyFiles(config),
  ];
  const { refusal, ignored } = refusalOf(findings, config.gateway.ignore_unsupported, paths.file);
  return {
    config,
    warnings: [...files.warnings, ...layers.warnings, ...findings.warnings, ...ignored],
    ...(refusal && { refusal }),
    ...paths,
    found: files.found,
    secretFiles,
    origins: originsOf(layers.tree),
  };
}

function keyFiles({ channels }: Config): string[] {
  return channels.flatMap(({ settings }) => settings.tls.key_file ?? []);
}
