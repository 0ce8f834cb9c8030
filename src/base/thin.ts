/** Lines of one message that are written at once, and how many a second after that. */
const BURST = 200;
const PER_SECOND = 10;
/** Messages that are told apart; there are not many more in the program. */
const MESSAGES = 512;

interface Bucket {
  tokens: number;
  /** Milliseconds of the clock. */
  at: number;
  leftOut: number;
}

/**
 * Says of each line whether it is to be written, and how many of the same message were left out since the
 * last one that was: a flood from outside must not fill the disk that the log is kept on, nor the memory
 * in front of it. `now` in milliseconds.
 */
export function createThinning(now: () => number = () => performance.now()) {
  const buckets = new Map<string, Bucket>();
  return (message: string): { readonly leftOut: number } | undefined => {
    const time = now();
    const bucket = buckets.get(message) ?? { tokens: BURST, at: time, leftOut: 0 };
    if (!buckets.has(message)) {
      if (buckets.size >= MESSAGES) buckets.clear();
      buckets.set(message, bucket);
    }
    const gained = ((time - bucket.at) / 1000) * PER_SECOND;
    bucket.tokens = Math.min(bucket.tokens + gained, BURST);
    bucket.at = time;
    if (bucket.tokens < 1) {
      bucket.leftOut += 1;
      return undefined;
    }
    bucket.tokens -= 1;
    const { leftOut } = bucket;
    bucket.leftOut = 0;
    return { leftOut };
  };
}

/** Whether what happens for the n-th time in a row is worth a line: three times, then at each doubling. */
export function isTold(times: number): boolean {
  return times <= 3 || Number.isInteger(Math.log2(times));
}
