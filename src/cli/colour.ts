import type { Host, Output } from "../base/host.ts";

/**
 * Whether to print colours on this stream: only on a terminal that supports them, and not with NO_COLOR
 * (https://no-color.org: set and not empty), --no-color or --json.
 */
export function isColoured(
  output: Output,
  env: Host["env"],
  flags: { has(name: "json" | "no-color"): boolean },
): boolean {
  if (!output.isTTY || flags.has("json") || flags.has("no-color")) return false;
  return (env["NO_COLOR"] ?? "") === "" && env["TERM"] !== "dumb";
}
