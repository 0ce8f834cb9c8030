/**
 * How many cases a property of plain JavaScript tries: all of them with Bun, which the compiled program runs on, and
 * the first quarter with the others, which seldom tell more.
 */
export function runs(count: number): number {
  return "Bun" in globalThis ? count : Math.ceil(count / 4);
}
