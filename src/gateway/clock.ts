import { timerMs } from "../base/async.ts";
/** The time, as a parameter so that a test can control it. */
export interface Clock {
  /** Milliseconds since the epoch, for deadlines from outside. Jumps when the device learns the time. */
  epoch(): number;
  /** Milliseconds since some start, for measuring. Never jumps. */
  now(): number;
  /** Calls `run` once after so many milliseconds; the returned function cancels that. */
  after(ms: number, run: () => void): () => void;
}

export const SYSTEM_CLOCK: Clock = {
  epoch: () => Date.now(),
  now: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, timerMs(ms));
    return () => clearTimeout(timer);
  },
};
