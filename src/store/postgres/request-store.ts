import type { Cluster } from "../contract/cluster.ts";
import type { ConversationStore } from "../contract/conversations.ts";
import type { CounterStore } from "../contract/counters.ts";
import type {
  AbandonedRequest,
  Claim,
  JoinedAddress,
  Store,
  StoreOptions,
} from "../contract/store.ts";
import { ANSWERED, DELIVERED, MAX_JOINED, REJECTED } from "../states.ts";
import { arrayOf } from "./arrays.ts";
import { clusterOf, POLL_ARGS, pollLanes, unreportedLanes } from "./cluster/cluster.ts";
import type { ClusterOptions, PollResult } from "./cluster/cluster.ts";
import { HeldLanes } from "./cluster/held-lanes.ts";
import { Intakes } from "./cluster/intakes.ts";
import { claimAll } from "./cluster/lanes.ts";
import {
  buryOwn,
  buryOwners,
  dropDeadOwners,
  lockOwner,
  openOwner,
  ownerIsDead,
  renewOwner,
} from "./cluster/owners.ts";
import type { Query, Transaction } from "./connection/connections.ts";
import { sendHint } from "./connection/hints.ts";
import type { CommitOptions, JointWork, PostgresCommits } from "./group-commit.ts";
import { joinedReads } from "./joined-reads.ts";
import { keyOf, textOf } from "./keys.ts";
import { readNamed, storedOf, WHOLE_COLUMNS, wholeOf } from "./request-rows.ts";
import { applyRequests } from "./requests.ts";
import type { RequestCall, RequestsOptions } from "./requests.ts";
import { Room } from "./room.ts";

export interface RequestStoreOptions<M>
  extends
    StoreOptions,
    Pick<RequestsOptions<M>, "append">,
    Pick<ClusterOptions, "commits" | "connections" | "onHint"> {
  /** Milliseconds on a clock that only goes forward; of the runtime if it is absent. */
  readonly elapsed?: (() => number) | undefined;
}

/** The part of a store that is about requests, and what several gateways need. */
export interface RequestStore<M>
  extends
    Omit<
      Store<M>,
      | Exclude<keyof ConversationStore<M>, "append">
      | keyof CounterStore
      | "confirmations"
      | "hasJobs"
      | "jobs"
    >,
    Pick<Store<M>, "purge"> {
  readonly cluster: Cluster;
  /** This owner lives from now on. */
  readonly open: () => Promise<void>;
  /** What it still holds may be claimed by others at once. */
  readonly close: () => Promise<void>;
}

/** Old requests that one purge deletes. */
const PURGED_AT_ONCE = 20_000;

export function requestStoreOf<M>(options: RequestStoreOptions<M>): RequestStore<M> {
  const { owner, bounds, connections, commits, append, onHint } = options;
  const room = new Room(bounds);
  const held = new HeldLanes(options.elapsed ?? (() => performance.now()));
  // Not in the order of the other calls, and as good twice as once.
  const now: Query = (text, values) => connections.read(text, values);
  const intakes = new Intakes(owner, now);
  const call = callerOf<M>(commits, {
    owner,
    bounds,
    room,
    append,
    lost: (query, channels) => intakes.lost(query, channels),
    unreported: () => unreportedLanes(commits),
    used: (lane) => held.use(lane),
    poll: (query, lanes) => pollLanes(query, owner, lanes, held),
  });
  const poll = (lanes: number): Promise<PollResult | undefined> =>
    call({ is: "poll", lanes }, POLL_ARGS);
  return {
    ...writerOf(call),
    ...readerOf<M>(commits, options),
    async claimAbandoned() {
      const claimed = await claimAbandoned(options);
      for (const { request } of claimed) held.use(request.lane);
      return claimed;
    },
    join(claim, to) {
      const work = (tx: Transaction): Promise<boolean> =>
        tx.inOrder(() => join(tx.query, claim, to));
      return commits.run(work, { args: ["join", claim.seq, to] });
    },
    renew: () => renewOwner(now, owner, bounds.leaseMs),
    async purge() {
      await commits.run((tx) => tx.inOrder(() => purgeRequests(tx.query, owner, bounds)), {
        args: ["purge"],
        survives: "process",
      });
      room.forget();
    },
    cluster: clusterOf({ owner, connections, commits, intakes, held, poll, onHint }),
    open: () => openOwner(now, owner, bounds.leaseMs),
    async close() {
      await commits.run(({ query }) => buryOwn(query, owner), { args: [] });
    },
  };
}

type Writer<M> = Pick<
  Store<M>,
  "accept" | "begin" | "record" | "answered" | "expire" | "delivered" | "release" | "append"
>;
type Caller<M> = <T>(
  input: RequestCall<M>,
  args: readonly unknown[],
  facts?: Omit<CommitOptions, "args">,
) => Promise<T>;

function callerOf<M>(commits: PostgresCommits, options: RequestsOptions<M>): Caller<M> {
  const work: JointWork<RequestCall<M>, unknown> = {
    apply: (tx, calls) => applyRequests(tx, calls, options),
  };
  return <T>(input: RequestCall<M>, args: readonly unknown[], facts = {}): Promise<T> =>
    // Each kind of call has one kind of result.
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    commits.runJointly(work, input, { ...facts, args }) as Promise<T>;
}

function writerOf<M>(call: Caller<M>): Writer<M> {
  return {
    accept: (request, admission) => call({ is: "accept", request, admission }, ["accept", request]),
    begin: (claim) => call({ is: "begin", claim }, argsOf("begin", claim)),
    record: (claim, message) =>
      call({ is: "record", claim, message: JSON.stringify(message) }, [
        ...argsOf("record", claim),
        message,
      ]),
    answered: (claim, answer, messages, forgets = false) =>
      call({ is: "answer", claim, answer, turn: { messages, forgets } }, argsOf("answered", claim)),
    expire: (claim, answer) => call({ is: "expire", claim, answer }, argsOf("expire", claim)),
    // It survives a loss of power only with other work, so it may wait for some.
    delivered: (claim) =>
      call({ is: "delivered", claim }, argsOf("delivered", claim), {
        survives: "process",
        isLazy: true,
      }),
    release: (claim) => call({ is: "release", claim }, argsOf("release", claim)),
    append: (name, messages, forgets = false) =>
      call(
        { is: "append", turn: { name, messages, forgets } },
        ["append", name, messages, forgets],
        { survives: "process" },
      ),
  };
}

/** What tells that a call about a claim is made again. */
function argsOf(name: string, { seq, owner, attempt }: Claim): readonly unknown[] {
  return [name, seq, owner, attempt];
}

function readerOf<M>(
  commits: PostgresCommits,
  { owner: self, bounds }: Pick<StoreOptions, "owner" | "bounds">,
): Pick<Store<M>, "find" | "load" | "rejections"> {
  const loaded = joinedReads("seq", (seqs: readonly number[]) =>
    commits.read(SQL.load, [arrayOf(seqs), keyOf(self)]),
  );
  const read: Query = (text, values) => commits.read(text, values);
  return {
    async find(named) {
      const [row] = await readNamed(read, [named], bounds.windowMs);
      return row === undefined || row.isOld === true ? undefined : storedOf<M>(row);
    },
    async load({ seq, owner, attempt }) {
      const [row] = owner === self ? (await loaded(seq)).map(wholeOf) : [];
      return row?.attempt === attempt ? storedOf<M>(row) : undefined;
    },
    async rejections(after, most) {
      const rows = await commits.readAll(SQL.rejections, [after, keyOf(self), most]);
      return rows.map((row) => storedOf<M>(wholeOf(row)));
    },
  };
}

async function join(
  query: Query,
  { seq }: Pick<Claim, "seq">,
  to: JoinedAddress,
): Promise<boolean> {
  const [row] = await query(SQL.join, [seq, JSON.stringify(to)]);
  if (row !== undefined) await sendHint(query, textOf(row["owner"]));
  return row !== undefined;
}

async function claimAbandoned({
  owner,
  commits,
  sole = false,
}: Pick<RequestStoreOptions<unknown>, "owner" | "commits" | "sole">): Promise<
  readonly AbandonedRequest[]
> {
  const claim = async (query: Query): Promise<readonly AbandonedRequest[]> => {
    if (!(await lockOwner(query, owner))) throw ownerIsDead();
    const [, claimed] = await Promise.all([buryOwners(query, owner, sole), claimAll(query, owner)]);
    return claimed;
  };
  return commits.run((tx) => tx.inOrder(() => claim(tx.query)), { args: ["claimAbandoned"] });
}

/** One owner at a time: another one does the same. */
async function purgeRequests(
  query: Query,
  owner: string,
  { windowMs, rejections }: StoreOptions["bounds"],
): Promise<void> {
  const [lock] = await query(SQL.lockPurge);
  if (lock?.["is_locked"] !== true) return;
  await Promise.all([
    buryOwners(query, owner),
    query(SQL.dropOld, [windowMs, PURGED_AT_ONCE]),
    query(SQL.dropRejections, [rejections]),
    dropDeadOwners(query),
  ]);
}

/** Of the advisory lock of a purge. */
const PURGE_LOCK = 0x70_69_63_6f;

const SQL = {
  load: `SELECT ${WHOLE_COLUMNS} FROM picoclaw.requests WHERE seq = ANY ($1::bigint[]) AND owner = $2`,
  rejections: `SELECT ${WHOLE_COLUMNS} FROM picoclaw.requests
    WHERE failed = ${REJECTED} AND state = ${ANSWERED} AND seq > $1 AND owner = $2 ORDER BY seq LIMIT $3`,
  // The owner of the request waits with its delivery until this is written. It hears of all; of those that it has
  // heard of, the latest are kept for the next owner.
  join: `WITH request AS (
      SELECT seq, owner FROM picoclaw.requests WHERE seq = $1 AND state < ${DELIVERED} FOR UPDATE),
    added AS (INSERT INTO picoclaw.joined (seq, address) SELECT seq, $2 FROM request
      WHERE NOT EXISTS (SELECT FROM picoclaw.joined WHERE seq = $1 AND address = $2)),
    dropped AS (DELETE FROM picoclaw.joined WHERE id IN (
      SELECT j.id FROM picoclaw.joined AS j, request AS r WHERE j.seq = r.seq AND j.reported = r.owner
      ORDER BY j.id DESC OFFSET ${MAX_JOINED - 1}))
    SELECT owner FROM request`,
  lockPurge: `SELECT pg_try_advisory_xact_lock(${PURGE_LOCK}) AS is_locked`,
  dropOld: `DELETE FROM picoclaw.requests WHERE seq IN (
      SELECT seq FROM picoclaw.requests
      WHERE state = ${DELIVERED} AND delivered_at <= now() - make_interval(secs => $1::float8 / 1000)
      ORDER BY delivered_at LIMIT $2)`,
  dropRejections: `DELETE FROM picoclaw.requests WHERE seq IN (
      SELECT seq FROM picoclaw.requests WHERE failed = ${REJECTED} AND state = ${DELIVERED}
      ORDER BY seq DESC OFFSET $1)`,
};
