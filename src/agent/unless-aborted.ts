/** Waits for work that may ignore a signal; rejects with the signal's reason as soon as it is aborted. */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, resolve } = Promise.withResolvers<"aborted">();
  const onAbort = (): void => resolve("aborted");
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort, { once: true });
  try {
    const first = await Promise.race([work.then((value) => ({ value })), aborted]);
    signal.throwIfAborted();
    if (first !== "aborted") return first.value;
    throw signal.reason;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
