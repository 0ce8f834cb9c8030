import type { StoreBounds } from "../contract/store.ts";
import { HeldSizes, heldOf } from "../held-sizes.ts";
import { REJECTED } from "../states.ts";
import { arrayOf } from "./arrays.ts";
import type { Query } from "./connection/connections.ts";
import { keyOf, textOf } from "./keys.ts";

/**
 * The room for further requests. What is held is in memory: at least what this owner knows of. It is read when one
 * more would not fit, and anew after each purge, because others write, too.
 */
export class Room {
  readonly #held: HeldSizes;

  constructor(bounds: StoreBounds) {
    this.#held = new HeldSizes(bounds);
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
    const unknown = [...ofLanes].filter(([lane, more]) => this.#held.needsLane(lane, more));
    await Promise.all([
      this.#held.needsAll(ofAll)
        ? query(SQL.held).then(([row]) => (this.#held.all = heldOf(row)))
        : undefined,
      unknown.length > 0 &&
        this.#readLanes(
          query,
          unknown.map(([lane]) => lane),
        ),
    ]);
  }

  /** Whether one more fits, after `prepare`. */
  has(lane: string, bytes: number): boolean {
    return this.#held.fits(lane, { rows: 1, bytes });
  }

  /** Adds to what is held by all and by a lane. */
  count(lane: string, rows: number, bytes: number): void {
    this.#held.count(lane, rows, bytes);
  }

  /** What is held may be less, or more, than was known. */
  forget(): void {
    this.#held.forget();
  }

  async #readLanes(query: Query, lanes: readonly string[]): Promise<void> {
    const rows = await query(SQL.heldOfLanes, [arrayOf(lanes.map(keyOf))]);
    const read = new Map(rows.map((row) => [textOf(row["lane"]), heldOf(row)]));
    this.#held.setLanes(new Map(lanes.map((lane) => [lane, read.get(lane) ?? heldOf(undefined)])));
  }
}

const SIZE = "count(*) AS rows, coalesce(sum(bytes), 0) AS bytes FROM picoclaw.requests";
const SQL = {
  held: `SELECT ${SIZE} WHERE failed < ${REJECTED}`,
  heldOfLanes: `SELECT lane, ${SIZE} WHERE lane = ANY ($1::text[]) AND failed < ${REJECTED} GROUP BY lane`,
};
