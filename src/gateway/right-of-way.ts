import type { Clock } from "./clock.ts";

/** What keeps work that nobody waits for out of the way of turns. */
export interface RightOfWay {
  /** A turn begins; the returned function says that it ended. */
  readonly enter: () => () => void;
  /** Resolves when every turn that runs now has ended, at the latest after a while, or when the signal is aborted. */
  readonly given: (signal: AbortSignal) => Promise<void>;
}

/** For turns that hang: work that waits has its time, too. */
const LONGEST_MS = 60_000;

/**
 * Only what runs already is waited for: under a load that never ends the work goes on as well, and no
 * turn meets more than one piece of it.
 */
export function createRightOfWay(clock: Pick<Clock, "after">): RightOfWay {
  const running = new Set<Promise<void>>();
  return {
    enter() {
      const { promise, resolve } = Promise.withResolvers<void>();
      running.add(promise);
      return () => {
        running.delete(promise);
        resolve();
      };
    },
    async given(signal) {
      if (running.size === 0 || signal.aborted) return;
      const { promise: late, resolve } = Promise.withResolvers<void>();
      const callOff = clock.after(LONGEST_MS, resolve);
      signal.addEventListener("abort", () => resolve(), { once: true });
      await Promise.race([Promise.all(running), late]);
      callOff();
    },
  };
}
