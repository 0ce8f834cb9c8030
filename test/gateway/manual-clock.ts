import type { Clock } from "../../src/gateway/clock.ts";

/** A clock that stands still until `advance`. */
export interface ManualClock extends Clock {
  /** Lets time pass: each due timer fires at its time, and its effects run before the next. */
  advance(ms: number): Promise<void>;
  /** Sets the wall clock, forward or back; no time passes. */
  jump(ms: number): void;
  /** Timers that are set. */
  readonly timers: number;
}

export function createManualClock(): ManualClock {
  const timers = new Set<{ at: number; run: () => void }>();
  let [now, jumped] = [0, 0];
  const nextUntil = (end: number) =>
    [...timers].filter(({ at }) => at <= end).toSorted((a, b) => a.at - b.at)[0];
  return {
    now: () => now,
    epoch: () => 1_800_000_000_000 + now + jumped,
    jump(ms) {
      jumped += ms;
    },
    after(ms, run) {
      const timer = { at: now + Math.max(ms, 0), run };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    async advance(ms) {
      const end = now + ms;
      await settled();
      for (let next = nextUntil(end); next !== undefined; next = nextUntil(end)) {
        now = next.at;
        timers.delete(next);
        next.run();
        await settled();
      }
      now = end;
    },
    get timers() {
      return timers.size;
    },
  };
}

/** Resolves when everything that needs no time has happened. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}
