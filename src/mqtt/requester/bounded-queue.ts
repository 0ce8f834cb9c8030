import { settlesWithin } from "../../base/async.ts";

/** A bounded queue between callbacks and one async reader. */
export interface BoundedQueue<T> {
  /** Never blocks; a full queue drops the item and counts it. */
  put(item: T): void;
  /** The next item; undefined when `ms` pass first. Rejects with the signal's reason. */
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
        const put = Promise.withResolvers<void>();
        wake = put.resolve;
        await settlesWithin(put.promise, ms, signal);
        wake = undefined;
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
