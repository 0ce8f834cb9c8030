import { abortable } from "../../base/async.ts";
import type { pause } from "../../base/async.ts";
import { Failure } from "../../base/failure.ts";
import { ModelError } from "./errors.ts";

/** A limit on calls a minute, over a sliding window of 60 seconds. */
export interface Rate {
  /** Milliseconds that a new call has to wait; 0 if it need not. */
  readonly wait: () => number;
  /**
   * Takes a slot, first come first served: at once if `wait` is 0. Throws a `Failure` of code `model` with
   * `retryAfter` if the wait is too long or too many calls wait, and the signal's reason.
   */
  readonly take: (signal: AbortSignal) => Promise<void>;
}

export interface RateOptions {
  /** Calls a minute; 0 is no limit. */
  readonly rpm: number;
  /** For failures. */
  readonly label: string;
  /** Milliseconds that a call may wait. */
  readonly patience: number;
  readonly now: () => number;
  readonly pause: typeof pause;
}

const MINUTE = 60_000;
/** Calls that may wait for one entry. */
const MAX_WAITING = 100;

export function createRate(options: RateOptions): Rate {
  const { rpm, now } = options;
  if (rpm <= 0) return { wait: () => 0, take: async () => undefined };
  /** The start times of the calls of the last minute, oldest first. */
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

  /** Each call waits until the one before has started or left; only the first one looks at the clock. */
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
  const why = `${label}: its rpm of ${rpm} is used up, and other calls wait already`;
  const retryAfter = Math.ceil(wait / 1000);
  return new Failure("model", "the model's limit of calls a minute is reached", {
    why,
    remedy: `ask less often, raise rpm or add a fallback (${label})`,
    retryAfter,
    cause: new ModelError("refused", why, { status: 429, retryAfter }),
  });
}
