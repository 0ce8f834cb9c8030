import { escapeControl } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import type { FailureFacts } from "../../base/failure.ts";
import { createRedactor } from "../../base/redaction/redactor.ts";
import { truncate } from "../../base/truncate.ts";

/** How a call to a model can fail, in the provider's part of the world. */
export type ModelErrorKind =
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

export interface ModelErrorFacts {
  /** HTTP status, or its like from an error inside the stream. */
  readonly status?: number;
  /** Seconds the provider asked to wait. */
  readonly retryAfter?: number;
  /** The name of the request's parameter that an error is about, where its body says so. */
  readonly parameter?: string;
  readonly cause?: unknown;
}

/** One failed call. Its message is raw (a provider's words may be in it): it must be cleaned before anyone sees it. */
export class ModelError extends Error {
  override readonly name = "ModelError";
  readonly kind: ModelErrorKind;
  readonly status: number | undefined;
  readonly retryAfter: number | undefined;
  readonly parameter: string | undefined;

  constructor(kind: ModelErrorKind, message: string, facts: ModelErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.kind = kind;
    this.status = facts.status;
    this.retryAfter = facts.retryAfter;
    this.parameter = facts.parameter;
  }
}

/** Whether the same call can succeed a little later. */
export function isTransient({ kind, status = 0 }: ModelError): boolean {
  if (kind === "refused") return status === 408 || status === 429 || status >= 500;
  return kind === "unreachable" || kind === "silent" || kind === "broken_off";
}

/** Whether the same call can succeed with another key. */
export function isKeyError({ kind, status = 0 }: ModelError): boolean {
  return kind === "refused" && [401, 402, 403, 429].includes(status);
}

/** What a fault means for whom to ask next. */
export type ErrorClass =
  /** The network or the server, for now: another candidate can help, or the same one later. */
  | "passing"
  /** Asked too often. */
  | "rate_limit"
  /** The key is not accepted. */
  | "auth"
  /** The account is empty. */
  | "billing"
  /** The model is not there (any more), or not under this address: another one can be. */
  | "absent"
  /** The question, or how this agent is set up for it: nobody else is asked in its place. */
  | "final";

/**
 * The class of a fault. Final is whatever is in no other class: a question that one provider calls
 * malformed (400, 422) or too long is wrong everywhere, and what is not understood is not covered up.
 */
export function classOf(fault: ModelError): ErrorClass {
  if (fault.kind === "refused") {
    if (fault.status === 401 || fault.status === 403) return "auth";
    if (fault.status === 402) return "billing";
    if (fault.status === 404 || fault.status === 410) return "absent";
    if (fault.status === 429) return "rate_limit";
  }
  return isTransient(fault) ? "passing" : "final";
}

const SENTENCES: Readonly<Record<ModelErrorKind, string>> = {
  unreachable: "the model could not be reached",
  silent: "the model did not answer in time",
  refused: "the model's provider refused the question",
  toolless: "the model's provider refused the question",
  parameter: "the model's provider refused the question",
  overflow: "the conversation is longer than the model can read",
  broken_off: "the model's answer broke off",
  garbled: "the model's provider sent something that is no answer",
  oversized: "the model's answer is longer than this agent takes",
  withheld: "the model's provider held the answer back",
};

const REMEDIES: Readonly<Record<ModelErrorKind, string>> = {
  unreachable: "check the network, and api_base",
  silent: "raise request_timeout, or take a faster model",
  refused: "check model, extra_body and custom_headers",
  toolless: "take a model that can call tools",
  parameter: "check model, extra_body and custom_headers",
  overflow: "begin a new conversation with /clear, or take a model that reads more",
  broken_off: "ask again; if it stays so, look at the provider's status page",
  garbled:
    "check api_base: it must be the base of the API that provider names, often ending in /v1",
  oversized: "ask for less, or set max_tokens",
  withheld: "ask in other words",
};

/** Characters of a provider's words that the operator sees. */
const MAX_MESSAGE = 300;

interface ModelFailureFacts extends FailureFacts {
  readonly kind: ModelErrorKind;
  /** The `model_name` of the entry that failed. */
  readonly model: string;
}

/** The failure of a question to a model, which still knows what kind of fault it was, and whose. */
export class ModelFailure extends Failure {
  readonly kind: ModelErrorKind;
  readonly model: string;

  constructor(message: string, { kind, model, ...facts }: ModelFailureFacts) {
    super("model", message, facts);
    this.kind = kind;
    this.model = model;
  }
}

/** Whether something failed because the conversation is longer than the model can read. */
export function isOverflow(thrown: unknown): thrown is ModelFailure {
  return thrown instanceof ModelFailure && thrown.kind === "overflow";
}

/** A fault in the words of a Failure: the provider's own are in `why` alone, cleaned of `secrets`. */
function failureTexts(fault: ModelError, label: string, secrets: readonly string[]) {
  return {
    message: sentenceOf(fault),
    why: `${label}: ${cleanMessage(fault.message, secrets)}`,
    remedy: `${remedyOf(fault)} (${label})`,
    ...(fault.retryAfter === undefined ? {} : { retryAfter: Math.ceil(fault.retryAfter) }),
  };
}

function sentenceOf({ kind, status = 0 }: ModelError): string {
  if (kind !== "refused") return SENTENCES[kind];
  if (status === 401 || status === 403) return "the model's provider refused this agent's key";
  if (status === 402) return "the model's provider wants to be paid first";
  if (status === 404 || status === 410) return "the model's provider does not know this model";
  if (status === 408 || status === 429 || status >= 500) return "the model is overloaded right now";
  return SENTENCES.refused;
}

function remedyOf({ kind, status = 0 }: ModelError): string {
  if (kind !== "refused") return REMEDIES[kind];
  if (status === 401 || status === 403) return "check api_keys";
  if (status === 402) return "check the account with the provider, or add another key to api_keys";
  if (status === 404 || status === 410) return "check model and api_base";
  if (status === 429) return "ask less often, or add another key to api_keys";
  if (status === 408 || status >= 500) return "ask again later";
  return REMEDIES.refused;
}

/** A stranger's words as one short printable line in which no secret is left. */
export function cleanMessage(words: string, secrets: readonly string[]): string {
  const clean = createRedactor(secrets)
    .redact(words)
    .replace(/\b(bearer|basic)\s+[\w.~+/=-]+/gi, "$1 ***")
    .replace(/\b(?:sk|gsk|pk|key|xai|nvapi|hf|AIza)[-_]?[\w-]{16,}/g, "***");
  return escapeControl(truncate(clean, MAX_MESSAGE));
}

/** A failed question, and the entry of `model_list` that was asked. */
interface FailedEntry {
  readonly error: ModelError;
  readonly candidate: {
    readonly label: string;
    readonly secrets: readonly string[];
    readonly name: { readonly name: string };
  };
}

/** The failure that is told of `told`, where `others` more candidates failed on the same question. */
export function modelFailureOf({ candidate, error }: FailedEntry, others: number): ModelFailure {
  const { label, secrets, name } = candidate;
  const { message, why, ...words } = failureTexts(error, label, secrets);
  const cleaned = cleanMessage(error.message, secrets);
  return new ModelFailure(message, {
    ...words,
    kind: error.kind,
    model: name.name,
    why:
      others === 0 ? why : `${why} (${others} more ${others === 1 ? "was" : "were"} tried in vain)`,
    // A copy: the error itself holds a stranger's words as they came.
    cause: new ModelError(error.kind, cleaned, factsOf(error)),
  });
}

function factsOf({ status, retryAfter }: ModelError) {
  return {
    ...(status === undefined ? {} : { status }),
    ...(retryAfter === undefined ? {} : { retryAfter }),
  };
}

/** The error behind a model's failure; undefined for whatever else was thrown. */
export function modelErrorOf(thrown: unknown): ModelError | undefined {
  return thrown instanceof Failure && thrown.cause instanceof ModelError ? thrown.cause : undefined;
}
