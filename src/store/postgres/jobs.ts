import type {
  ClaimedJob,
  FiringOutcome,
  Job,
  JobLimits,
  JobOwner,
  JobStore,
  JobSummary,
  NewJob,
} from "../contract/jobs.ts";
import {
  claimedJobsOf,
  errorText,
  JOB_COLUMNS,
  jobOf,
  jobOwnerKey,
  jobText,
  summaryOf,
} from "../job-rows.ts";
import type { Query } from "./connection/connections.ts";
import type { Value } from "./connection/session.ts";
import type { PostgresCommits } from "./group-commit.ts";
import { keyOf } from "./keys.ts";

/** The jobs in a database, which several gateways claim. */
export class PostgresJobs implements JobStore {
  readonly #commits: PostgresCommits;
  readonly #owner: string;

  constructor(commits: PostgresCommits, owner: string) {
    this.#commits = commits;
    this.#owner = keyOf(owner);
  }

  async jobs(owner?: JobOwner): Promise<readonly Job[]> {
    const rows = await (owner === undefined
      ? this.#commits.read(SQL.all)
      : this.#commits.read(SQL.own, [ownerKey(owner)]));
    return rows.map(jobOf);
  }

  async job(id: string): Promise<Job | undefined> {
    const [row] = await this.#commits.read(SQL.one, [keyOf(id)]);
    return row && jobOf(row);
  }

  async jobSummary(after: number): Promise<JobSummary> {
    const [row] = await this.#commits.read(SQL.summary, [after]);
    return summaryOf(row);
  }

  async laterJobs(after: number): Promise<readonly Job[]> {
    return (await this.#commits.read(SQL.later, [after])).map(jobOf);
  }

  addJob(job: NewJob, most: JobLimits): Promise<"added" | "known" | "full"> {
    return this.#commits.run((tx) => tx.inOrder(() => add(tx.query, job, most)), {
      args: ["addJob", job],
    });
  }

  changeJob(job: Job): Promise<boolean> {
    const values = [jobText(job), job.nextAt ?? null, keyOf(job.id), job.version];
    return this.#change(SQL.change, values, ["changeJob", job]);
  }

  removeJob(id: string): Promise<boolean> {
    return this.#change(SQL.remove, [keyOf(id)], ["removeJob", id]);
  }

  claimJobs(now: number, most: number): Promise<readonly ClaimedJob[]> {
    return this.#commits.run(
      async ({ query }) => {
        return claimedJobsOf(await query(SQL.claim, [this.#owner, now, most]));
      },
      // After `unsure`, whatever the time is by then.
      { args: ["claimJobs"] },
    );
  }

  beginFiring(claimed: ClaimedJob): Promise<boolean> {
    return this.#change(SQL.begin, this.#claimOf(claimed), ["beginFiring", claimed]);
  }

  endFiring(claimed: ClaimedJob, outcome: FiringOutcome): Promise<boolean> {
    const args = ["endFiring", claimed, outcome];
    const claim = this.#claimOf(claimed);
    if (outcome.remove === true) return this.#change(SQL.removeFired, claim, args);
    const { nextAt = null, error } = outcome;
    return this.#change(SQL.end, [...claim, nextAt, errorText(error)], args);
  }

  #claimOf({ id, nextAt }: ClaimedJob): readonly Value[] {
    return [keyOf(id), nextAt, this.#owner];
  }

  /** Whether the statement found its row. */
  #change(text: string, values: readonly Value[], args: readonly unknown[]): Promise<boolean> {
    return this.#commits.run(async ({ query }) => (await query(text, values)).length > 0, { args });
  }
}

async function add(
  query: Query,
  job: NewJob,
  { ofClient, ofAll }: JobLimits,
): Promise<"added" | "known" | "full"> {
  // One after the other: two at once would each find room for the last one.
  await query(SQL.lock);
  if ((await query(SQL.one, [keyOf(job.id)])).length > 0) return "known";
  const key = ownerKey(job);
  const [counted] = await query(SQL.counts, [key]);
  if (Number(counted?.["own"]) >= ofClient || Number(counted?.["jobs"]) >= ofAll) return "full";
  await query(SQL.add, [keyOf(job.id), key, jobText(job), job.nextAt ?? null]);
  return "added";
}

function ownerKey(owner: JobOwner): string {
  return keyOf(jobOwnerKey(owner));
}

const IN_FORCE = "id = $1 AND next_at = $2 AND claimed_by = $3";
/** The dead come as a list: joined, they would not be looked at again for a row that another owner has just claimed. */
const UNCLAIMED = `(claimed_by = '' OR claimed_by = ANY (ARRAY(
           SELECT owner FROM picoclaw.owners WHERE NOT alive)))`;
const SQL = {
  all: `SELECT ${JOB_COLUMNS} FROM picoclaw.jobs ORDER BY seq`,
  own: `SELECT ${JOB_COLUMNS} FROM picoclaw.jobs WHERE owner = $1 ORDER BY seq`,
  one: `SELECT ${JOB_COLUMNS} FROM picoclaw.jobs WHERE id = $1`,
  summary: `SELECT count(*) AS jobs, count(next_at) AS enabled,
       (SELECT min(next_at) FROM picoclaw.jobs WHERE next_at > $1) AS next_at FROM picoclaw.jobs`,
  later: `SELECT ${JOB_COLUMNS} FROM picoclaw.jobs WHERE next_at > $1 AND ${UNCLAIMED} ORDER BY next_at`,
  lock: "SELECT pg_advisory_xact_lock(7421300915003)",
  counts: `SELECT count(*) AS jobs, count(*) FILTER (WHERE owner = $1) AS own FROM picoclaw.jobs`,
  add: `INSERT INTO picoclaw.jobs (id, owner, job, version, next_at) VALUES ($1, $2, $3, 1, $4)`,
  change: `UPDATE picoclaw.jobs SET job = $1, version = version + 1, next_at = $2::bigint,
         claimed_by = CASE WHEN next_at IS NOT DISTINCT FROM $2::bigint THEN claimed_by ELSE '' END,
         attempts = CASE WHEN next_at IS NOT DISTINCT FROM $2::bigint THEN attempts ELSE 0 END
       WHERE id = $3 AND version = $4 RETURNING 1`,
  remove: "DELETE FROM picoclaw.jobs WHERE id = $1 RETURNING 1",
  claim: `UPDATE picoclaw.jobs SET claimed_by = $1
       WHERE seq IN (
         SELECT seq FROM picoclaw.jobs
         WHERE next_at <= $2 AND ${UNCLAIMED}
         ORDER BY next_at, seq LIMIT $3 FOR UPDATE SKIP LOCKED)
       AND (SELECT alive FROM picoclaw.owners WHERE owner = $1)
       RETURNING ${JOB_COLUMNS}`,
  begin: `UPDATE picoclaw.jobs SET attempts = attempts + 1 WHERE ${IN_FORCE} RETURNING 1`,
  end: `UPDATE picoclaw.jobs SET next_at = $4::bigint, last_at = $2, last_error = $5,
         version = version + 1, claimed_by = '', attempts = 0 WHERE ${IN_FORCE} RETURNING 1`,
  removeFired: `DELETE FROM picoclaw.jobs WHERE ${IN_FORCE} RETURNING 1`,
} as const;
