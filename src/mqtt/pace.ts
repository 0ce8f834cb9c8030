import { collectGarbage } from "../base/host.ts";

/** Cost in so many milliseconds: several times what a gateway can serve. */
const MOST_COST = 1_250;
const PACE_MS = 62;
/** As much in so long is no flood that has to wait, but leaves as much to collect. */
const BUSY_MS = 1_000;
/** What was taken in during a flood is worked on, and thrown away, for a while after it. */
const AFTERMATH_MS = 10_000;
const COLLECT_MS = 100;

/**
 * How many milliseconds are to pass before more is taken in: none, but in a flood. What a flood leaves is
 * collected at once: the runtimes would let it grow by tens of megabytes first.
 */
export function createPace(): (cost: number) => number {
  let counted = 0;
  let since = performance.now();
  return (cost) => {
    counted += cost;
    if (counted < MOST_COST) return 0;
    const now = performance.now();
    const took = now - since;
    counted = 0;
    since = Math.max(now, since + PACE_MS);
    if (took > BUSY_MS) return 0;
    collectGarbage();
    collectForAWhile(now + AFTERMATH_MS);
    return Math.max(0, PACE_MS - took);
  };
}

/** One for the process, as its memory is. */
const collecting: { until: number; timer?: ReturnType<typeof setInterval> | undefined } = {
  until: 0,
};

function collectForAWhile(until: number): void {
  collecting.until = until;
  collecting.timer ??= setInterval(() => {
    collectGarbage();
    if (performance.now() < collecting.until) return;
    clearInterval(collecting.timer);
    collecting.timer = undefined;
  }, COLLECT_MS);
  collecting.timer.unref();
}
