import type { DirectReplies } from "../answer/direct-replies.ts";
import type { Compaction } from "../compaction.ts";
import type { Request } from "../contract.ts";
import type { Dedupe } from "../dedupe.ts";
import { resultOf } from "../dedupe.ts";
import type { DedupeEntry, Storing } from "../dedupe.ts";
import { conversationOf } from "../request-keys.ts";
import type { Hold } from "./fair-queue.ts";
import { answerPending, beginDelivery } from "./pending-request.ts";
import type { PendingRequest, TurnOptions } from "./pending-request.ts";

export interface ProcessOptions<M> extends Omit<TurnOptions<M>, "hold"> {
  readonly dedupe: Dedupe<DedupeEntry | Storing>;
  /** Hears of every turn, and of one that was added to a conversation when its answer was delivered. */
  readonly compaction: Pick<Compaction, "turnStarted" | "turnAdded">;
  /** Delivers later what nobody heard. */
  readonly direct: Pick<DirectReplies, "retryLater" | "clientSeen" | "flushRetries">;
}

interface Tools<M> {
  readonly options: ProcessOptions<M>;
  readonly backlog: { enter(request: Request): void; leave(request: Request): void };
  readonly waitEstimate: { add(turnMs: number): void };
}

/** One request from the head of its lane to its delivery. Its slot is free before its lane is. */
export async function processRequest<M>(
  pending: PendingRequest<M>,
  hold: Hold,
  { options, backlog, waitEstimate }: Tools<M>,
): Promise<void> {
  const { entry } = pending;
  const { clock, dedupe, compaction } = options;
  const delivery = beginDelivery(pending, options);
  const from = clock.now();
  if (!pending.isAnswered) {
    const turnEnded = compaction.turnStarted();
    await answerPending(pending, { ...options, hold }).finally(turnEnded);
  }
  if (hold.tookSlot) {
    waitEstimate.add(clock.now() - from);
    backlog.enter(pending.request);
  }
  hold.turnEnded();
  await delivery.finished;
  backlog.leave(pending.request);
  if (pending.claim === undefined && !pending.isReleased) {
    dedupe.finish(pending.request, entry, resultOf(entry));
  }
  hold.done();
  if (!pending.isReleased) await noteDelivered(pending, options);
  // From here on the store knows it, or nobody.
  dedupe.forget(pending.request, entry);
  if (pending.isReleased) return;
  if (pending.outcome !== undefined && "turned" in pending.outcome)
    compaction.turnAdded(conversationOf(pending.request), pending.allowance);
}

/** An answer that was not delivered because the channel was closed stays for the next start. */
async function noteDelivered<M>(
  { claim, delivery, request }: PendingRequest<M>,
  { durableRequests, direct }: ProcessOptions<M>,
): Promise<void> {
  if (claim === undefined || delivery?.failure?.code === "unreachable") return;
  if (delivery?.failure?.code === "no_subscriber") {
    direct.retryLater(request, claim);
    return;
  }
  await durableRequests.delivered(claim);
  if (delivery?.failure === undefined) direct.clientSeen(request);
}
