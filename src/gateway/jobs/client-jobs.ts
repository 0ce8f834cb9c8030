import { randomBytes } from "node:crypto";
import { Failure } from "../../base/failure.ts";
import { prefixOf } from "../../base/truncate.ts";
import type {
  Job,
  JobOwner,
  JobPayload,
  JobSchedule,
  JobStore,
} from "../../store/contract/jobs.ts";
import type { Clock } from "../clock.ts";
import { firstTime, localZone } from "./schedule.ts";

/** Jobs of one client, and of all. */
export const JOB_LIMITS = { ofClient: 50, ofAll: 10_000 };
/** Characters of a job's message or command, and of its name. */
export const MAX_JOB_TEXT = 4_000;
const MAX_NAME = 100;
/** Characters of a message that are the name of a job without one. */
const NAME_OF_TEXT = 30;
const TRIES = 5;

export interface JobChanges {
  /** A person has allowed the change, and with it the command that runs. */
  readonly isConfirmed?: boolean | undefined;
  readonly name?: string | undefined;
  readonly payload?: JobPayload | undefined;
  readonly schedule?: WantedSchedule | undefined;
}

export interface JobDraft extends JobChanges {
  readonly payload: JobPayload;
  readonly schedule: WantedSchedule;
}

/** When a job is due, as a client says it. */
export type WantedSchedule =
  | { readonly kind: "in"; readonly seconds: number }
  | { readonly kind: "every"; readonly seconds: number }
  /** In the zone of this machine if none is given. */
  | { readonly kind: "cron"; readonly expr: string; readonly zone?: string | undefined };

export interface ClientJobsOptions {
  readonly store: () => Promise<JobStore>;
  readonly clock: Pick<Clock, "epoch">;
  /** Called when a job may be due sooner than was known. */
  readonly changed: () => void;
}

/**
 * The jobs as their clients see and change them: nobody those of another. Rejects with a `Failure` whose message the
 * client may read: `bad_request` or `busy`.
 */
export class ClientJobs {
  readonly #options: ClientJobsOptions;

  constructor(options: ClientJobsOptions) {
    this.#options = options;
  }

  async list(owner: JobOwner): Promise<readonly Job[]> {
    return (await this.#options.store()).jobs(ownerIn(owner));
  }

  async get(owner: JobOwner, id: string): Promise<Job> {
    const job = await (await this.#options.store()).job(id);
    if (job?.channel === owner.channel && job.client === owner.client) return job;
    throw new Failure("bad_request", "there is no job with this id");
  }

  async add(owner: JobOwner, draft: JobDraft): Promise<Job> {
    const { name = "", payload, schedule: wanted, isConfirmed } = draft;
    const { store, clock, changed } = this.#options;
    const schedule = scheduleOf(wanted, clock.epoch());
    const job = {
      ...ownerIn(owner),
      name: checkedName(name) || prefixOf(oneLine(payload.text), NAME_OF_TEXT),
      payload: confirmed(checkedPayload(payload), isConfirmed),
      schedule,
      nextAt: await firstTime(schedule, clock.epoch()),
    };
    const jobs = await store();
    for (let tries = 1; tries <= TRIES; tries += 1) {
      const added = { ...job, id: randomBytes(4).toString("hex") };
      const result = await jobs.addJob(added, JOB_LIMITS);
      if (result === "full") throw full();
      if (result === "known") continue;
      changed();
      return { ...added, version: 1 };
    }
    throw new Failure("busy", "no free id was found for the job");
  }

  async update(owner: JobOwner, id: string, changes: JobChanges): Promise<Job> {
    const { name, payload, schedule, isConfirmed } = changes;
    const now = this.#options.clock.epoch();
    const facts = {
      ...(name !== undefined && { name: checkedName(name) }),
      ...(payload && { payload: checkedPayload(payload) }),
    };
    const wanted = schedule && scheduleOf(schedule, now);
    const nextAt = wanted && (await firstTime(wanted, now));
    return this.#change(owner, id, (job) => ({
      ...job,
      ...facts,
      payload: confirmed(facts.payload ?? job.payload, isConfirmed),
      ...(wanted && { schedule: wanted }),
      // One that is disabled stays so.
      ...(job.nextAt !== undefined && nextAt !== undefined && { nextAt }),
    }));
  }

  async enable(
    owner: JobOwner,
    id: string,
    { isEnabled, isConfirmed }: { readonly isEnabled: boolean; readonly isConfirmed?: boolean },
  ): Promise<Job> {
    return this.#change(owner, id, async (job) => {
      const { nextAt, ...disabled } = job;
      if (!isEnabled) return disabled;
      return {
        ...job,
        payload: confirmed(job.payload, isConfirmed),
        nextAt: nextAt ?? (await firstTime(job.schedule, this.#options.clock.epoch())),
      };
    });
  }

  async remove(owner: JobOwner, id: string): Promise<void> {
    await this.get(owner, id);
    await (await this.#options.store()).removeJob(id);
  }

  async #change(
    owner: JobOwner,
    id: string,
    change: (job: Job) => Job | Promise<Job>,
  ): Promise<Job> {
    const store = await this.#options.store();
    for (let tries = 1; tries <= TRIES; tries += 1) {
      const changed = await change(await this.get(owner, id));
      if (!(await store.changeJob(changed))) continue;
      this.#options.changed();
      return changed;
    }
    throw new Failure("busy", "the job changes all the time, try again later");
  }
}

function ownerIn({ channel, client }: JobOwner): JobOwner {
  return { channel, client };
}

function scheduleOf(wanted: WantedSchedule, now: number): JobSchedule {
  if (wanted.kind === "cron") {
    return { kind: "cron", expr: wanted.expr.trim(), zone: wanted.zone ?? localZone() };
  }
  const ms = Math.round(wanted.seconds * 1000);
  return wanted.kind === "in" ? { kind: "at", at: now + ms, setAt: now } : { kind: "every", ms };
}

function checkedName(name: string): string {
  const line = oneLine(name);
  if (line.length <= MAX_NAME) return line;
  throw new Failure("bad_request", `the name of a job has at most ${MAX_NAME} characters`);
}

function checkedPayload(payload: JobPayload): JobPayload {
  if (payload.text.trim() === "")
    throw new Failure("bad_request", "a job needs a message or a command");
  if (payload.text.length <= MAX_JOB_TEXT) return payload;
  throw new Failure(
    "bad_request",
    `the message or command of a job has at most ${MAX_JOB_TEXT} characters`,
  );
}

function confirmed(payload: JobPayload, isConfirmed = false): JobPayload {
  return payload.kind === "command" && isConfirmed ? { ...payload, isConfirmed } : payload;
}

function oneLine(text: string): string {
  return text.replaceAll(/[\s\p{Cc}]+/gu, " ").trim();
}

function full(): Failure {
  return new Failure(
    "bad_request",
    `there are too many jobs already: a client has at most ${JOB_LIMITS.ofClient}. Remove one first.`,
  );
}
