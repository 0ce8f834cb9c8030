import type { JoinedRequest, Polled } from "../cluster.ts";
import type { AbandonedRequest } from "../contract.ts";
import { fromJson } from "../json.ts";
import { ACCEPTED, ANSWERED, DELIVERED, REJECTED } from "../states.ts";
import { arrayOf } from "./arrays.ts";
import { ConflictError } from "./connection-errors.ts";
import type { Query } from "./connections.ts";
import { keyOf, textOf } from "./keys.ts";
import { abandonedOf, UNDELIVERED_COLUMNS } from "./request-rows.ts";

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

const unclaimed = (table: string): string =>
  `${table}.owner = '' AND ${table}.state < ${DELIVERED}`;
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
  claim: `INSERT INTO picoclaw.lanes (lane, owner) SELECT lane, $1 FROM unnest($2::text[]) AS n (lane) ORDER BY lane
    ON CONFLICT (lane) DO NOTHING RETURNING lane`,
  release: "DELETE FROM picoclaw.lanes WHERE owner = $1 AND lane = ANY ($2::text[])",
  stop: "INSERT INTO picoclaw.stops (owner, lane) SELECT * FROM unnest($1::text[], $2::text[])",
  hasWork: `SELECT EXISTS (SELECT FROM picoclaw.owners WHERE alive AND owner <> $1 AND until <= now())
      OR EXISTS (SELECT FROM picoclaw.requests AS r WHERE ${unclaimed("r")}
        AND (r.failed = ${REJECTED} OR coalesce(${OWNER_OF_LANE}, CASE WHEN $2::int > 0 THEN $1 END) = $1))
      OR EXISTS (SELECT FROM picoclaw.stops WHERE owner = $1)
      OR EXISTS (SELECT FROM picoclaw.joined AS j WHERE j.reported <> $1
        AND (SELECT r.owner FROM picoclaw.requests AS r WHERE r.seq = j.seq) = $1)
      AS has_work`,
  // Only the first request of a lane is locked, so that several owners take different lanes.
  claimMost: `WITH own AS (
      SELECT r.seq FROM picoclaw.requests AS r WHERE ${unclaimed("r")} AND ${OWNER_OF_LANE} = $1),
    rejected AS (
      SELECT seq FROM picoclaw.requests WHERE owner = '' AND state = ${ANSWERED} AND failed = ${REJECTED}
      ORDER BY seq LIMIT $3::int FOR UPDATE SKIP LOCKED),
    free AS (
      SELECT r.lane FROM picoclaw.requests AS r
      WHERE ${unclaimed("r")} AND failed < ${REJECTED}
        AND NOT EXISTS (SELECT FROM picoclaw.lanes AS l WHERE l.lane = r.lane)
        AND NOT EXISTS (SELECT FROM picoclaw.requests AS e
          WHERE e.lane = r.lane AND ${unclaimed("e")} AND e.failed < ${REJECTED} AND e.seq < r.seq)
      ORDER BY r.seq LIMIT $2::int FOR UPDATE SKIP LOCKED),
    claimed AS (
      INSERT INTO picoclaw.lanes (lane, owner) SELECT lane, $1 FROM free ORDER BY lane
      ON CONFLICT (lane) DO NOTHING RETURNING lane)
    UPDATE picoclaw.requests AS r SET owner = $1
    WHERE ${unclaimed("r")} AND (r.seq IN (SELECT seq FROM own) OR r.seq IN (SELECT seq FROM rejected)
      OR (r.failed < ${REJECTED} AND r.lane IN (SELECT lane FROM claimed)))
    RETURNING ${COLUMNS}`,
  dropStops: "DELETE FROM picoclaw.stops WHERE owner = $1 RETURNING lane",
  joined: `UPDATE picoclaw.joined AS j SET reported = $1 FROM picoclaw.requests AS r
    WHERE r.seq = j.seq AND r.owner = $1 AND j.reported <> $1 RETURNING ${COLUMNS}, j.address AS joined`,
  dropIdle: `DELETE FROM picoclaw.lanes AS l WHERE l.owner = $1 AND l.lane = ANY ($2::text[])
      AND NOT EXISTS (SELECT FROM picoclaw.requests AS r WHERE r.lane = l.lane AND r.state < ${DELIVERED}
        AND r.failed < ${REJECTED})`,
  kept: "SELECT lane FROM picoclaw.lanes WHERE owner = $1 AND lane = ANY ($2::text[])",
  leaveLanes: "DELETE FROM picoclaw.lanes WHERE owner = $1 AND lane <> ALL ($2::text[])",
  leaveRequests: `UPDATE picoclaw.requests SET owner = ''
    WHERE owner = $1 AND state < ${DELIVERED} AND lane <> ALL ($2::text[])`,
};
