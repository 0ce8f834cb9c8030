/** The lanes that an owner may hold, with the time of their last use on a clock of its own. */
export class HeldLanes {
  readonly #elapsed: () => number;
  readonly #usedAt = new Map<string, number>();

  constructor(elapsed: () => number) {
    this.#elapsed = elapsed;
  }

  use(lane: string): void {
    this.#usedAt.delete(lane);
    this.#usedAt.set(lane, this.#elapsed());
  }

  /** The lanes that were not used for so many milliseconds. */
  idle(ms: number): readonly string[] {
    const lanes: string[] = [];
    for (const [lane, at] of this.#usedAt) {
      if (this.#elapsed() - at < ms) break;
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
