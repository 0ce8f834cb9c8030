import type { DatabaseSync } from "node:sqlite";
import {
  CONFIRMATION_COLUMNS,
  confirmationOf,
  confirmationText,
  confirmingClient,
  forgottenBefore,
} from "../confirmation-rows.ts";
import type { ConfirmationStore } from "../contract/confirmations.ts";
import type { GroupCommit } from "../group-commit.ts";
import { lazyStatements } from "./database.ts";

/** The confirmations in a database of one machine. */
export function confirmationsIn(
  db: DatabaseSync,
  { run, read }: Pick<GroupCommit, "run" | "read">,
  now: () => number,
): ConfirmationStore {
  const sql = lazyStatements(db, SQL);
  return {
    add: (wanted, { ofClient, ofAll }) =>
      run(() => {
        sql("forget").run(forgottenBefore(now()));
        const client = confirmingClient(wanted);
        const counted = sql("counts").get(client);
        if (Number(counted?.["own"]) >= ofClient || Number(counted?.["open"]) >= ofAll)
          return false;
        sql("add").run(wanted.id, client, wanted.until, confirmationText(wanted));
        return true;
      }),
    find: (id) =>
      read(() => {
        const row = sql("find").get(id);
        return row && confirmationOf(row);
      }),
    open: () => read(() => sql("open").all().map(confirmationOf)),
    move: (id, from, { state, until = null, decidedBy }) =>
      run(() => {
        const by = decidedBy === undefined ? null : JSON.stringify(decidedBy);
        return Number(sql("move").run(state, until, by, id, from).changes) > 0;
      }),
  };
}

const CLOSED = "state IN ('begun', 'informed')";
const SQL = {
  forget: `DELETE FROM confirmations WHERE ${CLOSED} AND until < ?`,
  counts: `SELECT count(*) AS open, count(*) FILTER (WHERE client = ?) AS own FROM confirmations WHERE NOT ${CLOSED}`,
  add: "INSERT INTO confirmations (id, client, state, until, confirmation) VALUES (?, ?, 'waiting', ?, ?)",
  find: `SELECT ${CONFIRMATION_COLUMNS} FROM confirmations WHERE id = ?`,
  open: `SELECT ${CONFIRMATION_COLUMNS} FROM confirmations WHERE NOT ${CLOSED} ORDER BY seq`,
  move: `UPDATE confirmations SET state = ?, until = coalesce(?, until), decided_by = coalesce(?, decided_by)
       WHERE id = ? AND state = ?`,
};
