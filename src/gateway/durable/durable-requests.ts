import { onAbort } from "../../base/async.ts";
import { failpoint } from "../../base/failpoint.ts";
import { asFailure, Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type {
  Acceptance,
  Admission,
  Claim,
  JoinedAddress,
  Store,
  StoredAnswer,
  StoredRequest,
} from "../../store/contract/store.ts";
import type { Clock } from "../clock.ts";
import type { Request, Turned } from "../contract.ts";
import { laneOf, mayRepeat, requestNameOf } from "../request-keys.ts";

export interface DurableRequestsOptions<M> {
  readonly store: Store<M>;
  /** Several gateways share the store. */
  readonly isShared: boolean;
  readonly clock: Clock;
  readonly log: Log;
}

interface WriteOptions {
  readonly signal?: AbortSignal;
  /** It only reads: reads work on a full disk, so success does not mean that writes work again. */
  readonly isRead?: boolean;
  /** Called after each failed attempt. */
  readonly onError?: (failure: Failure) => void;
}

/** What a turn adds to its conversation, and whether the conversation begins anew after it. */
export type TurnAdded<M> = Pick<Turned<M>, "messages" | "forget">;

const RETRY_MS = 1000;
const ANSWER_WAITS_MS = 5000;
const LOG_EVERY_MS = 60_000;

/**
 * The store with retries: what cannot be written now is written again each second until `close`. Errors
 * are logged and shown in `problem`.
 */
export class DurableRequests<M> {
  /** Several gateways share the store. */
  readonly isShared: boolean;
  readonly #store: Store<M>;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #closing = new AbortController();
  /** Answers that are still being written while they are delivered, by sequence number. */
  readonly #late = new Map<number, Promise<boolean>>();
  /** Resolves when acceptances may be tried again; undefined while none fails. */
  #gate: Promise<void> | undefined;
  #problem: string | undefined;
  #loggedAt = Number.NEGATIVE_INFINITY;

  constructor({ store, isShared, clock, log }: DurableRequestsOptions<M>) {
    this.#store = store;
    this.isShared = isShared;
    this.#clock = clock;
    this.#log = log;
  }

  /** Why the store cannot be written now; undefined when it can. */
  readonly problem = (): string | undefined => this.#problem;

  /** Logs a failure of a write or read at most once a minute, unless another gateway has the right to it. */
  readonly reportError = (thrown: unknown): Failure => {
    const failure = asFailure(thrown);
    if (failure.code === "fenced") return failure;
    this.#problem = "requests cannot be stored";
    if (this.#clock.now() - this.#loggedAt >= LOG_EVERY_MS) {
      this.#loggedAt = this.#clock.now();
      this.#log.error("requests cannot be stored", { why: failure.why, try: failure.remedy });
    }
    return failure;
  };

  /** Ends all retries. */
  close(): void {
    this.#closing.abort();
  }

  /**
   * Resolves when the request, or the answer that `admission` returns in place of a turn, is durable. Rejects
   * after `close`, and when another gateway hears the channel now. Each attempt may call `admission` again; `onError`
   * is called after each failed one.
   */
  async accept(
    request: Request,
    admission: Admission,
    onError: (failure: Failure) => void,
  ): Promise<Acceptance<M>> {
    const { channel, client, conversation, text, extras, id, stream, address } = request;
    const { expiresAt, knownUntil, context } = request;
    const newRequest = {
      name: requestNameOf(request),
      lane: laneOf(request),
      channel,
      client,
      text,
      stream,
      address,
      acceptedAt: this.#clock.epoch(),
      mayRepeat: mayRepeat(request),
      retriesFailed: !request.redelivered,
      ...(extras && { extras }),
      ...(conversation !== undefined && { conversation }),
      ...(context !== undefined && { context }),
      ...(id !== undefined && { id }),
      ...(expiresAt !== undefined && { expiresAt }),
      ...(knownUntil !== undefined && { knownUntil }),
    };
    const store = (): Promise<Acceptance<M>> => this.#store.accept(newRequest, admission);
    const acceptance = await (!this.isShared
      ? this.#retry(store, { onError })
      : this.#retryInOrder(store, onError));
    failpoint("accepted");
    return acceptance;
  }

  /** The latest request of that name, whoever has it. Rejects as the store does. */
  find(
    named: Pick<StoredRequest<M>["request"], "name" | "lane">,
  ): Promise<StoredRequest<M> | undefined> {
    return this.#store.find(named);
  }

  /** The whole request, or undefined when another owner has it. Rejects after `close` if it cannot be read. */
  load(claim: Claim): Promise<StoredRequest<M> | undefined> {
    return this.#retry(() => this.#store.load(claim), { isRead: true });
  }

  /** Stored undelivered rejections after that one. Rejects after `close` if they cannot be read. */
  rejections(after: number, most: number): Promise<readonly StoredRequest<M>[]> {
    return this.#retry(() => this.#store.rejections(after, most), { isRead: true });
  }

  /** Begins an attempt and returns its claim; undefined when another owner has the request or the signal is aborted. */
  async begin(claim: Claim, signal: AbortSignal): Promise<Claim | undefined> {
    const write = this.#retry(() => this.#store.begin(claim), { signal });
    const begun = await write.catch(() => undefined);
    failpoint("begun");
    return begun;
  }

  /** Empty when the conversation cannot be read: an answer without history is better than none. */
  async history(lane: string): Promise<readonly M[]> {
    try {
      return await this.#store.history(lane);
    } catch (thrown) {
      this.reportError(thrown);
      return [];
    }
  }

  /**
   * Tries once: a later attempt only has to repeat a step that was not stored. In a shared store that attempt may
   * begin while this process lives: there it tries until the step is stored, and rejects if another gateway has the
   * request.
   */
  async record(claim: Claim, message: M, signal: AbortSignal): Promise<void> {
    if (!this.isShared) return this.#tryOnce(this.#store.record(claim, message));
    const isOurs = await this.#retry(() => this.#store.record(claim, message), { signal });
    if (!isOurs) throw takenOver();
  }

  /** The answer of a request also goes to this address. False if it is delivered already, or not known. */
  join(claim: Pick<Claim, "seq">, to: JoinedAddress): Promise<boolean> {
    return this.#retry(() => this.#store.join(claim, to));
  }

  /**
   * False when another owner has the request: then its answer counts, and this one is not delivered. True also
   * when the answer could not be written within 5 s: it is delivered now and written later. But not in a shared
   * store, where another gateway may answer it meanwhile.
   */
  async answered(claim: Claim, answer: StoredAnswer, turn: TurnAdded<M>): Promise<boolean> {
    const { messages, forget = false } = turn;
    const written = this.#retry(() =>
      claim.attempt === 0
        ? this.#store.expire(claim, answer)
        : this.#store.answered(claim, answer, messages, forget),
    ).catch(() => !this.isShared);
    if (this.isShared) return written;
    const late = Promise.withResolvers<true>();
    const cancelTimer = this.#clock.after(ANSWER_WAITS_MS, () => {
      this.#late.set(claim.seq, written);
      void written.finally(() => this.#late.delete(claim.seq));
      late.resolve(true);
    });
    const isOurs = await Promise.race([written, late.promise]);
    cancelTimer();
    failpoint("answered");
    return isOurs;
  }

  async delivered(claim: Claim): Promise<void> {
    await this.#late.get(claim.seq);
    await this.#retry(() => this.#store.delivered(claim)).catch(() => {});
    failpoint("delivered");
  }

  release(claim: Claim): Promise<void> {
    return this.#tryOnce(this.#store.release(claim));
  }

  /** Adds a turn of a request that is not durable. */
  append(lane: string, { messages, forget }: TurnAdded<M>): Promise<void> {
    return this.#tryOnce(this.#store.append(lane, messages, forget));
  }

  /** Tries each second until it succeeds. Rejects after `close` or when the signal is aborted. */
  async #retry<T>(
    write: () => Promise<T>,
    { signal, onError, isRead = false }: WriteOptions = {},
  ): Promise<T> {
    const closing = this.#closing.signal;
    for (;;) {
      try {
        const result = await write();
        if (!isRead && this.#problem !== undefined) this.#recovered();
        return result;
      } catch (thrown) {
        const failure = this.reportError(thrown);
        if (failure.code === "fenced") throw failure;
        onError?.(failure);
        if (closing.aborted || signal?.aborted) throw failure;
        await wait(this.#clock, [closing, signal]);
      }
    }
  }

  /**
   * The same for acceptances of a shared store, which is away more often than a disk is full: those that failed, and
   * those that come meanwhile, are tried together and in the order in which they came.
   */
  async #retryInOrder<T>(write: () => Promise<T>, onError: (failure: Failure) => void): Promise<T> {
    for (;;) {
      while (this.#gate !== undefined) await this.#gate;
      try {
        return await this.once(write());
      } catch (thrown) {
        const failure = asFailure(thrown);
        if (failure.code === "fenced") throw failure;
        onError(failure);
        if (this.#closing.signal.aborted) throw failure;
        this.#gate ??= wait(this.#clock, [this.#closing.signal]).then(() => {
          this.#gate = undefined;
        });
      }
    }
  }

  /** A call of the shared store, tried once: logs its failure and rejects with it. */
  async once<T>(call: Promise<T>): Promise<T> {
    const result = await call.catch((thrown: unknown) => {
      throw this.reportError(thrown);
    });
    if (this.#problem !== undefined) this.#recovered();
    return result;
  }

  /** Logs a failure and does not reject. */
  async #tryOnce(write: Promise<unknown>): Promise<void> {
    try {
      await write;
      if (this.#problem !== undefined) this.#recovered();
    } catch (thrown) {
      this.reportError(thrown);
    }
  }

  #recovered(): void {
    this.#problem = undefined;
    this.#loggedAt = Number.NEGATIVE_INFINITY;
    this.#log.info("requests can be stored again");
  }
}

function takenOver(): Failure {
  return new Failure("fenced", "another gateway has this request");
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
