import type { Intake } from "../../contract/cluster.ts";
import { arrayOf } from "../arrays.ts";
import type { Query } from "../connection/connections.ts";
import { keyOf, textOf } from "../keys.ts";

/** How long a lease holds, in the database's clock, and for how long its holder relies on it. */
const LEASE_MS = 4000;
const RELIED_ON_MS = 3000;

/** The intakes of one owner. */
export class Intakes {
  readonly #owner: string;
  readonly #query: Query;
  /** The number under which each is held; undefined if it is not. */
  readonly #epochs = new Map<string, number | undefined>();

  constructor(owner: string, query: Query) {
    this.#owner = owner;
    this.#query = query;
  }

  intake(name: string): Intake {
    const parameters = [keyOf(name), keyOf(this.#owner)];
    return {
      take: async () => {
        if (!this.#epochs.has(name)) this.#epochs.set(name, undefined);
        const [row] = await this.#query(SQL.take, [...parameters, LEASE_MS]);
        this.#epochs.set(name, row && Number(row["epoch"]));
        return row && RELIED_ON_MS;
      },
      release: async () => {
        this.#epochs.set(name, undefined);
        await this.#query(SQL.release, parameters);
      },
    };
  }

  async releaseAll(): Promise<void> {
    for (const name of this.#epochs.keys()) this.#epochs.set(name, undefined);
    await this.#query(SQL.releaseAll, [keyOf(this.#owner)]);
  }

  /**
   * Those of these channels of which this owner wanted the intake once and does not hold it. Nobody can take the
   * intakes of the others until the transaction ends.
   */
  async lost(query: Query, channels: ReadonlySet<string>): Promise<ReadonlySet<string>> {
    const wanted = new Map<string, string>();
    for (const name of this.#epochs.keys()) {
      for (const channel of channels) if (isIntakeOf(name, channel)) wanted.set(name, channel);
    }
    if (wanted.size === 0) return new Set();
    const names = [...wanted.keys()];
    const rows = await query(SQL.held, [
      arrayOf(names.map(keyOf)),
      arrayOf(names.map((name) => this.#epochs.get(name) ?? NOT_HELD)),
      keyOf(this.#owner),
    ]);
    for (const row of rows) wanted.delete(textOf(row["name"]));
    return new Set(wanted.values());
  }
}

/** The number of no lease. */
const NOT_HELD = -1;

/** The name of an intake is that of its channel, or that with a space and more. */
function isIntakeOf(name: string, channel: string): boolean {
  return name === channel || name.startsWith(`${channel} `);
}

const SQL = {
  take: `INSERT INTO picoclaw.intakes AS i (name, owner, epoch, until)
    SELECT $1, $2, 1, now() + make_interval(secs => $3::float8 / 1000)
    WHERE EXISTS (SELECT FROM picoclaw.owners WHERE owner = $2 AND alive)
    ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until,
      epoch = CASE i.owner WHEN excluded.owner THEN i.epoch ELSE i.epoch + 1 END
    WHERE i.owner = excluded.owner OR i.until <= now()
    RETURNING epoch`,
  release:
    "UPDATE picoclaw.intakes SET owner = '', until = '-infinity' WHERE name = $1 AND owner = $2",
  releaseAll: "UPDATE picoclaw.intakes SET owner = '', until = '-infinity' WHERE owner = $1",
  held: `SELECT i.name FROM picoclaw.intakes AS i
    JOIN unnest($1::text[], $2::bigint[]) AS w (name, epoch) ON w.name = i.name AND w.epoch = i.epoch
    WHERE i.owner = $3 ORDER BY i.name FOR SHARE OF i`,
};
