/**
 * What can go wrong, by name. The first group are outcomes of a command and map to exit codes,
 * the second are the error codes of the wire (contract section 1) and travel to devices.
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
  | WireCode;

/** The error codes a device can meet in an answer. */
export type WireCode =
  | "bad_request"
  | "too_large"
  | "forbidden"
  | "rate_limited"
  | "budget"
  | "busy"
  | "expired"
  | "timeout"
  | "cancelled"
  | "model"
  | "internal";

export interface FailureFacts {
  /** Why it is likely so, with the file and key the value came from; for the operator, never for a device. */
  readonly why?: string;
  /** What to do about it: a command or a setting. */
  readonly remedy?: string;
  /** Seconds after which asking again can succeed. */
  readonly retryAfter?: number;
  readonly cause?: unknown;
}

/**
 * A failure with a name, a sentence for a person and a way out. Everything that this program expects
 * to go wrong is one of these; any other throw is a fault of ours and is reported as `internal`.
 * `message` is one sentence that may be shown to anyone: no stack, URL, key or provider's body.
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

const WIRE_CODES: ReadonlySet<string> = new Set<WireCode>([
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
]);

/** Whether a failure may travel to a device under its own code. */
export function isWireCode(code: string): code is WireCode {
  return WIRE_CODES.has(code);
}

/** Any thrown value as a Failure, so that one place can report it: what is not ours becomes `internal`. */
export function asFailure(thrown: unknown): Failure {
  if (thrown instanceof Failure) return thrown;
  const why = thrown instanceof Error ? thrown.message : String(thrown);
  return new Failure("internal", "something went wrong inside picoclaw", { why, cause: thrown });
}

/** The system's name of an error, such as `ENOENT`; "" where it has none. */
export function codeOf(error: unknown): string {
  const isCoded = error instanceof Error && "code" in error && typeof error.code === "string";
  return isCoded ? String(error.code) : "";
}
