/** Time as the gateway reads it; handed in so that a test can be its master. */
export interface Clock {
  /** Milliseconds since the epoch, for deadlines that others named. Jumps when the device learns the time. */
  epoch(): number;
  /** Milliseconds from some start, for everything that is measured. Never jumps. */
  now(): number;
  /** Calls once after so many milliseconds; the returned function calls it off. */
  after(ms: number, run: () => void): () => void;
}

/** The longest wait that timers can hold: beyond it they fire at once. */
const LONGEST_MS = 2 ** 31 - 1;

export const SYSTEM_CLOCK: Clock = {
  epoch: () => Date.now(),
  now: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, Math.min(Math.max(ms, 0), LONGEST_MS));
    return () => clearTimeout(timer);
  },
};
