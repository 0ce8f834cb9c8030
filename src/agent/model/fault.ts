/** How a call to a model can fail, in the provider's part of the world. */
export type FaultKind =
  /** No connection, or it was lost before the answer began. */
  | "unreachable"
  /** Nothing came for longer than the deadline. */
  | "silent"
  /** The provider answered with an error, by status or inside the stream. */
  | "refused"
  /** The provider answered that this model takes no tools. */
  | "toolless"
  /** The provider refused a parameter that it is asked without from now on. */
  | "parameter"
  /** The conversation is longer than the model can read; the same question can never succeed. */
  | "overflow"
  /** The answer ended before it was whole. */
  | "broken_off"
  /** What came is no answer of this protocol. */
  | "garbled"
  /** The answer is larger than this program takes. */
  | "oversized"
  /** The provider's filter kept the answer back. */
  | "withheld";

export interface FaultFacts {
  /** HTTP status, or its like from an error inside the stream. */
  readonly status?: number;
  /** Seconds the provider asked to wait. */
  readonly retryAfter?: number;
  /** The name of the request's parameter that an error is about, where its body says so. */
  readonly parameter?: string;
  readonly cause?: unknown;
}

/** One failed call. Its message is raw (a provider's words may be in it): it must be cleaned before anyone sees it. */
export class ModelFault extends Error {
  override readonly name = "ModelFault";
  readonly kind: FaultKind;
  readonly status: number | undefined;
  readonly retryAfter: number | undefined;
  readonly parameter: string | undefined;

  constructor(kind: FaultKind, message: string, facts: FaultFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.kind = kind;
    this.status = facts.status;
    this.retryAfter = facts.retryAfter;
    this.parameter = facts.parameter;
  }
}

/** Whether the same call can succeed a little later. */
export function isPassing({ kind, status = 0 }: ModelFault): boolean {
  if (kind === "refused") return status === 408 || status === 429 || status >= 500;
  return kind === "unreachable" || kind === "silent" || kind === "broken_off";
}

/** Whether the same call can succeed with another key. */
export function concernsKey({ kind, status = 0 }: ModelFault): boolean {
  return kind === "refused" && [401, 402, 403, 429].includes(status);
}
