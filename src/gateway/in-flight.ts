import type { Clock } from "./clock.ts";

/** Counts work in flight, so that a shutdown can wait for it. */
export class InFlight {
  readonly #clock: Pick<Clock, "after">;
  readonly #waiting = new Set<() => void>();
  #count = 0;
  /** The gateway shuts down: it accepts no more requests. */
  isClosed = false;

  constructor(clock: Pick<Clock, "after">) {
    this.#clock = clock;
  }

  /** Pieces of work in flight. */
  get count(): number {
    return this.#count;
  }

  /** Work begins; pass the result to `leave` when it ends. */
  enter(): boolean {
    if (!this.isClosed) this.#count += 1;
    return !this.isClosed;
  }

  leave(counts: boolean): void {
    if (counts) this.#count -= 1;
    if (this.#count === 0) for (const wake of this.#waiting) wake();
  }

  /** Work that begins from now on is not counted, so that a flood cannot delay a shutdown. */
  close(): void {
    this.isClosed = true;
  }

  /** Resolves with true when no work is in flight, with false after `withinMs`. */
  empty(withinMs: number): Promise<boolean> {
    if (this.#count === 0) return Promise.resolve(true);
    return new Promise((resolve) => {
      const end = (isEmpty: boolean): void => {
        cancelTimer();
        this.#waiting.delete(wake);
        resolve(isEmpty);
      };
      const wake = (): void => end(true);
      const cancelTimer = this.#clock.after(withinMs, () => end(false));
      this.#waiting.add(wake);
    });
  }
}
