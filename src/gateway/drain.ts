import type { Condensing } from "./condense.ts";
import type { DirectReplies } from "./direct-replies.ts";
import type { Ledger } from "./ledger.ts";
import type { RequestQueue } from "./request-queue.ts";
import type { Tally } from "./tally.ts";

export interface DrainResult {
  /** Requests that were cancelled at the deadline. */
  readonly cancelled: number;
  /** Requests that the store keeps for the next start. */
  readonly kept: number;
  /** Answers that were still not delivered at the very end. */
  readonly undelivered: number;
}

/** Milliseconds that answers have to leave after the deadline of a drain. */
const FLUSH_MS = 2000;

interface Draining<M> {
  readonly queue: RequestQueue;
  readonly tally: Tally;
  readonly direct: DirectReplies;
  readonly ledger: Ledger<M>;
  readonly condensing: Pick<Condensing, "close">;
}

/** Waits for what is under way, then leaves to the next start what it can and cancels the rest. */
export async function drain<M>(
  deadlineMs: number,
  { queue, tally, direct, ledger, condensing }: Draining<M>,
): Promise<DrainResult> {
  tally.close();
  const condensed = condensing.close();
  let ended = { cancelled: 0, kept: 0 };
  if (!(await tally.empty(deadlineMs))) {
    ended = queue.stopAll();
    ledger.close();
    await tally.empty(FLUSH_MS);
  }
  ledger.close();
  direct.close();
  await condensed;
  const { undelivered, kept } = queue.abandonUndelivered();
  return { cancelled: ended.cancelled, undelivered, kept: ended.kept + kept };
}
