/**
 * Waits for a condition, asking often; fails with the description after `ms`, by default long after what a busy
 * machine takes.
 */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  ms = 45_000,
): Promise<void> {
  const end = performance.now() + ms;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`waited ${ms} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
