import type { DatabaseSync } from "node:sqlite";
import type {
  ClaimedJob,
  FiringOutcome,
  Job,
  JobLimits,
  JobStore,
  NewJob,
} from "../contract/jobs.ts";
import type { GroupCommit } from "../group-commit.ts";
import {
  claimedJobsOf,
  errorText,
  JOB_COLUMNS,
  jobOf,
  jobOwnerKey,
  jobText,
  summaryOf,
} from "../job-rows.ts";
import { lazyStatements } from "./database.ts";
import type { Statements } from "./database.ts";

/** The jobs in a database of one machine, for the owner that claims them. */
export function jobsIn(
  db: DatabaseSync,
  owner: string,
  { run, read }: Pick<GroupCommit, "run" | "read">,
): JobStore {
  const sql = lazyStatements(db, SQL);
  return {
    jobs: (of) =>
      read(() =>
        (of === undefined ? sql("all").all() : sql("own").all(jobOwnerKey(of))).map(jobOf),
      ),
    job: (id) =>
      read(() => {
        const row = sql("one").get(id);
        return row && jobOf(row);
      }),
    jobSummary: (after) => read(() => summaryOf(sql("summary").get(after))),
    laterJobs: (after) => read(() => sql("later").all(after, owner).map(jobOf)),
    addJob: (job, most) => run(() => add(sql, job, most)),
    changeJob: (job) => run(() => change(sql, job)),
    removeJob: (id) => run(() => isChange(sql("remove").run(id))),
    claimJobs: (now, most) => run(() => claimedJobsOf(sql("claim").all(owner, now, owner, most))),
    beginFiring: ({ id, nextAt }) => run(() => isChange(sql("begin").run(id, nextAt, owner))),
    endFiring: (claimed, outcome) => run(() => end(sql, owner, claimed, outcome)),
  };
}

function add(sql: JobStatements, job: NewJob, { ofClient, ofAll }: JobLimits) {
  if (sql("one").get(job.id) !== undefined) return "known";
  const key = jobOwnerKey(job);
  const counted = sql("counts").get(key);
  if (Number(counted?.["own"]) >= ofClient || Number(counted?.["jobs"]) >= ofAll) return "full";
  sql("add").run(job.id, key, jobText(job), job.nextAt ?? null);
  return "added";
}

function change(sql: JobStatements, job: Job): boolean {
  const nextAt = job.nextAt ?? null;
  return isChange(sql("change").run(jobText(job), nextAt, nextAt, nextAt, job.id, job.version));
}

function end(
  sql: JobStatements,
  owner: string,
  { id, nextAt }: ClaimedJob,
  outcome: FiringOutcome,
): boolean {
  const claim = [id, nextAt, owner] as const;
  if (outcome.remove === true) return isChange(sql("removeFired").run(...claim));
  const next = outcome.nextAt ?? null;
  return isChange(sql("end").run(next, nextAt, errorText(outcome.error), ...claim));
}

function isChange({ changes }: { readonly changes: number | bigint }): boolean {
  return Number(changes) > 0;
}

type JobStatements = Statements<keyof typeof SQL>;

/** The claim is in force: nobody changed when the job is due. */
const IN_FORCE = "id = ? AND next_at = ? AND claimed_by = ?";
const SQL = {
  all: `SELECT ${JOB_COLUMNS} FROM jobs ORDER BY seq`,
  own: `SELECT ${JOB_COLUMNS} FROM jobs WHERE owner = ? ORDER BY seq`,
  one: `SELECT ${JOB_COLUMNS} FROM jobs WHERE id = ?`,
  summary: `SELECT count(*) AS jobs, count(next_at) AS enabled,
       (SELECT min(next_at) FROM jobs WHERE next_at > ?) AS next_at FROM jobs`,
  later: `SELECT ${JOB_COLUMNS} FROM jobs WHERE next_at > ? AND claimed_by <> ? ORDER BY next_at`,
  counts: "SELECT count(*) AS jobs, count(*) FILTER (WHERE owner = ?) AS own FROM jobs",
  add: "INSERT INTO jobs (id, owner, job, version, next_at) VALUES (?, ?, ?, 1, ?)",
  change: `UPDATE jobs SET job = ?, version = version + 1, next_at = ?,
         claimed_by = CASE WHEN next_at IS ? THEN claimed_by ELSE '' END,
         attempts = CASE WHEN next_at IS ? THEN attempts ELSE 0 END
       WHERE id = ? AND version = ?`,
  remove: "DELETE FROM jobs WHERE id = ?",
  claim: `UPDATE jobs SET claimed_by = ? WHERE seq IN (
         SELECT seq FROM jobs WHERE next_at <= ? AND claimed_by <> ? ORDER BY next_at, seq LIMIT ?)
       RETURNING ${JOB_COLUMNS}`,
  begin: `UPDATE jobs SET attempts = attempts + 1 WHERE ${IN_FORCE}`,
  end: `UPDATE jobs SET next_at = ?, last_at = ?, last_error = ?, version = version + 1, claimed_by = '', attempts = 0
       WHERE ${IN_FORCE}`,
  removeFired: `DELETE FROM jobs WHERE ${IN_FORCE}`,
};
