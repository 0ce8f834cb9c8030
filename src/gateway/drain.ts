import type { Condensing } from "./condense.ts";
import type { Ledger } from "./ledger.ts";
import type { Replies } from "./replies.ts";
import type { Tally } from "./tally.ts";
import type { Work } from "./work.ts";

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
  readonly work: Work<M>;
  readonly tally: Tally;
  readonly replies: Replies;
  readonly ledger: Ledger<M>;
  readonly condensing: Pick<Condensing, "close">;
}

/** Waits for what is under way, then leaves to the next start what it can and cancels the rest. */
export async function drain<M>(
  deadlineMs: number,
  { work, tally, replies, ledger, condensing }: Draining<M>,
): Promise<DrainResult> {
  tally.close();
  const condensed = condensing.close();
  let ended = { cancelled: 0, kept: 0 };
  if (!(await tally.empty(deadlineMs))) {
    ended = work.stopAll();
    ledger.close();
    await tally.empty(FLUSH_MS);
  }
  ledger.close();
  replies.close();
  await condensed;
  const { undelivered, kept } = work.giveUp();
  return { cancelled: ended.cancelled, undelivered, kept: ended.kept + kept };
}
