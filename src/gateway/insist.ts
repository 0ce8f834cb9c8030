import { asFailure } from "../base/failure.ts";
import type { Failure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import type { Clock } from "./clock.ts";

/** Writing to a store that may be unable to write for a while. */
export interface Persistence {
  /** Why nothing can be written at the moment; undefined while it can. */
  readonly problem: () => string | undefined;
  /** Tries each second until it is written; rejects when `close` or the signal ends that. */
  readonly insist: <T>(write: () => Promise<T>, facts?: Insisting) => Promise<T>;
  /** Tries once; a failure is told in the log and nowhere else. */
  readonly once: (write: Promise<unknown>) => Promise<void>;
  /** A failure that was met elsewhere. */
  readonly tell: (thrown: unknown) => void;
  /** Nothing is tried again from now on. */
  readonly close: () => void;
}

interface Insisting {
  readonly signal?: AbortSignal;
  /** It only reads, which works on a full disk: that it succeeds does not end the trouble. */
  readonly isRead?: boolean;
  /** Hears of each try that failed. */
  readonly troubled?: (failure: Failure) => void;
}

const AGAIN_MS = 1000;
const TELL_EVERY_MS = 60_000;

export function createPersistence(clock: Clock, log: Log): Persistence {
  const trouble = createTrouble(clock, log);
  const closing = new AbortController();
  return {
    problem: trouble.problem,
    insist: async (write, { signal, troubled, isRead = false } = {}) => {
      for (;;) {
        try {
          const result = await write();
          if (!isRead) trouble.over();
          return result;
        } catch (thrown) {
          const failure = trouble.tell(thrown);
          troubled?.(failure);
          if (closing.signal.aborted || signal?.aborted) throw failure;
          await wait(clock, [closing.signal, signal]);
        }
      }
    },
    once: (write) =>
      write.then(
        () => trouble.over(),
        (thrown: unknown) => void trouble.tell(thrown),
      ),
    tell: trouble.tell,
    close: () => closing.abort(),
  };
}

/** A second, or less where one of these ends it. */
function wait(
  clock: Pick<Clock, "after">,
  signals: readonly (AbortSignal | undefined)[],
): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      callOff();
      for (const signal of signals) signal?.removeEventListener("abort", end);
      resolve();
    };
    const callOff = clock.after(AGAIN_MS, end);
    for (const signal of signals) signal?.addEventListener("abort", end);
  });
}

interface Trouble {
  readonly problem: () => string | undefined;
  /** The failure of a write, told at most once a minute. */
  readonly tell: (thrown: unknown) => Failure;
  readonly over: () => void;
}

function createTrouble(clock: Pick<Clock, "now">, log: Log): Trouble {
  let problem: string | undefined;
  let toldAt = Number.NEGATIVE_INFINITY;
  return {
    problem: () => problem,
    tell(thrown) {
      const failure = asFailure(thrown);
      problem = "requests cannot be stored";
      if (clock.now() - toldAt >= TELL_EVERY_MS) {
        toldAt = clock.now();
        log.error("requests cannot be stored", { why: failure.why, try: failure.remedy });
      }
      return failure;
    },
    over() {
      if (problem === undefined) return;
      problem = undefined;
      toldAt = Number.NEGATIVE_INFINITY;
      log.info("requests can be stored again");
    },
  };
}
