import type { Failure } from "../base/failure.ts";
import type { Clock } from "./clock.ts";

/** What holds a turn that may have to end before its end. */
export interface Leash {
  /** Aborted by the first pull; its reason is that pull's failure. */
  readonly signal: AbortSignal;
  /** The failure of the first pull. */
  readonly failure: Failure | undefined;
  /** Rejects when a pulled turn did not end within its grace; never resolves. */
  readonly givenUp: Promise<never>;
  /** Ends the turn with this failure, and says whether there was one to end; a later pull can only shorten the grace. */
  pull(failure: Failure, graceMs: number): boolean;
  /** The turn is over: no timer stays, and pulling does nothing. */
  release(): void;
}

/** Milliseconds that an answerer has to end after it was told to; then its turn is over without it. */
export const GRACE_MS = 5000;

/** A leash that was not pulled. */
export function createLeash(clock: Pick<Clock, "after">): Leash {
  const controller = new AbortController();
  const timers: (() => void)[] = [];
  let failure: Failure | undefined;
  let released = false;
  const outOfGrace = new AbortController();
  const givenUp = new Promise<never>((_resolve, reject) => {
    outOfGrace.signal.addEventListener("abort", () => reject(outOfGrace.signal.reason));
  });
  // Who waits for it sees the rejection; where nobody does, there is nothing to see.
  givenUp.catch(() => {});

  return {
    signal: controller.signal,
    get failure() {
      return failure;
    },
    givenUp,
    pull(reason, graceMs) {
      if (released) return false;
      failure ??= reason;
      const first = failure;
      timers.push(clock.after(graceMs, () => outOfGrace.abort(first)));
      controller.abort(first);
      return true;
    },
    release() {
      released = true;
      for (const callOff of timers.splice(0)) callOff();
    },
  };
}
