import { onAbort } from "../../base/async.ts";
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
 * The store with retries: what cannot be written now is written again each second until `close`. Errors
 * are logged and shown in `problem`.
 */
export interface DurableRequests<M> {
  /** Why the store cannot be written now; undefined when it can. */
  readonly problem: () => string | undefined;
  /**
   * Resolves when the request, or the answer that `admission` returns in place of a turn, is durable. Rejects
   * after `close`. Each attempt calls `admission` again; `onError` is called after each failed one.
   */
  accept(
    request: Request,
    admission: Admission,
    onError: (failure: Failure) => void,
  ): Promise<Acceptance<M>>;
  /** The whole request, or undefined when another owner has it. Rejects after `close` if it cannot be read. */
  load(claim: Claim): Promise<StoredRequest<M> | undefined>;
  /** Stored undelivered rejections after that one. Rejects after `close` if they cannot be read. */
  rejections(after: number, most: number): Promise<readonly StoredRequest<M>[]>;
  /** Begins an attempt and returns its claim; undefined when another owner has the request or the signal is aborted. */
  begin(claim: Claim, signal: AbortSignal): Promise<Claim | undefined>;
  /** Tries once: a later attempt only has to repeat a step that was not stored. */
  record(claim: Claim, message: M): Promise<void>;
  /**
   * False when another owner has the request: then its answer counts, and this one is not delivered. True also
   * when the answer could not be written within 5 s: it is delivered now and written later.
   */
  answered(claim: Claim, answer: StoredAnswer, turn: TurnAdded<M>): Promise<boolean>;
  delivered(claim: Claim): Promise<void>;
  release(claim: Claim): Promise<void>;
  /** Empty when the conversation cannot be read: an answer without history is better than none. */
  history(lane: string): Promise<readonly M[]>;
  /** Adds a turn of a request that is not durable, and its usage with it. */
  append(lane: string, turn: TurnAdded<M>): Promise<void>;
  /** Ends all retries. */
  readonly close: () => void;
}

/** What a turn adds to its conversation, and whether the conversation begins anew after it. */
export type TurnAdded<M> = Pick<Turned<M>, "messages" | "forget">;

const ANSWER_WAITS_MS = 5000;

export function createDurableRequests<M>({
  store,
  clock,
  writer,
  accounting,
}: DurableRequestsOptions<M>): DurableRequests<M> {
  const { retry, tryOnce, reportError, problem, close } = writer;
  /** Answers that are being written, by sequence number. */
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
      const newRequest = newRequestOf(request, clock);
      const acceptance = await retry(() => store.accept(newRequest, admission), { onError });
      failpoint("accepted");
      return acceptance;
    },
    async begin(claim, signal) {
      const begun = await retry(() => store.begin(claim), { signal }).catch(() => undefined);
      failpoint("begun");
      return begun;
    },
    record: (claim, message) => tryOnce(store.record(claim, message)),
    async answered(claim, answer, turn) {
      const isOurs = await inTime(write(claim, answer, turn), clock);
      failpoint("answered");
      return isOurs;
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
    void written.then((isOurs) => {
      cancelTimer();
      resolve(isOurs);
    });
  });
}

function newRequestOf(request: Request, clock: Pick<Clock, "epoch">): NewRequest {
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

interface WriteOptions {
  readonly signal?: AbortSignal;
  /** It only reads: reads work on a full disk, so success does not mean that writes work again. */
  readonly isRead?: boolean;
  /** Called after each failed attempt. */
  readonly onError?: (failure: Failure) => void;
}

const RETRY_MS = 1000;
const LOG_EVERY_MS = 60_000;

/** Retries writes to a store that may be unable to write for a while. */
export class RetryingWriter {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #closing = new AbortController();
  #problem: string | undefined;
  #loggedAt = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, log: Log) {
    this.#clock = clock;
    this.#log = log;
  }

  /** Why the store cannot be written now; undefined when it can. */
  readonly problem = (): string | undefined => this.#problem;

  /** Ends all retries. */
  readonly close = (): void => this.#closing.abort();

  /** Logs a failure of a write or read at most once a minute. */
  readonly reportError = (thrown: unknown): Failure => {
    const failure = asFailure(thrown);
    this.#problem = "requests cannot be stored";
    if (this.#clock.now() - this.#loggedAt >= LOG_EVERY_MS) {
      this.#loggedAt = this.#clock.now();
      this.#log.error("requests cannot be stored", { why: failure.why, try: failure.remedy });
    }
    return failure;
  };

  /** Tries each second until it succeeds. Rejects after `close` or when the signal is aborted. */
  readonly retry = async <T>(
    write: () => Promise<T>,
    { signal, onError, isRead = false }: WriteOptions = {},
  ): Promise<T> => {
    const closing = this.#closing.signal;
    for (;;) {
      try {
        const result = await write();
        if (!isRead) this.#recovered();
        return result;
      } catch (thrown) {
        const failure = this.reportError(thrown);
        onError?.(failure);
        if (closing.aborted || signal?.aborted) throw failure;
        await wait(this.#clock, [closing, signal]);
      }
    }
  };

  /** Tries once; logs a failure and does not reject. */
  readonly tryOnce = (write: Promise<unknown>): Promise<void> =>
    write.then(
      () => this.#recovered(),
      (thrown: unknown) => void this.reportError(thrown),
    );

  #recovered(): void {
    if (this.#problem === undefined) return;
    this.#problem = undefined;
    this.#loggedAt = Number.NEGATIVE_INFINITY;
    this.#log.info("requests can be stored again");
  }
}

/** Waits a second, or less when one of the signals is aborted. */
async function wait(
  clock: Pick<Clock, "after">,
  signals: readonly (AbortSignal | undefined)[],
): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const cancelTimer = clock.after(RETRY_MS, resolve);
  const listening = signals.map((signal) => onAbort(signal, resolve));
  await promise;
  cancelTimer();
  for (const stopListening of listening) stopListening();
}
