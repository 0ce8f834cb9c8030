import { abortable } from "../../base/async.ts";
import type { pause } from "../../base/async.ts";
import { Failure } from "../../base/failure.ts";
import { ModelError } from "./errors.ts";

/** A limit on questions a minute, kept over the last 60 seconds at every moment. */
export interface Rate {
  /** Milliseconds that a question which comes now has to wait; 0 where there is room. */
  readonly wait: () => number;
  /**
   * Takes a place, in the order of asking: at once where `wait` is 0. Throws a `Failure` of code
   * `model` with `retryAfter` where the wait is too long or too many wait, and the signal's reason.
   */
  readonly take: (signal: AbortSignal) => Promise<void>;
}

export interface RateOptions {
  /** Questions a minute; 0 is no limit. */
  readonly rpm: number;
  /** For failures. */
  readonly label: string;
  /** Milliseconds that a question may wait. */
  readonly patience: number;
  readonly now: () => number;
  readonly pause: typeof pause;
}

const MINUTE = 60_000;
/** Questions that wait for one entry. */
const MAX_WAITING = 100;

export function createRate(options: RateOptions): Rate {
  const { rpm, now } = options;
  if (rpm <= 0) return { wait: () => 0, take: async () => undefined };
  /** When the questions of the last minute were asked, oldest first. */
  const starts: number[] = [];
  let waiting = 0;
  let last: Promise<unknown> = Promise.resolve();

  const waitBehind = (ahead: number): number => {
    while ((starts[0] ?? Infinity) <= now() - MINUTE) starts.shift();
    const beyond = ahead - (rpm - starts.length);
    if (beyond < 0) return 0;
    const leaves = (starts[beyond % rpm] ?? now()) + MINUTE * (1 + Math.floor(beyond / rpm));
    return Math.max(0, Math.ceil(leaves - now()));
  };

  /** Everyone waits for the one before to have been asked, or to have left; only the first looks at the clock. */
  const waitInLine = async (signal: AbortSignal): Promise<void> => {
    const before = last;
    const { promise: left, resolve: leave } = Promise.withResolvers<void>();
    last = Promise.all([before, left]);
    waiting += 1;
    try {
      await abortable(before, signal);
      for (let wait = waitBehind(0); wait > 0; wait = waitBehind(0)) {
        await options.pause(wait, signal);
      }
      starts.push(now());
    } finally {
      waiting -= 1;
      leave();
    }
  };

  return {
    wait: () => waitBehind(waiting),
    async take(signal) {
      signal.throwIfAborted();
      const wait = waitBehind(waiting);
      if (waiting === 0 && wait === 0) starts.push(now());
      else if (waiting >= MAX_WAITING || wait > options.patience) throw fullFailure(options, wait);
      else await waitInLine(signal);
    },
  };
}

function fullFailure({ rpm, label }: RateOptions, wait: number): Failure {
  const why = `${label}: its rpm of ${rpm} is used up, and others wait already`;
  const retryAfter = Math.ceil(wait / 1000);
  return new Failure("model", "the model may not be asked more often right now", {
    why,
    remedy: `ask less often, raise rpm or add a fallback (${label})`,
    retryAfter,
    cause: new ModelError("refused", why, { status: 429, retryAfter }),
  });
}
