import type { Clock } from "./clock.ts";

export interface SlotsOptions {
  /** Turns side by side. */
  readonly slots: number;
  readonly clock: Pick<Clock, "after">;
  /** Called when a slot got free that no turn waits to have back. */
  readonly onFree: () => void;
}

/** The slot of one turn. */
export interface Slot {
  /** See `Hold.whileWaiting`. */
  whileWaiting<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T>;
  /** The turn is over, and its slot is free where it has one; counts once. */
  end(): void;
}

/** Milliseconds for which a turn keeps its slot while it waits: what ends sooner costs no place in a queue. */
const PATIENCE_MS = 100;
/** Turns without a slot for each slot: they hold memory, too, so the turns beyond keep theirs. */
const AWAY_PER_SLOT = 4;

/**
 * What bounds the turns that run at the same time. Turns that want their slots back go before those that
 * have not begun, and one after the other.
 */
export class Slots {
  readonly #options: SlotsOptions;
  readonly #returning = new Set<TurnSlot>();
  #free: number;
  #away = 0;

  constructor(options: SlotsOptions) {
    this.#options = options;
    this.#free = options.slots;
  }

  /** How many can be taken now. */
  get free(): number {
    return this.#free;
  }

  /** Takes one that is free. */
  take(): Slot {
    this.#free -= 1;
    return new TurnSlot(this);
  }

  /** Calls after the time for which a waiting turn keeps its slot. */
  afterPatience(run: () => void): () => void {
    return this.#options.clock.after(PATIENCE_MS, run);
  }

  /** Whether one more turn may do without its slot; then the slot is free. */
  lend(): boolean {
    if (this.#away >= this.#options.slots * AWAY_PER_SLOT) return false;
    this.#away += 1;
    this.release();
    return true;
  }

  /** The turn gets a slot by `regain` as soon as one is free. */
  enqueue(slot: TurnSlot): void {
    if (this.#free > 0) this.#grant(slot);
    else this.#returning.add(slot);
  }

  /** A turn that had lent its slot ends without one. */
  leave(slot: TurnSlot): void {
    this.#returning.delete(slot);
    this.#away -= 1;
  }

  release(): void {
    this.#free += 1;
    const [first] = this.#returning;
    if (first === undefined) this.#options.onFree();
    else this.#grant(first);
  }

  #grant(slot: TurnSlot): void {
    this.leave(slot);
    this.#free -= 1;
    slot.regain();
  }
}

class TurnSlot implements Slot {
  readonly #slots: Slots;
  #state: "held" | "lent" | "over" = "held";
  #isWaiting = false;
  #goOn: (() => void) | undefined;

  constructor(slots: Slots) {
    this.#slots = slots;
  }

  async whileWaiting<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    if (this.#isWaiting || this.#state !== "held") return await work();
    this.#isWaiting = true;
    const callOff = this.#slots.afterPatience(() => this.#lend());
    try {
      return await work();
    } finally {
      callOff();
      await this.#comeBack(signal);
      this.#isWaiting = false;
    }
  }

  end(): void {
    const before = this.#state;
    this.#state = "over";
    if (before === "held") this.#slots.release();
    if (before === "lent") this.#slots.leave(this);
    this.#goOn?.();
  }

  regain(): void {
    this.#state = "held";
    this.#goOn?.();
  }

  #lend(): void {
    if (this.#state !== "held") return;
    this.#state = "lent";
    if (!this.#slots.lend()) this.#state = "held";
  }

  async #comeBack(signal: AbortSignal): Promise<void> {
    if (this.#state !== "lent") return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const onAbort = (): void => this.end();
    this.#goOn = resolve;
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    else this.#slots.enqueue(this);
    await promise;
    signal.removeEventListener("abort", onAbort);
  }
}
