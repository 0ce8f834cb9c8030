import { Failure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import { withoutContent } from "../base/request-extras.ts";
import type {
  Acceptance,
  Admission as StoreAdmission,
  Claim,
  LaneElsewhere,
} from "../store/contract/store.ts";
import type { Admission, Verdict } from "./admission.ts";
import { AnswerStream, restoredAnswer, storedAnswerOf } from "./answer/answer-stream.ts";
import type { DirectReplies } from "./answer/direct-replies.ts";
import type { OfflineClients } from "./answer/offline-clients.ts";
import type { ChannelPolicy } from "./channel-policy.ts";
import type { Clock } from "./clock.ts";
import type { Request } from "./contract.ts";
import type { Dedupe, Storing } from "./dedupe.ts";
import { resultOf } from "./dedupe.ts";
import type { DurableRequests } from "./durable/durable-requests.ts";
import { wireFailureOf } from "./errors.ts";
import type { InFlight } from "./in-flight.ts";
import { joinKnown } from "./known-requests.ts";
import { ReplyThrottle } from "./reply-throttle.ts";
import { laneOf } from "./request-keys.ts";
import { clientFields } from "./request-log.ts";
import type { RequestRecord } from "./request-log.ts";
import type { Place, RequestQueue } from "./request/request-queue.ts";
import type { Statistics } from "./statistics/statistics.ts";
import type { Accounting } from "./usage/accounts.ts";

export interface AcceptOptions<M> {
  readonly admission: Admission;
  readonly queue: RequestQueue<M>;
  readonly direct: DirectReplies;
  readonly offline: Pick<OfflineClients, "seen">;
  readonly dedupe: Dedupe<AnswerStream | Storing>;
  readonly inFlight: InFlight;
  readonly durableRequests: Pick<DurableRequests<M>, "accept" | "find" | "join">;
  /** Of a store that several gateways share. */
  readonly cluster?: { readonly isPolling: () => boolean } | undefined;
  readonly accounting: Pick<
    Accounting,
    "consumeRateLimit" | "countRejection" | "giveBack" | "prepare"
  >;
  readonly clock: Clock;
  readonly log: Log;
  readonly write: (entry: RequestRecord) => void;
  readonly statistics: Pick<Statistics, "count">;
}

/**
 * A client that is not allowed gets one answer a minute, and a client's rejections of one kind get one line in
 * the log a minute; each for at most this many clients.
 */
const THROTTLE = { everyMs: 60_000, rows: 1024 };

/** When to ask again if it is not known whether the request is stored. */
const UNSURE_SECONDS = 30;

const STOPPED = "Stopped.";
const NOTHING_TO_STOP = "Nothing to stop.";

/** Takes each request: it runs, or its rejection is its answer, which is stored when the request is durable. */
export class Acceptor<M> {
  readonly #options: AcceptOptions<M>;
  readonly #forbidden: ReplyThrottle;
  readonly #logged: ReplyThrottle;

  constructor(options: AcceptOptions<M>) {
    this.#options = options;
    this.#forbidden = new ReplyThrottle({ clock: options.clock, ...THROTTLE });
    this.#logged = new ReplyThrottle({ clock: options.clock, ...THROTTLE });
  }

  /** Resolves when the transport may acknowledge the request. */
  async accept(request: Request): Promise<void> {
    const { admission, accounting, offline } = this.#options;
    offline.seen(laneOf(request));
    let triage = admission.triage(request);
    const ready = triage.to === "decide" ? accounting.prepare(request, triage.policy) : undefined;
    if (ready !== undefined) {
      // The client's usage is read first; the same request may have come again meanwhile.
      await ready;
      triage = admission.triage(request);
    }
    switch (triage.to) {
      case "join":
        return this.#join(request, triage.answer);
      case "await":
        return this.#awaitStored(request, triage.storing);
      case "hold":
        return held();
      case "reject":
        return this.#reject(request, triage.failure);
      case "decide": {
        // Only this process knows what was answered at QoS 0.
        const finished = this.#options.dedupe.finished(request);
        return request.durable && finished === undefined
          ? this.#acceptInStore(request, triage.policy)
          : this.#acceptInMemory(request, triage.policy, finished);
      }
    }
    return triage satisfies never;
  }

  /**
   * One more address gets an answer that grows or is being delivered. The address is stored first or meanwhile: after
   * a crash it gets the answer, too.
   */
  async #join(request: Request, answer: AnswerStream): Promise<void> {
    const { cluster, direct, durableRequests } = this.#options;
    const send = (): void => direct.send({ request, answer, duplicate: "joined", unlimited: true });
    if (answer.addresses.has(request.address)) this.#ignore(request);
    else if (cluster === undefined || !request.durable) {
      answer.addresses.add(request.address);
      send();
      if (request.durable) await joinKnown(request, durableRequests).catch(() => {});
    } else if (await joinKnown(request, durableRequests).catch(() => held())) this.#joined(request);
    else send();
  }

  /** A poll of the store has it sent. */
  #joined(request: Request): void {
    const facts = { outcome: "duplicate", duplicate: "joined", unlimited: true } as const;
    this.#options.write({ request, acceptedAt: this.#options.clock.now(), ...facts });
  }

  /** The same request is being stored: only then it is known where its answer is. */
  async #awaitStored(request: Request, { address, stored }: Storing): Promise<void> {
    const isStored = await stored;
    if (!isStored || address !== request.address) return this.accept(request);
    this.#ignore(request);
  }

  /** The answer goes to the same address already. */
  #ignore(request: Request): void {
    const { clock, write } = this.#options;
    const acceptedAt = clock.now();
    write({ request, acceptedAt, outcome: "duplicate", duplicate: "ignored", unlimited: true });
  }

  /** Rejects without the store: a client that is not allowed, QoS 0, and while nothing can be stored. */
  #reject(request: Request, failure: Failure): void {
    const { accounting, clock, direct, log, statistics } = this.#options;
    const answer = wholeAnswer("", failure, clock);
    if (failure.code !== "forbidden") {
      direct.send({ request, answer, ...this.#rejectionFacts(request, failure) });
      return;
    }
    accounting.countRejection(request, failure.code);
    const suppressed = this.#forbidden.allow(laneOf(request));
    if (suppressed !== undefined) direct.send({ request, answer, failure, suppressed });
    else {
      statistics.count(request.channel, failure.code);
      log.debug("rejected without an answer: the client got one lately", clientFields(request));
    }
  }

  /** Counts a rejection; returns what the log says of it. */
  #rejectionFacts(
    request: Request,
    failure: Failure,
  ): Pick<RequestRecord, "failure" | "suppressed" | "unlimited"> {
    this.#options.accounting.countRejection(request, failure.code);
    const suppressed = this.#logged.allow(`${failure.code} ${laneOf(request)}`);
    return { failure, ...(suppressed === undefined ? { unlimited: true } : { suppressed }) };
  }

  /** Requests of QoS 0: nothing of them outlives the process. */
  #acceptInMemory(
    request: Request,
    policy: ChannelPolicy,
    finished?: AnswerStream | Storing,
  ): void {
    const { admission, queue } = this.#options;
    if (finished instanceof AnswerStream) {
      this.#repeat(request, policy, finished);
      return;
    }
    const verdict = admission.decide(request, policy, true);
    if (verdict.to === "run") queue.add(request, policy);
    else if (verdict.to === "stop") this.#stop(request, verdict.remember);
    else this.#reject(request, verdict.failure);
  }

  #repeat(request: Request, policy: ChannelPolicy, answer: AnswerStream): void {
    const { accounting, direct } = this.#options;
    const failure = accounting.consumeRateLimit(request, policy);
    if (failure !== undefined) this.#reject(request, failure);
    else if (!answer.addresses.has(request.address)) {
      answer.addresses.add(request.address);
      direct.send({ request, answer, duplicate: "repeated" });
    }
  }

  #stop(request: Request, remember: boolean): void {
    const { queue, dedupe, direct, clock } = this.#options;
    const text = queue.hasWork(laneOf(request)) ? STOPPED : NOTHING_TO_STOP;
    queue.stop(laneOf(request));
    const answer = wholeAnswer(text, undefined, clock);
    // A second delivery of this command must not stop later requests.
    if (remember) {
      dedupe.begin(request, answer);
      dedupe.finish(request, answer, resultOf(answer));
    }
    direct.send({ request, answer, unlimited: !remember });
  }

  /** Requests of QoS 1 and 2: each is stored, or else its rejection. */
  async #acceptInStore(request: Request, policy: ChannelPolicy): Promise<void> {
    const { queue, durableRequests, dedupe, inFlight } = this.#options;
    const stored = Promise.withResolvers<boolean>();
    const storing: Storing = { address: request.address, stored: stored.promise };
    const decided: Decided<M> = {};
    let isRejected = false;
    const onWriteError = (failure: Failure): void => {
      if (decided.place !== undefined) queue.giveUpStart(decided.place);
      if (!isRejected) this.#reject(request, asBusy(failure));
      isRejected = true;
    };
    const counts = inFlight.enter();
    dedupe.begin(request, storing);
    let acceptance: Acceptance<M> | undefined;
    try {
      const decision = this.#storeAdmission(request, policy, decided);
      acceptance = await durableRequests.accept(request, decision, onWriteError);
    } catch {
      // The gateway closes, or another one hears the channel: the transport holds the request for that one.
    }
    inFlight.leave(counts);
    dedupe.forget(request, storing);
    const { place } = decided;
    if (place !== undefined && acceptance?.is === "new") queue.addReserved(place, acceptance.claim);
    else if (place !== undefined) queue.cancelReserved(place);
    stored.resolve(acceptance !== undefined);
    if (acceptance === undefined) return held();
    if (acceptance.is === "left" || acceptance.is === "refused") return;
    if (decided.verdict?.to === "stop") queue.stop(laneOf(request));
    if (acceptance.is !== "new") await this.#reply(request, acceptance, decided, policy);
  }

  /** Decides inside of the store's transaction; when that is tried again, the decision stays. */
  #storeAdmission(request: Request, policy: ChannelPolicy, decided: Decided<M>): StoreAdmission {
    const { admission, accounting, queue, cluster, inFlight } = this.#options;
    return {
      admit: (hasRoom, elsewhere) => {
        const open = elsewhere?.open ?? 0;
        const verdict = (decided.verdict ??= admission.decide(request, policy, hasRoom, open));
        if (verdict.to === "run") {
          decided.place ??= queue.reserve(request, policy);
          if (cluster !== undefined && mustLeave(decided.place, elsewhere, { cluster, inFlight })) {
            queue.cancelReserved(decided.place);
            delete decided.place;
            return "leave";
          }
          return decided.place.start === undefined ? "wait" : "begin";
        }
        if (verdict.to === "stop") {
          const hasWork = queue.hasWork(laneOf(request)) || open > 0;
          return { stop: storedAnswerOf([hasWork ? STOPPED : NOTHING_TO_STOP]) };
        }
        decided.failure = verdict.failure;
        return storedAnswerOf([], wireFailureOf(verdict.failure));
      },
      repeat() {
        if (decided.isRepeat !== true) {
          decided.failure = accounting.consumeRateLimit(request, policy);
        }
        decided.isRepeat = true;
        return decided.failure && storedAnswerOf([], wireFailureOf(decided.failure));
      },
    };
  }

  /** Answers a stored request that does not run. Resolves when another gateway knows that it has to. */
  async #reply(
    whole: Request,
    acceptance: Exclude<Acceptance<M>, { is: "new" | "left" | "refused" }>,
    decided: Decided<M>,
    policy: ChannelPolicy,
  ): Promise<void> {
    const { direct, clock, accounting } = this.#options;
    const request = withoutContent(whole);
    const { failure } = decided;
    if (acceptance.is === "answered") {
      const { claim, answer } = acceptance;
      const facts = failure && this.#rejectionFacts(request, failure);
      direct.sendRejection({ request, answer: restoredAnswer(answer, clock), claim, ...facts });
      return;
    }
    // An earlier try took it for a new one: it was not written, and another gateway took it meanwhile.
    if (isCharged(decided)) accounting.giveBack(request, policy);
    const { claim, request: stored, answer } = acceptance.stored;
    if (acceptance.is === "repeated") direct.send({ request, claim, duplicate: "repeated" });
    else if (stored.address === request.address) this.#ignore(request);
    else if (answer === undefined) await this.#attach(whole, claim);
    else {
      const restored = restoredAnswer(answer, clock);
      direct.send({ request, answer: restored, duplicate: "joined", unlimited: true });
    }
  }

  /** The answer of a request that waits, or runs elsewhere, also goes to this client's address. */
  async #attach(request: Request, claim: Claim): Promise<void> {
    const { cluster, queue, durableRequests } = this.#options;
    if (cluster === undefined) {
      queue.attach(claim, withoutContent(request));
      await joinKnown(request, durableRequests, claim).catch(() => {});
      return;
    }
    const isJoined = await joinKnown(request, durableRequests, claim).catch(() => held());
    // It was delivered meanwhile: the store has its answer.
    if (!isJoined) return this.accept(request);
    this.#joined(request);
  }
}

/**
 * Whether the request is for another gateway: its lane is there, or free and there is no slot for it here. While
 * the result of a poll is on its way, a lane of this gateway may have earlier requests in it.
 */
export function mustLeave(
  { start }: Pick<Place<unknown>, "start">,
  elsewhere: LaneElsewhere | undefined,
  { cluster, inFlight }: Pick<AcceptOptions<never>, "cluster" | "inFlight">,
): boolean {
  if (inFlight.isClosed) return true;
  if (elsewhere === undefined) return cluster?.isPolling() === true;
  return !elsewhere.isFree || start === undefined;
}

/** Whether a request of unknown outcome is stored, its client learns later. */
export function asBusy(failure: Failure): Failure {
  if (failure.code !== "unsure") return failure;
  const { message, why, retryAfter = UNSURE_SECONDS } = failure;
  return new Failure("busy", message, { why, retryAfter, cause: failure });
}

/** Never resolves: the transport does not acknowledge the request and holds it for the next start. */
function held(): Promise<never> {
  return new Promise(() => {});
}

/** What was decided about a request in the store's transaction. */
interface Decided<M> {
  verdict?: Verdict;
  /** Its place in the queue, when it runs. */
  place?: Place<M>;
  /** The rate limit was asked for a finished answer. */
  isRepeat?: boolean;
  /** Why the request does not run, or why a finished answer is not delivered again. */
  failure?: Failure | undefined;
}

/** Whether it took a token of the rate limit as a new request. */
function isCharged<M>({ verdict }: Decided<M>): boolean {
  return verdict?.to === "run" || (verdict?.to === "stop" && verdict.remember);
}

/** An answer that is complete at once. */
function wholeAnswer(text: string, failure: Failure | undefined, clock: Clock): AnswerStream {
  const answer = new AnswerStream({ clock, intervalMs: 0 });
  answer.push(text);
  answer.finish(failure && wireFailureOf(failure));
  return answer;
}
