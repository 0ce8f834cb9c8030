import type { pause } from "../../base/async.ts";
import { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { AgentDefaults } from "../../config/contract.ts";
import type { Candidate, FailedAttempt, FailedCandidate } from "./candidate.ts";
import type { Model, ModelCall, Reply } from "./contract.ts";
import { modelFailureOf } from "./errors.ts";
import { cleanMessage } from "./errors.ts";
import { classOf } from "./errors.ts";
import { isTransient } from "./errors.ts";
import type { ModelError } from "./errors.ts";

export interface RouterOptions {
  /** In the order to ask them, at least one, none twice. */
  readonly candidates: readonly Candidate[];
  /** Those of them that stand first because the question is light: what is too long for them is not for the others. */
  readonly light: ReadonlySet<Candidate>;
  /** Another one than the first is asked from now on. */
  readonly onMove: (candidate: Candidate) => void;
  readonly defaults: Pick<AgentDefaults, "max_llm_retries" | "llm_retry_backoff_secs">;
  readonly log: Log;
  readonly now: () => number;
  readonly pause: typeof pause;
}

/** Seconds between two tries; a provider that wants a longer wait is left to the asker. */
const LONGEST_WAIT = 60;

/**
 * Several candidates as one model that can be relied on, for one turn: the one that answered goes on
 * answering. One that fails in a passing way is asked again, after a growing, jittered wait, only
 * where there is no other to ask; one that cools down is asked only where all do.
 */
export function createRouter(options: RouterOptions): Model {
  const { light, log, now } = options;
  let order = options.candidates;

  return async function* ask(question) {
    const failed: FailedCandidate[] = [];
    const isReady = (one: Candidate): boolean => !hasFailed(failed, one) && one.endsAt() <= now();
    let isLastResort = false;
    for (;;) {
      const next = soonestOf(order.filter(isReady)) ?? firstToEnd(order, failed);
      // Of those that cool down one is asked, so that nobody is refused unheard.
      if (next === undefined || (isLastResort && !isReady(next))) throw failureOfAll(failed);
      isLastResort ||= !isReady(next);
      if (next !== order[0]) {
        const why = reasonOf(order[0], failed, now());
        log.warn("another model is asked", { model: next.label, instead: order[0]?.label, why });
        order = [next, ...order.filter((one) => one !== next)];
        options.onMove(next);
      }
      const hasOther = (): boolean =>
        order.some((one) => one !== next && isReady(one) && one.rate.wait() === 0);
      const outcome = yield* askPersistently(next, question, { ...options, hasOther });
      if (!("error" in outcome)) return outcome;
      if (isFinal(outcome, light.has(next))) {
        throw modelFailureOf({ ...outcome, candidate: next }, failed.length);
      }
      failed.push({ ...outcome, candidate: next });
    }
  };
}

function hasFailed(failed: readonly FailedCandidate[], one: Candidate): boolean {
  return failed.some(({ candidate }) => candidate === one);
}

/** The first that has room under its rpm, else the one that has it soonest. */
function soonestOf(ready: readonly Candidate[]): Candidate | undefined {
  return ready.toSorted((left, right) => left.rate.wait() - right.rate.wait())[0];
}

function firstToEnd(
  order: readonly Candidate[],
  failed: readonly FailedCandidate[],
): Candidate | undefined {
  const untried = order.filter((one) => !hasFailed(failed, one));
  return untried.toSorted((left, right) => left.endsAt() - right.endsAt())[0];
}

/** Why another one is asked than the one that was to be. */
function reasonOf(
  before: Candidate | undefined,
  failed: readonly FailedCandidate[],
  now: number,
): string {
  const own = failed.find(({ candidate }) => candidate === before);
  if (own !== undefined) return cleanMessage(own.error.message, own.candidate.secrets);
  if (before === undefined || before.endsAt() <= now) return "its rpm is used up";
  return `it failed before and is left alone for ${Math.ceil((before.endsAt() - now) / 1000)} s`;
}

/** Whether nobody else may be asked: text was heard, or the question itself is at fault. */
function isFinal({ error, hasText }: FailedAttempt, isLight: boolean): boolean {
  return hasText || (classOf(error) === "final" && !(isLight && error.kind === "overflow"));
}

/** The first failure, but for that of a light model for which the question was too long. */
function failureOfAll(failed: readonly FailedCandidate[]): Failure {
  const told = failed.find(({ error }) => classOf(error) !== "final") ?? failed[0];
  if (told === undefined) return new Failure("model", "there is no model to ask");
  return modelFailureOf(told, failed.length - 1);
}

interface Persistence extends Pick<RouterOptions, "defaults" | "log" | "pause"> {
  /** Whether another candidate could be asked now instead. */
  readonly hasOther: () => boolean;
}

/** Asks one candidate, again and again for as long as its fault passes and nobody else can be asked. */
async function* askPersistently(
  candidate: Candidate,
  question: ModelCall,
  { defaults, log, pause, hasOther }: Persistence,
): AsyncGenerator<string, Reply | FailedAttempt> {
  const { label, rate, secrets } = candidate;
  const { max_llm_retries: most, llm_retry_backoff_secs: backoff } = defaults;
  for (let retries = 0; ; retries += 1) {
    const room = rate.wait();
    if (room > 0) log.info("a question waits for its rpm", { model: label, seconds: room / 1000 });
    await rate.take(question.signal);
    const outcome = yield* candidate.ask(question, !hasOther());
    if (!("error" in outcome)) return outcome;
    const { error, hasText } = outcome;
    const wait = waitOf(error, { retries, backoff });
    const isHopeless = hasText || !isTransient(error) || retries >= most || wait === undefined;
    if (isHopeless || hasOther()) return outcome;
    const why = cleanMessage(error.message, secrets);
    log.warn("asking the model again", { model: label, why, seconds: Number(wait.toFixed(1)) });
    await pause(wait * 1000, question.signal);
  }
}

/**
 * Seconds before the next try: full jitter below a bound that grows with each try, on top of what the
 * provider asked for; undefined where that is too long to wait here.
 */
function waitOf(
  { retryAfter = 0 }: ModelError,
  { retries, backoff }: { retries: number; backoff: number },
): number | undefined {
  if (retryAfter > LONGEST_WAIT) return undefined;
  return retryAfter + Math.random() * Math.min((retries + 1) * backoff, LONGEST_WAIT);
}
