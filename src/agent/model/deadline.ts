import { ModelFault } from "./fault.ts";

/** A limit on silence: `signal` is aborted when nothing moved for that long, or when its parent is. */
export interface Deadline {
  readonly signal: AbortSignal;
  /** The limit counts anew from now, and is shorter from now on where less is given. */
  readonly renew: (milliseconds?: number) => void;
  /** Ends the timer and aborts what still runs under the signal. */
  close(): void;
}

const LONGEST_TIMER = 2 ** 31 - 1;

/** Starts to count at once; must be closed. `what` did not come where nothing moved. */
export function startDeadline(
  parent: AbortSignal,
  milliseconds: number,
  what = "nothing",
): Deadline {
  const controller = new AbortController();
  let limit = milliseconds;
  let movedAt = performance.now();
  let timer: ReturnType<typeof setTimeout>;

  // One timer for many renewals: it looks at the clock when it fires and sleeps on for what is left.
  const sleep = (): void => {
    const left = movedAt + limit - performance.now();
    if (left > 0) timer = setTimeout(sleep, Math.min(Math.ceil(left), LONGEST_TIMER));
    else controller.abort(new ModelFault("silent", `${what} came for ${limit / 1000} s`));
  };
  const onAbort = (): void => controller.abort(parent.reason);

  if (parent.aborted) onAbort();
  else parent.addEventListener("abort", onAbort, { once: true });
  sleep();
  return {
    signal: controller.signal,
    renew(shorter) {
      movedAt = performance.now();
      if (shorter === undefined || shorter >= limit) return;
      limit = shorter;
      clearTimeout(timer);
      sleep();
    },
    close() {
      clearTimeout(timer);
      parent.removeEventListener("abort", onAbort);
      controller.abort(new ModelFault("broken_off", "the reader left"));
    },
  };
}
