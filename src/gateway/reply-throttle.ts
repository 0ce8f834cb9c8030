import type { Clock } from "./clock.ts";

interface ReplyThrottleOptions {
  readonly clock: Pick<Clock, "now">;
  readonly everyMs: number;
  /** Names that are remembered. */
  readonly rows: number;
}

/**
 * Allows one reply for each name in `everyMs`; none for a new name while all rows are used, so invented names
 * cost no memory and no messages.
 */
export class ReplyThrottle {
  readonly #options: ReplyThrottleOptions;
  /** When a reply was allowed last, and how many were suppressed since; the oldest first. */
  readonly #names = new Map<string, { readonly at: number; suppressed: number }>();

  constructor(options: ReplyThrottleOptions) {
    this.#options = options;
  }

  /** Whether a reply is due: how many were suppressed since the last one, or undefined to suppress this one. */
  allow(name: string): number | undefined {
    const { clock, everyMs, rows } = this.#options;
    const now = clock.now();
    const last = this.#names.get(name);
    if (last !== undefined && now - last.at < everyMs) {
      last.suppressed += 1;
      return undefined;
    }
    this.#names.delete(name);
    for (const [other, { at }] of this.#names) {
      if (now - at < everyMs) break;
      this.#names.delete(other);
    }
    if (this.#names.size >= rows) return undefined;
    this.#names.set(name, { at: now, suppressed: 0 });
    return last?.suppressed ?? 0;
  }
}
