import { jsonLine } from "../base/escape-control.ts";
import type { Failure } from "../base/failure.ts";
import type { Redactor } from "../base/redaction/redactor.ts";
import { exitCodeOf } from "./exit.ts";

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
