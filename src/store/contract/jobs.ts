/**
 * Jobs: what is done for a client at a time. A job that is due is claimed by one owner, until that ends the firing;
 * a claim of a dead owner counts for nothing. A store on one machine has one owner at a time: all others are dead.
 */
export interface JobStore {
  /** Those of a client, or all, in the order in which they were added. */
  jobs(owner?: JobOwner): Promise<readonly Job[]>;
  job(id: string): Promise<Job | undefined>;
  /** How many there are, and the next time after `after` at which one is due. */
  jobSummary(after: number): Promise<JobSummary>;
  /** Those that are due after that time and that nobody alive has claimed. */
  laterJobs(after: number): Promise<readonly Job[]>;
  /** Adds a job, unless its id is taken (`known`) or its client, or the store, has as many as allowed (`full`). */
  addJob(job: NewJob, most: JobLimits): Promise<"added" | "known" | "full">;
  /** Replaces all but the outcome of the last firing. False if the job has another version by now, or none. */
  changeJob(job: Job): Promise<boolean>;
  /** False if there is none. */
  removeJob(id: string): Promise<boolean>;
  /** Claims jobs that are due, the earliest first. A dead owner claims none. */
  claimJobs(now: number, most: number): Promise<readonly ClaimedJob[]>;
  /** Counts an attempt at what must not be done twice. False, and writes nothing, if the claim is not in force. */
  beginFiring(claimed: ClaimedJob): Promise<boolean>;
  /** Writes the outcome of a firing. False, and writes nothing, if the claim is not in force: the job was changed. */
  endFiring(claimed: ClaimedJob, outcome: FiringOutcome): Promise<boolean>;
}

export interface JobOwner {
  readonly channel: string;
  readonly client: string;
}

export interface JobLimits {
  readonly ofClient: number;
  readonly ofAll: number;
}

export interface JobSummary {
  readonly jobs: number;
  /** Of these, the ones that have a next time. */
  readonly enabled: number;
  readonly nextAt?: number;
}

/** Times are milliseconds since the epoch. */
export interface NewJob extends JobOwner {
  /** Unique in the store; bounded in length. */
  readonly id: string;
  readonly name: string;
  readonly schedule: JobSchedule;
  readonly payload: JobPayload;
  /** When it is due next; absent is never, until it is changed. */
  readonly nextAt?: number;
}

export interface Job extends NewJob {
  /** Another one after each change. */
  readonly version: number;
  /** When it was due the last time that it fired. */
  readonly lastAt?: number;
  /** Why that failed. */
  readonly lastError?: string;
}

export type JobSchedule =
  /** `setAt` is what the clock showed when it was made, if that counted. */
  | { readonly kind: "at"; readonly at: number; readonly setAt?: number }
  | { readonly kind: "every"; readonly ms: number }
  /** A cron expression in an IANA time zone. */
  | { readonly kind: "cron"; readonly expr: string; readonly zone: string };

export type JobPayload =
  /** A task for the agent. */
  | { readonly kind: "message"; readonly text: string }
  /** Delivered as it is. */
  | { readonly kind: "text"; readonly text: string }
  /** Tasks for the agent in this file of the workspace, as it is then. */
  | { readonly kind: "file"; readonly text: string }
  /** For the shell; `isConfirmed` if a person has allowed it. */
  | { readonly kind: "command"; readonly text: string; readonly isConfirmed?: boolean };

export interface ClaimedJob extends Job {
  readonly nextAt: number;
  /** How often owners that are dead began this firing. */
  readonly attempts: number;
}

export interface FiringOutcome {
  /** The next time; absent is never. */
  readonly nextAt?: number | undefined;
  readonly error?: string | undefined;
  /** The job has done all that it was for. */
  readonly remove?: boolean;
}
