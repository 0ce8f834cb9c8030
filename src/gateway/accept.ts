import type { Failure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import type { Acceptance, Admission as StoreAdmission, StoredAnswer } from "../store/contract.ts";
import type { Accounting } from "./accounts/accounting.ts";
import type { Admission, Triage, Verdict } from "./admission.ts";
import type { Clock } from "./clock.ts";
import type { Request } from "./contract.ts";
import type { Dedupe } from "./dedupe.ts";
import type { DirectReplies } from "./direct-replies.ts";
import { wireFailureOf } from "./failures.ts";
import { whoOf } from "./journal.ts";
import type { Entry } from "./journal.ts";
import { restoredKnown, storedAnswerOf, weigh } from "./known.ts";
import type { Known, Storing } from "./known.ts";
import type { Ledger } from "./ledger.ts";
import type { ChannelPolicy } from "./limits.ts";
import { laneOf } from "./names.ts";
import { createNotices } from "./notices.ts";
import { createAnswer } from "./parts.ts";
import type { Place, RequestQueue } from "./request-queue.ts";
import type { Tally } from "./tally.ts";

export interface AcceptOptions<M> {
  readonly admission: Admission;
  readonly queue: RequestQueue;
  readonly direct: DirectReplies;
  readonly dedupe: Dedupe<Known | Storing>;
  readonly tally: Tally;
  readonly ledger: Pick<Ledger<M>, "accept">;
  readonly accounting: Pick<Accounting, "refused" | "prepare">;
  readonly clock: Clock;
  readonly log: Log;
  readonly write: (entry: Entry) => void;
}

/** Clients that were told lately that they may not ask, and how often one is told. */
const FORBIDDEN = { everyMs: 60_000, rows: 1024 };
/** Clients whose rejections stand in the log, and how often one's do. */
const LOGGED = { everyMs: 60_000, rows: 1024 };

const STOPPED = "Stopped.";
const NOTHING = "Nothing to stop.";

/**
 * Takes each request: it runs, or its rejection is its answer, stored with it where the request is
 * durable. Resolves when the transport may acknowledge it.
 */
export function createAcceptance<M>(
  options: AcceptOptions<M>,
): (request: Request) => Promise<void> {
  const { admission, direct, dedupe, accounting, clock, write } = options;
  const reject = createRejecting(options);
  const inMemory = createMemoryAcceptance(options, reject);
  const inStore = createStoreAcceptance(options, reject);
  const join = createJoin(options);
  const handle = (request: Request, triage: Triage): Promise<void> | void => {
    switch (triage.to) {
      case "join":
        return join(request, triage.known);
      case "await":
        return again(request, triage.storing);
      case "hold":
        return new Promise(() => {});
      case "reject":
        return reject.stranger(request, triage.failure);
      case "decide":
        // What was answered at QoS 0 is known here alone.
        return (request.durable && dedupe.finished(request) === undefined ? inStore : inMemory)(
          request,
          triage.policy,
        );
    }
    return triage satisfies never;
  };
  /** The same request is being stored: what it is to this one turns out then. */
  const again = async (request: Request, { address, stored }: Storing): Promise<void> => {
    await stored;
    if (address !== request.address) return accept(request);
    const acceptedAt = clock.now();
    write({ request, acceptedAt, outcome: "duplicate", duplicate: "ignored", unlimited: true });
  };
  const accept = async (request: Request): Promise<void> => {
    direct.seen(request);
    const triage = admission.triage(request);
    const ready = triage.to === "decide" ? accounting.prepare(request) : undefined;
    if (ready === undefined) return handle(request, triage);
    // What its client has used is read first; meanwhile the same request may have come once more.
    await ready;
    return handle(request, admission.triage(request));
  };
  return accept;
}

interface Rejecting {
  /** What is not stored: of who may not ask, of QoS 0, and while nothing can be stored. */
  readonly now: (request: Request, failure: Failure) => void;
  /** Who may not ask is told so once a minute. */
  readonly stranger: (request: Request, failure: Failure) => void;
  /** Counts it, and says what the log has of it. */
  readonly facts: (
    request: Request,
    failure: Failure,
  ) => Pick<Entry, "failure" | "passedOver" | "unlimited">;
}

function createRejecting<M>({ direct, accounting, clock, log }: AcceptOptions<M>): Rejecting {
  const told = createNotices({ clock, ...FORBIDDEN });
  const logged = createNotices({ clock, ...LOGGED });
  const facts: Rejecting["facts"] = (request, failure) => {
    accounting.refused(request, failure.code);
    const passedOver = logged.due(`${failure.code} ${laneOf(request)}`);
    return { failure, ...(passedOver === undefined ? { unlimited: true } : { passedOver }) };
  };
  const now: Rejecting["now"] = (request, failure) =>
    direct.send({ request, known: saying("", failure, clock), ...facts(request, failure) });
  return {
    facts,
    now,
    stranger(request, failure) {
      const passedOver = failure.code === "forbidden" ? told.due(laneOf(request)) : 0;
      if (passedOver === undefined) {
        accounting.refused(request, failure.code);
        log.debug("refused without a word, as lately", whoOf(request));
        return;
      }
      accounting.refused(request, failure.code);
      direct.send({ request, known: saying("", failure, clock), failure, passedOver });
    },
  };
}

/** A whole answer that is there at once. */
function saying(
  text: string,
  failure: Failure | undefined,
  clock: Clock,
): Pick<Known, "answer" | "addresses" | "failure"> {
  const answer = createAnswer({ clock, intervalMs: 0 });
  const said = failure && wireFailureOf(failure);
  answer.push(text);
  answer.finish(said);
  return { answer, addresses: new Set(), failure: said };
}

/** One more asker hears an answer that grows or is given, unless one at the same address does. */
function createJoin<M>({
  direct,
  clock,
  write,
}: AcceptOptions<M>): (request: Request, known: Known) => Promise<void> {
  return (request, known) => {
    if (known.addresses.has(request.address)) {
      const acceptedAt = clock.now();
      write({ request, acceptedAt, outcome: "duplicate", duplicate: "ignored", unlimited: true });
    } else {
      known.addresses.add(request.address);
      direct.send({ request, known, duplicate: "joined", unlimited: true });
    }
    return known.stored;
  };
}

/** Requests of QoS 0: nothing of them outlives the process. */
function createMemoryAcceptance<M>(
  { admission, queue, direct, dedupe, clock }: AcceptOptions<M>,
  reject: Rejecting,
): (request: Request, policy: ChannelPolicy) => void {
  const stop = (request: Request, remember: boolean): void => {
    const text = queue.hasWork(laneOf(request)) ? STOPPED : NOTHING;
    queue.stop(laneOf(request));
    const known = { ...saying(text, undefined, clock), stored: Promise.resolve() };
    // A second delivery of this command must not stop what was asked after it.
    if (remember) {
      dedupe.begin(request, known);
      dedupe.finish(request, known, weigh(known));
    }
    direct.send({ request, known, unlimited: !remember });
  };
  const repeat = (request: Request, known: Known, policy: ChannelPolicy): void => {
    const failure = admission.repeat(request, policy);
    if (failure !== undefined) return reject.now(request, failure);
    if (known.addresses.has(request.address)) return;
    known.addresses.add(request.address);
    direct.send({ request, known, duplicate: "repeated" });
  };
  return (request, policy) => {
    const finished = dedupe.finished(request);
    if (finished !== undefined && "answer" in finished) return repeat(request, finished, policy);
    const verdict = admission.decide(request, policy, true);
    if (verdict.to === "reject") return reject.now(request, verdict.failure);
    if (verdict.to === "stop") return stop(request, verdict.remember);
    queue.add(request, policy);
  };
}

/** Requests of QoS 1 and 2: each is stored, or the answer that it gets at once. */
function createStoreAcceptance<M>(
  options: AcceptOptions<M>,
  reject: Rejecting,
): (request: Request, policy: ChannelPolicy) => Promise<void> {
  const { queue, ledger, dedupe, tally } = options;
  return async (request, policy) => {
    const stored = Promise.withResolvers<void>();
    const storing: Storing = { address: request.address, stored: stored.promise };
    const decided: Decided = {};
    let isTold = false;
    const onWriteError = (failure: Failure): void => {
      decided.place?.wait();
      if (!isTold) reject.now(request, failure);
      isTold = true;
    };
    const ended = tally.begin();
    dedupe.begin(request, storing);
    const acceptance = await ledger
      .accept(request, storeAdmission(request, policy, decided, options), onWriteError)
      .catch(() => undefined)
      .finally(ended);
    dedupe.forget(request, storing);
    if (acceptance?.is === "new") decided.place?.add(acceptance.claim);
    else decided.place?.cancel();
    // The gateway closes: the transport holds the request for the next start.
    if (acceptance === undefined) return new Promise(() => {});
    if (decided.verdict?.to === "stop") queue.stop(laneOf(request));
    if (acceptance.is !== "new") {
      reply({ ...request, text: "" }, acceptance, decided.failure, { ...options, reject });
    }
    stored.resolve();
  };
}

/** Decides inside of the store's transaction; where that fails and is tried again, what was decided stays. */
function storeAdmission<M>(
  request: Request,
  policy: ChannelPolicy,
  decided: Decided,
  { admission, queue }: AcceptOptions<M>,
): StoreAdmission {
  return {
    admit(hasRoom) {
      const verdict = (decided.verdict ??= admission.decide(request, policy, hasRoom));
      if (verdict.to === "run") {
        decided.place ??= queue.reserve(request, policy);
        return decided.place.starts() ? "begin" : "wait";
      }
      if (verdict.to === "reject") decided.failure = verdict.failure;
      return answerOf(verdict, () => queue.hasWork(laneOf(request)));
    },
    repeat() {
      if (decided.isRepeat !== true) decided.failure = admission.repeat(request, policy);
      decided.isRepeat = true;
      return decided.failure && storedAnswerOf([], wireFailureOf(decided.failure));
    },
  };
}

/** Gives what a request that does not run is answered with. */
function reply<M>(
  request: Request,
  acceptance: Exclude<Acceptance<M>, { is: "new" }>,
  failure: Failure | undefined,
  { direct, queue, clock, write, reject }: AcceptOptions<M> & { readonly reject: Rejecting },
): void {
  if (acceptance.is === "answered") {
    const { claim, answer } = acceptance;
    const facts = failure === undefined ? {} : reject.facts(request, failure);
    direct.sendRejection({ request, known: restoredKnown(answer, clock), claim, ...facts });
    return;
  }
  const { claim, ticket, answer } = acceptance.held;
  if (acceptance.is === "repeated") direct.send({ request, claim, duplicate: "repeated" });
  else if (ticket.address !== request.address) {
    const known = answer && restoredKnown(answer, clock);
    if (known === undefined) queue.attach(claim, request);
    else direct.send({ request, known, duplicate: "joined", unlimited: true });
  } else {
    const acceptedAt = clock.now();
    write({ request, acceptedAt, outcome: "duplicate", duplicate: "ignored", unlimited: true });
  }
}

interface Decided {
  /** It was charged for a finished answer. */
  isRepeat?: boolean;
  verdict?: Verdict;
  /** Of a request that runs. */
  place?: Place;
  /** Why it does not run, or why a finished answer is not given again. */
  failure?: Failure | undefined;
}

/** What is stored in place of a turn. */
function answerOf(verdict: Exclude<Verdict, { to: "run" }>, hasWork: () => boolean): StoredAnswer {
  if (verdict.to === "stop") return storedAnswerOf([hasWork() ? STOPPED : NOTHING]);
  return storedAnswerOf([], wireFailureOf(verdict.failure));
}
