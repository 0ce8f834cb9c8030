import type { Backlog } from "./backlog.ts";
import type { Condensing } from "./condense.ts";
import type { Dedupe } from "./dedupe.ts";
import type { DirectReplies } from "./direct-replies.ts";
import { weigh } from "./known.ts";
import type { Known, Storing } from "./known.ts";
import type { Hold } from "./lanes.ts";
import { conversationOf } from "./names.ts";
import type { Pace } from "./pace.ts";
import { answerPending, beginDelivery } from "./pending-request.ts";
import type { PendingRequest, TurnOptions } from "./pending-request.ts";

export interface ProcessOptions<M> extends Omit<TurnOptions<M>, "hold"> {
  readonly dedupe: Dedupe<Known | Storing>;
  /** Hears of every turn, and of one that was added to a conversation when its answer was delivered. */
  readonly condensing: Pick<Condensing, "enterTurn" | "grew">;
  /** Delivers later what nobody heard. */
  readonly direct: Pick<DirectReplies, "keep" | "seen" | "caughtUp">;
}

interface Tools<M> {
  readonly options: ProcessOptions<M>;
  readonly backlog: Backlog;
  readonly pace: Pace;
}

/** One request from the head of its lane to its delivery. Its slot is free before its lane is. */
export async function processRequest<M>(
  pending: PendingRequest<M>,
  hold: Hold,
  { options, backlog, pace }: Tools<M>,
): Promise<void> {
  const { known } = pending;
  const { clock, dedupe, condensing } = options;
  const delivery = beginDelivery(pending, options);
  const from = clock.now();
  if (!pending.isAnswered) {
    const turnEnded = condensing.enterTurn();
    await answerPending(pending, { ...options, hold }).finally(turnEnded);
  }
  if (hold.tookSlot) {
    pace.add(clock.now() - from);
    backlog.enter(pending.request);
  }
  hold.turnEnded();
  await delivery.finished;
  backlog.leave(pending.request);
  if (pending.claim === undefined && !pending.isReleased) {
    dedupe.finish(pending.request, known, weigh(known));
  }
  hold.done();
  if (!pending.isReleased) await noteDelivered(pending, options);
  // From here on the store knows it, or nobody.
  dedupe.forget(pending.request, known);
  if (pending.isReleased) return;
  if (pending.outcome !== undefined && "turned" in pending.outcome)
    condensing.grew(conversationOf(pending.request), pending.allowance);
}

/** An answer that was not delivered because the channel was closed stays for the next start. */
async function noteDelivered<M>(
  { claim, delivery, request }: PendingRequest<M>,
  { ledger, direct }: ProcessOptions<M>,
): Promise<void> {
  if (claim === undefined || delivery?.failure?.code === "unreachable") return;
  if (delivery?.failure?.code === "no_subscriber") {
    direct.keep(request, claim);
    return;
  }
  await ledger.delivered(claim);
  if (delivery?.failure === undefined) direct.seen(request);
}
