import { asFailure } from "../../base/failure.ts";
import type { Failure } from "../../base/failure.ts";
import type { Claim, StoredRequest } from "../../store/contract/store.ts";
import { AnswerStream, restoredAnswer } from "../answer/answer-stream.ts";
import type { Delivery } from "../answer/answer-stream.ts";
import type { ChannelPolicy } from "../channel-policy.ts";
import type { Clock } from "../clock.ts";
import type { Request, Turned } from "../contract.ts";
import { shuttingDown } from "../errors.ts";
import type { RequestRecord } from "../request-log.ts";
import type { Accounting } from "../usage/accounts.ts";
import type { TurnAllowance } from "../usage/allowance.ts";
import { TurnCancellation } from "./turn.ts";

/** A request that waits in the store. Thousands of them wait in a flood: each costs a few hundred bytes. */
export interface WaitingRequest {
  readonly claim: Claim;
  readonly expiresAt: number | undefined;
  /**
   * The request without its text, when the store cannot restore the way back to its client, or when its client
   * was told that it waits.
   */
  wayBack: Request | undefined;
  /** Its answer is stored: it needs no turn. */
  readonly isAnswered: boolean;
  /** Why it was cancelled while it waited. */
  cancelled: Failure | undefined;
}

/** A request in memory: of QoS 0 from its acceptance, else from its turn, to the delivery of its answer. */
export interface PendingRequest<M> {
  state: RequestState<M>;
  /** Its claim in the store; undefined for QoS 0, and when another gateway has it. */
  claim: Claim | undefined;
  request: Request;
  readonly policy: ChannelPolicy;
  readonly answer: AnswerStream;
  readonly cancellation: TurnCancellation;
  /** What its turn may use, and has used. */
  readonly allowance: TurnAllowance;
  readonly acceptedAt: number;
  /** The steps of attempts that a crash cut off. */
  readonly progress: readonly M[];
}

/** `begin`: its attempt must begin in the store first; `deliver`: its answer is there. */
type Next = "begin" | "run" | "deliver";

export type RequestState<M> =
  /** Waits for its turn. */
  | { readonly is: "queued"; readonly next: Next }
  | ({ readonly is: "running" } & Started)
  /** The turn is over; `outcome` is undefined when a former process ran it. */
  | ({ readonly is: "answered"; readonly outcome: Outcome<M> | undefined } & Started)
  /** The next start or another gateway answers it. */
  | ({ readonly is: "released" } & Started);

/** How a turn ended. */
export type Outcome<M> =
  | { readonly turned: Turned<M> }
  /**
   * `failure` is for the wire, `thrown` is the original with all facts. `abandoned`: the answerer ignored the
   * signal and may still run.
   */
  | { readonly failure: Failure; readonly thrown: unknown; readonly abandoned: boolean };

interface Started {
  /** On the clock: when the request was at the head of its lane and a slot was free. */
  readonly startedAt: number;
  readonly delivery: Delivery;
}

interface PendingOptions {
  readonly clock: Clock;
  readonly accounting: Pick<Accounting, "allowanceOf">;
}

export interface PendingFacts<M> {
  readonly policy: ChannelPolicy;
  /** On the clock. */
  readonly acceptedAt: number;
  readonly next: Next;
  /** What the store has of the request; undefined for QoS 0. */
  readonly stored?: Pick<StoredRequest<M>, "claim" | "progress" | "answer">;
}

/** A request in memory that waits for its turn. */
export function createPending<M>(
  request: Request,
  { policy, acceptedAt, next, stored }: PendingFacts<M>,
  { clock, accounting }: PendingOptions,
): PendingRequest<M> {
  const answer = stored?.answer
    ? restoredAnswer(stored.answer, clock)
    : new AnswerStream({ clock, ...policy });
  answer.addresses.add(request.address);
  return {
    state: { is: "queued", next },
    claim: stored?.claim,
    request,
    policy,
    answer,
    cancellation: new TurnCancellation(clock),
    allowance: accounting.allowanceOf(request, policy),
    acceptedAt,
    progress: stored?.progress ?? [],
  };
}

/** Whether the deadline of the request has passed. */
export function isExpired(
  { expiresAt }: { readonly expiresAt?: number | undefined },
  clock: Pick<Clock, "epoch">,
): boolean {
  return expiresAt !== undefined && expiresAt <= clock.epoch();
}

/** queued → running, or → answered when its answer was stored. */
export function start<M>(pending: PendingRequest<M>, started: Started): void {
  const isAnswered = pending.state.is === "queued" && pending.state.next === "deliver";
  pending.state = isAnswered
    ? { is: "answered", outcome: undefined, ...started }
    : { is: "running", ...started };
}

/** running → answered: a later cancellation changes nothing. */
export function answered<M>(pending: PendingRequest<M>, outcome: Outcome<M>): void {
  pending.cancellation.release();
  const { state } = pending;
  if (state.is === "running") pending.state = { ...state, is: "answered", outcome };
}

/** → released: the readers of its answer stop where they are. */
export function released<M>(pending: PendingRequest<M>): void {
  pending.cancellation.release();
  pending.answer.abandon();
  if (pending.state.is !== "queued") pending.state = { ...pending.state, is: "released" };
}

/** Whether the request has no answer yet and was not cancelled. */
export function isCancellable<M>(pending: WaitingRequest | PendingRequest<M>): boolean {
  if (isWaiting(pending)) return !pending.isAnswered && pending.cancelled === undefined;
  const { state, cancellation } = pending;
  const isOpen = state.is === "running" || (state.is === "queued" && state.next !== "deliver");
  return isOpen && cancellation.failure === undefined;
}

export function isWaiting<M>(
  pending: WaitingRequest | PendingRequest<M>,
): pending is WaitingRequest {
  return !("answer" in pending);
}

/** Cancels the request in the store or in memory; false when there was nothing to cancel. */
export function cancel<M>(
  pending: WaitingRequest | PendingRequest<M>,
  failure: Failure,
  graceMs: number,
): boolean {
  if (!isWaiting(pending)) return pending.cancellation.cancel(failure, graceMs);
  const isFirst = pending.cancelled === undefined;
  pending.cancelled ??= failure;
  return isFirst;
}

/** At shutdown a durable request is cancelled with this failure: unless its turn ends by itself, it is released. */
const LEFT_TO_NEXT_START = shuttingDown("cancelled");

/** The grace of a turn at shutdown: shorter than the time that answers have to leave afterwards. */
const SHUTDOWN_GRACE_MS = 500;

/** Ends the request at shutdown: releases a durable one, cancels others. Says which, if it was not over. */
export function shutDown<M>(
  pending: WaitingRequest | PendingRequest<M>,
): "resumable" | "cancelled" | undefined {
  const { claim } = pending;
  if (claim === undefined || cancellationOf(pending) !== undefined) {
    return cancel(pending, shuttingDown("cancelled"), SHUTDOWN_GRACE_MS) ? "cancelled" : undefined;
  }
  return cancel(pending, LEFT_TO_NEXT_START, SHUTDOWN_GRACE_MS) ? "resumable" : undefined;
}

/** Whether the shutdown ended the request and the next start answers it. */
export function isLeftToNextStart<M>(pending: WaitingRequest | PendingRequest<M>): boolean {
  return cancellationOf(pending) === LEFT_TO_NEXT_START;
}

/** Why the request was cancelled, in the store or in memory. */
function cancellationOf<M>(pending: WaitingRequest | PendingRequest<M>): Failure | undefined {
  return isWaiting(pending) ? pending.cancelled : pending.cancellation.failure;
}

/** The log's record of the request; `delivered` is false when its delivery was abandoned. */
export function recordOf<M>(pending: PendingRequest<M>, delivered: boolean): RequestRecord {
  const { request, acceptedAt, answer, claim, state } = pending;
  const { startedAt, delivery } = state.is === "queued" ? {} : state;
  const isReleased = state.is === "released";
  return {
    request,
    acceptedAt,
    startedAt,
    outcome: isReleased ? "resumable" : (answer.failure?.code ?? "ok"),
    attempt: claim?.attempt,
    delivery,
    delivered: delivered && !isReleased,
    answer,
    calls: pending.allowance.calls,
    ...(state.is === "answered" && state.outcome && factsOf(pending, state.outcome)),
  };
}

function factsOf<M>(
  { allowance: { spent } }: PendingRequest<M>,
  outcome: Outcome<M>,
): Pick<RequestRecord, "failure" | "abandoned" | "usage"> {
  // All that the turn started counts, as far as it has ended; nothing when no model was called.
  const hasSpent = spent.inputTokens + spent.outputTokens > 0;
  if ("turned" in outcome) return { usage: hasSpent ? spent : outcome.turned.usage };
  return {
    failure: asFailure(outcome.thrown),
    abandoned: outcome.abandoned,
    usage: hasSpent ? spent : undefined,
  };
}
