import type { StoreBounds } from "./contract/store.ts";

interface Size {
  readonly rows: number;
  readonly bytes: number;
}

/** What counts against the bounds. */
export interface Held {
  rows: number;
  bytes: number;
  /** It was read, and there is no reason to read it again: nothing was taken, delivered or deleted since. */
  isRead: boolean;
}

/** Lanes whose sizes are in memory; those of others are read with each request. */
const COUNTED_LANES = 1024;

/**
 * At least what counts against the bounds, in memory: of all requests, and of the lanes that were used last. What was
 * added since it was read may not be written, or deleted already. It has to be read again when one more would not fit.
 */
export class HeldSizes {
  readonly #mostOfAll: Size;
  readonly #mostOfLane: Size;
  readonly #lanes = new Map<string, Held>();
  /** Of all requests; undefined while that is not known. */
  all: Held | undefined;

  constructor({ rows, bytes, laneRows, laneBytes }: StoreBounds) {
    this.#mostOfAll = { rows, bytes };
    this.#mostOfLane = { rows: laneRows, bytes: laneBytes };
  }

  lane(lane: string): Held | undefined {
    return this.#lanes.get(lane);
  }

  /** Keeps what these lanes hold, and forgets others in their place. */
  setLanes(lanes: ReadonlyMap<string, Held>): void {
    for (const [lane, held] of lanes) {
      this.#lanes.delete(lane);
      this.#lanes.set(lane, held);
    }
    for (const oldest of this.#lanes.keys()) {
      if (this.#lanes.size <= COUNTED_LANES || lanes.has(oldest)) break;
      this.#lanes.delete(oldest);
    }
  }

  /** Whether all has to be read to know if more fits. */
  needsAll(more: Size): boolean {
    return this.all?.isRead !== true && !isWithin(this.all, more, this.#mostOfAll);
  }

  needsLane(lane: string, more: Size): boolean {
    const held = this.#lanes.get(lane);
    return held?.isRead !== true && !isWithin(held, more, this.#mostOfLane);
  }

  /** Whether more fits, as far as it is known. */
  fits(lane: string, more: Size): boolean {
    const own = this.#lanes.get(lane);
    return isWithin(this.all, more, this.#mostOfAll) && isWithin(own, more, this.#mostOfLane);
  }

  /** Adds to what is held by all and by a lane. */
  count(lane: string, rows: number, bytes: number): void {
    for (const held of [this.all, this.#lanes.get(lane)]) {
      if (held === undefined) continue;
      held.rows += rows;
      held.bytes += bytes;
      // To add up all reads the whole table, so a full store is read once until something is taken or deleted.
      held.isRead &&= held === this.all && rows === 0;
    }
  }

  /** It may be less than was known. */
  mayBeLess(): void {
    for (const held of [this.all, ...this.#lanes.values()]) if (held) held.isRead = false;
  }

  /** It may be less, or more, than was known. */
  forget(): void {
    this.all = undefined;
    this.#lanes.clear();
  }
}

function isWithin(held: Held | undefined, more: Size, most: Size): boolean {
  if (held === undefined) return false;
  return held.rows + more.rows <= most.rows && held.bytes + more.bytes <= most.bytes;
}

/** The size in a row that was read; nothing without a row. */
export function heldOf(row: Readonly<Record<string, unknown>> | undefined): Held {
  return { rows: Number(row?.["rows"] ?? 0), bytes: Number(row?.["bytes"] ?? 0), isRead: true };
}
