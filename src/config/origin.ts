import { basename } from "node:path";
import type { LoadedConfig, Origin } from "./contract.ts";

/**
 * Where the value at a dotted path came from, in words: `config.json:12`, `environment
 * PICOCLAW_LOG_LEVEL`, `--broker`, `default`.
 */
export function originText(loaded: Pick<LoadedConfig, "origins">, path: string): string {
  const origin = loaded.origins.get(path);
  if (origin?.from === "file") return `${basename(origin.file)}:${origin.line}`;
  return origin === undefined ? "default" : placeOf(origin);
}

/** The same for a message that stands alone: files with their whole path. */
export function placeOf(origin: Origin): string {
  if (origin.from === "file") return `${origin.file}:${origin.line}`;
  if (origin.from === "environment") return `environment ${origin.variable}`;
  return origin.from === "flag" ? origin.flag : "default";
}
