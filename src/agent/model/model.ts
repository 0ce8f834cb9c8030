import type { Log } from "../../base/log.ts";
import { pause } from "../../base/pause.ts";
import type { AgentDefaults } from "../../config/contract.ts";
import type { Model, Protocol, Question, Reply } from "./contract.ts";
import { startDeadline } from "./deadline.ts";
import { cleanWords, failureOf } from "./failure.ts";
import { concernsKey, isPassing, ModelFault } from "./fault.ts";
import { createKeyring } from "./keys.ts";

export interface ModelOptions {
  readonly protocol: Protocol;
  /** For the log and for failures: `model_list "gpt"`. */
  readonly label: string;
  readonly keys: readonly string[];
  /** What must not be seen beside the keys: the values of secret headers. */
  readonly secrets: readonly string[];
  /** Seconds of silence, before the answer begins and within it; 0 is the default. */
  readonly request_timeout: number;
  readonly defaults: Pick<AgentDefaults, "max_llm_retries" | "llm_retry_backoff_secs">;
  readonly log: Log;
}

const DEFAULT_TIMEOUT = 120;
/** Seconds between two tries; a provider that wants a longer wait is left to the asker. */
const LONGEST_WAIT = 60;

interface Failed {
  readonly fault: ModelFault;
  /** Text was yielded already: another try would say it twice. */
  readonly spoken: boolean;
}

/**
 * Wraps one protocol into a model that can be relied on: every try has a deadline, a refused key
 * makes the next one be tried, and passing faults are tried again after a growing, jittered wait.
 */
export function createModel(options: ModelOptions): Model {
  const keyring = createKeyring(options.keys, () => performance.now());
  const secrets = [...options.keys, ...options.secrets].filter((secret) => secret.length > 3);
  const { label, log } = options;
  const { max_llm_retries: most, llm_retry_backoff_secs: backoff } = options.defaults;

  let takesTools = true;

  return async function* ask(question) {
    for (let retries = 0; ; retries += 1) {
      const asked = takesTools ? question : withoutTools(question);
      const outcome = yield* askWithKeys(asked, keyring, options);
      if (!("fault" in outcome)) return outcome;
      const { fault, spoken } = outcome;
      if (fault.kind === "toolless" && asked.tools.length > 0) {
        log.warn("the model takes no tools; it is asked without them", { model: label });
        takesTools = false;
        retries -= 1;
        continue;
      }
      const wait = waitOf(fault, { retries, backoff });
      if (spoken || !isPassing(fault) || retries >= most || wait === undefined) {
        throw failureOf(fault, label, secrets);
      }
      const why = cleanWords(fault.message, secrets);
      log.warn("asking the model again", { model: label, why, seconds: Number(wait.toFixed(1)) });
      await pause(wait * 1000, question.signal);
    }
  };
}

/** Small models, as they run on boards, often cannot call tools; they must not make results up then. */
function withoutTools(question: Question): Question {
  const note = "You have no tools in this conversation: say so instead of inventing measurements.";
  return { ...question, tools: [], system: `${question.system}\n${note}` };
}

/** Asks with one key after the other for as long as it is the key that is refused. */
async function* askWithKeys(
  question: Question,
  keyring: ReturnType<typeof createKeyring>,
  options: ModelOptions,
): AsyncGenerator<string, Reply | Failed> {
  const failed: Failed[] = [];
  for (const key of keyring.order()) {
    const outcome = yield* askOnce(question, key, options);
    if (!("fault" in outcome)) return outcome;
    failed.push(outcome);
    if (outcome.spoken || !concernsKey(outcome.fault)) return outcome;
    keyring.refused(key, outcome.fault);
  }
  // One key that may work again soon says more than another that never will.
  const [first] = failed;
  const passing = failed.find(({ fault }) => isPassing(fault)) ?? first;
  return passing ?? { fault: new ModelFault("unreachable", "no key to ask with"), spoken: false };
}

async function* askOnce(
  question: Question,
  key: string | undefined,
  options: ModelOptions,
): AsyncGenerator<string, Reply | Failed> {
  question.signal.throwIfAborted();
  const seconds = options.request_timeout > 0 ? options.request_timeout : DEFAULT_TIMEOUT;
  const deadline = startDeadline(question.signal, seconds * 1000);
  let spoken = false;
  try {
    const { signal, renew: moved } = deadline;
    const pieces = options.protocol({ question, key, signal, moved });
    for (;;) {
      const step = await pieces.next();
      if (step.done === true) return step.value;
      spoken = true;
      yield step.value;
    }
  } catch (thrown) {
    question.signal.throwIfAborted();
    if (thrown instanceof ModelFault) return { fault: thrown, spoken };
    throw thrown;
  } finally {
    // Also where the reader leaves in the middle: this ends the request.
    deadline.close();
  }
}

/**
 * Seconds before the next try: full jitter below a bound that grows with each try, on top of what the
 * provider asked for; undefined where that is too long to wait here.
 */
function waitOf(
  { retryAfter = 0 }: ModelFault,
  { retries, backoff }: { retries: number; backoff: number },
): number | undefined {
  if (retryAfter > LONGEST_WAIT) return undefined;
  return retryAfter + Math.random() * Math.min((retries + 1) * backoff, LONGEST_WAIT);
}
