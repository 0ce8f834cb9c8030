import type { JoinedRequest, Polled } from "../../contract/cluster.ts";
import type { AbandonedRequest } from "../../contract/store.ts";
import { fromJson } from "../../json.ts";
import { ACCEPTED, ANSWERED, DELIVERED, REJECTED } from "../../states.ts";
import { arrayOf } from "../arrays.ts";
import { ConflictError } from "../connection/connection-errors.ts";
import type { Query } from "../connection/connections.ts";
import { keyOf, textOf } from "../keys.ts";
import { abandonedOf, UNDELIVERED_COLUMNS } from "../request-rows.ts";

/** A lane as a transaction sees it. */
export interface LaneState {
  owner: string | undefined;
  /** Its requests without an answer. */
  open: number;
  /** Those of them that have no owner. */
  unclaimed: number;
  /** Its requests without a delivered answer, but for rejections. */
  undelivered: number;
}

export interface LaneChanges {
  readonly claimed: Set<string>;
  readonly released: Set<string>;
  /** Lanes of other owners whose open requests are cancelled. */
  readonly stopped: { readonly lane: string; readonly owner: string }[];
}

/** The transaction may be tried again. */
const LANE_TAKEN = new ConflictError("another gateway has claimed a lane");

/** Of the locks of pushes. */
const PUSH_LOCK = 7_421_300_915_005;

/** Rejections that one poll claims. */
const REJECTIONS_AT_ONCE = 100;

export async function readLanes(
  query: Query,
  lanes: readonly string[],
): Promise<ReadonlyMap<string, LaneState>> {
  if (lanes.length === 0) return new Map();
  const rows = await query(SQL.states, [keysOf(lanes)]);
  const states = rows.map((row): [string, LaneState] => [
    textOf(row["lane"]),
    {
      owner: row["owner"] === null ? undefined : textOf(row["owner"]),
      open: Number(row["open"]),
      unclaimed: Number(row["unclaimed"]),
      undelivered: Number(row["undelivered"]),
    },
  ]);
  return new Map(states);
}

/**
 * Waits for the other gateways that store pushes for these lanes, until the end of the transaction: any gateway may
 * take a push, and of two that take the same one the second sees what the first wrote.
 */
export async function lockPushed(query: Query, lanes: readonly string[]): Promise<void> {
  await query(SQL.lockPushed, [keysOf(lanes)]);
}

/** Throws `LANE_TAKEN` if another owner has claimed one of the lanes meanwhile. */
export async function writeLanes(
  query: Query,
  owner: string,
  { claimed, released, stopped }: LaneChanges,
): Promise<void> {
  const self = keyOf(owner);
  const writes: Promise<unknown>[] = [];
  if (released.size > 0) writes.push(query(SQL.release, [self, keysOf(released)]));
  const claims = claimed.size > 0 ? query(SQL.claim, [self, keysOf(claimed)]) : undefined;
  if (stopped.length > 0) {
    const owners = keysOf(stopped.map((each) => each.owner));
    writes.push(query(SQL.stop, [owners, keysOf(stopped.map(({ lane }) => lane))]));
  }
  await Promise.all([claims, ...writes]);
  if (((await claims)?.length ?? 0) < claimed.size) throw LANE_TAKEN;
}

function keysOf(texts: Iterable<string>): string {
  return arrayOf([...texts].map(keyOf));
}

/** Whether a poll may find anything; reads only. */
export async function hasWork(query: Query, owner: string, lanes: number): Promise<boolean> {
  const [row] = await query(SQL.hasWork, [keyOf(owner), lanes]);
  return row?.["has_work"] === true;
}

/**
 * Claims requests without an owner: those in lanes of this owner, those of so many further lanes, and a part of the
 * rejections.
 */
export async function claimLanes(
  query: Query,
  owner: string,
  lanes: number,
): Promise<readonly AbandonedRequest[]> {
  const rows = await query(SQL.claimMost, [keyOf(owner), lanes, REJECTIONS_AT_ONCE]);
  return inOrder(rows.map(abandonedOf));
}

/** Claims all requests without an owner, but for those in lanes of others; rejections are not returned. */
export async function claimAll(query: Query, owner: string): Promise<readonly AbandonedRequest[]> {
  const rows = await query(SQL.claimMost, [keyOf(owner), null, null]);
  return inOrder(rows.filter((row) => row["failed"] !== REJECTED).map(abandonedOf));
}

/** What others want from this owner since it was asked last. */
export async function readSignals(
  query: Query,
  owner: string,
): Promise<Pick<Polled, "stopped" | "joined">> {
  const [stops, joined] = await Promise.all([
    query(SQL.dropStops, [keyOf(owner)]),
    query(SQL.joined, [keyOf(owner)]),
  ]);
  const requests = joined.map((row): JoinedRequest => {
    const { claim, request } = abandonedOf(row);
    return { claim, request, to: fromJson(row["joined"]) };
  });
  return {
    stopped: [...new Set(stops.map((row) => textOf(row["lane"])))],
    joined: inOrder(requests),
  };
}

/** Gives up those of the lanes that have nothing undelivered; returns the others. */
export async function dropIdle(
  query: Query,
  owner: string,
  lanes: readonly string[],
): Promise<readonly string[]> {
  if (lanes.length === 0) return [];
  const parameters = [keyOf(owner), keysOf(lanes)];
  const [, kept] = await Promise.all([
    query(SQL.dropIdle, parameters),
    query(SQL.kept, parameters),
  ]);
  return kept.map((row) => textOf(row["lane"]));
}

/** Gives up all lanes but these, with their requests. */
export async function leaveLanes(
  query: Query,
  owner: string,
  except: readonly string[],
): Promise<void> {
  const parameters = [keyOf(owner), keysOf(except)];
  await Promise.all([query(SQL.leaveLanes, parameters), query(SQL.leaveRequests, parameters)]);
}

function inOrder<T extends Pick<AbandonedRequest, "claim">>(requests: readonly T[]): readonly T[] {
  return requests.toSorted((a, b) => a.claim.seq - b.claim.seq);
}

const waiting = (table: string): string =>
  `${table}.owner = '' AND ${table}.state < ${DELIVERED} AND ${table}.failed < ${REJECTED}`;
/** The numbers of a lane's requests that wait for an owner; `OFFSET` has them looked up for each lane. */
const waitingIn = (lane: string): string =>
  `(SELECT w.seq FROM picoclaw.requests AS w WHERE w.lane = ${lane} AND ${waiting("w")} OFFSET 0)`;
const REJECTION = `owner = '' AND state = ${ANSWERED} AND failed = ${REJECTED}`;
/** Looked up for each request: a join may read all lanes. */
const OWNER_OF_LANE = "(SELECT l.owner FROM picoclaw.lanes AS l WHERE l.lane = r.lane)";
const COLUMNS = UNDELIVERED_COLUMNS.split(", ")
  .map((column) => `r.${column}`)
  .join(", ");

const SQL = {
  states: `SELECT n.lane, l.owner, r.open, r.unclaimed, r.undelivered
    FROM unnest($1::text[]) AS n (lane)
    LEFT JOIN picoclaw.lanes AS l USING (lane)
    CROSS JOIN LATERAL (SELECT
        count(*) FILTER (WHERE state = ${ACCEPTED}) AS open,
        count(*) FILTER (WHERE state = ${ACCEPTED} AND owner = '') AS unclaimed,
        count(*) FILTER (WHERE failed < ${REJECTED}) AS undelivered
      FROM picoclaw.requests WHERE lane = n.lane AND state < ${DELIVERED}) AS r`,
  lockPushed: `SELECT pg_advisory_xact_lock(key) FROM (
      SELECT DISTINCT hashtextextended(lane, ${PUSH_LOCK}) AS key FROM unnest($1::text[]) AS lane ORDER BY key) AS keys`,
  claim: `INSERT INTO picoclaw.lanes (lane, owner) SELECT lane, $1 FROM unnest($2::text[]) AS n (lane) ORDER BY lane
    ON CONFLICT (lane) DO NOTHING RETURNING lane`,
  release: "DELETE FROM picoclaw.lanes WHERE owner = $1 AND lane = ANY ($2::text[])",
  stop: "INSERT INTO picoclaw.stops (owner, lane) SELECT * FROM unnest($1::text[], $2::text[])",
  hasWork: `SELECT EXISTS (SELECT FROM picoclaw.owners WHERE alive AND owner <> $1 AND until <= now())
      OR EXISTS (SELECT FROM picoclaw.requests WHERE ${REJECTION})
      OR EXISTS (SELECT FROM picoclaw.lanes AS l, LATERAL ${waitingIn("l.lane")} AS r WHERE l.owner = $1)
      OR ($2::int > 0 AND EXISTS (SELECT FROM picoclaw.requests AS r WHERE ${waiting("r")} AND ${OWNER_OF_LANE} IS NULL))
      OR EXISTS (SELECT FROM picoclaw.stops WHERE owner = $1)
      OR EXISTS (SELECT FROM picoclaw.joined AS j WHERE j.reported <> $1
        AND (SELECT r.owner FROM picoclaw.requests AS r WHERE r.seq = j.seq) = $1)
      AS has_work`,
  // Thousands of requests may wait, of which few are claimed: those are looked up one by one. `IS TRUE` keeps the
  // planner from indexes that have all of them in another order. Only the first request of a lane is locked, so that
  // several owners take different lanes.
  claimMost: `WITH rejected AS (
      SELECT seq FROM picoclaw.requests WHERE ${REJECTION} ORDER BY seq LIMIT $3::int FOR UPDATE SKIP LOCKED),
    free AS (
      SELECT r.lane FROM picoclaw.requests AS r
      WHERE r.owner = '' AND r.state < ${DELIVERED} AND (r.failed < ${REJECTED}) IS TRUE
        AND ${OWNER_OF_LANE} IS NULL AND r.seq = (SELECT w.seq
        FROM picoclaw.requests AS w WHERE w.lane = r.lane AND ${waiting("w")} ORDER BY w.seq LIMIT 1)
      ORDER BY r.seq LIMIT $2::int FOR UPDATE SKIP LOCKED),
    claimed AS (
      INSERT INTO picoclaw.lanes (lane, owner) SELECT lane, $1 FROM free ORDER BY lane
      ON CONFLICT (lane) DO NOTHING RETURNING lane),
    own AS (SELECT lane FROM picoclaw.lanes WHERE owner = $1 UNION ALL SELECT lane FROM claimed),
    found AS (SELECT seq FROM rejected UNION ALL SELECT r.seq FROM own, LATERAL ${waitingIn("own.lane")} AS r)
    UPDATE picoclaw.requests AS r SET owner = $1
    WHERE r.seq = ANY (ARRAY (SELECT seq FROM found)) AND (r.owner = '') IS TRUE AND r.state < ${DELIVERED}
    RETURNING ${COLUMNS}`,
  dropStops: "DELETE FROM picoclaw.stops WHERE owner = $1 RETURNING lane",
  // Few requests have further addresses: those are looked through, and not what the owner holds.
  joined: `WITH found AS MATERIALIZED (
      SELECT j.id FROM picoclaw.joined AS j WHERE j.reported <> $1
        AND (SELECT r.owner FROM picoclaw.requests AS r WHERE r.seq = j.seq) = $1)
    UPDATE picoclaw.joined AS j SET reported = $1 FROM found, picoclaw.requests AS r
    WHERE j.id = found.id AND r.seq = j.seq AND r.owner = $1 AND j.reported <> $1
    RETURNING ${COLUMNS}, j.address AS joined`,
  dropIdle: `DELETE FROM picoclaw.lanes AS l WHERE l.owner = $1 AND l.lane = ANY ($2::text[])
      AND NOT EXISTS (SELECT FROM picoclaw.requests AS r WHERE r.lane = l.lane AND r.state < ${DELIVERED}
        AND r.failed < ${REJECTED})`,
  kept: "SELECT lane FROM picoclaw.lanes WHERE owner = $1 AND lane = ANY ($2::text[])",
  leaveLanes: "DELETE FROM picoclaw.lanes WHERE owner = $1 AND lane <> ALL ($2::text[])",
  leaveRequests: `UPDATE picoclaw.requests SET owner = ''
    WHERE owner = $1 AND state < ${DELIVERED} AND lane <> ALL ($2::text[])`,
};
