/** Messages within one window that are taken without a pause. */
const MESSAGES = 300;
const WINDOW_MS = 100;

/**
 * Returns a function to call for each message: undefined while there are few, or a promise that resolves at the end
 * of the window. As long as many of them are pending, the connection is not read.
 */
export function createMessagePace(): () => Promise<void> | undefined {
  let end = 0;
  let count = 0;
  let pause: Promise<void> | undefined;
  return () => {
    const now = performance.now();
    if (now >= end) {
      end = now + WINDOW_MS;
      count = 0;
      pause = undefined;
    }
    count += 1;
    if (count <= MESSAGES) return undefined;
    pause ??= new Promise((resolve) => {
      setTimeout(resolve, end - now);
    });
    return pause;
  };
}
