import type { Failure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import type { Acceptance, Admission as StoreAdmission, StoredAnswer } from "../store/contract.ts";
import type { Admission, Triage, Verdict } from "./admission.ts";
import { createAnswerStream } from "./answer/answer-stream.ts";
import type { DirectReplies } from "./answer/direct-replies.ts";
import type { ChannelPolicy } from "./channel-policy.ts";
import type { Clock } from "./clock.ts";
import type { Request } from "./contract.ts";
import type { Dedupe } from "./dedupe.ts";
import { restoredEntry, storedAnswerOf, resultOf } from "./dedupe.ts";
import type { DedupeEntry, Storing } from "./dedupe.ts";
import type { DurableRequests } from "./durable/durable-requests.ts";
import { wireFailureOf } from "./errors.ts";
import type { InFlight } from "./in-flight.ts";
import { laneOf } from "./request-keys.ts";
import { clientFields } from "./request-log.ts";
import type { RequestRecord } from "./request-log.ts";
import type { Place, RequestQueue } from "./request/request-queue.ts";
import type { Accounting } from "./usage/accounts.ts";

export interface AcceptOptions<M> {
  readonly admission: Admission;
  readonly queue: RequestQueue;
  readonly direct: DirectReplies;
  readonly dedupe: Dedupe<DedupeEntry | Storing>;
  readonly inFlight: InFlight;
  readonly durableRequests: Pick<DurableRequests<M>, "accept">;
  readonly accounting: Pick<Accounting, "countRejection" | "prepare">;
  readonly clock: Clock;
  readonly log: Log;
  readonly write: (entry: RequestRecord) => void;
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
        return join(request, triage.entry);
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
    direct.clientSeen(request);
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
  ) => Pick<RequestRecord, "failure" | "suppressed" | "unlimited">;
}

function createRejecting<M>({ direct, accounting, clock, log }: AcceptOptions<M>): Rejecting {
  const told = createReplyThrottle({ clock, ...FORBIDDEN });
  const logged = createReplyThrottle({ clock, ...LOGGED });
  const facts: Rejecting["facts"] = (request, failure) => {
    accounting.countRejection(request, failure.code);
    const suppressed = logged.allow(`${failure.code} ${laneOf(request)}`);
    return { failure, ...(suppressed === undefined ? { unlimited: true } : { suppressed }) };
  };
  const now: Rejecting["now"] = (request, failure) =>
    direct.send({ request, entry: saying("", failure, clock), ...facts(request, failure) });
  return {
    facts,
    now,
    stranger(request, failure) {
      const suppressed = failure.code === "forbidden" ? told.allow(laneOf(request)) : 0;
      if (suppressed === undefined) {
        accounting.countRejection(request, failure.code);
        log.debug("refused without a word, as lately", clientFields(request));
        return;
      }
      accounting.countRejection(request, failure.code);
      direct.send({ request, entry: saying("", failure, clock), failure, suppressed });
    },
  };
}

/** A whole answer that is there at once. */
function saying(
  text: string,
  failure: Failure | undefined,
  clock: Clock,
): Pick<DedupeEntry, "answer" | "addresses" | "failure"> {
  const answer = createAnswerStream({ clock, intervalMs: 0 });
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
}: AcceptOptions<M>): (request: Request, entry: DedupeEntry) => Promise<void> {
  return (request, entry) => {
    if (entry.addresses.has(request.address)) {
      const acceptedAt = clock.now();
      write({ request, acceptedAt, outcome: "duplicate", duplicate: "ignored", unlimited: true });
    } else {
      entry.addresses.add(request.address);
      direct.send({ request, entry, duplicate: "joined", unlimited: true });
    }
    return entry.stored;
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
    const entry = { ...saying(text, undefined, clock), stored: Promise.resolve() };
    // A second delivery of this command must not stop what was asked after it.
    if (remember) {
      dedupe.begin(request, entry);
      dedupe.finish(request, entry, resultOf(entry));
    }
    direct.send({ request, entry, unlimited: !remember });
  };
  const repeat = (request: Request, entry: DedupeEntry, policy: ChannelPolicy): void => {
    const failure = admission.repeat(request, policy);
    if (failure !== undefined) return reject.now(request, failure);
    if (entry.addresses.has(request.address)) return;
    entry.addresses.add(request.address);
    direct.send({ request, entry, duplicate: "repeated" });
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
  const { queue, durableRequests, dedupe, inFlight } = options;
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
    const ended = inFlight.begin();
    dedupe.begin(request, storing);
    const acceptance = await durableRequests
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
    direct.sendRejection({ request, entry: restoredEntry(answer, clock), claim, ...facts });
    return;
  }
  const { claim, request: stored, answer } = acceptance.stored;
  if (acceptance.is === "repeated") direct.send({ request, claim, duplicate: "repeated" });
  else if (stored.address !== request.address) {
    const entry = answer && restoredEntry(answer, clock);
    if (entry === undefined) queue.attach(claim, request);
    else direct.send({ request, entry, duplicate: "joined", unlimited: true });
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

interface ReplyThrottleOptions {
  readonly clock: Pick<Clock, "now">;
  readonly everyMs: number;
  /** Names at a time. */
  readonly rows: number;
}

/** Who was told something lately, so that nobody is told too often. */
interface ReplyThrottle {
  /** How many times the name was passed over since it was last told; undefined passes it over now. */
  allow(name: string): number | undefined;
}

interface Row {
  readonly at: number;
  suppressed: number;
}

/** While all rows are taken no further name is told anything: invented names cost neither memory nor messages. */
export function createReplyThrottle({ clock, everyMs, rows }: ReplyThrottleOptions): ReplyThrottle {
  /** In the order of their times, so that the front is the first to be old. */
  const told = new Map<string, Row>();
  const isYoung = (row: Row): boolean => clock.now() - row.at < everyMs;

  return {
    allow(name) {
      const row = told.get(name);
      if (row !== undefined && isYoung(row)) {
        row.suppressed++;
        return undefined;
      }
      told.delete(name);
      for (const [other, old] of told) {
        if (isYoung(old)) break;
        told.delete(other);
      }
      if (told.size >= rows) return undefined;
      told.set(name, { at: clock.now(), suppressed: 0 });
      return row?.suppressed ?? 0;
    },
  };
}
