import type { Failure } from "../base/failure.ts";
import type { Acceptance } from "../store/contract.ts";
import type { Backlog } from "./backlog.ts";
import type { Condensing } from "./condense.ts";
import type { Request } from "./contract.ts";
import type { Dedupe } from "./dedupe.ts";
import { answerJob, beginDelivery } from "./job.ts";
import type { Job, TurnOfJobOptions } from "./job.ts";
import { restoredKnown, weigh } from "./known.ts";
import type { Known } from "./known.ts";
import type { Hold } from "./lanes.ts";
import type { Pace } from "./pace.ts";

export interface FulfilOptions<M> extends TurnOfJobOptions<M> {
  readonly dedupe: Dedupe<Known>;
  /** Hears of every turn, and of one that was added to a conversation when its answer was delivered. */
  readonly condensing: Pick<Condensing, "enterTurn" | "grew">;
  /** Tells the asker that its request cannot be stored at the moment. */
  readonly troubled: (request: Request, failure: Failure) => void;
}

/** Whether the job is as durable as it has to be; what the store knew already is answered from there. */
export async function store<M>(
  job: Job<M>,
  { ledger, clock, troubled }: FulfilOptions<M>,
): Promise<boolean> {
  const { request } = job;
  if (!request.durable) return true;
  let isTold = false;
  const tell = (failure: Failure): void => {
    if (!isTold) troubled(request, failure);
    isTold = true;
  };
  let acceptance: Acceptance<M>;
  try {
    acceptance = await ledger.accept(request, tell);
  } catch {
    job.isLeft = true;
    return false;
  }
  if (acceptance.is === "new") job.claim = acceptance.claim;
  else if (acceptance.held.answer === undefined) job.isLeft = true;
  else {
    const { answer, failure } = restoredKnown(acceptance.held.answer, clock);
    job.known.answer.push(answer.text);
    job.known.answer.finish(failure);
    job.known.failure = failure;
    job.isAnswered = true;
  }
  return true;
}

interface Tools<M> {
  readonly options: FulfilOptions<M>;
  readonly backlog: Backlog;
  readonly pace: Pace;
}

/** One job from the head of its lane to its delivery. Its slot is free before its lane is. */
export async function fulfil<M>(
  job: Job<M>,
  hold: Hold,
  { options, backlog, pace }: Tools<M>,
): Promise<void> {
  const { request, known } = job;
  const { clock, dedupe } = options;
  await job.settled.promise;
  const delivery = beginDelivery(job, clock);
  const from = clock.now();
  if (job.isLeft) known.answer.abandon();
  else if (!job.isAnswered) {
    const turnEnded = options.condensing.enterTurn();
    await answerJob(job, options).finally(turnEnded);
  }
  if (hold.tookSlot) {
    pace.add(clock.now() - from);
    backlog.enter(request);
  }
  hold.turnEnded();
  await delivery.finished;
  if (job.isLeft) dedupe.forget(request, known);
  else dedupe.finish(request, known, weigh(known));
  backlog.leave(request);
  hold.done();
  if (job.isLeft) return;
  await noteDelivered(job, options);
  if (job.outcome !== undefined && "turned" in job.outcome)
    options.condensing.grew(job.conversation, job.allowance);
}

/** An answer that was not delivered because the channel was closed stays for the next start. */
async function noteDelivered<M>(job: Job<M>, { ledger }: FulfilOptions<M>): Promise<void> {
  if (job.claim === undefined || job.delivery?.failure?.code === "unreachable") return;
  await ledger.delivered(job.claim);
}
