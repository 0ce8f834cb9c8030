import type { ClaimedJob, Job, JobOwner, JobSummary, NewJob } from "./contract/jobs.ts";
import { fromJson, keyOf } from "./json.ts";

type Row = Readonly<Record<string, unknown>>;

/** The columns that `jobOf` and `claimedJobsOf` read. */
export const JOB_COLUMNS = "seq, job, version, next_at, last_at, last_error, attempts";

/** The key of a client; no two have the same. */
export function jobOwnerKey({ channel, client }: JobOwner): string {
  return keyOf(`${channel.length}:${channel}${client}`);
}

/** The column `job`: what only a change of the job changes. */
export function jobText({ id, name, channel, client, schedule, payload }: NewJob): string {
  return JSON.stringify({ id, name, channel, client, schedule, payload });
}

export function jobOf(row: Row): Job {
  const { job, version, next_at: nextAt, last_at: lastAt, last_error: lastError } = row;
  return {
    ...fromJson<Omit<NewJob, "nextAt">>(job),
    version: Number(version),
    ...(isSet(nextAt) && { nextAt: Number(nextAt) }),
    ...(isSet(lastAt) && { lastAt: Number(lastAt) }),
    ...(isSet(lastError) && { lastError: fromJson<string>(lastError) }),
  };
}

/** Rows with `seq` of claimed jobs, the earliest first. */
export function claimedJobsOf(rows: readonly Row[]): readonly ClaimedJob[] {
  const order = (row: Row, other: Row): number =>
    Number(row["next_at"]) - Number(other["next_at"]) || Number(row["seq"]) - Number(other["seq"]);
  return rows.toSorted(order).map(claimedJobOf);
}

function claimedJobOf(row: Row): ClaimedJob {
  return { ...jobOf(row), nextAt: Number(row["next_at"]), attempts: Number(row["attempts"]) };
}

/** The column `last_error`; JSON holds any text. */
export function errorText(error: string | undefined): string | null {
  return error === undefined ? null : JSON.stringify(error);
}

export function summaryOf(row: Row | undefined): JobSummary {
  const nextAt = row?.["next_at"];
  return {
    jobs: Number(row?.["jobs"] ?? 0),
    enabled: Number(row?.["enabled"] ?? 0),
    ...(isSet(nextAt) && { nextAt: Number(nextAt) }),
  };
}

function isSet(column: unknown): boolean {
  return column !== null && column !== undefined;
}
