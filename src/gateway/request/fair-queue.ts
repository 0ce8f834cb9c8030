import type { Clock } from "../clock.ts";

export interface LanesOptions<Job> extends Omit<SlotsOptions, "onFree"> {
  /** Whether a job runs a turn; false begins it at once (expired, or cancelled while it waited). */
  readonly needsSlot: (job: Job) => boolean;
  /** Begins a job whose time has come. Must not throw, and calls `done` whatever happens. */
  readonly start: (job: Job, hold: Hold) => void;
}

/** What a job holds while it is under way; `turnEnded` and `done` count once. */
export interface Hold {
  /** Whether a slot was taken for it: what `needsSlot` said. */
  readonly tookSlot: boolean;
  /**
   * Runs work without the slot where it takes longer than a moment: others use the slot meanwhile. Settles
   * as the work does, once the turn has a slot again; without one where the signal is aborted or the turn
   * is over. Work that begins while other work of the turn waits, or where no slot is held, simply runs.
   */
  whileWaiting<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T>;
  /** The turn is over: its slot is free, the lane is not yet. */
  turnEnded(): void;
  /** The answer was delivered: the lane's next job may begin. */
  done(): void;
}

/** Jobs of one lane one after another, lanes side by side, and as many turns at once as there are slots. */
export interface Lanes<Job> {
  add(lane: string, job: Job): void;
  /** Takes an idle lane and a free slot for a job that comes soon; undefined when there is no such pair. */
  reserve(lane: string): Reservation<Job> | undefined;
  /** How many jobs of a lane did not begin. */
  waiting(lane: string): number;
  /** Nothing of the lane waits or runs. */
  isIdle(lane: string): boolean;
  /** The jobs of a lane, the one that began first, then the waiting ones in their order. */
  jobs(lane: string): readonly Job[];
  /** The jobs of every lane, each lane's in the same order. */
  all(): readonly Job[];
  /** Looks again at a lane whose first job may have stopped needing a slot. */
  stir(lane: string): void;
  /** Lanes with a job that waits or runs; an idle lane is none. */
  readonly size: number;
}

/** A lane and a slot without a job; one of the two is called, once. */
export interface Reservation<Job> {
  start(job: Job): void;
  cancel(): void;
}

/** Lanes without a job, all slots free. */
export function createLanes<Job>(options: LanesOptions<Job>): Lanes<Job> {
  return new RoundRobin(options);
}

interface Lane<Job> {
  readonly queue: Job[];
  current: Job | undefined;
  isReserved: boolean;
}

function newLane<Job>(): Lane<Job> {
  return { queue: [], current: undefined, isReserved: false };
}

/**
 * A lane that had its turn stands behind every lane that waits for a slot: however many jobs a lane
 * holds, another waits for one turn of it at the most. While a lane waits, no slot is free.
 */
class RoundRobin<Job> implements Lanes<Job> {
  readonly #options: LanesOptions<Job>;
  readonly #lanes = new Map<string, Lane<Job>>();
  /** Lanes that wait for a slot, in the order of their turns. */
  readonly #ready = new Set<string>();
  readonly #slots: Slots;

  constructor(options: LanesOptions<Job>) {
    this.#options = options;
    this.#slots = new Slots({ ...options, onFree: () => this.#startReady() });
  }

  add(name: string, job: Job): void {
    const lane = this.#lanes.get(name) ?? newLane<Job>();
    this.#lanes.set(name, lane);
    lane.queue.push(job);
    this.stir(name);
  }

  reserve(name: string): Reservation<Job> | undefined {
    if (this.#lanes.has(name) || this.#slots.free === 0) return undefined;
    const lane = newLane<Job>();
    lane.isReserved = true;
    this.#lanes.set(name, lane);
    const hold = this.#holdOf(name, lane, true);
    return {
      start: (job) => {
        lane.isReserved = false;
        lane.current = job;
        this.#options.start(job, hold);
      },
      cancel() {
        lane.isReserved = false;
        hold.done();
      },
    };
  }

  waiting(name: string): number {
    return this.#lanes.get(name)?.queue.length ?? 0;
  }

  isIdle(name: string): boolean {
    return !this.#lanes.has(name);
  }

  jobs(name: string): readonly Job[] {
    const { current, queue = [] } = this.#lanes.get(name) ?? {};
    return current === undefined ? [...queue] : [current, ...queue];
  }

  all(): readonly Job[] {
    return [...this.#lanes.keys()].flatMap((name) => this.jobs(name));
  }

  get size(): number {
    return this.#lanes.size;
  }

  stir(name: string): void {
    const lane = this.#lanes.get(name);
    if (lane === undefined || lane.isReserved || lane.current !== undefined) return;
    const [next] = lane.queue;
    if (next === undefined) {
      this.#lanes.delete(name);
      return;
    }
    const needsSlot = this.#options.needsSlot(next);
    if (needsSlot && this.#slots.free === 0) {
      this.#ready.add(name);
      return;
    }
    this.#ready.delete(name);
    lane.queue.shift();
    lane.current = next;
    this.#options.start(next, this.#holdOf(name, lane, needsSlot));
  }

  #startReady(): void {
    for (const waiting of this.#ready) {
      if (this.#slots.free === 0) return;
      this.stir(waiting);
    }
  }

  #holdOf(name: string, lane: Lane<Job>, tookSlot: boolean): Hold {
    const slot = tookSlot ? this.#slots.take() : undefined;
    let holdsLane = true;
    const turnEnded = (): void => slot?.end();
    const done = (): void => {
      if (!holdsLane) return;
      holdsLane = false;
      lane.current = undefined;
      turnEnded();
      this.stir(name);
    };
    return {
      tookSlot,
      whileWaiting: (work, signal) => slot?.whileWaiting(work, signal) ?? work(),
      turnEnded,
      done,
    };
  }
}

interface SlotsOptions {
  /** Turns side by side. */
  readonly slots: number;
  readonly clock: Pick<Clock, "after">;
  /** Called when a slot got free that no turn waits to have back. */
  readonly onFree: () => void;
}

/** The slot of one turn. */
interface Slot {
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
class Slots {
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
    const cancelTimer = this.#slots.afterPatience(() => this.#lend());
    try {
      return await work();
    } finally {
      cancelTimer();
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
