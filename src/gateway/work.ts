import type { Failure } from "../base/failure.ts";
import { createBacklog } from "./backlog.ts";
import type { Backlog } from "./backlog.ts";
import type { Request } from "./contract.ts";
import type { Dedupe } from "./dedupe.ts";
import { failureOf, shuttingDown } from "./failures.ts";
import { answerJob, beginDelivery, createJob, entryOf, isExpired } from "./job.ts";
import type { Job, TurnOfJobOptions } from "./job.ts";
import type { Entry } from "./journal.ts";
import { weigh } from "./known.ts";
import type { Known } from "./known.ts";
import { createLanes } from "./lanes.ts";
import type { Hold, Lanes } from "./lanes.ts";
import { GRACE_MS } from "./leash.ts";
import type { ChannelPolicy } from "./limits.ts";
import { laneOf } from "./names.ts";
import { createPace } from "./pace.ts";
import type { Pace } from "./pace.ts";
import type { Tally } from "./tally.ts";

export interface WorkOptions<M> extends TurnOfJobOptions<M> {
  readonly slots: number;
  readonly dedupe: Dedupe<Known>;
  readonly tally: Tally;
  readonly write: (entry: Entry) => void;
}

/** The requests that were accepted, from their places in the queue to the delivery of their answers. */
export interface Work {
  hasRoom(request: Request, policy: ChannelPolicy): boolean;
  /** Seconds after which there may be. */
  secondsUntilRoom(): number;
  add(request: Request, policy: ChannelPolicy): void;
  /**
   * Cancels all that the client asked so far and that has no answer yet, what runs and what waits: a
   * person who says stop would otherwise see the next question begin. Each is answered `cancelled`,
   * in its order. Says whether there was anything.
   */
  stop(lane: string): boolean;
  /** Cancels everything at once; says how many requests that were. */
  stopAll(): number;
  /** Reports what is still not delivered; says how many answers that are. */
  giveUp(): number;
}

/** The grace at shutdown: less than what answers have to leave afterwards. */
const SHUTDOWN_GRACE_MS = 500;

export function createWork<M>(options: WorkOptions<M>): Work {
  const { clock, slots, tally } = options;
  /** Everything accepted and not yet reported, with what ends its count in the tally. */
  const held = new Map<Job, () => void>();
  const backlog = createBacklog();
  const pace = createPace(slots);
  const report = (job: Job, delivered: boolean): void => {
    const end = held.get(job);
    if (end === undefined) return;
    held.delete(job);
    job.leash.release();
    options.write(entryOf(job, delivered));
    end();
  };
  const lanes = createLanes<Job>({
    slots,
    needsSlot(job) {
      if (isExpired(job.request, clock)) job.leash.pull(failureOf("expired"), 0);
      return !job.leash.signal.aborted;
    },
    start(job, hold) {
      if (hold.tookSlot) backlog.leave(job.request);
      // The answerer's first steps are not taken inside the transport's callback.
      queueMicrotask(() => {
        void fulfil(job, hold, { options, backlog, pace }).then(() => report(job, true));
      });
    },
  });

  return {
    hasRoom: (request, policy) => backlog.hasRoom(request, policy, lanes.waiting(laneOf(request))),
    secondsUntilRoom: () => pace.secondsFor(lanes.size),
    add(request, policy) {
      const job = createJob(request, policy.intervalMs, clock);
      held.set(job, tally.begin());
      options.dedupe.begin(request, job.known);
      backlog.enter(request);
      lanes.add(job.lane, job);
    },
    stop(lane) {
      return cancel(lanes.jobs(lane), lanes, failureOf("cancelled"), GRACE_MS) > 0;
    },
    stopAll: () => cancel([...held.keys()], lanes, shuttingDown("cancelled"), SHUTDOWN_GRACE_MS),
    giveUp() {
      const left = [...held.keys()];
      for (const job of left) report(job, false);
      return left.length;
    },
  };
}

interface Tools<M> {
  readonly options: WorkOptions<M>;
  readonly backlog: Backlog;
  readonly pace: Pace;
}

/** One job from the head of its lane to its delivery. Its slot is free before its lane is. */
async function fulfil<M>(
  job: Job,
  hold: Hold,
  { options, backlog, pace }: Tools<M>,
): Promise<void> {
  const { request, known } = job;
  const { clock, dedupe } = options;
  const delivery = beginDelivery(job, clock);
  const from = clock.now();
  await answerJob(job, options);
  if (hold.tookSlot) {
    pace.add(clock.now() - from);
    backlog.enter(request);
  }
  hold.turnEnded();
  await delivery.finished;
  dedupe.finish(request, known, weigh(known));
  backlog.leave(request);
  hold.done();
}

function cancel(
  jobs: readonly Job[],
  lanes: Lanes<Job>,
  failure: Failure,
  graceMs: number,
): number {
  const cancelled = jobs.filter((job) => job.leash.pull(failure, graceMs));
  for (const { lane } of cancelled) lanes.stir(lane);
  return cancelled.length;
}
