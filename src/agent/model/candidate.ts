import { startDeadline } from "../../base/async.ts";
import type { Log } from "../../base/log.ts";
import type { Prices } from "../../config/contract.ts";
import type { Protocol, ModelCall, Reply } from "./contract.ts";
import { cleanMessage } from "./errors.ts";
import { classOf } from "./errors.ts";
import { isKeyError, isTransient, ModelError } from "./errors.ts";
import { createCooldown } from "./keys.ts";
import { createKeyring } from "./keys.ts";
import type { Key } from "./keys.ts";
import type { Rate } from "./rate.ts";
import { beginSpending } from "./spending.ts";

/** A model by its names. */
export interface ModelName {
  /** Its `model_name`. */
  readonly name: string;
  /** The protocol's name. */
  readonly provider: string;
  /** As its server wants to read it. */
  readonly model: string;
}

/** A question that failed with one candidate. */
export interface FailedAttempt {
  readonly error: ModelError;
  /** Text was yielded already: another try would say it twice. */
  readonly hasText: boolean;
}

/** What one candidate failed with. */
export interface FailedCandidate extends FailedAttempt {
  readonly candidate: Candidate;
}

/** One entry of `model_list` that can be asked, with what is remembered of how it fares. */
export interface Candidate {
  readonly name: ModelName;
  /** For the log and for failures: `model_list "gpt"`. */
  readonly label: string;
  /** What must not be seen of a provider's words. */
  readonly secrets: readonly string[];
  /** Names of `model_list` to ask, in order, when this one fails. */
  readonly fallbacks: readonly string[];
  readonly rate: Rate;
  /** When it can be asked again by the clock of its options; in the past where it can be now. */
  readonly endsAt: () => number;
  /** Nothing cools down any more. */
  readonly clearCooldown: () => void;
  /**
   * Asks once, within its deadline, with one key after the other for as long as it is the key that
   * is refused; as a last resort also with those that cool down. The caller has taken a place in
   * `rate`. Throws what is no fault of the provider: the reason of an abort, and what `rate` throws.
   */
  readonly ask: (
    question: ModelCall,
    isLastResort: boolean,
  ) => AsyncGenerator<string, Reply | FailedAttempt>;
}

export interface CandidateOptions {
  readonly name: ModelName;
  readonly label: string;
  readonly protocol: Protocol;
  readonly keys: readonly string[];
  /** What must not be seen beside the keys: the values of secret headers. */
  readonly secrets: readonly string[];
  readonly fallbacks: readonly string[];
  readonly rate: Rate;
  /** Absent where nothing is counted. */
  readonly prices?: Prices | undefined;
  /** Seconds of silence, before the answer begins and within it; 0 is the default. */
  readonly request_timeout: number;
  readonly now: () => number;
  readonly log: Log;
}

const DEFAULT_TIMEOUT = 120;
/** Times that limit: so long a server may send signs of life (blanks, comments) and no piece of an answer. */
const SIGNS_OF_LIFE = 3;

export function createCandidate(options: CandidateOptions): Candidate {
  const { name, label, fallbacks, rate, now } = options;
  const keyring = createKeyring(options.keys, now);
  const cooldown = createCooldown(now);
  const askWithKey = createAsking(options);

  /** Keys cool down for what concerns keys, the endpoint for all else. */
  const remember = (key: Key, outcome: Reply | FailedAttempt): void => {
    if (!("error" in outcome)) {
      cooldown.succeeded();
      keyring.succeeded(key);
      return;
    }
    const { error } = outcome;
    if (isKeyError(error)) keyring.failed(key, classOf(error), error.retryAfter);
    else cooldown.failed(classOf(error), error.retryAfter);
  };

  return {
    name,
    label,
    secrets: [...options.keys, ...options.secrets].filter((secret) => secret.length > 3),
    fallbacks,
    rate,
    endsAt: () => Math.max(cooldown.endsAt(), keyring.endsAt()),
    clearCooldown() {
      cooldown.succeeded();
      keyring.clearCooldowns();
    },
    async *ask(question, isLastResort) {
      const failed: FailedAttempt[] = [];
      for (const key of keyring.order(isLastResort)) {
        if (failed.length > 0) await rate.take(question.signal);
        const outcome = yield* askWithKey(question, key);
        remember(key, outcome);
        if (!("error" in outcome)) return outcome;
        failed.push(outcome);
        if (outcome.hasText || !isKeyError(outcome.error)) return outcome;
      }
      return mostHopeful(failed);
    },
  };
}

/** One key that may work again soon says more than another that never will. */
function mostHopeful(failed: readonly FailedAttempt[]): FailedAttempt {
  const passing = failed.find(({ error }) => isTransient(error)) ?? failed[0];
  return passing ?? { error: new ModelError("unreachable", "no key to ask with"), hasText: false };
}

type Asking = (question: ModelCall, key: Key) => AsyncGenerator<string, Reply | FailedAttempt>;

/** A server can refuse as many parameters of a question, one after the other. */
const MAX_REFUSED = 3;

/** Asks again where the server refused a parameter that the protocol leaves out from then on. */
async function* askAdapting(
  question: ModelCall,
  key: Key,
  options: CandidateOptions,
): AsyncGenerator<string, Reply | FailedAttempt> {
  for (let times = 0; ; times += 1) {
    const outcome = yield* askOnce(question, key, options);
    const isRefused = "error" in outcome && outcome.error.kind === "parameter";
    if (!isRefused || times === MAX_REFUSED) return outcome;
    const why = cleanMessage(outcome.error.message, [...options.keys, ...options.secrets]);
    options.log.warn("the server refused a parameter; it is asked without", {
      model: options.label,
      why,
    });
    await options.rate.take(question.signal);
  }
}

/** Asks with one key; again, and from then on, without tools where the model takes none. */
function createAsking(options: CandidateOptions): Asking {
  let takesTools = true;
  return async function* askWithKey(question, key) {
    const asked = takesTools ? question : withoutTools(question);
    const outcome = yield* askAdapting(asked, key, options);
    const isToolless = "error" in outcome && outcome.error.kind === "toolless";
    if (!isToolless || asked.tools.length === 0) return outcome;
    options.log.warn("the model takes no tools; it is asked without them", {
      model: options.label,
    });
    takesTools = false;
    await options.rate.take(question.signal);
    return yield* askAdapting(withoutTools(question), key, options);
  };
}

/** Small models, as they run on boards, often cannot call tools; they must not make results up then. */
function withoutTools(question: ModelCall): ModelCall {
  const note = "You have no tools in this conversation: say so instead of inventing measurements.";
  return { ...question, tools: [], system: `${question.system}\n${note}` };
}

async function* askOnce(
  question: ModelCall,
  key: Key,
  options: CandidateOptions,
): AsyncGenerator<string, Reply | FailedAttempt> {
  question.signal.throwIfAborted();
  const spending = beginSpending(question, options.prices);
  const seconds = options.request_timeout > 0 ? options.request_timeout : DEFAULT_TIMEOUT;
  const milliseconds = seconds * 1000;
  const pieceless = SIGNS_OF_LIFE * milliseconds;
  const progress = startDeadline(pieceless, {
    parent: question.signal,
    reason: (limit) => silence("no piece of an answer", limit),
  });
  const deadline = startDeadline(milliseconds, {
    parent: progress.signal,
    reason: (limit) => silence("nothing", limit),
  });
  let hasText = false;
  try {
    const { signal, renew: onActivity } = deadline;
    const onChunk = (): void => {
      spending.onChunk();
      progress.renew();
    };
    const pieces = options.protocol({ call: question, key, signal, onActivity, onChunk });
    for (;;) {
      const step = await pieces.next();
      if (step.done === true) {
        spending.onReply(step.value);
        return step.value;
      }
      hasText = true;
      spending.onText(step.value);
      yield step.value;
    }
  } catch (thrown) {
    question.signal.throwIfAborted();
    if (!(thrown instanceof ModelError)) throw thrown;
    spending.onError(thrown);
    return { error: thrown, hasText };
  } finally {
    spending.end();
    // Also where the reader leaves in the middle: this ends the request.
    deadline.close();
    progress.close();
  }
}

function silence(what: string, milliseconds: number): ModelError {
  return new ModelError("silent", `${what} came for ${milliseconds / 1000} s`);
}
