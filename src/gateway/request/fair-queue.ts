import { onAbort } from "../../base/async.ts";
import type { Clock } from "../clock.ts";

/** What an item needs to start: its channel's capacity and a slot, the capacity alone, or neither. */
export type Needs = "turn" | "delivery" | "nothing";

export interface LanesOptions<Item> extends Omit<SlotsOptions, "onFree"> {
  /** Lanes of one channel that may be busy at a time: the next ones wait, those of other channels do not. */
  readonly busyPerChannel: number;
  /** Called each time the item at the head of a lane might start. */
  readonly needs: (item: Item) => Needs;
  /** Whether nobody waits for the item: its turn comes after those of the next `PLACES_BEHIND` lanes. */
  readonly canWait?: (item: Item) => boolean;
  /** Starts an item. Must not throw, and calls `done` whatever happens. */
  readonly start: (item: Item, hold: Hold) => void;
  /** Called when a slot is free and no lane waits for it. */
  readonly onSpare?: (() => void) | undefined;
}

/** A client's lane: its items start one after another. */
export interface LaneKey {
  readonly lane: string;
  readonly channel: string;
}

/** A lane and a slot without an item; one of the two is called, once. */
export interface Reservation<Item> {
  start(item: Item): void;
  cancel(): void;
}

interface Lane<Item> {
  readonly channel: Channel;
  readonly queue: Item[];
  current: Item | undefined;
  isReserved: boolean;
}

interface Channel {
  /** Lanes whose item started and is not done, and reserved lanes. */
  busy: number;
  /** Lanes that wait, with the time at which each began to, the oldest first. */
  readonly forDelivery: Map<string, number>;
  readonly forTurn: Map<string, number>;
  /** Those whose turn can wait. */
  readonly forLater: Map<string, number>;
}

/** Lanes that may begin to wait after one whose turn can wait, and start before it. */
const PLACES_BEHIND = 1000;

/**
 * Items of one lane one after another, lanes side by side, and at most as many turns as there are slots.
 * Round robin: after one item a lane goes to the back of the queue, behind every lane that waits; one whose item
 * can wait goes further back. A lane
 * waits only while all slots are taken or its channel has `busyPerChannel` busy lanes.
 */
export class Lanes<Item> {
  readonly #options: LanesOptions<Item>;
  readonly #lanes = new Map<string, Lane<Item>>();
  readonly #channels = new Map<string, Channel>();
  readonly #slots: Slots;
  /** Orders the waiting lanes of all channels. */
  #time = 0;

  constructor(options: LanesOptions<Item>) {
    this.#options = options;
    this.#slots = new Slots({ ...options, onFree: this.#startWaiting });
  }

  add(key: LaneKey, item: Item): void {
    const lane = this.#lanes.get(key.lane) ?? this.#open(key);
    lane.queue.push(item);
    this.recheck(key.lane);
  }

  /** Takes an idle lane and a free slot for an item that follows soon; undefined when it would have to wait. */
  reserve(key: LaneKey): Reservation<Item> | undefined {
    const isFull = this.#isFull(this.#channelOf(key.channel));
    if (this.#lanes.has(key.lane) || this.#slots.free === 0 || isFull) return undefined;
    const lane = this.#open(key);
    lane.isReserved = true;
    const hold = this.#holdOf(key.lane, lane, true);
    return {
      start: (item) => {
        lane.isReserved = false;
        lane.current = item;
        this.#options.start(item, hold);
      },
      cancel() {
        lane.isReserved = false;
        hold.done();
      },
    };
  }

  /**
   * Items of the lane that did not start, and of `expected` further ones those that will have to wait: the
   * first item of an idle lane does not.
   */
  waiting(name: string, expected = 0): number {
    const lane = this.#lanes.get(name);
    return lane === undefined ? Math.max(0, expected - 1) : lane.queue.length + expected;
  }

  /** Whether the lane waits for the item of a reservation. */
  isReserved(name: string): boolean {
    return this.#lanes.get(name)?.isReserved ?? false;
  }

  /** The items of a lane: the started one first, then the waiting ones in order. */
  items(name: string): readonly Item[] {
    const { current, queue = [] } = this.#lanes.get(name) ?? {};
    return current === undefined ? [...queue] : [current, ...queue];
  }

  /** The item of a lane that has started. */
  current(name: string): Item | undefined {
    return this.#lanes.get(name)?.current;
  }

  /** The items of every lane, each lane's in the same order. */
  all(): readonly Item[] {
    return [...this.#lanes.keys()].flatMap((name) => this.items(name));
  }

  /** The items that did not start, lane by lane, the oldest lane first. */
  *allWaiting(): Generator<Item, void> {
    for (const { queue } of this.#lanes.values()) yield* queue;
  }

  /** Lanes that are not idle. */
  get size(): number {
    return this.#lanes.size;
  }

  /** Items that did not start. */
  get waitingItems(): number {
    return this.#lanes.values().reduce((sum, { queue }) => sum + queue.length, 0);
  }

  /** Free slots, whether a lane waits for them or not. */
  get free(): number {
    return this.#slots.free;
  }

  /** The names of the lanes whose item started or is expected to start. */
  started(): readonly string[] {
    const lanes = [...this.#lanes].filter(([, lane]) => lane.isReserved || lane.current);
    return lanes.map(([name]) => name);
  }

  /** Slots that no waiting lane will take; below 0 if more lanes wait than there are free slots. */
  get spare(): number {
    let { free } = this.#slots;
    for (const { forTurn, forLater } of this.#channels.values()) {
      free -= forTurn.size + forLater.size;
    }
    return free;
  }

  /** Starts the lane's first item if it needs less than before. */
  recheck(name: string): void {
    const lane = this.#lanes.get(name);
    if (lane === undefined || lane.isReserved || lane.current !== undefined) return;
    const [next] = lane.queue;
    if (next === undefined) {
      this.#lanes.delete(name);
      return;
    }
    const needs = this.#options.needs(next);
    const queue = this.#queueOf(next, needs, lane.channel);
    for (const each of queuesOf(lane.channel)) if (each !== queue) each.delete(name);
    if (queue !== undefined) {
      const behind = queue === lane.channel.forLater ? PLACES_BEHIND : 0;
      if (!queue.has(name)) queue.set(name, (this.#time += 1) + behind);
      return;
    }
    lane.queue.shift();
    lane.current = next;
    this.#options.start(next, this.#holdOf(name, lane, needs === "turn"));
  }

  /** Where the lane waits; undefined if it need not. */
  #queueOf(item: Item, needs: Needs, channel: Channel): Map<string, number> | undefined {
    const mustWait =
      (needs !== "nothing" && this.#isFull(channel)) ||
      (needs === "turn" && this.#slots.free === 0);
    if (!mustWait) return undefined;
    if (needs !== "turn") return channel.forDelivery;
    return this.#options.canWait?.(item) === true ? channel.forLater : channel.forTurn;
  }

  #open({ lane: name, channel }: LaneKey): Lane<Item> {
    const lane: Lane<Item> = {
      channel: this.#channelOf(channel),
      queue: [],
      current: undefined,
      isReserved: false,
    };
    this.#lanes.set(name, lane);
    return lane;
  }

  #channelOf(name: string): Channel {
    const channel = this.#channels.get(name) ?? {
      busy: 0,
      forDelivery: new Map<string, number>(),
      forTurn: new Map<string, number>(),
      forLater: new Map<string, number>(),
    };
    this.#channels.set(name, channel);
    return channel;
  }

  #isFull({ busy }: Channel): boolean {
    return busy >= this.#options.busyPerChannel;
  }

  readonly #startWaiting = (): void => {
    for (let name = this.#next(); name !== undefined; name = this.#next()) this.recheck(name);
    if (this.#slots.free > 0) this.#options.onSpare?.();
  };

  /** The lane that can start and has waited longest; lanes that need no slot go first. */
  #next(): string | undefined {
    let first: readonly [string, number] | undefined;
    for (const channel of this.#channels.values()) {
      if (this.#isFull(channel)) continue;
      const [delivery] = channel.forDelivery.keys();
      if (delivery !== undefined) return delivery;
      if (this.#slots.free === 0) continue;
      for (const [turn] of [channel.forTurn, channel.forLater]) {
        if (turn !== undefined && (first === undefined || turn[1] < first[1])) first = turn;
      }
    }
    return first?.[0];
  }

  #holdOf(name: string, lane: Lane<Item>, takesSlot: boolean): Hold {
    lane.channel.busy += 1;
    const hold = new Hold(this.#slots, takesSlot, () => {
      lane.current = undefined;
      lane.channel.busy -= 1;
      hold.turnEnded();
      this.#startWaiting();
      this.recheck(name);
    });
    return hold;
  }
}

function queuesOf({ forDelivery, forTurn, forLater }: Channel): readonly Map<string, number>[] {
  return [forDelivery, forTurn, forLater];
}

interface SlotsOptions {
  /** Concurrent turns. */
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
class Slots {
  readonly #options: SlotsOptions;
  readonly #returning = new Set<Hold>();
  /** Free slots. */
  free: number;
  #away = 0;

  constructor(options: SlotsOptions) {
    this.#options = options;
    this.free = options.slots;
  }

  /** Calls `run` after the time for which a waiting turn keeps its slot. */
  afterPatience(run: () => void): () => void {
    return this.#options.clock.after(PATIENCE_MS, run);
  }

  /** Frees the slot of a waiting turn; false when too many turns have done so. */
  lend(): boolean {
    if (this.#away >= this.#options.slots * AWAY_PER_SLOT) return false;
    this.#away += 1;
    this.release();
    return true;
  }

  /** Calls `regain` of the turn as soon as it has a slot again. */
  enqueue(turn: Hold): void {
    if (this.free > 0) this.#grant(turn);
    else this.#returning.add(turn);
  }

  /** A turn ends without a slot. */
  leave(turn: Hold): void {
    this.#returning.delete(turn);
    this.#away -= 1;
  }

  release(): void {
    this.free += 1;
    const [first] = this.#returning;
    if (first === undefined) this.#options.onFree();
    else this.#grant(first);
  }

  #grant(turn: Hold): void {
    this.leave(turn);
    this.free -= 1;
    turn.regain();
  }
}

/** What a started item holds: its lane and, for a turn, a slot. */
export class Hold {
  /** Whether the item took a slot. */
  readonly tookSlot: boolean;
  readonly #slots: Slots;
  readonly #freeLane: () => void;
  #slot: "held" | "lent" | "none";
  #isWaiting = false;
  #isDone = false;
  #resume: (() => void) | undefined;

  constructor(slots: Slots, takesSlot: boolean, freeLane: () => void) {
    this.tookSlot = takesSlot;
    this.#slots = slots;
    this.#freeLane = freeLane;
    this.#slot = takesSlot ? "held" : "none";
    if (takesSlot) slots.free -= 1;
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
    if (before === "held") this.#slots.release();
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
    if (!this.#slots.lend()) this.#slot = "held";
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
