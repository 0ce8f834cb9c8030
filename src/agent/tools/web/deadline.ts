/** The end of a piece of work: its time is over, or whoever asked for it has gone. */
export interface Limit {
  /** Aborted in either case. */
  readonly signal: AbortSignal;
  /** Whether it was the time. */
  readonly isOver: () => boolean;
  /** Ends the timer. */
  close(): void;
}

/** Starts to count at once; must be closed. */
export function startLimit(milliseconds: number, parent: AbortSignal): Limit {
  const controller = new AbortController();
  let over = false;
  const timer = setTimeout(() => {
    over = true;
    controller.abort(new Error(`not done within ${milliseconds / 1000} s`));
  }, milliseconds);
  const onAbort = (): void => controller.abort(parent.reason);
  if (parent.aborted) onAbort();
  else parent.addEventListener("abort", onAbort, { once: true });
  return {
    signal: controller.signal,
    isOver: () => over,
    close() {
      clearTimeout(timer);
      parent.removeEventListener("abort", onAbort);
      controller.abort(new Error("nobody waits any more"));
    },
  };
}
