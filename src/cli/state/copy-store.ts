import { failureOf } from "../../gateway/errors.ts";
import type { Cluster } from "../../store/contract/cluster.ts";
import type { Claim, Store, StoredAnswer, StoredRequest } from "../../store/contract/store.ts";

/** How much was copied; what the target had before does not count. */
export interface Copied {
  readonly conversations: number;
  readonly counters: number;
  readonly jobs: number;
  readonly requests: number;
}

/** A store that several gateways share; none of them runs. */
type Target<M> = Store<M> & { readonly cluster: Pick<Cluster, "leave"> };

/**
 * Copies conversations, counters and jobs that the target does not have, and moves the requests without a delivered answer:
 * they end in `from`. If it is cut off, it may be called again. Rejects as the stores do.
 */
export async function copyStore<M>(from: Store<M>, to: Target<M>): Promise<Copied> {
  const conversations = await copyConversations(from, to);
  const counters = await copyCounters(from, to);
  const jobs = await copyJobs(from, to);
  const requests = await moveRequests(from, to);
  await to.cluster.leave([]);
  return { conversations, counters, jobs, requests };
}

async function copyConversations<M>(from: Store<M>, to: Target<M>): Promise<number> {
  let count = 0;
  for (const { name } of await from.conversations()) {
    const all = await Array.fromAsync(from.transcript(name));
    const isNew = await to.importConversation(name, { turns: all });
    if (isNew) count += 1;
    const { summary, turns } = await from.conversation(name);
    const [first] = turns;
    const hidden = all.filter(({ id }) => first === undefined || id < first.id).length;
    const copied = await to.conversation(name);
    // A run before this one may have been cut off in between.
    const isWhole = copied.turns.length === all.length && copied.summary === undefined;
    const last = hidden > 0 && isWhole ? copied.turns[hidden - 1] : undefined;
    if (last !== undefined) await to.compact(name, last.id, summary);
  }
  return count;
}

async function copyCounters<M>(from: Store<M>, to: Target<M>): Promise<number> {
  let count = 0;
  for (const counter of await from.counters()) {
    if ((await to.counter(counter.name)) !== undefined) continue;
    await to.count(() => ({ put: [counter], drop: [] }));
    count += 1;
  }
  return count;
}

const NO_LIMITS = { ofClient: Number.MAX_SAFE_INTEGER, ofAll: Number.MAX_SAFE_INTEGER };

async function copyJobs<M>(from: Store<M>, to: Target<M>): Promise<number> {
  if (!(await from.hasJobs())) return 0;
  const target = await to.jobs();
  let count = 0;
  for (const job of await (await from.jobs()).jobs()) {
    if ((await target.addJob(job, NO_LIMITS)) === "added") count += 1;
  }
  return count;
}

/** Rejections that are read at once. */
const PAGE = 128;

async function moveRequests<M>(from: Store<M>, to: Target<M>): Promise<number> {
  let count = 0;
  for (const { claim, isCancelled } of await from.claimAbandoned()) {
    const stored = await from.load(claim);
    if (stored === undefined) continue;
    const cancelled = stored.answer === undefined && isCancelled ? CANCELLED : undefined;
    await moveRequest(stored, { from, to, instead: cancelled });
    count += 1;
  }
  for (let after = 0; ;) {
    const rejections = await from.rejections(after, PAGE);
    const last = rejections.at(-1);
    if (last === undefined) return count;
    for (const stored of rejections) await moveRequest(stored, { from, to, instead: undefined });
    after = last.claim.seq;
    count += rejections.length;
  }
}

const CANCELLED: StoredAnswer = { parts: [], failure: failureOf("cancelled") };

interface Move<M> {
  readonly from: Store<M>;
  readonly to: Target<M>;
  /** Its answer, if it is not to run. */
  readonly instead: StoredAnswer | undefined;
}

async function moveRequest<M>(stored: StoredRequest<M>, { from, to, instead }: Move<M>) {
  const { request, answer = instead, progress, claim } = stored;
  const again = { ...request, mayRepeat: request.id !== undefined, retriesFailed: false };
  const acceptance = await to.accept(again, {
    // A rejection, which never ran.
    admit: () => (answer?.failure !== undefined && claim.attempt === 0 ? answer : "wait"),
    repeat: () => undefined,
  });
  if (acceptance.is === "new" && (answer !== undefined || claim.attempt > 0)) {
    const begun = await to.begin(acceptance.claim);
    if (begun !== undefined) await resume(begun, { to, progress, answer });
  }
  await end(claim, stored.answer !== undefined, from);
}

interface Resumed<M> extends Pick<StoredRequest<M>, "progress"> {
  readonly to: Target<M>;
  readonly answer: StoredAnswer | undefined;
}

/** Brings a request to where its last attempt was. */
async function resume<M>(claim: Claim, { to, progress, answer }: Resumed<M>): Promise<void> {
  for (const message of progress) await to.record(claim, message);
  // The turn of an answer is in its conversation already.
  if (answer !== undefined) await to.answered(claim, answer, []);
}

/** Ends a request that the target has: `from` does not answer it any more. */
async function end<M>(claim: Claim, isAnswered: boolean, from: Store<M>): Promise<void> {
  const moved: StoredAnswer = { parts: [] };
  if (!isAnswered && claim.attempt === 0) await from.expire(claim, moved);
  else if (!isAnswered) await from.answered(claim, moved, []);
  await from.delivered(claim);
}
