import type { Diagnosis } from "../../base/contract.ts";
import { escapeControl, jsonLine } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import type { Redactor } from "../../base/redaction/redactor.ts";
import type { Context } from "../context.ts";
import { createPaint, isColoured, type Paint } from "../terminal/colour.ts";
import { wrapped } from "../terminal/word-wrap.ts";
import { type Examination, examine } from "./doctor.ts";

/** Prints each result on stdout, and how many there are at the end. */
export async function examineAndPrint(context: Context): Promise<Examination> {
  const { host, flags, redactor } = context;
  const isJson = flags.has("json");
  const paint = createPaint(isColoured(host.stdout, host.env, flags));
  const { stdout } = host;
  const textOf = (found: Diagnosis): string =>
    stdout.isTTY ? linesOf(found, redactor, paint, stdout.columns) : lineOf(found, redactor, paint);
  const examined = await examine(context, (found) =>
    stdout.write(isJson ? jsonOf(found, redactor) : textOf(found)),
  );
  if (!isJson) await host.stdout.write(`${summaryOf(examined.found)}\n`);
  return examined;
}

/** In the order in which they choose the exit code of `gateway --check`; any other is 1. */
const EXIT_ORDER: readonly string[] = ["config", "unreachable", "refused"];

/** `gateway --check`: throws at the end what a gateway would end with. */
export async function checkGateway(context: Context): Promise<number> {
  const { found } = await examineAndPrint(context);
  const failures = found
    .filter(({ result }) => result === "fail")
    .map(({ failure, message, remedy }) => failure ?? new Failure("failed", message, { remedy }));
  const [first] = [
    ...EXIT_ORDER.flatMap((code) => failures.filter((failure) => failure.code === code)),
    ...failures,
  ];
  if (first !== undefined) throw first;
  return 0;
}

const CODE_WIDTH = 17;

/** One line: `fail  broker.tcp         mqtt: tcp://… (try: …)`. */
function lineOf(
  { code, name, result, message, remedy }: Diagnosis,
  redactor: Pick<Redactor, "redact">,
  paint: Paint,
): string {
  const way = remedy === undefined ? "" : ` (try: ${remedy})`;
  const text = escapeControl(redactor.redact(`${name}: ${message}${way}`));
  return `${headOf(code, result, paint)} ${text}\n`;
}

function headOf(code: string, result: Diagnosis["result"], paint: Paint): string {
  return `${painted(paint, result)(result.padEnd(4))}  ${code.padEnd(CODE_WIDTH)}`;
}

/** Columns before the sentence, and before it on a terminal that has not so many for both. */
const INDENT = 4 + 2 + CODE_WIDTH + 1;
const NARROW_INDENT = 6;
const NARROW = 72;

/** The same for the eye: broken between words, with the remedy on a separate line, from which it can be copied. */
function linesOf(
  { code, name, result, message, remedy }: Diagnosis,
  redactor: Pick<Redactor, "redact">,
  paint: Paint,
  columns: number,
): string {
  const isNarrow = columns < NARROW;
  const indent = isNarrow ? NARROW_INDENT : INDENT;
  const gap = isNarrow ? `\n${" ".repeat(indent)}` : " ";
  const lines = [`${name}: ${message}`, ...(remedy === undefined ? [] : [`try: ${remedy}`])];
  const text = lines.map((line) => escapeControl(redactor.redact(line))).join("\n");
  return `${headOf(code, result, paint)}${gap}${wrapped(text, columns, indent)}\n`;
}

function painted(paint: Paint, result: Diagnosis["result"]): (text: string) => string {
  if (result === "fail") return (text) => paint.bold(paint.red(text));
  if (result === "warn") return paint.bold;
  return result === "ok" ? paint.green : paint.dim;
}

function jsonOf(
  { code, name, result, message, remedy }: Diagnosis,
  redactor: Pick<Redactor, "redact">,
): string {
  return jsonLine({
    v: 1,
    type: "check",
    code,
    about: redactor.redact(name),
    result,
    message: redactor.redact(message),
    remedy: remedy && redactor.redact(remedy),
  });
}

/** `2 of 24 checks failed, 1 warning`. */
export function summaryOf(found: readonly Diagnosis[]): string {
  const count = (wanted: Diagnosis["result"]): number =>
    found.filter(({ result }) => result === wanted).length;
  const warnings = count("warn");
  const warned = warnings === 0 ? "" : `, ${warnings} ${warnings === 1 ? "warning" : "warnings"}`;
  return `${count("fail")} of ${found.length - count("skip")} checks failed${warned}`;
}
