import { onAbort } from "../../base/async.ts";
import type { Clock } from "../clock.ts";

export interface SlotsOptions {
  /** Concurrent turns. Those that can wait have all but one, or the only one. */
  readonly slots: number;
  readonly clock: Pick<Clock, "after">;
  /** Called when a slot became free and no turn waits to get its slot back. */
  readonly onFree: () => void;
}

/** Milliseconds for which a waiting turn keeps its slot: after shorter work it need not wait for a slot. */
const PATIENCE_MS = 100;
/** Turns without a slot, per slot. They hold memory too, so further waiting turns keep their slots. */
const AWAY_PER_SLOT = 4;

/** Bounds the concurrent turns. Turns that want their slots back go first, in order, before new turns. */
export class Slots {
  readonly #options: SlotsOptions;
  readonly #returning = new Set<Hold>();
  /** Free slots. */
  free: number;
  /** Slots of turns that can wait. */
  #later = 0;
  #away = 0;

  constructor(options: SlotsOptions) {
    this.#options = options;
    this.free = options.slots;
  }

  /** Whether there is a slot for it. One is kept for turns that cannot wait. */
  isFree(canWait: boolean): boolean {
    return this.free > 0 && (!canWait || this.#later < Math.max(1, this.#options.slots - 1));
  }

  take({ canWait }: Hold): void {
    this.free -= 1;
    if (canWait) this.#later += 1;
  }

  /** Calls `run` after the time for which a waiting turn keeps its slot. */
  afterPatience(run: () => void): () => void {
    return this.#options.clock.after(PATIENCE_MS, run);
  }

  /** Frees the slot of a waiting turn; false when too many turns have done so. */
  lend(turn: Hold): boolean {
    if (this.#away >= this.#options.slots * AWAY_PER_SLOT) return false;
    this.#away += 1;
    this.release(turn);
    return true;
  }

  /** Calls `regain` of the turn as soon as it has a slot again. */
  enqueue(turn: Hold): void {
    if (this.isFree(turn.canWait)) this.#grant(turn);
    else this.#returning.add(turn);
  }

  /** A turn ends without a slot. */
  leave(turn: Hold): void {
    this.#returning.delete(turn);
    this.#away -= 1;
  }

  release({ canWait }: Hold): void {
    this.free += 1;
    if (canWait) this.#later -= 1;
    const next = this.#returning.values().find((turn) => this.isFree(turn.canWait));
    if (next === undefined) this.#options.onFree();
    else this.#grant(next);
  }

  #grant(turn: Hold): void {
    this.leave(turn);
    this.take(turn);
    turn.regain();
  }
}

/** What an item takes when it starts: a slot, one that turns that can wait may have, or none. */
export type Takes = "slot" | "slot for later" | "nothing";

/** What a started item holds: its lane and, for a turn, a slot. */
export class Hold {
  /** Whether the item took a slot. */
  readonly tookSlot: boolean;
  /** Whether nobody waits for its turn. */
  readonly canWait: boolean;
  readonly #slots: Slots;
  readonly #freeLane: () => void;
  #slot: "held" | "lent" | "none";
  #isWaiting = false;
  #isDone = false;
  #resume: (() => void) | undefined;

  constructor(slots: Slots, takes: Takes, freeLane: () => void) {
    this.tookSlot = takes !== "nothing";
    this.canWait = takes === "slot for later";
    this.#slots = slots;
    this.#freeLane = freeLane;
    this.#slot = this.tookSlot ? "held" : "none";
    if (this.tookSlot) slots.take(this);
  }

  /**
   * Runs work without the slot when it takes longer than a moment: other turns use the slot meanwhile.
   * Settles as the work does, once the turn has a slot again; without a slot when the signal is aborted or
   * the turn is over. When the turn waits for other work already, or holds no slot, the work just runs.
   */
  async whileWaiting<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    if (this.#isWaiting || this.#slot !== "held") return await work();
    this.#isWaiting = true;
    const cancelTimer = this.#slots.afterPatience(() => this.#lend());
    try {
      return await work();
    } finally {
      cancelTimer();
      await this.#comeBack(signal);
      this.#isWaiting = false;
    }
  }

  /** The turn is over: its slot is free, the lane is still busy. Further calls do nothing. */
  turnEnded(): void {
    const before = this.#slot;
    this.#slot = "none";
    if (before === "held") this.#slots.release(this);
    if (before === "lent") this.#slots.leave(this);
    this.#resume?.();
  }

  /** The answer was delivered: the lane's next item may start. Further calls do nothing. */
  done(): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#freeLane();
  }

  /** The turn has a slot again. */
  regain(): void {
    this.#slot = "held";
    this.#resume?.();
  }

  #lend(): void {
    if (this.#slot !== "held") return;
    this.#slot = "lent";
    if (!this.#slots.lend(this)) this.#slot = "held";
  }

  async #comeBack(signal: AbortSignal): Promise<void> {
    if (this.#slot !== "lent") return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#resume = resolve;
    const stopListening = onAbort(signal, () => this.turnEnded());
    if (!signal.aborted) this.#slots.enqueue(this);
    await promise;
    stopListening();
  }
}
