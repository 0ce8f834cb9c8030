import { TimeOver } from "./within.ts";

/** A fixed number of places for work side by side. */
export interface Slots {
  /**
   * Takes a place as soon as one is free, first come, first served, and returns how to give it back.
   * Throws `TimeOver` when none got free in time, and the signal's reason when that is aborted.
   */
  take(milliseconds: number, signal: AbortSignal): Promise<() => void>;
}

export function createSlots(count: number): Slots {
  let free = count;
  const waiting = new Set<() => void>();

  const giveBack = (): void => {
    const [next] = waiting;
    if (next === undefined) free += 1;
    else next();
  };

  const once = (): (() => void) => {
    let isGiven = false;
    return () => {
      if (!isGiven) giveBack();
      isGiven = true;
    };
  };

  return {
    async take(milliseconds, signal) {
      signal.throwIfAborted();
      if (free > 0) {
        free -= 1;
        return once();
      }
      const { promise, resolve } = Promise.withResolvers<boolean>();
      // At once, so that no place is given to who has left.
      const giveUp = (): void => {
        waiting.delete(next);
        resolve(false);
      };
      const next = (): void => {
        waiting.delete(next);
        resolve(true);
      };
      waiting.add(next);
      const timer = setTimeout(giveUp, milliseconds);
      signal.addEventListener("abort", giveUp, { once: true });
      const isTaken = await promise;
      clearTimeout(timer);
      signal.removeEventListener("abort", giveUp);
      if (isTaken) return once();
      signal.throwIfAborted();
      throw new TimeOver(`no place got free within ${milliseconds / 1000} s`);
    },
  };
}
