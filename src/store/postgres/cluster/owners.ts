import { Failure } from "../../../base/failure.ts";
import { DELIVERED } from "../../states.ts";
import type { Query } from "../connection/connections.ts";
import { keyOf } from "../keys.ts";
import { leaveLanes } from "./lanes.ts";

/** Makes this owner known to the others; it lives from now on. */
export async function openOwner(query: Query, owner: string, leaseMs: number): Promise<void> {
  await query(SQL.open, [keyOf(owner), leaseMs]);
}

/** Whether this owner lives; nobody can take it for dead until the transaction ends. */
export async function lockOwner(query: Query, owner: string): Promise<boolean> {
  const [row] = await query(SQL.lock, [keyOf(owner)]);
  return row?.["alive"] === true;
}

/** False if this owner is dead. */
export async function renewOwner(query: Query, owner: string, leaseMs: number): Promise<boolean> {
  return (await query(SQL.renew, [keyOf(owner), leaseMs])).length > 0;
}

/** For calls that only a living owner may make. */
export function ownerIsDead(): Failure {
  return new Failure("fenced", "other gateways take this one for dead", {
    why: "it could not reach the database for too long",
  });
}

/** Makes owners dead whose lease is over, or all others: what they held has no owner from then on. */
export async function buryOwners(query: Query, owner: string, all = false): Promise<void> {
  await query(SQL.bury, [keyOf(owner), all]);
}

/** Makes this owner dead. */
export async function buryOwn(query: Query, owner: string): Promise<void> {
  await Promise.all([query(SQL.die, [keyOf(owner)]), leaveLanes(query, owner, [])]);
}

/** Forgets owners that are dead for long, and signals to dead ones. */
export async function dropDeadOwners(query: Query): Promise<void> {
  await Promise.all([query(SQL.dropDead), query(SQL.dropStops)]);
}

const SQL = {
  open: `INSERT INTO picoclaw.owners (owner, until)
    VALUES ($1, now() + make_interval(secs => $2::float8 / 1000)) ON CONFLICT (owner) DO NOTHING`,
  lock: "SELECT alive FROM picoclaw.owners WHERE owner = $1 FOR SHARE",
  renew: `UPDATE picoclaw.owners SET until = now() + make_interval(secs => $2::float8 / 1000)
    WHERE owner = $1 AND alive RETURNING owner`,
  // An owner whose row is locked writes at this moment, so it lives.
  bury: `WITH dead AS (
      UPDATE picoclaw.owners SET alive = false WHERE owner IN (
        SELECT owner FROM picoclaw.owners WHERE alive AND owner <> $1 AND ($2 OR until <= now())
        FOR UPDATE SKIP LOCKED)
      RETURNING owner),
    dropped_lanes AS (DELETE FROM picoclaw.lanes USING dead WHERE lanes.owner = dead.owner),
    dropped_stops AS (DELETE FROM picoclaw.stops USING dead WHERE stops.owner = dead.owner)
    UPDATE picoclaw.requests AS r SET owner = '' FROM dead WHERE r.owner = dead.owner AND r.state < ${DELIVERED}`,
  die: "UPDATE picoclaw.owners SET alive = false WHERE owner = $1",
  dropStops: `DELETE FROM picoclaw.stops AS s
    WHERE NOT EXISTS (SELECT FROM picoclaw.owners AS o WHERE o.owner = s.owner AND o.alive)`,
  // A claim of an unknown owner would hold for ever.
  dropDead: `DELETE FROM picoclaw.owners WHERE NOT alive AND until <= now() - interval '1 day'
    AND owner NOT IN (SELECT claimed_by FROM picoclaw.jobs)`,
};
