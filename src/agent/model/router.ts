import type { Image } from "../../base/contract.ts";
import { Failure } from "../../base/failure.ts";
import type { Message } from "../contract.ts";
import type { Candidate, StartedReply } from "./candidate.ts";
import type { Model, ModelCall } from "./contract.ts";
import type { OpenOptions } from "./entries.ts";
import { classOf, cleanMessage, isTransient, ModelError, modelFailureOf } from "./errors.ts";

export interface RouterOptions extends Omit<OpenOptions, "fetch"> {
  /** In the order to ask them, at least one, none twice. */
  readonly candidates: readonly Candidate[];
  /** Those of them that come first because the question is light; one that is too long for them goes to the others. */
  readonly light: ReadonlySet<Candidate>;
  /** Called when another candidate than the first is asked from now on. */
  readonly onMove: (candidate: Candidate) => void;
}

/** A call that failed with one candidate. */
interface FailedCandidate {
  readonly candidate: Candidate;
  readonly error: ModelError;
}

/** Seconds between two tries; if a provider asks for more, the call fails with its `retryAfter`. */
const LONGEST_WAIT = 60;

/**
 * Several candidates as one reliable model, for one turn: the candidate that answered is asked again for
 * the next call. A transient failure is retried after a growing, jittered wait if no other candidate can
 * be asked. A candidate that cools down is asked only if all do. Candidates and keys change only before
 * the first text of a reply.
 */
export function createRouter(options: RouterOptions): Model {
  const start = createStart(options);
  return (call) => ask(call, start);
}

/** No closure: what the runtime compiles for a generator does not outlive its function. */
async function* ask(call: ModelCall, start: Start): ReturnType<Model> {
  const { candidate, started, failed } = await start(call);
  try {
    const { first } = started;
    if (first.done !== true) yield first.value;
    const reply = first.done === true ? first.value : yield* started.rest;
    started.succeeded(reply);
    return reply;
  } catch (thrown) {
    // Another try would send the same text twice.
    throw modelFailureOf({ candidate, error: started.failed(thrown) }, failed.length);
  } finally {
    started.end();
  }
}

interface Started {
  readonly started: StartedReply;
  readonly candidate: Candidate;
  /** Those that were asked before. */
  readonly failed: readonly FailedCandidate[];
}

/** Starts a reply with the first candidate that can give one. Throws the failure if none can. */
type Start = (call: ModelCall) => Promise<Started>;

function createStart(options: RouterOptions): Start {
  const { light, log, now } = options;
  let order = options.candidates;
  return async (call) => {
    const failed: FailedCandidate[] = [];
    const isUntried = (one: Candidate): boolean =>
      !failed.some(({ candidate }) => candidate === one);
    const isReady = (one: Candidate): boolean => one.endsAt() <= now() && isUntried(one);
    let isLastResort = false;
    for (;;) {
      const next = soonest(order.filter(isReady)) ?? firstToEnd(order.filter(isUntried));
      // Of those that cool down one is asked, so that no call fails without any try.
      if (next === undefined || (isLastResort && !isReady(next))) throw failureOfAll(failed);
      isLastResort ||= !isReady(next);
      if (next !== order[0]) {
        const why = reasonOf(order[0], failed, now());
        log.warn("another model is called", { model: next.label, instead: order[0]?.label, why });
        order = [next, ...order.filter((one) => one !== next)];
        options.onMove(next);
      }
      const hasOther = (): boolean =>
        order.some((one) => one !== next && isReady(one) && one.rate.wait() === 0);
      const outcome = await startWithRetries(next, call, hasOther, options);
      if (!(outcome instanceof ModelError)) return { started: outcome, candidate: next, failed };
      const failure = { error: outcome, candidate: next };
      if (isFinal(outcome, light.has(next))) throw modelFailureOf(failure, failed.length);
      failed.push(failure);
    }
  };
}

/** The first candidate that its rpm lets be called now, else the one that it lets be called soonest. */
function soonest(ready: readonly Candidate[]): Candidate | undefined {
  return ready.toSorted((left, right) => left.rate.wait() - right.rate.wait())[0];
}

function firstToEnd(cooling: readonly Candidate[]): Candidate | undefined {
  return cooling.toSorted((left, right) => left.endsAt() - right.endsAt())[0];
}

/** The reason why another candidate is asked than the first. */
function reasonOf(
  before: Candidate | undefined,
  failed: readonly FailedCandidate[],
  now: number,
): string {
  const own = failed.find(({ candidate }) => candidate === before);
  if (own !== undefined) return cleanMessage(own.error.message, own.candidate.secrets);
  if (before === undefined || before.endsAt() <= now) return "its rpm is used up";
  return `it failed before and cools down for ${Math.ceil((before.endsAt() - now) / 1000)} s`;
}

/** Whether the call itself is at fault, so that no other candidate is asked. */
function isFinal(error: ModelError, isOfLight: boolean): boolean {
  const isTooLong = error.kind === "overflow" || error.kind === "unsent";
  return classOf(error) === "final" && !(isOfLight && isTooLong);
}

/** The first failure; not that of a light model for which the call was too long, if there is another. */
function failureOfAll(failed: readonly FailedCandidate[]): Failure {
  const reported = failed.find(({ error }) => classOf(error) !== "final") ?? failed[0];
  if (reported === undefined) return new Failure("model", "there is no model to ask");
  return modelFailureOf(reported, failed.length - 1);
}

/** Asks one candidate again while its error is transient and no other candidate can be asked now. */
async function startWithRetries(
  candidate: Candidate,
  call: ModelCall,
  hasOther: () => boolean,
  { defaults, log, pause }: RouterOptions,
): Promise<StartedReply | ModelError> {
  const { label, rate, secrets } = candidate;
  const { max_llm_retries: most, llm_retry_backoff_secs: backoff } = defaults;
  for (let retries = 0; ; retries += 1) {
    const room = rate.wait();
    if (room > 0)
      log.info("a call waits because of its rpm", { model: label, seconds: room / 1000 });
    await rate.take(call.signal);
    const outcome = await candidate.start(call, !hasOther());
    if (!(outcome instanceof ModelError)) return outcome;
    const wait = waitOf(outcome, (retries + 1) * backoff);
    if (!isTransient(outcome) || retries >= most || wait === undefined || hasOther())
      return outcome;
    const why = cleanMessage(outcome.message, secrets);
    log.warn("calling the model again", { model: label, why, seconds: Number(wait.toFixed(1)) });
    await pause(wait * 1000, call.signal);
  }
}

/**
 * Seconds before the next try: the provider's wish, plus full jitter below a bound. Returns undefined if the
 * wish is too long.
 */
function waitOf({ retryAfter = 0 }: ModelError, bound: number): number | undefined {
  if (retryAfter > LONGEST_WAIT) return undefined;
  return retryAfter + Math.random() * Math.min(bound, LONGEST_WAIT);
}

/** The facts that make a question light. */
export interface RoutedTurn {
  readonly history: readonly Message[];
  readonly text: string;
  readonly images?: readonly Image[];
}

/** Messages at the end of the history whose tool calls count. */
const RECENT = 6;

/**
 * Whether a light model is enough: the score (0 to 1) of the question is below the threshold. Rates it with the
 * weights of Go PicoClaw, without a model call.
 */
export function isLight({ history, text, images }: RoutedTurn, threshold: number): boolean {
  const isMedia = images !== undefined || /\bdata:[\w.+-]+\/[\w.+-]+[;,]/i.test(text);
  const code = text.includes("```") ? 40 : 0;
  const depth = history.length > 10 ? 10 : 0;
  const points = lengthPoints(text) + code + callPoints(history) + depth;
  return (isMedia ? 1 : Math.min(100, points) / 100) < threshold;
}

/** By an estimate of the tokens: two for five characters. */
function lengthPoints(text: string): number {
  const tokens = Math.floor((Array.from(text).length * 2) / 5);
  if (tokens > 200) return 35;
  return tokens > 50 ? 15 : 0;
}

function callPoints(history: readonly Message[]): number {
  let calls = 0;
  for (const message of history.slice(-RECENT)) {
    if (message.role === "assistant") calls += message.toolCalls?.length ?? 0;
  }
  if (calls > 3) return 25;
  return calls > 0 ? 10 : 0;
}
