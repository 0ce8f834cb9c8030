import {
  CONFIRMATION_COLUMNS,
  confirmationOf,
  confirmationText,
  confirmingClient,
  forgottenBefore,
} from "../confirmation-rows.ts";
import type {
  Confirmation,
  ConfirmationMove,
  ConfirmationState,
  ConfirmationStore,
  NewConfirmation,
} from "../contract/confirmations.ts";
import type { PostgresCommits } from "./group-commit.ts";
import { keyOf } from "./keys.ts";

/** The confirmations in a database that several gateways share. */
export class PostgresConfirmations implements ConfirmationStore {
  readonly #commits: PostgresCommits;
  readonly #now: () => number;

  constructor(commits: PostgresCommits, now: () => number) {
    this.#commits = commits;
    this.#now = now;
  }

  add(
    wanted: NewConfirmation,
    { ofClient, ofAll }: { readonly ofClient: number; readonly ofAll: number },
  ): Promise<boolean> {
    const client = confirmingClient(wanted);
    const work = async ({ query }: Parameters<Parameters<PostgresCommits["run"]>[0]>[0]) => {
      await query(SQL.forget, [forgottenBefore(this.#now())]);
      const values = [client, wanted.id, wanted.until, confirmationText(wanted), ofClient, ofAll];
      return (await query(SQL.add, values)).length > 0;
    };
    return this.#commits.run((tx) => tx.inOrder(() => work(tx)), {
      args: ["addConfirmation", wanted],
    });
  }

  async find(id: string): Promise<Confirmation | undefined> {
    const [row] = await this.#commits.read(SQL.find, [keyOf(id)]);
    return row && confirmationOf(row);
  }

  async open(): Promise<readonly Confirmation[]> {
    return (await this.#commits.read(SQL.open)).map(confirmationOf);
  }

  move(id: string, from: ConfirmationState, to: ConfirmationMove): Promise<boolean> {
    const { state, until = null, decidedBy } = to;
    const by = decidedBy === undefined ? null : JSON.stringify(decidedBy);
    const work = async ({ query }: Parameters<Parameters<PostgresCommits["run"]>[0]>[0]) =>
      (await query(SQL.move, [id, from, state, until, by])).length > 0;
    return this.#commits.run((tx) => tx.inOrder(() => work(tx)), {
      args: ["moveConfirmation", id, from, state, by],
    });
  }
}

const CLOSED = "state IN ('begun', 'informed')";
const SQL = {
  forget: `DELETE FROM picoclaw.confirmations WHERE ${CLOSED} AND until < $1`,
  add: `INSERT INTO picoclaw.confirmations (id, client, state, until, confirmation)
    SELECT $2, $1, 'waiting', $3::bigint, $4
    WHERE $5::int > (SELECT count(*) FROM picoclaw.confirmations WHERE NOT ${CLOSED} AND client = $1)
      AND $6::int > (SELECT count(*) FROM picoclaw.confirmations WHERE NOT ${CLOSED})
    RETURNING seq`,
  find: `SELECT ${CONFIRMATION_COLUMNS} FROM picoclaw.confirmations WHERE id = $1`,
  open: `SELECT ${CONFIRMATION_COLUMNS} FROM picoclaw.confirmations WHERE NOT ${CLOSED} ORDER BY seq`,
  move: `UPDATE picoclaw.confirmations SET state = $3, until = coalesce($4::bigint, until),
      decided_by = coalesce($5, decided_by)
    WHERE id = $1 AND state = $2 RETURNING seq`,
};
