const FULL_MS = 1000;

/** The lanes that an owner may hold, with the time of their last use on its own clock. */
export class HeldLanes {
  readonly #idleMs: number;
  readonly #usedAt = new Map<string, number>();

  constructor(idleMs: number) {
    this.#idleMs = idleMs;
  }

  use(lane: string): void {
    this.#usedAt.delete(lane);
    this.#usedAt.set(lane, performance.now());
  }

  /** The lanes that were not used for long; for a moment if their owner has no room for further ones. */
  idle(hasRoom: boolean): readonly string[] {
    const idleMs = hasRoom ? this.#idleMs : Math.min(this.#idleMs, FULL_MS);
    const lanes: string[] = [];
    for (const [lane, at] of this.#usedAt) {
      if (performance.now() - at < idleMs) break;
      lanes.push(lane);
    }
    return lanes;
  }

  drop(lanes: readonly string[]): void {
    for (const lane of lanes) this.#usedAt.delete(lane);
  }

  /** Drops all but these. */
  keep(lanes: readonly string[]): void {
    const kept = new Set(lanes);
    for (const lane of this.#usedAt.keys()) if (!kept.has(lane)) this.#usedAt.delete(lane);
  }
}
