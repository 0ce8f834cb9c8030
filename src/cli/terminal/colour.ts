import type { Host, Output } from "../../base/host.ts";

/** Functions that colour text, or return it unchanged. */
export type Paint = Readonly<Record<"bold" | "dim" | "red" | "green" | "yellow" | "cyan", Painter>>;
type Painter = (text: string) => string;

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

/** Colours of the terminal's palette (ECMA-48 SGR), or none. */
export function createPaint(coloured: boolean): Paint {
  const painter = (on: number, off: number): Painter =>
    coloured ? (text) => `\u001b[${on}m${text}\u001b[${off}m` : (text) => text;
  return {
    bold: painter(1, 22),
    dim: painter(2, 22),
    red: painter(31, 39),
    green: painter(32, 39),
    yellow: painter(33, 39),
    cyan: painter(36, 39),
  };
}
