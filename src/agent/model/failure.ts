import { Failure } from "../../base/failure.ts";
import type { FailureFacts } from "../../base/failure.ts";
import { truncate } from "../../base/truncate.ts";
import { createVeil } from "../../base/veil.ts";
import { visible } from "../../base/visible.ts";
import type { FaultKind, ModelFault } from "./fault.ts";

const SENTENCES: Readonly<Record<FaultKind, string>> = {
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

const REMEDIES: Readonly<Record<FaultKind, string>> = {
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
const MAX_WORDS = 300;

export interface ModelFailureFacts extends FailureFacts {
  readonly kind: FaultKind;
  /** The `model_name` of the entry that failed. */
  readonly model: string;
}

/** The failure of a question to a model, which still knows what kind of fault it was, and whose. */
export class ModelFailure extends Failure {
  readonly kind: FaultKind;
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
export function wordsOf(fault: ModelFault, label: string, secrets: readonly string[]) {
  return {
    message: sentenceOf(fault),
    why: `${label}: ${cleanWords(fault.message, secrets)}`,
    remedy: `${remedyOf(fault)} (${label})`,
    ...(fault.retryAfter === undefined ? {} : { retryAfter: Math.ceil(fault.retryAfter) }),
  };
}

function sentenceOf({ kind, status = 0 }: ModelFault): string {
  if (kind !== "refused") return SENTENCES[kind];
  if (status === 401 || status === 403) return "the model's provider refused this agent's key";
  if (status === 402) return "the model's provider wants to be paid first";
  if (status === 404 || status === 410) return "the model's provider does not know this model";
  if (status === 408 || status === 429 || status >= 500) return "the model is overloaded right now";
  return SENTENCES.refused;
}

function remedyOf({ kind, status = 0 }: ModelFault): string {
  if (kind !== "refused") return REMEDIES[kind];
  if (status === 401 || status === 403) return "check api_keys";
  if (status === 402) return "check the account with the provider, or add another key to api_keys";
  if (status === 404 || status === 410) return "check model and api_base";
  if (status === 429) return "ask less often, or add another key to api_keys";
  if (status === 408 || status >= 500) return "ask again later";
  return REMEDIES.refused;
}

/** A stranger's words as one short printable line in which no secret is left. */
export function cleanWords(words: string, secrets: readonly string[]): string {
  const clean = createVeil(secrets)
    .text(words)
    .replace(/\b(bearer|basic)\s+[\w.~+/=-]+/gi, "$1 ***")
    .replace(/\b(?:sk|gsk|pk|key|xai|nvapi|hf|AIza)[-_]?[\w-]{16,}/g, "***");
  return visible(truncate(clean, MAX_WORDS));
}
