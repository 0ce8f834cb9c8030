import type { Failure } from "../base/failure.ts";
import type { Held } from "../store/contract.ts";
import type { Accounting } from "./accounts/accounting.ts";
import { createBacklog } from "./backlog.ts";
import type { Backlog } from "./backlog.ts";
import type { Request } from "./contract.ts";
import { failureOf, shuttingDown } from "./failures.ts";
import { fulfil, store } from "./fulfil.ts";
import type { FulfilOptions } from "./fulfil.ts";
import { createJob, createResumedJob, entryOf, isExpired } from "./job.ts";
import type { Job } from "./job.ts";
import type { Entry } from "./journal.ts";
import { createLanes } from "./lanes.ts";
import type { Lanes } from "./lanes.ts";
import { GRACE_MS } from "./leash.ts";
import { isAllowed } from "./limits.ts";
import type { ChannelPolicy } from "./limits.ts";
import { laneOf } from "./names.ts";
import { createPace } from "./pace.ts";
import type { Pace } from "./pace.ts";
import type { Tally } from "./tally.ts";

export interface WorkOptions<M> extends FulfilOptions<M> {
  readonly slots: number;
  /** Requests that may wait in all; 0 is no limit but the program's own. */
  readonly queued: number;
  /** What the turn of a request may use. */
  readonly allowanceOf: Accounting["allowanceOf"];
  readonly tally: Tally;
  readonly write: (entry: Entry) => void;
}

/** The requests that were accepted, from their places in the queue to the delivery of their answers. */
export interface Work<M> {
  hasRoom(request: Request, policy: ChannelPolicy): boolean;
  /** Seconds after which there may be. */
  secondsUntilRoom(): number;
  /** Resolves when the request is stored, or at once where it need not be; never if that became impossible. */
  add(request: Request, policy: ChannelPolicy): Promise<void>;
  /**
   * Takes up what a former process left: its turn, or only the delivery of its answer. Who may not ask
   * any more gets no turn.
   */
  resume(request: Request, held: Held<M>, policy: ChannelPolicy): void;
  /**
   * Cancels all that the client asked so far and that has no answer yet, what runs and what waits: a
   * person who says stop would otherwise see the next question begin. Each is answered `cancelled`,
   * in its order. Says whether there was anything.
   */
  stop(lane: string): boolean;
  /** Ends everything at once: what is durable is left to the next start, the rest cancelled. */
  stopAll(): { readonly cancelled: number; readonly kept: number };
  /** Reports what is still not delivered; says how many of these answers are lost, and how many the store has. */
  giveUp(): { readonly undelivered: number; readonly kept: number };
}

/** The grace at shutdown: less than what answers have to leave afterwards. */
const SHUTDOWN_GRACE_MS = 500;

export function createWork<M>(options: WorkOptions<M>): Work<M> {
  const { slots } = options;
  const { held, report } = createHeld(options);
  const backlog = createBacklog(options.queued);
  const pace = createPace(slots);
  const lanes = createJobLanes({ options, backlog, pace, report });
  const enter = (job: Job<M>): void => {
    held.set(job, options.tally.begin());
    options.dedupe.begin(job.request, job.known);
    backlog.enter(job.request);
    lanes.add(job.lane, job);
  };

  return {
    hasRoom: (request, policy) => backlog.hasRoom(request, policy, lanes.waiting(laneOf(request))),
    secondsUntilRoom: () => pace.secondsFor(lanes.size),
    add(request, policy) {
      const { job, stored } = createJob<M>(request, { ...options, policy });
      enter(job);
      void store(job, options).then((isStored) => {
        if (isStored) stored.resolve();
        job.settled.resolve();
      });
      return stored.promise;
    },
    resume(request, left, policy) {
      const job = createResumedJob(request, left, { ...options, policy });
      if (!job.isAnswered && !isAllowed(policy, request.client)) {
        job.leash.pull(failureOf("forbidden"), 0);
      }
      enter(job);
    },
    stop(lane) {
      return cancel(lanes.jobs(lane), lanes, failureOf("cancelled"), GRACE_MS) > 0;
    },
    stopAll: () => stopAll([...held.keys()], lanes),
    giveUp() {
      const left = [...held.keys()];
      for (const job of left) report(job, false);
      const kept = left.filter((job) => job.claim !== undefined).length;
      return { undelivered: left.length - kept, kept };
    },
  };
}

interface HeldJobs<M> {
  /** Everything accepted and not yet reported, with what ends its count in the tally. */
  readonly held: Map<Job<M>, () => void>;
  readonly report: (job: Job<M>, delivered: boolean) => void;
}

function createHeld<M>({ write }: Pick<WorkOptions<M>, "write">): HeldJobs<M> {
  const held = new Map<Job<M>, () => void>();
  return {
    held,
    report(job, delivered) {
      const end = held.get(job);
      if (end === undefined) return;
      held.delete(job);
      job.leash.release();
      write(entryOf(job, delivered));
      end();
    },
  };
}

interface Mill<M> {
  readonly options: WorkOptions<M>;
  readonly backlog: Backlog;
  readonly pace: Pace;
  readonly report: HeldJobs<M>["report"];
}

function createJobLanes<M>({ options, backlog, pace, report }: Mill<M>): Lanes<Job<M>> {
  return createLanes<Job<M>>({
    slots: options.slots,
    needsSlot(job) {
      if (isExpired(job.request, options.clock)) job.leash.pull(failureOf("expired"), 0);
      return !job.isAnswered && !job.leash.signal.aborted;
    },
    start(job, hold) {
      if (hold.tookSlot) backlog.leave(job.request);
      // The answerer's first steps are not taken inside the transport's callback.
      queueMicrotask(() => {
        void fulfil(job, hold, { options, backlog, pace }).then(() => report(job, true));
      });
    },
  });
}

function stopAll<M>(
  jobs: readonly Job<M>[],
  lanes: Lanes<Job<M>>,
): { readonly cancelled: number; readonly kept: number } {
  for (const job of jobs) {
    job.isLeaving = job.request.durable && job.leash.failure === undefined;
  }
  const end = (some: readonly Job<M>[]): number =>
    cancel(some, lanes, shuttingDown("cancelled"), SHUTDOWN_GRACE_MS);
  return {
    cancelled: end(jobs.filter(({ isLeaving }) => !isLeaving)),
    kept: end(jobs.filter(({ isLeaving }) => isLeaving)),
  };
}

function cancel<M>(
  jobs: readonly Job<M>[],
  lanes: Lanes<Job<M>>,
  failure: Failure,
  graceMs: number,
): number {
  const cancelled = jobs.filter((job) => job.leash.pull(failure, graceMs));
  for (const { lane } of cancelled) lanes.stir(lane);
  return cancelled.length;
}
