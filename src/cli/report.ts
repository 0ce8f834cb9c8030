import { escapeControl, jsonLine } from "../base/escape-control.ts";
import type { Failure } from "../base/failure.ts";
import type { Redactor } from "../base/redaction/redactor.ts";
import { createPaint } from "./colour.ts";
import { exitCodeOf } from "./exit-codes.ts";

/** More than this of one line is somebody else's text, and is cut. */
const LONGEST_LINE = 500;
/** `error:`, two lines of why, `try:`. */
const WHY_LINES = 2;

export interface ReportOptions {
  readonly coloured: boolean;
  /** Adds the stacks of the failure and of what caused it. */
  readonly debug: boolean;
  readonly redactor: Pick<Redactor, "redact">;
}

/**
 * A failure as a person reads it on stderr: what happened, why, what to try; at most four lines, but
 * for a configuration, whose faults are all told in one go, and for --debug.
 */
export function reportOf(failure: Failure, { coloured, debug, redactor }: ReportOptions): string {
  const paint = createPaint(coloured);
  const oneLine = (text: string): string => bounded(escapeControl(redactor.redact(text).trimEnd()));
  const why = redactor.redact(failure.why ?? "").split("\n");
  const told = why.filter((line) => line.trim() !== "");
  const shown = failure.code === "config" ? told : told.slice(0, WHY_LINES);
  const lines = [
    `${paint.bold(paint.red("error:"))} ${oneLine(failure.message)}`,
    ...shown.map((line) => `  ${oneLine(line)}`),
    ...(failure.remedy === undefined
      ? []
      : [`${paint.bold(paint.green("try:"))} ${oneLine(failure.remedy)}`]),
    ...(debug ? stacksOf(failure).map((stack) => escapeControl(redactor.redact(stack), "\n")) : []),
  ];
  return `${lines.join("\n")}\n`;
}

function bounded(line: string): string {
  return line.length > LONGEST_LINE ? `${line.slice(0, LONGEST_LINE)}…` : line;
}

function stacksOf(failure: Failure): string[] {
  const stacks: string[] = [];
  let error: unknown = failure;
  while (error instanceof Error && stacks.length < 5) {
    stacks.push(error.stack ?? String(error));
    error = error.cause;
  }
  return stacks;
}

/** How a request ended, for a script: the last line of `--json`. */
export interface Result {
  /** `ok`, or the code of what went wrong. */
  readonly outcome: string;
  readonly exit: number;
  readonly id?: string;
  readonly client?: string;
  /** The whole answer, as far as it came. */
  readonly text?: string;
  readonly message?: string;
  /** Seconds. */
  readonly retryAfter?: number;
  /** Milliseconds from the question to the first and to the last part. */
  readonly msFirst?: number;
  readonly msLast?: number;
}

/** The result of a request that failed. */
export function failedResult(failure: Failure): Result {
  const { code, message, retryAfter } = failure;
  return {
    outcome: code,
    exit: exitCodeOf(failure),
    message,
    ...(retryAfter === undefined ? {} : { retryAfter }),
  };
}

export function resultLine(result: Result, redactor: Pick<Redactor, "redact">): string {
  const { retryAfter, msFirst, msLast, message, ...facts } = result;
  return jsonLine({
    v: 1,
    type: "result",
    ...facts,
    message: message && redactor.redact(message),
    retry_after: retryAfter,
    ms_first: msFirst,
    ms_last: msLast,
  });
}
