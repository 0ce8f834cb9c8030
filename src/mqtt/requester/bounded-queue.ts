/** The longest time that a timer can count: a longer one would fire at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** A bounded queue between callbacks and one async reader. */
export interface BoundedQueue<T> {
  /** Never blocks; a full inbox drops the item and counts it. */
  put(item: T): void;
  /** The next item; undefined when `ms` have passed first. Rejects with the signal's reason. */
  take(ms: number, signal: AbortSignal): Promise<T | undefined>;
  /** Items dropped since the last call. */
  dropped(): number;
}

export function createBoundedQueue<T>(size: number): BoundedQueue<T> {
  const items: T[] = [];
  let lost = 0;
  let wake: (() => void) | undefined;
  return {
    put(item) {
      if (items.length >= size) lost += 1;
      else items.push(item);
      wake?.();
    },
    async take(ms, signal) {
      signal.throwIfAborted();
      if (items.length === 0) {
        const { promise, resolve } = Promise.withResolvers<void>();
        wake = resolve;
        const abort = (): void => resolve();
        const bounded = Math.min(Math.max(ms, 0), MAX_TIMER_MS);
        const timer = Number.isFinite(ms) ? setTimeout(resolve, bounded) : undefined;
        signal.addEventListener("abort", abort, { once: true });
        await promise;
        clearTimeout(timer);
        signal.removeEventListener("abort", abort);
        wake = undefined;
        signal.throwIfAborted();
      }
      return items.shift();
    },
    dropped() {
      const count = lost;
      lost = 0;
      return count;
    },
  };
}
