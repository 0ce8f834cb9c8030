import { failpoint } from "../../base/failpoint.ts";
import { asFailure, Failure } from "../../base/failure.ts";
import type { Claim, StoredRequest } from "../../store/contract.ts";
import { deliver } from "../answer/answer-stream.ts";
import type { Delivery } from "../answer/answer-stream.ts";
import { createAnswerStream } from "../answer/answer-stream.ts";
import type { DirectReplies } from "../answer/direct-replies.ts";
import { isAdmin } from "../channel-policy.ts";
import type { ChannelPolicy } from "../channel-policy.ts";
import type { Clock } from "../clock.ts";
import type { Answerer, Request } from "../contract.ts";
import { restoredEntry, storedAnswerOf } from "../dedupe.ts";
import type { DedupeEntry } from "../dedupe.ts";
import type { DurableRequests } from "../durable/durable-requests.ts";
import { failureOf, wireFailureOf } from "../errors.ts";
import { conversationOf } from "../request-keys.ts";
import type { RequestRecord } from "../request-log.ts";
import type { Accounting } from "../usage/accounts.ts";
import type { Hold } from "./fair-queue.ts";
import { createTurnCancellation, GRACE_MS } from "./turn.ts";
import type { TurnCancellation } from "./turn.ts";
import { runTurn } from "./turn.ts";
import type { Outcome } from "./turn.ts";

/** One accepted request, from its turn to the delivery of its answer. */
export interface PendingRequest<M> {
  readonly request: Request;
  readonly policy: ChannelPolicy;
  readonly entry: DedupeEntry;
  /** Ends its turn before its time. */
  readonly cancellation: TurnCancellation;
  /** What its turn may use, and has used. */
  readonly allowance: ReturnType<Accounting["allowanceOf"]>;
  readonly acceptedAt: number;
  /** What attempts that a crash cut had done. */
  readonly progress: readonly M[];
  /** Its answer was there before its turn in this process: it only has to be delivered. */
  readonly isAnswered: boolean;
  /** Its attempt began when it was stored. */
  readonly isBegun: boolean;
  /** Under which the store holds it; undefined for a request that is not durable. */
  claim: Claim | undefined;
  /** It is the store's or another owner's to answer, not this process's. */
  isReleased: boolean;
  /** The gateway shuts down: unless its turn ends by itself, it is released. */
  isDraining: boolean;
  /** When it came to the head of its lane and a slot was free. */
  startedAt: number | undefined;
  delivery: Delivery | undefined;
  outcome: Outcome<M> | undefined;
}

/** What a pending request is made with, beside its request. */
export interface PendingOptions<M> {
  readonly policy: ChannelPolicy;
  readonly clock: Clock;
  readonly allowanceOf: Accounting["allowanceOf"];
  /** When it was accepted, on the clock. */
  readonly acceptedAt: number;
  /** What the store has of it. */
  readonly held?: Pick<StoredRequest<M>, "claim" | "progress" | "answer">;
  /** Its attempt began when it was stored. */
  readonly isBegun?: boolean;
}

/** Whether the time has passed after which the answer is of no use. */
export function isExpired(
  { expiresAt }: Pick<Request, "expiresAt">,
  clock: Pick<Clock, "epoch">,
): boolean {
  return expiresAt !== undefined && expiresAt <= clock.epoch();
}

/** A request whose turn comes, or that waits for it in memory. */
export function createPending<M>(
  request: Request,
  { policy, clock, allowanceOf, acceptedAt, held, isBegun = false }: PendingOptions<M>,
): PendingRequest<M> {
  const entry: DedupeEntry =
    held?.answer === undefined
      ? {
          answer: createAnswerStream({ clock, intervalMs: policy.intervalMs }),
          addresses: new Set(),
          stored: Promise.resolve(),
          failure: undefined,
        }
      : restoredEntry(held.answer, clock);
  entry.addresses.add(request.address);
  return {
    request,
    policy,
    entry,
    isAnswered: held?.answer !== undefined,
    isBegun,
    cancellation: createTurnCancellation(clock),
    allowance: allowanceOf(request, policy),
    acceptedAt,
    progress: held?.progress ?? [],
    claim: held?.claim,
    isReleased: false,
    isDraining: false,
    startedAt: undefined,
    delivery: undefined,
    outcome: undefined,
  };
}

/** Begins to deliver the answer, before there is any, and behind those that are kept for the client. */
export function beginDelivery<M>(
  pending: PendingRequest<M>,
  {
    clock,
    direct,
  }: { readonly clock: Clock; readonly direct: Pick<DirectReplies, "flushRetries"> },
): Delivery {
  const { request, entry } = pending;
  const { stream, durable } = request;
  let isFirst = true;
  const reply: Request["reply"] = async (part) => {
    if (isFirst) await direct.flushRetries(request);
    isFirst = false;
    await request.reply(part);
  };
  const delivery = deliver({ stream, durable, reply }, entry.answer, clock);
  pending.startedAt = clock.now();
  pending.delivery = delivery;
  // When the asker cannot be reached any more, the same request may come anew and join.
  void delivery.finished.then(() => entry.addresses.delete(request.address));
  return delivery;
}

export interface TurnOptions<M> {
  readonly answerer: Answerer<M>;
  readonly turnTimeoutMs: number;
  readonly durableRequests: DurableRequests<M>;
  readonly clock: Clock;
  readonly hold: Pick<Hold, "whileWaiting">;
  /** Reads what the client has used, where that is not known. */
  readonly prepare: Accounting["prepare"];
}

/**
 * Runs the turn unless the request was cancelled before, stores the answer, and only then ends it for its
 * readers; or releases the request to the next start. Never throws.
 */
export async function answerPending<M>(
  pending: PendingRequest<M>,
  options: TurnOptions<M>,
): Promise<void> {
  const { entry, cancellation } = pending;
  const outcome = await outcomeOf(pending, options);
  cancellation.release();
  pending.outcome = outcome;
  if (pending.isReleased || (pending.isDraining && "failure" in outcome)) {
    await release(pending, options.durableRequests);
    return;
  }
  entry.failure = "failure" in outcome ? outcome.failure : undefined;
  if (await isKept(pending, outcome, options.durableRequests)) entry.answer.release();
  else await release(pending, options.durableRequests);
}

async function release<M>(
  pending: PendingRequest<M>,
  durableRequests: DurableRequests<M>,
): Promise<void> {
  pending.isReleased = true;
  pending.entry.answer.abandon();
  if (pending.claim !== undefined) await durableRequests.release(pending.claim);
}

/** Stores the closed answer with what the turn adds to the conversation; false where it is another owner's. */
async function isKept<M>(
  { entry, claim, request }: PendingRequest<M>,
  outcome: Outcome<M>,
  durableRequests: DurableRequests<M>,
): Promise<boolean> {
  const parts = entry.answer.close(entry.failure);
  const said = "turned" in outcome ? outcome.turned : { messages: [] };
  if (claim === undefined) {
    if (said.messages.length > 0 || said.forget)
      void durableRequests.append(conversationOf(request), said);
    return true;
  }
  failpoint("turned");
  return durableRequests.answered(claim, storedAnswerOf(parts, entry.failure), said);
}

/** Attempts at one turn: what ended the process as often as that would end it for ever. */
const ATTEMPTS = 3;

async function outcomeOf<M>(
  pending: PendingRequest<M>,
  options: TurnOptions<M>,
): Promise<Outcome<M>> {
  const { cancellation } = pending;
  const { turnTimeoutMs, clock, durableRequests } = options;
  // The store's first write may have to wait for a disk; the turn's own time begins after it.
  const cancelTimer = clock.after(turnTimeoutMs, () =>
    cancellation.cancel(failureOf("timeout"), GRACE_MS),
  );
  try {
    if (cancellation.failure !== undefined) throw cancellation.failure;
    const ready = options.prepare(pending.request);
    if (ready !== undefined) await ready;
    if (pending.isBegun) failpoint("begun");
    else if (pending.claim !== undefined) await begin(pending, pending.claim, durableRequests);
    const history = await durableRequests.history(conversationOf(pending.request));
    cancelTimer();
    return await turnOf(pending, history, options);
  } catch (thrown) {
    return { failure: wireFailureOf(thrown), thrown, abandoned: false };
  } finally {
    cancelTimer();
  }
}

async function begin<M>(
  pending: PendingRequest<M>,
  claim: Claim,
  durableRequests: DurableRequests<M>,
): Promise<void> {
  if (claim.attempt >= ATTEMPTS) throw attemptsExhausted();
  const begun = await durableRequests.begin(claim, pending.cancellation.signal);
  if (begun !== undefined) pending.claim = begun;
  if (pending.cancellation.failure !== undefined) throw pending.cancellation.failure;
  if (begun !== undefined) return;
  pending.isReleased = true;
  pending.claim = undefined;
  throw new Failure("internal", "another gateway has this request");
}

function attemptsExhausted(): Failure {
  return new Failure("internal", "the question could not be answered and was given up", {
    why: `the program ended during its turn ${ATTEMPTS} times`,
    remedy: "look at the log before each start, and ask in other words",
  });
}

function turnOf<M>(
  pending: PendingRequest<M>,
  history: readonly M[],
  { answerer, turnTimeoutMs, durableRequests, clock, hold }: TurnOptions<M>,
): Promise<Outcome<M>> {
  const { request, entry, cancellation, claim, policy, progress } = pending;
  const left = (request.expiresAt ?? Number.POSITIVE_INFINITY) - clock.epoch();
  return runTurn({
    turn: {
      history,
      text: request.text,
      client: request.client,
      channel: request.channel,
      isRemote: true,
      isAdmin: isAdmin(policy, request.client),
      allowance: pending.allowance,
      signal: cancellation.signal,
      ...((claim?.attempt ?? 0) > 1 && { resumed: progress }),
      record: async (message) => {
        if (claim !== undefined) await durableRequests.record(claim, message);
      },
      whileWaiting: (work) => hold.whileWaiting(work, cancellation.signal),
    },
    answerer,
    answer: entry.answer,
    cancellation,
    timeoutMs: Math.min(turnTimeoutMs, left),
    clock,
  });
}

/** What the log says of the request; `delivered` is false where that was given up. */
export function entryOf<M>(pending: PendingRequest<M>, delivered: boolean): RequestRecord {
  const { entry, outcome, isReleased } = pending;
  return {
    request: pending.request,
    acceptedAt: pending.acceptedAt,
    startedAt: pending.startedAt,
    outcome: isReleased ? "kept" : (entry.failure?.code ?? "ok"),
    attempt: pending.claim?.attempt,
    delivery: pending.delivery,
    delivered: delivered && !isReleased,
    answer: entry.answer,
    ...(outcome === undefined || isReleased
      ? {}
      : { ...factsOf(outcome), usage: usageOf(pending) }),
  };
}

function factsOf<M>(outcome: Outcome<M>): { failure?: Failure; abandoned?: boolean } {
  if ("turned" in outcome) return {};
  return { failure: asFailure(outcome.thrown), abandoned: outcome.abandoned };
}

/** Of all that the turn began, as far as it has ended; undefined where no model was asked. */
function usageOf<M>({ allowance: { spent }, outcome }: PendingRequest<M>): RequestRecord["usage"] {
  if (spent.inputTokens + spent.outputTokens > 0) return spent;
  return outcome !== undefined && "turned" in outcome ? outcome.turned.usage : undefined;
}
