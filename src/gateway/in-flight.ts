import type { Clock } from "./clock.ts";

/** Counts what is under way, so that a shutdown can wait for it. */
export interface InFlight {
  /** Something begins; the returned function, which counts once, says that it ended. */
  begin(): () => void;
  /** The same for things of which there are very many: says whether it counts, for `leave`. */
  enter(): boolean;
  leave(counts: boolean): void;
  /** What begins from now on is not waited for, so that a flood cannot hold a shutdown up. */
  close(): void;
  /** Resolves with true when nothing is under way, with false when that took longer. */
  empty(withinMs: number): Promise<boolean>;
}

export function createInFlight(clock: Pick<Clock, "after">): InFlight {
  const waiting = new Set<() => void>();
  let open = 0;
  let closed = false;
  const leave = (counts: boolean): void => {
    if (counts) open -= 1;
    if (open === 0) for (const wake of waiting) wake();
  };
  const enter = (): boolean => {
    if (!closed) open += 1;
    return !closed;
  };
  return {
    enter,
    leave,
    begin() {
      let counts = enter();
      return () => {
        leave(counts);
        counts = false;
      };
    },
    close() {
      closed = true;
    },
    empty(withinMs) {
      if (open === 0) return Promise.resolve(true);
      return new Promise((resolve) => {
        const end = (empty: boolean) => {
          cancelTimer();
          waiting.delete(wake);
          resolve(empty);
        };
        const wake = () => end(true);
        const cancelTimer = clock.after(withinMs, () => end(false));
        waiting.add(wake);
      });
    },
  };
}
