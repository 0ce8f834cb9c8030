import { escapeControl, jsonLine } from "../base/escape-control.ts";
import type { Failure } from "../base/failure.ts";
import type { Output } from "../base/host.ts";
import type { Redactor } from "../base/redaction/redactor.ts";
import { exitCodeOf } from "./exit-codes.ts";
import { createPaint } from "./terminal/colour.ts";

/** Characters of one line; longer ones hold foreign text and are truncated. */
const LONGEST_LINE = 500;
/** `error:`, two lines of why, `try:`. */
const WHY_LINES = 2;

export interface ReportOptions {
  readonly coloured: boolean;
  /** Adds the stacks of the failure and of its causes. */
  readonly debug: boolean;
  readonly redactor: Pick<Redactor, "redact">;
  /** Breaks a line, with spaces before what follows; on a terminal. */
  readonly wrap?: Wrap | undefined;
}

type Wrap = (text: string, indent: number) => string;

/** How lines are broken where they are printed: between words on a terminal, else not at all. */
export async function wrapFor(output: Output): Promise<Wrap | undefined> {
  if (!output.isTTY) return undefined;
  const { wrapped } = await import("./terminal/word-wrap.ts");
  return (text, indent) => wrapped(text, output.columns, indent);
}

/**
 * The text of a failure for stderr: what happened, why, what to try. At most four lines, except with --debug
 * and for a configuration, of which it lists all errors.
 */
export function reportOf(failure: Failure, options: ReportOptions): string {
  const { coloured, debug, redactor, wrap = (text) => text } = options;
  const paint = createPaint(coloured);
  const oneLine = (text: string, indent: number): string =>
    wrap(bounded(escapeControl(redactor.redact(text).trimEnd())), indent);
  const why = redactor.redact(failure.why ?? "").split("\n");
  const whyLines = why.filter((line) => line.trim() !== "");
  const shown = failure.code === "config" ? whyLines : whyLines.slice(0, WHY_LINES);
  const lines = [
    `${paint.bold(paint.red("error:"))} ${oneLine(failure.message, "error: ".length)}`,
    ...shown.map((line) => `  ${oneLine(line, 2)}`),
    ...(failure.remedy === undefined
      ? []
      : [`${paint.bold(paint.green("try:"))} ${oneLine(failure.remedy, "try: ".length)}`]),
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

/** How a request ended, for scripts: the last line of `--json`. */
export interface Result {
  /** `ok`, or the code of the failure. */
  readonly outcome: string;
  readonly exit: number;
  readonly id?: string;
  readonly client?: string;
  /** How many were asked and how many answered, and the others; of a request to several. */
  readonly asked?: number;
  readonly answered?: number;
  readonly failed?: readonly string[];
  readonly unanswered?: readonly string[];
  /** Those to whom the broker did not take the message; with --no-wait. */
  readonly unsent?: readonly string[];
  /** The answer, as far as it arrived. */
  readonly text?: string;
  readonly message?: string;
  /** Seconds. */
  readonly retryAfter?: number;
  /** Milliseconds from the request to the first and to the last part. */
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
  return jsonLine({ v: 1, type: "result", ...resultFields(result, redactor) });
}

/** The fields of a result, as scripts read them. */
export function resultFields(result: Result, redactor: Pick<Redactor, "redact">): object {
  const { retryAfter, msFirst, msLast, message, ...facts } = result;
  return {
    ...facts,
    ok: facts.outcome === "ok",
    message: message && redactor.redact(message),
    retry_after: retryAfter,
    ms_first: msFirst,
    ms_last: msLast,
  };
}
