const runsUnderNode = !("Bun" in globalThis) && !("Deno" in globalThis);

/** For `it`: what takes long and hangs on the engine alone is not run under node, which has that of Deno. */
export const oncePerEngine = { skip: runsUnderNode };

/**
 * How many cases a property of plain JavaScript tries: all of them with Bun, which the compiled program runs on, and
 * the first quarter with the others, which seldom tell more.
 */
export function runs(count: number): number {
  return "Bun" in globalThis ? count : Math.ceil(count / 4);
}
