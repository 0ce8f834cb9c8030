import { Hold, Slots, type SlotsOptions, type Takes } from "./slots.ts";

/** What an item needs to start: its channel's capacity and a slot, the capacity alone, or neither. */
export type Needs = "turn" | "delivery" | "nothing";

export interface LanesOptions<Item> extends Omit<SlotsOptions, "onFree"> {
  /** Lanes of one channel that may be busy at a time: the next ones wait, those of other channels do not. */
  readonly busyPerChannel: number;
  /** Called each time the item at the head of a lane might start. */
  readonly needs: (item: Item) => Needs;
  /**
   * Whether nobody waits for the item: its turn comes after those of the next `PLACES_BEHIND` lanes, and takes any
   * slot but one.
   */
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
 * can wait goes further back. A lane waits only while all slots are taken or its channel has `busyPerChannel` busy
 * lanes.
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
  reserve(key: LaneKey, canWait = false): Reservation<Item> | undefined {
    const isFull = this.#isFull(this.#channelOf(key.channel));
    if (this.#lanes.has(key.lane) || isFull || !this.#slots.isFree(canWait)) return undefined;
    const lane = this.#open(key);
    lane.isReserved = true;
    const hold = this.#holdOf(key.lane, lane, canWait ? "slot for later" : "slot");
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
    const slot = this.#canWait(next) ? "slot for later" : "slot";
    this.#options.start(next, this.#holdOf(name, lane, needs === "turn" ? slot : "nothing"));
  }

  /** Where the lane waits; undefined if it need not. */
  #queueOf(item: Item, needs: Needs, channel: Channel): Map<string, number> | undefined {
    const mustWait =
      (needs !== "nothing" && this.#isFull(channel)) ||
      (needs === "turn" && !this.#slots.isFree(this.#canWait(item)));
    if (!mustWait) return undefined;
    if (needs !== "turn") return channel.forDelivery;
    return this.#canWait(item) ? channel.forLater : channel.forTurn;
  }

  #canWait(item: Item): boolean {
    return this.#options.canWait?.(item) === true;
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
      for (const canWait of [false, true]) {
        if (!this.#slots.isFree(canWait)) continue;
        const [turn] = canWait ? channel.forLater : channel.forTurn;
        if (turn !== undefined && (first === undefined || turn[1] < first[1])) first = turn;
      }
    }
    return first?.[0];
  }

  #holdOf(name: string, lane: Lane<Item>, takes: Takes): Hold {
    lane.channel.busy += 1;
    const hold = new Hold(this.#slots, takes, () => {
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
