/** What `within` throws when the time is over; never leaves the file that asked. */
export class TimeOver extends Error {
  override readonly name = "TimeOver";
}

/**
 * Runs a piece of work that may not end by itself: its signal is aborted at the deadline and with the
 * parent, and the wait ends then even where the work ignores its signal. Throws `TimeOver` at the
 * deadline and the parent's reason when that is aborted.
 */
export async function within<T>(
  milliseconds: number,
  parent: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  parent.throwIfAborted();
  const controller = new AbortController();
  const over = Promise.withResolvers<"over">();
  const timer = setTimeout(() => over.resolve("over"), milliseconds);
  const onAbort = (): void => over.resolve("over");
  parent.addEventListener("abort", onAbort, { once: true });
  try {
    const done = work(controller.signal).then((value) => ({ value }));
    const first = await Promise.race([done, over.promise]);
    if (first !== "over") return first.value;
    parent.throwIfAborted();
    throw new TimeOver(`not done within ${milliseconds / 1000} s`);
  } finally {
    clearTimeout(timer);
    parent.removeEventListener("abort", onAbort);
    controller.abort(new TimeOver("nobody waits any more"));
  }
}
