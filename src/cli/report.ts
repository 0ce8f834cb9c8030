import type { Failure } from "../base/failure.ts";
import { visible } from "../base/visible.ts";
import { createPaint } from "./colour.ts";

/** More than this of one line is somebody else's text, and is cut. */
const LONGEST_LINE = 500;
/** `error:`, two lines of why, `try:`. */
const WHY_LINES = 2;

export interface ReportOptions {
  readonly coloured: boolean;
  /** Adds the stacks of the failure and of what caused it. */
  readonly debug: boolean;
}

/**
 * A failure as a person reads it on stderr: what happened, why, what to try; at most four lines, but
 * for a configuration, whose faults are all told in one go, and for --debug.
 */
export function reportOf(failure: Failure, { coloured, debug }: ReportOptions): string {
  const paint = createPaint(coloured);
  const why = failure.why?.split("\n").filter((line) => line.trim() !== "") ?? [];
  const shown = failure.code === "config" ? why : why.slice(0, WHY_LINES);
  const lines = [
    `${paint.bold(paint.red("error:"))} ${oneLine(failure.message)}`,
    ...shown.map((line) => `  ${oneLine(line)}`),
    ...(failure.remedy === undefined
      ? []
      : [`${paint.bold(paint.green("try:"))} ${oneLine(failure.remedy)}`]),
    ...(debug ? stacksOf(failure) : []),
  ];
  return `${lines.join("\n")}\n`;
}

function oneLine(text: string): string {
  const line = visible(text.trimEnd());
  return line.length > LONGEST_LINE ? `${line.slice(0, LONGEST_LINE)}…` : line;
}

function stacksOf(failure: Failure): string[] {
  const stacks: string[] = [];
  let error: unknown = failure;
  while (error instanceof Error && stacks.length < 5) {
    stacks.push(visible(error.stack ?? String(error), "\n"));
    error = error.cause;
  }
  return stacks;
}
