/** The longest delay of a timer, in milliseconds; a timer with a longer delay fires at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** A delay that a timer can hold: at least 0, at most `MAX_TIMER_MS`. */
export function timerMs(milliseconds: number): number {
  return Math.min(Math.max(milliseconds, 0), MAX_TIMER_MS);
}

/** Thrown when work was not done in time. */
export class TimeoutError extends Error {
  override readonly name = "TimeoutError";
}

/** Calls `run` once, when the signal is aborted or now if it already is. Returns a function that stops listening. */
export function onAbort(signal: AbortSignal | undefined, run: () => void): () => void {
  if (signal?.aborted) {
    run();
    return () => {};
  }
  const listener = (): void => run();
  signal?.addEventListener("abort", listener, { once: true });
  return () => signal?.removeEventListener("abort", listener);
}

/** Resolves after the delay; rejects with the signal's reason as soon as it is aborted. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, timerMs(milliseconds));
  const stopListening = onAbort(signal, resolve);
  await promise;
  clearTimeout(timer);
  stopListening();
  signal.throwIfAborted();
}

/** Settles as the work does, or rejects with the signal's reason as soon as it is aborted. */
export async function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const stopListening = onAbort(signal, () => aborted.reject(signal?.reason));
  try {
    const value = await Promise.race([aborted.promise, work]);
    // The signal may be aborted after the race was decided and before this runs.
    signal?.throwIfAborted();
    return value;
  } catch (thrown) {
    // Work that listens to the same signal may reject first, with an error of its own.
    signal?.throwIfAborted();
    throw thrown;
  } finally {
    stopListening();
  }
}

/**
 * Resolves with true when the work resolves in time, with false when the time is over first. Rejects as the
 * work does, and with the signal's reason. No timer remains in any case.
 */
export async function settlesWithin(
  work: Promise<unknown>,
  milliseconds: number,
  signal?: AbortSignal,
): Promise<boolean> {
  const late = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => late.resolve(false), timerMs(milliseconds));
  try {
    return await abortable(Promise.race([work.then(() => true), late.promise]), signal);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Runs work that may not end by itself. Its signal is aborted at the deadline, with the parent, and when
 * the work is done. Throws `TimeoutError` at the deadline and the parent's reason when that is aborted,
 * even if the work ignores its signal.
 */
export async function withTimeout<T>(
  milliseconds: number,
  parent: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  parent?.throwIfAborted();
  const deadline = startDeadline(milliseconds, { parent });
  try {
    return await abortable(work(deadline.signal), deadline.signal);
  } finally {
    deadline.close();
  }
}

/** A time limit that can be extended. */
export interface Deadline {
  /** Aborted at the deadline, with the parent, and by `close`. */
  readonly signal: AbortSignal;
  /** Whether the time is over; false when only the parent was aborted. */
  readonly isOver: () => boolean;
  /** Starts counting again from now; a smaller limit replaces the one before. */
  readonly renew: (milliseconds?: number) => void;
  /** Stops the timer, and aborts what still runs under the signal. */
  close(): void;
}

export interface DeadlineOptions {
  readonly parent?: AbortSignal | undefined;
  /** The signal's reason at the deadline; gets the limit in milliseconds. A `TimeoutError` if left out. */
  readonly reason?: (milliseconds: number) => unknown;
}

/** One for all: an `Error` costs its stack, and every turn closes several deadlines. */
const ENDED = new Error("the work has ended");

/** Starts counting at once. The caller must close it. */
export function startDeadline(milliseconds: number, options: DeadlineOptions = {}): Deadline {
  const { parent, reason = timeoutError } = options;
  const controller = new AbortController();
  let limit = milliseconds;
  let renewedAt = performance.now();
  let isOver = false;
  let timer: ReturnType<typeof setTimeout> | undefined;

  // One timer serves many renewals: when it fires it looks at the clock and waits for what is left.
  const wait = (): void => {
    const left = renewedAt + limit - performance.now();
    if (left > 0) timer = setTimeout(wait, timerMs(Math.ceil(left)));
    else {
      isOver = !controller.signal.aborted;
      controller.abort(reason(limit));
    }
  };
  const stopListening = onAbort(parent, () => controller.abort(parent?.reason));
  if (!controller.signal.aborted) wait();
  return {
    signal: controller.signal,
    isOver: () => isOver,
    renew(shorter = limit) {
      renewedAt = performance.now();
      if (shorter >= limit || controller.signal.aborted) return;
      limit = shorter;
      clearTimeout(timer);
      wait();
    },
    close() {
      clearTimeout(timer);
      stopListening();
      controller.abort(ENDED);
    },
  };
}

function timeoutError(milliseconds: number): TimeoutError {
  return new TimeoutError(`not done within ${milliseconds / 1000} s`);
}

/** A fixed number of slots for concurrent work. */
export interface Semaphore {
  /**
   * Takes a slot as soon as one is free, first come first served. Returns a function that gives it back,
   * once. Throws `TimeoutError` when no slot is free in time, and the signal's reason when that is aborted.
   */
  acquire(milliseconds: number, signal: AbortSignal): Promise<() => void>;
}

export function createSemaphore(slots: number): Semaphore {
  let free = slots;
  const waiting = new Set<() => void>();

  const release = (): void => {
    const [next] = waiting;
    if (next === undefined) free += 1;
    else next();
  };

  return {
    async acquire(milliseconds, signal) {
      signal.throwIfAborted();
      if (free > 0) {
        free -= 1;
        return once(release);
      }
      const { promise, resolve } = Promise.withResolvers<boolean>();
      // Leaves the queue at once, so that no slot goes to a caller that gave up.
      const settle = (isAcquired: boolean): void => {
        waiting.delete(take);
        resolve(isAcquired);
      };
      const take = (): void => settle(true);
      waiting.add(take);
      const timer = setTimeout(() => settle(false), timerMs(milliseconds));
      const stopListening = onAbort(signal, () => settle(false));
      const isAcquired = await promise;
      clearTimeout(timer);
      stopListening();
      if (isAcquired) return once(release);
      signal.throwIfAborted();
      throw new TimeoutError(`no slot became free within ${milliseconds / 1000} s`);
    },
  };
}

/** A semaphore of which no owner gets all slots. */
export interface FairSemaphore {
  /** As `Semaphore.acquire`. The wait for a slot of the owner's share and for a free slot may take that time each. */
  acquire(owner: string, milliseconds: number, signal: AbortSignal): Promise<() => void>;
}

/** One owner holds at most `perOwner` of the slots; its further work waits and leaves the rest to others. */
export function createFairSemaphore(slots: number, perOwner: number): FairSemaphore {
  const all = createSemaphore(slots);
  const shares = new Map<string, { readonly semaphore: Semaphore; users: number }>();

  return {
    async acquire(owner, milliseconds, signal) {
      const share = shares.get(owner) ?? { semaphore: createSemaphore(perOwner), users: 0 };
      shares.set(owner, share);
      share.users += 1;
      const leave = (): void => {
        share.users -= 1;
        if (share.users === 0) shares.delete(owner);
      };
      const releases = [leave];
      const releaseAll = once(() => {
        for (const release of releases) release();
      });
      try {
        releases.unshift(await share.semaphore.acquire(milliseconds, signal));
        releases.unshift(await all.acquire(milliseconds, signal));
        return releaseAll;
      } catch (thrown) {
        releaseAll();
        throw thrown;
      }
    },
  };
}

/** Runs one piece of work after the other, in the order of the calls. A failure does not stop later work. */
export function createSerialQueue(): <T>(work: () => Promise<T> | T) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const done = last.then(work);
    last = done.catch(() => {});
    return done;
  };
}

/** What is made when it is asked for first, and then kept. A failure is not kept: the next call tries again. */
export class Lazy<T> {
  readonly #make: () => Promise<T>;
  #loading: Promise<T> | undefined;
  #value: T | undefined;

  constructor(make: () => Promise<T>) {
    this.#make = make;
  }

  /** Undefined until it is made. */
  get value(): T | undefined {
    return this.#value;
  }

  /** Undefined until it is asked for. */
  get loading(): Promise<T> | undefined {
    return this.#loading;
  }

  load(): Promise<T> {
    this.#loading ??= this.#load();
    return this.#loading;
  }

  async #load(): Promise<T> {
    try {
      this.#value = await this.#make();
      return this.#value;
    } catch (thrown) {
      this.#loading = undefined;
      throw thrown;
    }
  }
}

/**
 * Returns a function that runs the work for many callers: those that call while it runs share one run, which
 * begins after it, so each gets a result of a run that began after its call.
 */
export function createSharedRun<T>(work: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined;
  let following: Promise<T> | undefined;
  const start = (): Promise<T> => {
    following = undefined;
    running = work().finally(() => {
      if (following === undefined) running = undefined;
    });
    return running;
  };
  return () => (running === undefined ? start() : (following ??= running.then(start, start)));
}

/** A function that runs `run` at its first call only. */
export function once(run: () => void): () => void {
  let hasRun = false;
  return () => {
    if (hasRun) return;
    hasRun = true;
    run();
  };
}
