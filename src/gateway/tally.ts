import type { Clock } from "./clock.ts";

/** Counts what is under way, so that a shutdown can wait for it. */
export interface Tally {
  /** Something begins; the returned function, which counts once, says that it ended. */
  begin(): () => void;
  /** What begins from now on is not waited for, so that a flood cannot hold a shutdown up. */
  close(): void;
  /** Resolves with true when nothing is under way, with false when that took longer. */
  empty(withinMs: number): Promise<boolean>;
}

export function createTally(clock: Pick<Clock, "after">): Tally {
  const open = new Set<symbol>();
  const waiting = new Set<() => void>();
  let closed = false;
  return {
    begin() {
      const one = Symbol("under way");
      if (!closed) open.add(one);
      return () => {
        open.delete(one);
        if (open.size === 0) for (const wake of waiting) wake();
      };
    },
    close() {
      closed = true;
    },
    empty(withinMs) {
      if (open.size === 0) return Promise.resolve(true);
      return new Promise((resolve) => {
        const end = (empty: boolean) => {
          callOff();
          waiting.delete(wake);
          resolve(empty);
        };
        const wake = () => end(true);
        const callOff = clock.after(withinMs, () => end(false));
        waiting.add(wake);
      });
    },
  };
}
