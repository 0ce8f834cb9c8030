import type { Failure } from "../base/failure.ts";
import { faultPoint } from "../base/faults.ts";
import type {
  Acceptance,
  Admission,
  Claim,
  Held,
  Store,
  StoredAnswer,
  Ticket,
} from "../store/contract.ts";
import type { Clock } from "./clock.ts";
import type { Request, Turned } from "./contract.ts";
import type { Persistence } from "./insist.ts";
import { laneOf, mayRepeat, requestNameOf } from "./names.ts";

export interface LedgerOptions<M> {
  readonly store: Store<M>;
  readonly clock: Clock;
  readonly persistence: Persistence;
}

/**
 * The store as the gateway uses it: what cannot be written now is tried again until it can, as long as
 * the gateway is open. The trouble is told in the log and in `problem`.
 */
export interface Ledger<M> {
  /** Why nothing can be written at the moment; undefined while it can. */
  readonly problem: () => string | undefined;
  /**
   * Resolves when the request, or the answer that `admission` gives in its place, is durable; rejects
   * when the gateway closes before that. `admission` is asked again with each try, of which `onWriteError`
   * hears of those that failed.
   */
  accept(
    request: Request,
    admission: Admission,
    onWriteError: (failure: Failure) => void,
  ): Promise<Acceptance<M>>;
  /** The whole request, or undefined where another owner has it. Rejects when the gateway closes before it can be read. */
  load(claim: Claim): Promise<Held<M> | undefined>;
  /** Stored rejections that are not delivered, from behind that one. Rejects when the gateway closes before they can be read. */
  rejections(after: number, most: number): Promise<readonly Held<M>[]>;
  /** The claim of the attempt that begins, or undefined: another owner has the request, or the signal aborted. */
  begin(claim: Claim, signal: AbortSignal): Promise<Claim | undefined>;
  /** One try: a step that is not kept costs a later attempt no more than doing it again. */
  record(claim: Claim, message: M): Promise<void>;
  /**
   * False where another owner has the request: its answer counts, this one is not given. True also when
   * it could not be written in time: then the answer is not held back longer, and is written when that can be.
   */
  answered(claim: Claim, answer: StoredAnswer, said: Said<M>): Promise<boolean>;
  delivered(claim: Claim): Promise<void>;
  release(claim: Claim): Promise<void>;
  /** Empty where the conversation cannot be read: an answer without a memory is better than none. */
  history(lane: string): Promise<readonly M[]>;
  append(lane: string, said: Said<M>): Promise<void>;
  /** Nothing is tried again from now on. */
  readonly close: () => void;
}

/** What a turn adds to its conversation, and whether that begins anew behind it. */
export type Said<M> = Pick<Turned<M>, "messages" | "forget">;

const ANSWER_WAITS_MS = 5000;

export function createLedger<M>({ store, clock, persistence }: LedgerOptions<M>): Ledger<M> {
  const { insist, once, tell, problem, close } = persistence;
  /** Answers that were given before they could be written. */
  const writing = new Map<number, Promise<boolean>>();

  const write = (claim: Claim, answer: StoredAnswer, said: Said<M>): Promise<boolean> => {
    const { messages, forget = false } = said;
    const written = insist(() =>
      claim.attempt === 0
        ? store.expire(claim, answer)
        : store.answered(claim, answer, messages, forget),
    ).catch(() => true);
    writing.set(claim.seq, written);
    return written.finally(() => writing.delete(claim.seq));
  };

  return {
    problem,
    close,
    load: (claim) => insist(() => store.load(claim), { isRead: true }),
    rejections: (after, most) => insist(() => store.rejections(after, most), { isRead: true }),
    async accept(request, admission, onWriteError) {
      const ticket = ticketOf(request, clock);
      const acceptance = await insist(() => store.accept(ticket, admission), {
        troubled: onWriteError,
      });
      faultPoint("accepted");
      return acceptance;
    },
    async begin(claim, signal) {
      const begun = await insist(() => store.begin(claim), { signal }).catch(() => undefined);
      faultPoint("begun");
      return begun;
    },
    record: (claim, message) => once(store.record(claim, message)),
    async answered(claim, answer, said) {
      const kept = await inTime(write(claim, answer, said), clock);
      faultPoint("answered");
      return kept;
    },
    async delivered(claim) {
      await writing.get(claim.seq);
      await insist(() => store.delivered(claim)).catch(() => {});
      faultPoint("delivered");
    },
    release: (claim) => once(store.release(claim)),
    append: (lane, { messages, forget }) => once(store.append(lane, messages, forget)),
    history: (lane) =>
      store.history(lane).catch((thrown: unknown) => {
        tell(thrown);
        return [];
      }),
  };
}

function inTime(written: Promise<boolean>, clock: Pick<Clock, "after">): Promise<boolean> {
  return new Promise((resolve) => {
    const callOff = clock.after(ANSWER_WAITS_MS, () => resolve(true));
    void written.then((kept) => {
      callOff();
      resolve(kept);
    });
  });
}

function ticketOf(request: Request, clock: Pick<Clock, "epoch">): Ticket {
  const { channel, client, conversation, text, id, stream, address, expiresAt } = request;
  return {
    name: requestNameOf(request),
    lane: laneOf(request),
    channel,
    client,
    text,
    stream,
    address,
    acceptedAt: clock.epoch(),
    mayRepeat: mayRepeat(request),
    retriesFailed: !request.redelivered,
    ...(conversation !== undefined && { conversation }),
    ...(id !== undefined && { id }),
    ...(expiresAt !== undefined && { expiresAt }),
  };
}
