/** Upper bounds of the buckets in seconds: an answer takes milliseconds (a command) to minutes (many tools). */
export const ANSWER_SECONDS = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300] as const;
/** A commit takes less than a millisecond (memory of the system) to seconds (a worn SD card). */
export const COMMIT_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5] as const;

/** Counts values in fixed buckets. */
export class Histogram {
  readonly bounds: readonly number[];
  /** Values up to each bound, and above the one before it; the last one is of the values above all bounds. */
  readonly counts: number[];
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = Array.from({ length: bounds.length + 1 }, () => 0);
  }

  /** A negative value counts as 0. */
  observe(value: number): void {
    const { bounds, counts } = this;
    let bucket = 0;
    while (bucket < bounds.length && value > (bounds[bucket] ?? 0)) bucket += 1;
    counts[bucket] = (counts[bucket] ?? 0) + 1;
    this.sum += Math.max(0, value);
  }
}
