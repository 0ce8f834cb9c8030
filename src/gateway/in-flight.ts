import type { Clock } from "./clock.ts";

/** Counts work in flight, so that a shutdown can wait for it. */
export interface InFlight {
  /** Work begins; call the returned function when it ends. Further calls of that do nothing. */
  begin(): () => void;
  /** The same without a function for each: pass the result to `leave`. */
  enter(): boolean;
  leave(counts: boolean): void;
  /** Work that begins from now on is not counted, so that a flood cannot delay a shutdown. */
  close(): void;
  /** Resolves with true when no work is in flight, with false after `withinMs`. */
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
