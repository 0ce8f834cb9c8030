import { asFailure } from "../base/failure.ts";
import type { Failure } from "../base/failure.ts";
import type { Clock } from "./clock.ts";
import type { Answerer, Request, Turned } from "./contract.ts";
import type { Conversations } from "./conversations.ts";
import { deliver } from "./delivery.ts";
import type { Delivery } from "./delivery.ts";
import { wireFailureOf } from "./failures.ts";
import type { Entry } from "./journal.ts";
import type { Known } from "./known.ts";
import { createLeash } from "./leash.ts";
import type { Leash } from "./leash.ts";
import { laneOf } from "./names.ts";
import { createAnswer } from "./parts.ts";
import { runTurn } from "./turn.ts";
import type { Outcome } from "./turn.ts";

/** One accepted request, from its place in the queue to the delivery of its answer. */
export interface Job {
  readonly request: Request;
  readonly lane: string;
  readonly known: Known;
  readonly leash: Leash;
  readonly acceptedAt: number;
  /** When it came to the head of its lane and a slot was free. */
  startedAt: number | undefined;
  delivery: Delivery | undefined;
  outcome: Outcome<unknown> | undefined;
}

/** Whether the time has passed after which the answer is of no use. */
export function isExpired(request: Request, clock: Pick<Clock, "epoch">): boolean {
  return request.expiresAt !== undefined && request.expiresAt <= clock.epoch();
}

export function createJob(request: Request, intervalMs: number, clock: Clock): Job {
  const answer = createAnswer({ clock, intervalMs });
  return {
    request,
    lane: laneOf(request),
    known: { answer, addresses: new Set([request.address]), failure: undefined },
    leash: createLeash(clock),
    acceptedAt: clock.now(),
    startedAt: undefined,
    delivery: undefined,
    outcome: undefined,
  };
}

/** Begins to deliver the answer, before there is any. */
export function beginDelivery(job: Job, clock: Clock): Delivery {
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
  readonly conversations: Conversations<M>;
  readonly clock: Clock;
}

/** Runs the job's turn unless it was cancelled before, and ends its answer. Never throws. */
export async function answerJob<M>(job: Job, options: TurnOfJobOptions<M>): Promise<void> {
  const outcome = await outcomeOf(job, options);
  job.outcome = outcome;
  job.known.failure = "failure" in outcome ? outcome.failure : undefined;
  job.known.answer.finish(job.known.failure);
}

async function outcomeOf<M>(job: Job, options: TurnOfJobOptions<M>): Promise<Outcome<M>> {
  const { request, lane, known, leash } = job;
  const { answerer, turnTimeoutMs, conversations, clock } = options;
  try {
    if (leash.failure !== undefined) throw leash.failure;
    const left = (request.expiresAt ?? Number.POSITIVE_INFINITY) - clock.epoch();
    const outcome = await runTurn({
      answerer,
      history: conversations.history(lane),
      text: request.text,
      client: request.client,
      answer: known.answer,
      leash,
      timeoutMs: Math.min(turnTimeoutMs, left),
      clock,
    });
    if ("turned" in outcome) conversations.append(lane, outcome.turned.messages);
    return outcome;
  } catch (thrown) {
    return { failure: wireFailureOf(thrown), thrown, abandoned: false };
  } finally {
    leash.release();
  }
}

/** What the log says of the job; `delivered` is false where that was given up. */
export function entryOf(job: Job, delivered: boolean): Entry {
  const { known, outcome } = job;
  return {
    request: job.request,
    acceptedAt: job.acceptedAt,
    startedAt: job.startedAt,
    outcome: known.failure?.code ?? "ok",
    delivery: job.delivery,
    delivered,
    answer: known.answer,
    ...(outcome === undefined ? {} : factsOf(outcome)),
  };
}

function factsOf(outcome: Outcome<unknown>): {
  failure?: Failure;
  abandoned?: boolean;
  usage?: Turned<unknown>["usage"];
} {
  if ("turned" in outcome) return { usage: outcome.turned.usage };
  return { failure: asFailure(outcome.thrown), abandoned: outcome.abandoned };
}
