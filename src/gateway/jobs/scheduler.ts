import { createFairSemaphore, createSemaphore, MAX_TIMER_MS, onAbort } from "../../base/async.ts";
import { failpoint } from "../../base/failpoint.ts";
import { asFailure, Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { ClaimedJob, FiringOutcome, JobStore } from "../../store/contract/jobs.ts";
import type { Clock } from "../clock.ts";
import type { Push } from "../contract.ts";
import { CLOCK_ERROR_MS, corrected, nextTime } from "./schedule.ts";

export interface JobSchedulerOptions {
  readonly store: JobStore;
  readonly clock: Clock;
  readonly log: Log;
  /** Rejects with `busy` if it may be tried again. */
  readonly push: (push: Push) => Promise<unknown>;
  /** Runs a command as its client; returns what it is to hear, or undefined. Rejects with `forbidden` if it may not. */
  readonly runCommand: (job: ClaimedJob, signal: AbortSignal) => Promise<string | undefined>;
  /** The tasks in a file of the workspace; undefined if there are none. */
  readonly readTasks: (file: string) => Promise<string | undefined>;
}

/** Milliseconds between two looks for what other processes changed; while there is no job, the second. */
const LOOK_MS = 5_000;
const IDLE_LOOK_MS = 60_000;
/** Firings in memory, and of these the ones that are pushed at once, and commands that run. */
const MAX_FIRING = 1024;
/** Jobs that one look claims: other gateways have theirs. */
const CLAIMED_AT_ONCE = 64;
const PUSHES = 32;
const COMMANDS = { all: 2, ofClient: 1 };
/** Milliseconds before a push or a write is tried again: more and more. */
const RETRY_MS = 1_000;
const MAX_RETRY_MS = 60_000;
/** The last is that of a gateway which lost its lease, and ends soon. */
const RETRIED: ReadonlySet<string> = new Set(["busy", "unsure", "unreachable", "fenced"]);
/** How long a message stays for a client that is away: shorter if the next one comes soon. */
const KEPT_MS = 24 * 60 * 60_000;
const KEPT_MS_AT_LEAST = 60 * 60_000;

/**
 * Fires the jobs that are due: claims them in the store, pushes each under an id made of the job and its time, and
 * ends the claim. After a crash in between, the next owner does the same with the same id, so that the client gets
 * one message.
 */
export class JobScheduler {
  readonly #options: JobSchedulerOptions;
  readonly #firing = new Set<Promise<void>>();
  readonly #pushes = createSemaphore(PUSHES);
  readonly #commands = createFairSemaphore(COMMANDS.all, COMMANDS.ofClient);
  readonly #closing = new AbortController();
  #cancelTimer: (() => void) | undefined;
  #looking: Promise<void> | undefined;
  #looksAgain = false;
  /** There was no room for all that was due. */
  #isFull = false;
  /** What the clock showed at the beginning of its process, when that was looked at last. */
  #clockBegan: number | undefined;

  constructor(options: JobSchedulerOptions) {
    this.#options = options;
  }

  /** Looks for jobs that are due, now and from then on by itself. */
  readonly wake = (): void => {
    this.#looksAgain = true;
    this.#looking ??= this.#look();
  };

  /** Claims nothing more, and leaves to the next owner what has not been pushed. Leaves no timer. Does not reject. */
  async close(): Promise<void> {
    this.#closing.abort(new Failure("cancelled", "the program is ending"));
    this.#cancelTimer?.();
    await this.#looking;
    await Promise.all(this.#firing);
  }

  async #look(): Promise<void> {
    this.#cancelTimer?.();
    let waitMs = LOOK_MS;
    while (this.#looksAgain && !this.#closing.signal.aborted) {
      this.#looksAgain = false;
      waitMs = await this.#claim().catch((thrown: unknown) => {
        this.#options.log.debug("jobs cannot be read", { why: asFailure(thrown).why });
        return LOOK_MS;
      });
    }
    this.#looking = undefined;
    if (this.#closing.signal.aborted) return;
    this.#cancelTimer = this.#options.clock.after(waitMs, this.wake);
  }

  /** Where a clock was wrong, jobs would be silent until it shows that time again. */
  async #correct(): Promise<void> {
    const { store, clock, log } = this.#options;
    const now = clock.epoch();
    const began = now - clock.now();
    const former = this.#clockBegan;
    if (former !== undefined && Math.abs(began - former) <= CLOCK_ERROR_MS) return;
    const jobs = await store.laterJobs(former === undefined ? now + CLOCK_ERROR_MS : 0);
    for (const job of jobs) {
      // One whose schedule is invalid says so when it is due.
      const right = await corrected(job, now).catch(() => undefined);
      if (right === undefined || !(await store.changeJob(right))) continue;
      const { id, channel, client } = job;
      log.info("a clock was wrong: a job has another time", { job: id, channel, client });
    }
    this.#clockBegan = began;
  }

  /** Fires what is due; returns the milliseconds to the next look. */
  async #claim(): Promise<number> {
    await this.#correct();
    const { store, clock } = this.#options;
    const now = clock.epoch();
    const room = Math.min(MAX_FIRING - this.#firing.size, CLAIMED_AT_ONCE);
    if (room > 0) {
      const claimed = await store.claimJobs(now, room);
      if (claimed.length > 0) failpoint("job_claimed");
      for (const job of claimed) this.#start(job);
      if (claimed.length === room) return 0;
    }
    this.#isFull = room === 0;
    const { jobs, nextAt } = await store.jobSummary(now);
    if (jobs === 0) return IDLE_LOOK_MS;
    return nextAt === undefined ? LOOK_MS : Math.min(Math.max(nextAt - clock.epoch(), 0), LOOK_MS);
  }

  #start(job: ClaimedJob): void {
    const firing = this.#fire(job).then(() => {
      this.#firing.delete(firing);
      if (!this.#isFull) return;
      this.#isFull = false;
      this.wake();
    });
    this.#firing.add(firing);
  }

  async #fire(job: ClaimedJob): Promise<void> {
    const { store, log } = this.#options;
    const { id, channel, client } = job;
    try {
      const failure = await this.#deliver(job);
      failpoint("job_pushed");
      const outcome = await this.#outcomeOf(job, failure);
      await this.#retry(() => store.endFiring(job, outcome));
      const { message: error, why } = failure ?? {};
      if (failure === undefined) log.debug("a job fired", { job: id, channel, client });
      else log.warn("a job failed", { job: id, channel, client, error, why });
    } catch (thrown) {
      if (this.#closing.signal.aborted) return;
      const { message: error, why } = asFailure(thrown);
      log.error("a job could not be ended", { job: id, channel, client, error, why });
    }
  }

  /** Returns why the client hears nothing of it; rejects when the program ends meanwhile. */
  async #deliver(job: ClaimedJob): Promise<Failure | undefined> {
    const { push } = this.#options;
    try {
      const content = await this.#contentOf(job);
      if (content === undefined) return undefined;
      const message = { ...(await this.#factsOf(job)), ...content };
      await this.#retry(async () => {
        const release = await this.#pushes.acquire(MAX_TIMER_MS, this.#closing.signal);
        await push(message).finally(release);
      });
      return undefined;
    } catch (thrown) {
      this.#closing.signal.throwIfAborted();
      return asFailure(thrown);
    }
  }

  async #contentOf(job: ClaimedJob): Promise<{ text: string } | { prompt: string } | undefined> {
    const { payload, name, id } = job;
    const { kind, text } = payload;
    if (kind === "text") return { text };
    if (kind === "command") {
      const output = await this.#outputOf(job);
      return output === undefined ? undefined : { text: `${name}\n${output}` };
    }
    if (kind === "file") {
      const tasks = await this.#options.readTasks(text);
      return tasks === undefined ? undefined : { prompt: tasks };
    }
    const due = new Date(job.nextAt).toISOString();
    return { prompt: `The job "${name}" (${id}) was due at ${due}. Its task:\n${text}` };
  }

  async #outputOf(job: ClaimedJob): Promise<string | undefined> {
    if (job.attempts > 0) return "The program ended while this command ran; its output is lost.";
    const { signal } = this.#closing;
    const owner = `${job.channel.length}:${job.channel}${job.client}`;
    const release = await this.#commands.acquire(owner, MAX_TIMER_MS, signal);
    try {
      const isInForce = await this.#retry(() => this.#options.store.beginFiring(job));
      const output = isInForce ? await this.#options.runCommand(job, signal) : undefined;
      failpoint("job_ran");
      return output;
    } finally {
      release();
    }
  }

  async #factsOf(job: ClaimedJob) {
    const { id, channel, client, nextAt } = job;
    const now = this.#options.clock.epoch();
    const following = (await this.#nextOf(job)) ?? now + KEPT_MS;
    const keptMs = Math.min(KEPT_MS, Math.max(KEPT_MS_AT_LEAST, following - now));
    return {
      id: `job-${id}-${nextAt}`,
      channel,
      client,
      from: "job",
      expiresAt: now + keptMs,
    } as const;
  }

  async #outcomeOf(job: ClaimedJob, failure: Failure | undefined): Promise<FiringOutcome> {
    const isOnce = job.schedule.kind === "at";
    if (failure === undefined && isOnce) return { remove: true };
    const error = failure?.message;
    // A client that is no longer allowed is not asked again and again.
    return failure?.code === "forbidden" ? { error } : { error, nextAt: await this.#nextOf(job) };
  }

  /** Undefined also if the schedule is invalid. */
  async #nextOf({ schedule, nextAt }: ClaimedJob): Promise<number | undefined> {
    return nextTime(schedule, this.#options.clock.epoch(), nextAt).catch(() => undefined);
  }

  /** Tries again what may succeed later, until the program ends. What is under way then is waited for. */
  async #retry<T>(work: () => Promise<T>): Promise<T> {
    for (let waitMs = RETRY_MS; ; waitMs = Math.min(2 * waitMs, MAX_RETRY_MS)) {
      try {
        return await work();
      } catch (thrown) {
        if (!RETRIED.has(asFailure(thrown).code)) throw thrown;
      }
      await this.#pause(waitMs);
      this.#closing.signal.throwIfAborted();
    }
  }

  async #pause(milliseconds: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancelTimer = this.#options.clock.after(milliseconds, resolve);
    const stopListening = onAbort(this.#closing.signal, resolve);
    await promise;
    cancelTimer();
    stopListening();
  }
}
