import { escapeControl } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import type { FailureFacts } from "../../base/failure.ts";
import { createRedactor } from "../../base/redaction/redactor.ts";
import { truncate } from "../../base/truncate.ts";

/** The ways a model call can fail outside of this program. */
export type ModelErrorKind =
  /** No connection, or it was lost before the answer began. */
  | "unreachable"
  /** No data for longer than the limit. */
  | "silent"
  /** The provider answered with an error, by status or inside the stream. */
  | "refused"
  /** The provider answered that this model has no tool calls. */
  | "toolless"
  /** The provider answered that this model reads no images. */
  | "imageless"
  /** The server has no API at this path: `api_base` is wrong. */
  | "wrong_path"
  /** The provider refused a parameter; later requests are without it. */
  | "parameter"
  /** The conversation is longer than the model's context window; the same call can never succeed. */
  | "overflow"
  /** The same, by an estimate and a known window: the call was not sent. */
  | "unsent"
  /** The answer ended before it was whole. */
  | "broken_off"
  /** The response is no answer of this protocol. */
  | "garbled"
  /** The answer is larger than this program accepts. */
  | "oversized"
  /** The provider's filter withheld the answer. */
  | "withheld";

interface ModelErrorFacts {
  /** HTTP status; for an error inside the stream the status that it names. */
  readonly status?: number | undefined;
  /** Seconds the provider asked to wait. */
  readonly retryAfter?: number | undefined;
  /** The parameter that the error is about, if the error's body names one. */
  readonly parameter?: string | undefined;
  /** The URL that was asked, without its query, which may hold secrets. */
  readonly url?: string | undefined;
  readonly cause?: unknown;
}

/** The error of one request. Its message may contain a provider's raw text: clean it before it is shown. */
export class ModelError extends Error {
  override readonly name = "ModelError";
  readonly kind: ModelErrorKind;
  readonly status: number | undefined;
  readonly retryAfter: number | undefined;
  readonly parameter: string | undefined;
  readonly url: string | undefined;

  constructor(kind: ModelErrorKind, message: string, facts: ModelErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.kind = kind;
    this.status = facts.status;
    this.retryAfter = facts.retryAfter;
    this.parameter = facts.parameter;
    this.url = facts.url;
  }

  /** The same error, of a request to this URL. */
  at(url: string): ModelError {
    const { kind, message, status, retryAfter, parameter, cause } = this;
    return new ModelError(kind, message, { status, retryAfter, parameter, cause, url });
  }
}

/** The effect of an error on the choice of the next candidate. */
export type ErrorClass =
  /** A passing problem of the network or the server: another candidate can help, or the same one later. */
  | "passing"
  /** Too many requests. */
  | "rate_limit"
  /** The key is not accepted. */
  | "auth"
  /** The account is empty. */
  | "billing"
  /** The model does not exist (any more), or not at this address; another one may. */
  | "absent"
  /** The model cannot do what the call needs; another one may, and this one is as good as before. */
  | "unable"
  /** The call itself or the configuration is wrong: no other candidate is asked. */
  | "final";

/**
 * Returns the class of an error. All others are final: a call that one provider calls malformed (400, 422) or
 * too long is wrong everywhere, and an unknown error must not be hidden by another candidate.
 */
export function classOf({ kind, status = 0 }: ModelError): ErrorClass {
  if (kind === "refused") {
    return STATUS_CLASSES.get(status) ?? (status >= 500 ? "passing" : "final");
  }
  if (kind === "wrong_path") return "absent";
  if (kind === "imageless") return "unable";
  return kind === "unreachable" || kind === "silent" || kind === "broken_off" ? "passing" : "final";
}

const STATUS_CLASSES: ReadonlyMap<number, ErrorClass> = new Map([
  [401, "auth"],
  [402, "billing"],
  [403, "auth"],
  [404, "absent"],
  [408, "passing"],
  [410, "absent"],
  // Bedrock: the model failed.
  [424, "passing"],
  [429, "rate_limit"],
]);

/** Whether the same call can succeed a little later. */
export function isTransient(error: ModelError): boolean {
  return ["passing", "rate_limit"].includes(classOf(error));
}

/** Whether the same call can succeed with another key. */
export function isKeyError(error: ModelError): boolean {
  return ["auth", "billing", "rate_limit"].includes(classOf(error));
}

type Sentences<Name extends string> = Readonly<Record<Name, string>>;

const REFUSED = "the model's provider refused the question";
const OVERLOADED = "the model is overloaded right now";

const SENTENCES: Sentences<Exclude<ModelErrorKind, "refused">> = {
  unreachable: "the model could not be reached",
  silent: "the model did not answer in time",
  toolless: REFUSED,
  imageless: "this model reads no images",
  wrong_path: "the model's server has no API at this address",
  parameter: REFUSED,
  overflow: "the conversation is longer than the model's context window",
  unsent: "the conversation is longer than the model's context window",
  broken_off: "the model's answer broke off",
  garbled: "the model's provider sent an invalid answer",
  oversized: "the model's answer is longer than this program accepts",
  withheld: "the model's provider withheld the answer",
};

const REFUSED_SENTENCES: Sentences<ErrorClass> = {
  passing: OVERLOADED,
  rate_limit: OVERLOADED,
  auth: "the model's provider refused this agent's key",
  billing: "the model's provider requires payment",
  absent: "the model's provider does not know this model",
  unable: REFUSED,
  final: REFUSED,
};

const CHECK_REQUEST = "check model, extra_body and custom_headers";

const CHECK_BASE =
  "check api_base: it must be the base of the API that provider names, often ending in /v1";

const LARGER_WINDOW =
  "start a new conversation with /clear, or use a model with a larger context window";

const REMEDIES: Sentences<Exclude<ModelErrorKind, "refused">> = {
  unreachable: "check the network, and api_base",
  silent: "raise request_timeout, or use a faster model",
  toolless: "use a model that can call tools",
  imageless:
    "ask without the image, or configure a model that reads images, for example as one of its fallbacks",
  wrong_path: CHECK_BASE,
  parameter: CHECK_REQUEST,
  overflow: LARGER_WINDOW,
  unsent: LARGER_WINDOW,
  broken_off: "ask again; if it stays so, look at the provider's status page",
  garbled: CHECK_BASE,
  oversized: "ask for less, or set max_tokens",
  withheld: "ask in other words",
};

const REFUSED_REMEDIES: Sentences<ErrorClass> = {
  passing: "ask again later",
  rate_limit: "ask less often, or add another key to api_keys",
  auth: "check api_keys",
  billing: "check the account with the provider, or add another key to api_keys",
  absent: "check model and api_base",
  unable: CHECK_REQUEST,
  final: CHECK_REQUEST,
};

/** Characters of a provider's message in a failure. */
const MAX_MESSAGE = 300;

interface ModelFailureFacts extends FailureFacts {
  readonly kind: ModelErrorKind;
  /** The `model_name` of the entry that failed. */
  readonly model: string;
}

/** The failure of a model call, with the kind of its error and the model that failed. */
export class ModelFailure extends Failure {
  readonly kind: ModelErrorKind;
  readonly model: string;

  constructor(message: string, { kind, model, ...facts }: ModelFailureFacts) {
    super("model", message, facts);
    this.kind = kind;
    this.model = model;
  }
}

/** Whether the conversation is longer than the model's context window. */
export function isOverflow(thrown: unknown): thrown is ModelFailure {
  return thrown instanceof ModelFailure && ["overflow", "unsent"].includes(thrown.kind);
}

/** Whether the model reads no images. */
export function isImageless(thrown: unknown): boolean {
  return thrown instanceof ModelFailure && thrown.kind === "imageless";
}

/** The failure of a call whose system prompt and tools alone, of so many tokens, do not fit. */
export function promptTooLong(
  { kind, model, why }: ModelFailure,
  tokens: number,
  window: { readonly tokens: number; readonly source: string } | undefined,
): ModelFailure {
  const isKnown = window?.source === "configured" || window?.source === "server";
  const size = isKnown ? ` of ${window.tokens} tokens` : "";
  return new ModelFailure(
    `the prompt and the tools are longer than the model's context window${size}`,
    {
      kind,
      model,
      why: `they have about ${tokens} tokens; ${why}`,
      remedy:
        "give the model a larger context (Ollama: OLLAMA_CONTEXT_LENGTH, llama.cpp: --ctx-size), or name fewer tools in AGENT.md, as in tools: [device]",
    },
  );
}

/** A provider's message as one short printable line, with secrets masked. */
export function cleanMessage(words: string, secrets: readonly string[]): string {
  const clean = createRedactor(secrets)
    .redact(words)
    .replace(/\b(bearer|basic)\s+[\w.~+/=-]+/gi, "$1 ***")
    .replace(/\b(?:sk|gsk|pk|key|xai|nvapi|hf|AIza)[-_]?[\w-]{16,}/g, "***");
  return escapeControl(truncate(clean, MAX_MESSAGE));
}

/** A failed call, and the entry of `model_list` that was asked. */
interface FailedEntry {
  readonly error: ModelError;
  readonly candidate: {
    readonly label: string;
    readonly secrets: readonly string[];
    readonly name: { readonly name: string };
  };
}

/**
 * The failure of a call for which `others` more candidates failed. The provider's message is in `why` alone, with
 * secrets masked.
 */
export function modelFailureOf({ candidate, error }: FailedEntry, others: number): ModelFailure {
  const { label, secrets, name } = candidate;
  const { kind, status, retryAfter } = error;
  const message = cleanMessage(error.message, secrets);
  const were = others === 1 ? "was" : "were";
  const asked = error.url === undefined ? "" : ` (asked ${cleanMessage(error.url, secrets)})`;
  const tried = others === 0 ? "" : ` (${others} more ${were} tried without success)`;
  const sentence = kind === "refused" ? REFUSED_SENTENCES[classOf(error)] : SENTENCES[kind];
  const remedy = kind === "refused" ? REFUSED_REMEDIES[classOf(error)] : REMEDIES[kind];
  return new ModelFailure(sentence, {
    kind,
    model: name.name,
    why: `${label}: ${message}${asked}${tried}`,
    remedy: `${remedy} (${label})`,
    retryAfter: retryAfter === undefined ? undefined : Math.ceil(retryAfter),
    // A copy: the error itself contains the provider's raw message.
    cause: new ModelError(kind, message, { status, retryAfter }),
  });
}

/** The error behind a model's failure; undefined for everything else. */
export function modelErrorOf(thrown: unknown): ModelError | undefined {
  return thrown instanceof Failure && thrown.cause instanceof ModelError ? thrown.cause : undefined;
}
