/**
 * The kinds of failures. The first ones are outcomes of a command and map to exit codes; `WireCode` has the
 * error codes that clients see in answers.
 */
export type FailureCode =
  | "usage"
  | "config"
  | "unreachable"
  | "refused"
  | "unserved"
  | "no_answer"
  | "no_subscriber"
  | "cut_off"
  | "failed"
  | "interrupted"
  | "terminated"
  | "unsure"
  | "fenced"
  | WireCode;

/** The error codes of answers. */
const WIRE_CODES = [
  "bad_request",
  "too_large",
  "forbidden",
  "rate_limited",
  "budget",
  "busy",
  "expired",
  "timeout",
  "cancelled",
  "model",
  "internal",
] as const;

export type WireCode = (typeof WIRE_CODES)[number];

export interface FailureFacts {
  /** The likely reason, with the file and key of the value. For the operator, never for a client. */
  readonly why?: string | undefined;
  /** How to fix it: a command or a setting. */
  readonly remedy?: string | undefined;
  /** Seconds after which the same request can succeed. */
  readonly retryAfter?: number | undefined;
  readonly cause?: unknown;
}

/**
 * An expected failure: a code, a sentence, and how to fix it. Any other thrown error is a bug of this
 * program and is reported as `internal`. `message` is one sentence that anyone may see: no stack, URL, key
 * or response body of a provider.
 */
export class Failure extends Error {
  override readonly name = "Failure";
  readonly code: FailureCode;
  readonly why: string | undefined;
  readonly remedy: string | undefined;
  readonly retryAfter: number | undefined;

  constructor(code: FailureCode, message: string, facts: FailureFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.code = code;
    this.why = facts.why;
    this.remedy = facts.remedy;
    this.retryAfter = facts.retryAfter;
  }
}

/** Whether clients may see this code in an answer. */
export function isWireCode(code: string): code is WireCode {
  return WIRE_CODES.some((known) => known === code);
}

/** Any thrown value as a `Failure`; what is not one yet becomes `internal`. */
export function asFailure(thrown: unknown): Failure {
  if (thrown instanceof Failure) return thrown;
  const why = messageOf(thrown);
  return new Failure("internal", "something went wrong inside picoclaw", { why, cause: thrown });
}

/** The message of an error, or the text of whatever else was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** The system's code of an error, such as `ENOENT`; "" if it has none. */
export function codeOf(error: unknown): string {
  const isCoded = error instanceof Error && "code" in error && typeof error.code === "string";
  return isCoded ? String(error.code) : "";
}
