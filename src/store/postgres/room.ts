import type { StoreBounds } from "../contract.ts";
import { REJECTED } from "../states.ts";
import { arrayOf } from "./arrays.ts";
import type { Query } from "./connections.ts";
import { keyOf, textOf } from "./keys.ts";
import type { Row } from "./session.ts";

interface Held {
  rows: number;
  bytes: number;
  /** It was read, and there is no reason to read it again: nothing was taken, delivered or deleted since. */
  isRead: boolean;
}

/** Lanes whose held bytes are in memory. */
const COUNTED_LANES = 1024;

/**
 * The room for further requests. What is held is in memory: at least what this owner knows of. It is read when one
 * more would not fit, and anew after each purge, because others write, too.
 */
export class Room {
  readonly #bounds: StoreBounds;
  #all: Held | undefined;
  readonly #lanes = new Map<string, Held>();

  constructor(bounds: StoreBounds) {
    this.#bounds = bounds;
  }

  /** Reads what is not known, or does not suffice, for requests of these lanes and sizes. */
  async prepare(
    query: Query,
    wanted: readonly { readonly lane: string; readonly bytes: number }[],
  ): Promise<void> {
    const ofLanes = new Map<string, { rows: number; bytes: number }>();
    const ofAll = { rows: 0, bytes: 0 };
    for (const { lane, bytes } of wanted) {
      const ofLane = ofLanes.get(lane) ?? { rows: 0, bytes: 0 };
      ofLanes.set(lane, ofLane);
      for (const sum of [ofAll, ofLane]) {
        sum.rows += 1;
        sum.bytes += bytes;
      }
    }
    const unknown = [...ofLanes].filter(([lane, more]) => {
      const held = this.#lanes.get(lane);
      return held === undefined || !(held.isRead || this.#fitsLane(held, more));
    });
    await Promise.all([
      this.#all !== undefined && (this.#all.isRead || this.#fitsAll(this.#all, ofAll))
        ? undefined
        : query(SQL.held).then(([row]) => (this.#all = heldOf(row))),
      unknown.length > 0 &&
        this.#readLanes(
          query,
          unknown.map(([lane]) => lane),
        ),
    ]);
  }

  /** Whether one more fits, after `prepare`. */
  has(lane: string, bytes: number): boolean {
    const [all, own] = [this.#all, this.#lanes.get(lane)];
    const more = { rows: 1, bytes };
    return (
      all !== undefined &&
      own !== undefined &&
      this.#fitsAll(all, more) &&
      this.#fitsLane(own, more)
    );
  }

  /** Adds to what is held by all and by a lane. */
  count(lane: string, rows: number, bytes: number): void {
    for (const held of [this.#all, this.#lanes.get(lane)]) {
      if (held === undefined) continue;
      held.rows += rows;
      held.bytes += bytes;
      // To add up all reads the whole table, so a full store is read once until something is taken or deleted.
      held.isRead &&= held === this.#all && rows === 0;
    }
  }

  /** What is held may be less, or more, than was known. */
  forget(): void {
    this.#all = undefined;
    this.#lanes.clear();
  }

  async #readLanes(query: Query, lanes: readonly string[]): Promise<void> {
    const rows = await query(SQL.heldOfLanes, [arrayOf(lanes.map(keyOf))]);
    const read = new Map(rows.map((row) => [textOf(row["lane"]), heldOf(row)]));
    for (const lane of lanes) {
      this.#lanes.delete(lane);
      this.#lanes.set(lane, read.get(lane) ?? heldOf(undefined));
    }
    for (const oldest of this.#lanes.keys()) {
      if (this.#lanes.size <= COUNTED_LANES || lanes.includes(oldest)) break;
      this.#lanes.delete(oldest);
    }
  }

  #fitsAll(held: Held, more: Omit<Held, "isRead">): boolean {
    const { rows, bytes } = this.#bounds;
    return held.rows + more.rows <= rows && held.bytes + more.bytes <= bytes;
  }

  #fitsLane(held: Held, more: Omit<Held, "isRead">): boolean {
    const { laneRows, laneBytes } = this.#bounds;
    return held.rows + more.rows <= laneRows && held.bytes + more.bytes <= laneBytes;
  }
}

function heldOf(row: Row | undefined): Held {
  return { rows: Number(row?.["rows"] ?? 0), bytes: Number(row?.["bytes"] ?? 0), isRead: true };
}

const SIZE = "count(*) AS rows, coalesce(sum(bytes), 0) AS bytes FROM picoclaw.requests";
const SQL = {
  held: `SELECT ${SIZE} WHERE failed < ${REJECTED}`,
  heldOfLanes: `SELECT lane, ${SIZE} WHERE lane = ANY ($1::text[]) AND failed < ${REJECTED} GROUP BY lane`,
};
