import { join, resolve } from "node:path";

export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly userHome: string;
  /** What relative paths of the environment and of flags are relative to. */
  readonly cwd: string;
}

export interface ConfigPaths {
  /** `$PICOCLAW_HOME`, else `~/.picoclaw`. */
  readonly home: string;
  /** `$PICOCLAW_CONFIG`, else `<home>/config.json`. */
  readonly file: string;
}

/** Where the configuration lives; absolute. A variable that is empty is unset. */
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
