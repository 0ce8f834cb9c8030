import { isObject } from "../../../base/unknown.ts";
import type { Cluster, ClusterGateway, Polled } from "../../contract/cluster.ts";
import { fromJson } from "../../json.ts";
import type { Connections, Query, Transaction } from "../connection/connections.ts";
import { sendHint } from "../connection/hints.ts";
import type { PostgresCommits } from "../group-commit.ts";
import { keyOf, textOf } from "../keys.ts";
import type { HeldLanes } from "./held-lanes.ts";
import type { Intakes } from "./intakes.ts";
import { claimLanes, dropIdle, hasWork, leaveLanes, readSignals } from "./lanes.ts";
import { buryOwners } from "./owners.ts";

export interface ClusterOptions {
  readonly owner: string;
  readonly connections: Connections;
  readonly commits: PostgresCommits;
  readonly intakes: Intakes;
  readonly held: HeldLanes;
  /** Polls in a transaction of other calls; undefined if one of those polls. */
  readonly poll: (lanes: number) => Promise<PollResult | undefined>;
  /** Calls a listener with whom a hint is for, "" is all. */
  readonly onHint: (listener: (to: string) => void) => () => void;
}

/** What tells that a poll is made again: any poll returns what an earlier one has claimed. */
export const POLL_ARGS = ["poll"];

export interface PollResult {
  readonly polled: Polled;
  /** Lanes that were not used for long, and those of them that have undelivered requests. */
  readonly idle: readonly string[];
  readonly kept: readonly string[];
}

const NOTHING: Polled = { claimed: [], stopped: [], joined: [] };

/**
 * Milliseconds for which a lane stays without an open request; shorter when this owner has no room: others may have
 * some for the next request.
 */
function idleMsOf(lanes: number): number {
  return lanes === 0 ? 1000 : 30_000;
}

/** The lanes of requests that a poll has claimed without its caller knowing it. */
export function unreportedLanes(commits: PostgresCommits): ReadonlySet<string> {
  const lanes = new Set<string>();
  for (const result of commits.unreported(POLL_ARGS)) {
    if (!isPollResult(result)) continue;
    for (const { request } of result.polled.claimed) lanes.add(request.lane);
  }
  return lanes;
}

function isPollResult(result: unknown): result is PollResult {
  return isObject(result) && "polled" in result;
}

/** Claims lanes, and gives up those that were not used for long. */
export async function pollLanes(
  query: Query,
  owner: string,
  lanes: number,
  held: HeldLanes,
): Promise<PollResult> {
  const idle = held.idle(idleMsOf(lanes));
  const [, claimed, signals, kept] = await Promise.all([
    buryOwners(query, owner),
    claimLanes(query, owner, lanes),
    readSignals(query, owner),
    dropIdle(query, owner, idle),
  ]);
  return { polled: { claimed, ...signals }, idle, kept };
}

export function clusterOf(options: ClusterOptions): Cluster {
  const { owner, connections, commits, intakes, held, onHint } = options;
  const self = keyOf(owner);
  /** The last poll claimed as many lanes as it could. */
  let hasMore = false;
  const poll = async (lanes: number): Promise<Polled> => {
    const isExpected =
      (hasMore && lanes > 0) ||
      commits.unreported(POLL_ARGS).length > 0 ||
      held.idle(idleMsOf(lanes)).length > 0;
    if (!isExpected && !(await hasWork((...all) => commits.read(...all), owner, lanes)))
      return NOTHING;
    const result = await options.poll(lanes);
    if (result === undefined) return NOTHING;
    const { polled, idle, kept } = result;
    held.drop(idle);
    for (const lane of kept) held.use(lane);
    for (const { request } of polled.claimed) held.use(request.lane);
    hasMore = lanes > 0 && new Set(polled.claimed.map(({ request }) => request.lane)).size >= lanes;
    return polled;
  };
  return {
    owner,
    poll,
    async leave(except) {
      await intakes.releaseAll();
      const work = async ({ query }: Transaction): Promise<void> => {
        await Promise.all([leaveLanes(query, owner, except), sendHint(query, "")]);
      };
      await commits.run(work, { args: ["leave", except] });
      held.keep(except);
    },
    intake: (name) => intakes.intake(name),
    async identity() {
      const id = crypto.getRandomValues(Buffer.alloc(4)).toString("hex");
      await connections.read(SQL.identify, [id]);
      const [row] = await connections.read(SQL.identity);
      return String(row?.["id"]);
    },
    onHint: (listener) =>
      onHint((to) => {
        if (to === "" || to === self) listener();
      }),
    async announce(about) {
      await connections.read(SQL.announce, [self, JSON.stringify(about)]);
    },
    gateways: () => livingGateways(connections),
  };
}

/** Also for who is none of them. */
export async function livingGateways(
  connections: Pick<Connections, "read">,
): Promise<readonly ClusterGateway[]> {
  const rows = await connections.read(SQL.gateways);
  return rows.map((row) => ({
    owner: textOf(row["owner"]),
    about: row["about"] === null ? undefined : fromJson(row["about"]),
    intakes: fromJson<string[]>(row["intakes"]).map(textOf),
    lanes: Number(row["lanes"]),
  }));
}

/**
 * Whether the database has standbys, and commits wait for none of them: what was committed last is lost when one is
 * promoted. Needs no rights. False where a provider does not let it be seen.
 */
export async function hasOnlyAsynchronousStandbys(
  connections: Pick<Connections, "read">,
): Promise<boolean> {
  const [row] = await connections.read(SQL.standbys).catch(() => []);
  return row?.["only_asynchronous"] === true;
}

const SQL = {
  // Without rights a role sees of a standby only that it is there.
  standbys: `SELECT (current_setting('synchronous_standby_names') = ''
        OR current_setting('synchronous_commit') IN ('off', 'local'))
      AND EXISTS (SELECT FROM pg_stat_replication AS s
        WHERE s.application_name NOT IN ('pg_basebackup', 'pg_receivewal')
          AND NOT EXISTS (SELECT FROM pg_replication_slots AS l
            WHERE l.active_pid = s.pid AND l.slot_type = 'logical')) AS only_asynchronous`,
  identify: "INSERT INTO picoclaw.identity (id) VALUES ($1) ON CONFLICT DO NOTHING",
  identity: "SELECT id FROM picoclaw.identity",
  announce: "UPDATE picoclaw.owners SET about = $2 WHERE owner = $1",
  gateways: `SELECT o.owner, o.about,
      (SELECT count(*) FROM picoclaw.lanes AS l WHERE l.owner = o.owner) AS lanes,
      (SELECT coalesce(json_agg(i.name), '[]')::text FROM picoclaw.intakes AS i
        WHERE i.owner = o.owner AND i.until > now()) AS intakes
    FROM picoclaw.owners AS o WHERE o.alive AND o.until > now()`,
};
