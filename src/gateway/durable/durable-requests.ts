import { failpoint } from "../../base/failpoint.ts";
import type { Failure } from "../../base/failure.ts";
import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type {
  Acceptance,
  Admission,
  Claim,
  StoredRequest,
  Store,
  StoredAnswer,
  NewRequest,
} from "../../store/contract.ts";
import type { Clock } from "../clock.ts";
import type { Request, Turned } from "../contract.ts";
import { laneOf, mayRepeat, requestNameOf } from "../request-keys.ts";
import type { Accounting } from "../usage/accounts.ts";

export interface DurableRequestsOptions<M> {
  readonly store: Store<M>;
  readonly clock: Clock;
  readonly writer: RetryingWriter;
  readonly accounting: Pick<Accounting, "save">;
}

/**
 * The store as the gateway uses it: what cannot be written now is tried again until it can, as long as
 * the gateway is open. The trouble is told in the log and in `problem`.
 */
export interface DurableRequests<M> {
  /** Why nothing can be written at the moment; undefined while it can. */
  readonly problem: () => string | undefined;
  /**
   * Resolves when the request, or the answer that `admission` gives in its place, is durable; rejects
   * when the gateway closes before that. `admission` is asked again with each try, of which `onError`
   * hears of those that failed.
   */
  accept(
    request: Request,
    admission: Admission,
    onError: (failure: Failure) => void,
  ): Promise<Acceptance<M>>;
  /** The whole request, or undefined where another owner has it. Rejects when the gateway closes before it can be read. */
  load(claim: Claim): Promise<StoredRequest<M> | undefined>;
  /** Stored rejections that are not delivered, from behind that one. Rejects when the gateway closes before they can be read. */
  rejections(after: number, most: number): Promise<readonly StoredRequest<M>[]>;
  /** The claim of the attempt that begins, or undefined: another owner has the request, or the signal aborted. */
  begin(claim: Claim, signal: AbortSignal): Promise<Claim | undefined>;
  /** One try: a step that is not kept costs a later attempt no more than doing it again. */
  record(claim: Claim, message: M): Promise<void>;
  /**
   * False where another owner has the request: its answer counts, this one is not given. True also when
   * it could not be written in time: then the answer is not held back longer, and is written when that can be.
   */
  answered(claim: Claim, answer: StoredAnswer, said: TurnAdded<M>): Promise<boolean>;
  delivered(claim: Claim): Promise<void>;
  release(claim: Claim): Promise<void>;
  /** Empty where the conversation cannot be read: an answer without a memory is better than none. */
  history(lane: string): Promise<readonly M[]>;
  /** Adds a turn of a request that is not durable, and its usage with it. */
  append(lane: string, said: TurnAdded<M>): Promise<void>;
  /** Nothing is tried again from now on. */
  readonly close: () => void;
}

/** What a turn adds to its conversation, and whether that begins anew behind it. */
export type TurnAdded<M> = Pick<Turned<M>, "messages" | "forget">;

const ANSWER_WAITS_MS = 5000;

export function createDurableRequests<M>({
  store,
  clock,
  writer,
  accounting,
}: DurableRequestsOptions<M>): DurableRequests<M> {
  const { retry, tryOnce, reportError, problem, close } = writer;
  /** Answers that were given before they could be written. */
  const writing = new Map<number, Promise<boolean>>();

  const write = (claim: Claim, answer: StoredAnswer, turn: TurnAdded<M>): Promise<boolean> => {
    const { messages, forget = false } = turn;
    const written = retry(() =>
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
    load: (claim) => retry(() => store.load(claim), { isRead: true }),
    rejections: (after, most) => retry(() => store.rejections(after, most), { isRead: true }),
    async accept(request, admission, onError) {
      const ticket = ticketOf(request, clock);
      const acceptance = await retry(() => store.accept(ticket, admission), { onError });
      failpoint("accepted");
      return acceptance;
    },
    async begin(claim, signal) {
      const begun = await retry(() => store.begin(claim), { signal }).catch(() => undefined);
      failpoint("begun");
      return begun;
    },
    record: (claim, message) => tryOnce(store.record(claim, message)),
    async answered(claim, answer, said) {
      const kept = await inTime(write(claim, answer, said), clock);
      failpoint("answered");
      return kept;
    },
    async delivered(claim) {
      await writing.get(claim.seq);
      await retry(() => store.delivered(claim)).catch(() => {});
      failpoint("delivered");
    },
    release: (claim) => tryOnce(store.release(claim)),
    append(lane, { messages, forget }) {
      accounting.save();
      return tryOnce(store.append(lane, messages, forget));
    },
    history: (lane) =>
      store.history(lane).catch((thrown: unknown) => {
        reportError(thrown);
        return [];
      }),
  };
}

function inTime(written: Promise<boolean>, clock: Pick<Clock, "after">): Promise<boolean> {
  return new Promise((resolve) => {
    const cancelTimer = clock.after(ANSWER_WAITS_MS, () => resolve(true));
    void written.then((kept) => {
      cancelTimer();
      resolve(kept);
    });
  });
}

function ticketOf(request: Request, clock: Pick<Clock, "epoch">): NewRequest {
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

/** Writing to a store that may be unable to write for a while. */
interface RetryingWriter {
  /** Why nothing can be written at the moment; undefined while it can. */
  readonly problem: () => string | undefined;
  /** Tries each second until it is written; rejects when `close` or the signal ends that. */
  readonly retry: <T>(write: () => Promise<T>, facts?: WriteOptions) => Promise<T>;
  /** Tries once; a failure is told in the log and nowhere else. */
  readonly tryOnce: (write: Promise<unknown>) => Promise<void>;
  /** A failure that was met elsewhere. */
  readonly reportError: (thrown: unknown) => void;
  /** Nothing is tried again from now on. */
  readonly close: () => void;
}

interface WriteOptions {
  readonly signal?: AbortSignal;
  /** It only reads, which works on a full disk: that it succeeds does not end the trouble. */
  readonly isRead?: boolean;
  /** Hears of each try that failed. */
  readonly onError?: (failure: Failure) => void;
}

const RETRY_MS = 1000;
const LOG_EVERY_MS = 60_000;

export function createRetryingWriter(clock: Clock, log: Log): RetryingWriter {
  const health = createWriteHealth(clock, log);
  const closing = new AbortController();
  return {
    problem: health.problem,
    retry: async (write, { signal, onError, isRead = false } = {}) => {
      for (;;) {
        try {
          const result = await write();
          if (!isRead) health.recovered();
          return result;
        } catch (thrown) {
          const failure = health.reportError(thrown);
          onError?.(failure);
          if (closing.signal.aborted || signal?.aborted) throw failure;
          await wait(clock, [closing.signal, signal]);
        }
      }
    },
    tryOnce: (write) =>
      write.then(
        () => health.recovered(),
        (thrown: unknown) => void health.reportError(thrown),
      ),
    reportError: health.reportError,
    close: () => closing.abort(),
  };
}

/** A second, or less where one of these ends it. */
function wait(
  clock: Pick<Clock, "after">,
  signals: readonly (AbortSignal | undefined)[],
): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      cancelTimer();
      for (const signal of signals) signal?.removeEventListener("abort", end);
      resolve();
    };
    const cancelTimer = clock.after(RETRY_MS, end);
    for (const signal of signals) signal?.addEventListener("abort", end);
  });
}

interface WriteHealth {
  readonly problem: () => string | undefined;
  /** The failure of a write, told at most once a minute. */
  readonly reportError: (thrown: unknown) => Failure;
  readonly recovered: () => void;
}

function createWriteHealth(clock: Pick<Clock, "now">, log: Log): WriteHealth {
  let problem: string | undefined;
  let loggedAt = Number.NEGATIVE_INFINITY;
  return {
    problem: () => problem,
    reportError(thrown) {
      const failure = asFailure(thrown);
      problem = "requests cannot be stored";
      if (clock.now() - loggedAt >= LOG_EVERY_MS) {
        loggedAt = clock.now();
        log.error("requests cannot be stored", { why: failure.why, try: failure.remedy });
      }
      return failure;
    },
    recovered() {
      if (problem === undefined) return;
      problem = undefined;
      loggedAt = Number.NEGATIVE_INFINITY;
      log.info("requests can be stored again");
    },
  };
}
