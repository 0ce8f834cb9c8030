import { asFailure, Failure } from "../base/failure.ts";
import { faultPoint } from "../base/faults.ts";
import type { Claim, Held } from "../store/contract.ts";
import type { Accounting } from "./accounts/accounting.ts";
import type { Clock } from "./clock.ts";
import type { Answerer, Request } from "./contract.ts";
import { deliver } from "./delivery.ts";
import type { Delivery } from "./delivery.ts";
import { failureOf, wireFailureOf } from "./failures.ts";
import type { Entry } from "./journal.ts";
import { restoredKnown } from "./known.ts";
import type { Known } from "./known.ts";
import { createLeash, GRACE_MS } from "./leash.ts";
import type { Leash } from "./leash.ts";
import type { Ledger } from "./ledger.ts";
import { isAdmin } from "./limits.ts";
import type { ChannelPolicy } from "./limits.ts";
import { conversationOf, laneOf } from "./names.ts";
import { createAnswer } from "./parts.ts";
import { runTurn } from "./turn.ts";
import type { Outcome } from "./turn.ts";

/** One accepted request, from its place in the queue to the delivery of its answer. */
export interface Job<M> {
  readonly request: Request;
  readonly lane: string;
  /** The name of its conversation. */
  readonly conversation: string;
  /** Who asks may change things for everyone. */
  readonly isAdmin: boolean;
  /** What its turn may use, and has used. */
  readonly allowance: ReturnType<Accounting["allowanceOf"]>;
  readonly known: Known;
  readonly leash: Leash;
  readonly acceptedAt: number;
  /** Resolves when it is decided whether the store has it; it may begin then. */
  readonly settled: PromiseWithResolvers<void>;
  /** What attempts that a crash cut had done. */
  readonly resumed: readonly M[];
  /** Under which the store holds it; undefined for a request that is not durable. */
  claim: Claim | undefined;
  /** Its answer was there before its turn in this process: it only has to be delivered. */
  isAnswered: boolean;
  /** It is the store's or another owner's to answer, not this process's. */
  isLeft: boolean;
  /** The gateway shuts down: unless its turn ends by itself, it is left. */
  isLeaving: boolean;
  /** When it came to the head of its lane and a slot was free. */
  startedAt: number | undefined;
  delivery: Delivery | undefined;
  outcome: Outcome<M> | undefined;
}

/** Whether the time has passed after which the answer is of no use. */
export function isExpired(request: Request, clock: Pick<Clock, "epoch">): boolean {
  return request.expiresAt !== undefined && request.expiresAt <= clock.epoch();
}

/** A request that came; the second promise is when it may be acknowledged. */
export function createJob<M>(
  request: Request,
  behind: Behind,
): { readonly job: Job<M>; readonly stored: PromiseWithResolvers<void> } {
  const stored = Promise.withResolvers<void>();
  const known: Known = {
    answer: createAnswer({ clock: behind.clock, intervalMs: behind.policy.intervalMs }),
    addresses: new Set([request.address]),
    stored: stored.promise,
    failure: undefined,
  };
  return { job: jobOf<M>(request, known, behind), stored };
}

/** A request that a former process accepted. */
export function createResumedJob<M>(request: Request, held: Held<M>, behind: Behind): Job<M> {
  const { policy, clock } = behind;
  const known: Known =
    held.answer === undefined
      ? {
          answer: createAnswer({ clock, intervalMs: policy.intervalMs }),
          addresses: new Set(),
          stored: Promise.resolve(),
          failure: undefined,
        }
      : restoredKnown(held.answer, clock);
  known.addresses.add(request.address);
  const job = jobOf<M>(request, known, behind);
  job.settled.resolve();
  return {
    ...job,
    claim: held.claim,
    resumed: held.progress,
    isAnswered: held.answer !== undefined,
  };
}

/** What a job is made with, beside its request. */
interface Behind {
  readonly policy: ChannelPolicy;
  readonly clock: Clock;
  readonly allowanceOf: Accounting["allowanceOf"];
}

function jobOf<M>(request: Request, known: Known, { policy, clock, allowanceOf }: Behind): Job<M> {
  return {
    request,
    lane: laneOf(request),
    conversation: conversationOf(request),
    isAdmin: isAdmin(policy, request.client),
    allowance: allowanceOf(request, policy),
    known,
    leash: createLeash(clock),
    acceptedAt: clock.now(),
    settled: Promise.withResolvers<void>(),
    resumed: [],
    claim: undefined,
    isAnswered: false,
    isLeft: false,
    isLeaving: false,
    startedAt: undefined,
    delivery: undefined,
    outcome: undefined,
  };
}

/** Begins to deliver the answer, before there is any. */
export function beginDelivery<M>(job: Job<M>, clock: Clock): Delivery {
  const { request, known } = job;
  const delivery = deliver(request, known.answer, clock);
  job.startedAt = clock.now();
  job.delivery = delivery;
  // When the asker cannot be reached any more, the same request may come anew and join.
  void delivery.finished.then(() => known.addresses.delete(request.address));
  return delivery;
}

export interface TurnOfJobOptions<M> {
  readonly answerer: Answerer<M>;
  readonly turnTimeoutMs: number;
  readonly ledger: Ledger<M>;
  readonly clock: Clock;
}

/**
 * Runs the job's turn unless it was cancelled before, stores its answer, and only then ends it for its
 * readers; or leaves the job to the next start. Never throws.
 */
export async function answerJob<M>(job: Job<M>, options: TurnOfJobOptions<M>): Promise<void> {
  const { known, leash } = job;
  const outcome = await outcomeOf(job, options);
  leash.release();
  job.outcome = outcome;
  if (job.isLeft || (job.isLeaving && "failure" in outcome)) {
    await leave(job, options.ledger);
    return;
  }
  known.failure = "failure" in outcome ? outcome.failure : undefined;
  if (await isKept(job, outcome, options.ledger)) known.answer.release();
  else await leave(job, options.ledger);
}

async function leave<M>(job: Job<M>, ledger: Ledger<M>): Promise<void> {
  job.isLeft = true;
  job.known.answer.abandon();
  if (job.claim !== undefined) await ledger.release(job.claim);
}

/** Stores the closed answer with what the turn adds to the conversation; false where it is another owner's. */
async function isKept<M>(job: Job<M>, outcome: Outcome<M>, ledger: Ledger<M>): Promise<boolean> {
  const { known, claim, conversation } = job;
  const { failure } = known;
  const parts = known.answer.close(failure);
  const said = "turned" in outcome ? outcome.turned : { messages: [] };
  if (claim === undefined) {
    if (said.messages.length > 0 || said.forget) void ledger.append(conversation, said);
    return true;
  }
  faultPoint("turned");
  const stored = failure && {
    code: failure.code,
    message: failure.message,
    ...(failure.retryAfter !== undefined && { retryAfter: failure.retryAfter }),
  };
  return ledger.answered(claim, { parts, ...(stored && { failure: stored }) }, said);
}

/** Attempts at one turn: what ended the process as often as that would end it for ever. */
const ATTEMPTS = 3;

async function outcomeOf<M>(job: Job<M>, options: TurnOfJobOptions<M>): Promise<Outcome<M>> {
  const { leash } = job;
  const { turnTimeoutMs, clock } = options;
  // The store's first write may have to wait for a disk; the turn's own time begins after it.
  const callOff = clock.after(turnTimeoutMs, () => leash.pull(failureOf("timeout"), GRACE_MS));
  try {
    if (leash.failure !== undefined) throw leash.failure;
    if (job.claim !== undefined) await begin(job, job.claim, options.ledger);
    const history = await options.ledger.history(job.conversation);
    callOff();
    return await turnOf(job, history, options);
  } catch (thrown) {
    return { failure: wireFailureOf(thrown), thrown, abandoned: false };
  } finally {
    callOff();
  }
}

async function begin<M>(job: Job<M>, claim: Claim, ledger: Ledger<M>): Promise<void> {
  if (claim.attempt >= ATTEMPTS) throw givenUp();
  const begun = await ledger.begin(claim, job.leash.signal);
  if (begun !== undefined) job.claim = begun;
  if (job.leash.failure !== undefined) throw job.leash.failure;
  if (begun !== undefined) return;
  job.isLeft = true;
  job.claim = undefined;
  throw new Failure("internal", "another gateway has this request");
}

function givenUp(): Failure {
  return new Failure("internal", "the question could not be answered and was given up", {
    why: `the program ended during its turn ${ATTEMPTS} times`,
    remedy: "look at the log before each start, and ask in other words",
  });
}

function turnOf<M>(
  job: Job<M>,
  history: readonly M[],
  { answerer, turnTimeoutMs, ledger, clock }: TurnOfJobOptions<M>,
): Promise<Outcome<M>> {
  const { request, known, leash, claim, resumed } = job;
  const left = (request.expiresAt ?? Number.POSITIVE_INFINITY) - clock.epoch();
  return runTurn({
    turn: {
      history,
      text: request.text,
      client: request.client,
      channel: request.channel,
      isRemote: true,
      isAdmin: job.isAdmin,
      allowance: job.allowance,
      signal: leash.signal,
      ...((claim?.attempt ?? 0) > 1 && { resumed }),
      record: async (message) => {
        if (claim !== undefined) await ledger.record(claim, message);
      },
    },
    answerer,
    answer: known.answer,
    leash,
    timeoutMs: Math.min(turnTimeoutMs, left),
    clock,
  });
}

/** What the log says of the job; `delivered` is false where that was given up. */
export function entryOf<M>(job: Job<M>, delivered: boolean): Entry {
  const { known, outcome } = job;
  return {
    request: job.request,
    acceptedAt: job.acceptedAt,
    startedAt: job.startedAt,
    outcome: job.isLeft ? "kept" : (known.failure?.code ?? "ok"),
    attempt: job.claim?.attempt,
    delivery: job.delivery,
    delivered: delivered && !job.isLeft,
    answer: known.answer,
    ...(outcome === undefined || job.isLeft ? {} : { ...factsOf(outcome), usage: usageOf(job) }),
  };
}

function factsOf<M>(outcome: Outcome<M>): { failure?: Failure; abandoned?: boolean } {
  if ("turned" in outcome) return {};
  return { failure: asFailure(outcome.thrown), abandoned: outcome.abandoned };
}

/** Of all that the turn began, as far as it has ended; undefined where no model was asked. */
function usageOf<M>({ allowance: { spent }, outcome }: Job<M>): Entry["usage"] {
  if (spent.inputTokens + spent.outputTokens > 0) return spent;
  return outcome !== undefined && "turned" in outcome ? outcome.turned.usage : undefined;
}
