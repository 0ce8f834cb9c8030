import type { Failure } from "../../base/failure.ts";
import type { Claim, StoredRequest } from "../../store/contract.ts";
import type { DirectReplies } from "../answer/direct-replies.ts";
import { isAllowed } from "../channel-policy.ts";
import type { ChannelPolicy } from "../channel-policy.ts";
import type { Request } from "../contract.ts";
import { failureOf, shuttingDown } from "../errors.ts";
import type { InFlight } from "../in-flight.ts";
import { laneOf, queueWeight } from "../request-keys.ts";
import type { RequestRecord } from "../request-log.ts";
import type { Accounting } from "../usage/accounts.ts";
import { createLanes } from "./fair-queue.ts";
import type { Hold, Lanes, Needs } from "./fair-queue.ts";
import { createPending, entryOf, isExpired } from "./pending-request.ts";
import type { PendingRequest } from "./pending-request.ts";
import { processRequest } from "./process-request.ts";
import type { ProcessOptions } from "./process-request.ts";
import { GRACE_MS } from "./turn.ts";

export interface RequestQueueOptions<M> extends ProcessOptions<M> {
  readonly slots: number;
  /** Requests that may wait in all; 0 is no limit but the program's own. */
  readonly queued: number;
  readonly policies: ReadonlyMap<string, ChannelPolicy>;
  /** What the turn of a request may use. */
  readonly allowanceOf: Accounting["allowanceOf"];
  readonly inFlight: InFlight;
  readonly write: (entry: RequestRecord) => void;
  readonly direct: Pick<DirectReplies, "retryLater" | "clientSeen" | "flushRetries" | "send">;
  /** A request as the store has it, with the way back; without it the way back stays in memory. */
  readonly restore?: ((held: StoredRequest<unknown>) => Request) | undefined;
}

/** The requests that were accepted, from their places in the queue to the delivery of their answers. */
export interface RequestQueue {
  hasRoom(request: Request, policy: ChannelPolicy): boolean;
  /** Seconds after which there may be. */
  secondsUntilRoom(): number;
  /** Takes a place before the request is stored, so that those stored together do not take more than there are. */
  reserve(request: Request, policy: ChannelPolicy): Place;
  /**
   * Adds a request that a former process stored: it runs when its turn comes, and costs little memory until
   * then. One that is answered already is only delivered.
   */
  addStored(request: Request, claim: Claim, isAnswered: boolean): void;
  /** A request that only this process has. */
  add(request: Request, policy: ChannelPolicy): void;
  /** One more asker hears the answer of a stored request that waits or runs here. */
  attach(claim: Claim, asker: Request): void;
  /** Whether `stop` would find something. */
  hasWork(lane: string): boolean;
  /**
   * Cancels all that the client asked so far and that has no answer yet, what runs and what waits: a
   * person who says stop would otherwise see the next question begin. Each is answered `cancelled`, in its
   * order.
   */
  stop(lane: string): void;
  /** Ends everything at once: what is durable is left to the next start, the rest cancelled. */
  stopAll(): { readonly cancelled: number; readonly kept: number };
  /** Reports what is still not delivered; says how many of these answers are lost, and how many the store has. */
  abandonUndelivered(): { readonly undelivered: number; readonly kept: number };
}

/** The place of a request that is being stored; it ends with `add` or `cancel`. */
export interface Place {
  /** Whether the request starts as soon as it is stored: its lane and a slot are taken for it. */
  readonly starts: () => boolean;
  /** The request cannot be stored for now: it waits like others, and does not hold a slot. */
  readonly wait: () => void;
  /** The request is stored under that claim, its first attempt has begun where it `starts`. */
  readonly add: (claim: Claim) => void;
  /** The request is not stored. */
  readonly cancel: () => void;
}

/**
 * Clients of one channel whose turn runs or whose answer is being delivered. While the channel's
 * connection is lost, each of them holds about 10 KB; the requests of other clients stay in the store.
 */
const BUSY_PER_CHANNEL = 1024;

/** The grace at shutdown: less than what answers have to leave afterwards. */
const SHUTDOWN_GRACE_MS = 500;

/** A request in its lane. Thousands of stored ones wait in a flood: the rest of them is read when their turn comes. */
interface Queued<M> {
  readonly lane: string;
  readonly channel: string;
  readonly acceptedAt: number;
  readonly expiresAt: number | undefined;
  readonly claim: Claim | undefined;
  /** Of a stored one where the store cannot say the way back. */
  readonly request: Request | undefined;
  readonly counts: boolean;
  /** It needs no turn. */
  readonly isAnswered: boolean;
  /** From its turn on; of one that only this process has from the beginning. */
  pending: PendingRequest<M> | undefined;
  /** It was cancelled while it waited in the store. */
  failure: Failure | undefined;
  /** The store keeps it for the next start. */
  isReleased: boolean;
}

export function createRequestQueue<M>(options: RequestQueueOptions<M>): RequestQueue {
  return new LanedQueue(options);
}

class LanedQueue<M> implements RequestQueue {
  readonly #options: RequestQueueOptions<M>;
  readonly #backlog: Backlog;
  readonly #waitEstimate: WaitEstimate;
  readonly #lanes: Lanes<Queued<M>>;
  /** Requests of a lane that have room, are not stored yet and will wait. */
  readonly #reserved = createCount();
  /** Lanes of requests that are not stored yet and will start then. */
  readonly #starting = new Set<string>();
  /** What has or had its turn, or waits in memory, and is not reported. */
  readonly #open = new Set<PendingRequest<M>>();
  readonly #askers = createAskers();
  #isStopped = false;

  constructor(options: RequestQueueOptions<M>) {
    this.#options = options;
    this.#backlog = createBacklog(options.queued);
    this.#waitEstimate = createWaitEstimate(options.slots);
    this.#lanes = createLanes<Queued<M>>({
      slots: options.slots,
      busyPerChannel: Math.max(BUSY_PER_CHANNEL, 2 * options.slots),
      clock: options.clock,
      needs: (queued) => this.#needs(queued),
      start: (queued, hold) => this.#start(queued, hold),
    });
  }

  hasRoom(request: Request, policy: ChannelPolicy): boolean {
    const lane = laneOf(request);
    const reserved = this.#reserved.of(lane);
    // The first of an idle lane does not wait.
    const starts = this.#lanes.isIdle(lane) && reserved > 0 ? 1 : 0;
    return this.#backlog.hasRoom(request, policy, this.#lanes.waiting(lane) + reserved - starts);
  }

  secondsUntilRoom(): number {
    return this.#waitEstimate.secondsFor(this.#lanes.size);
  }

  reserve(request: Request, policy: ChannelPolicy): Place {
    const lane = laneOf(request);
    let start = this.#lanes.reserve({ lane, channel: request.channel });
    if (start === undefined) this.#enter(request);
    else this.#starting.add(lane);
    const wait = (): void => {
      if (start === undefined) return;
      this.#enter(request);
      this.#starting.delete(lane);
      start.cancel();
      start = undefined;
    };
    return {
      starts: () => start !== undefined,
      wait,
      add: (claim) => {
        if (start === undefined) {
          this.#reserved.add(lane, -1);
          this.#addWaiting(request, claim, false);
        } else {
          this.#starting.delete(lane);
          start.start(this.#begun(request, policy, claim));
        }
      },
      cancel: () => {
        wait();
        this.#reserved.add(lane, -1);
        this.#backlog.leave(request);
      },
    };
  }

  addStored(request: Request, claim: Claim, isAnswered: boolean): void {
    this.#backlog.enter(request);
    this.#addWaiting(request, claim, isAnswered);
  }

  add(request: Request, policy: ChannelPolicy): void {
    const acceptedAt = this.#options.clock.now();
    const pending = createPending<M>(request, { ...this.#options, policy, acceptedAt });
    this.#opened(pending);
    this.#backlog.enter(request);
    this.#enqueue(this.#queued(request, { pending }));
  }

  attach({ seq }: Claim, asker: Request): void {
    const { dedupe, direct } = this.#options;
    const running = dedupe.running(asker);
    if (running !== undefined && "answer" in running) {
      direct.send({ request: asker, entry: running, duplicate: "joined", unlimited: true });
    } else this.#askers.add(seq, asker);
  }

  hasWork(lane: string): boolean {
    if (this.#starting.has(lane)) return true;
    return this.#reserved.of(lane) > 0 || this.#lanes.items(lane).some(mayBeCancelled);
  }

  stop(lane: string): void {
    for (const queued of this.#lanes.items(lane)) {
      this.#cancel(queued, failureOf("cancelled"), GRACE_MS);
    }
  }

  stopAll(): { readonly cancelled: number; readonly kept: number } {
    this.#isStopped = true;
    const count = { cancelled: 0, kept: 0 };
    // Those that wait behind first: none of them begins when the one before it ends.
    for (const queued of this.#lanes.all().toReversed()) {
      const { pending, claim } = queued;
      const isKept =
        claim !== undefined && queued.failure === undefined && !pending?.cancellation.failure;
      if (pending === undefined && isKept) queued.isReleased = true;
      if (pending !== undefined) pending.isDraining = isKept;
      const isEnded = this.#cancel(queued, shuttingDown("cancelled"), SHUTDOWN_GRACE_MS);
      if (isEnded) count[isKept ? "kept" : "cancelled"] += 1;
    }
    return count;
  }

  abandonUndelivered(): { readonly undelivered: number; readonly kept: number } {
    const left = [...this.#open];
    for (const pending of left) this.#report(pending, false);
    const kept = left.filter(({ claim }) => claim !== undefined).length;
    return { undelivered: left.length - kept, kept };
  }

  #enter(request: Request): void {
    this.#reserved.add(laneOf(request), 1);
    this.#backlog.enter(request);
  }

  #addWaiting(request: Request, claim: Claim, isAnswered: boolean): void {
    const kept = this.#options.restore ? {} : { request: { ...request, text: "" } };
    this.#enqueue(this.#queued(request, { claim, isAnswered, ...kept }));
  }

  /** A request that was stored a moment ago and whose first attempt began with that. */
  #begun(request: Request, policy: ChannelPolicy, claim: Claim): Queued<M> {
    const { clock } = this.#options;
    const pending = createPending<M>(request, {
      ...this.#options,
      policy,
      acceptedAt: clock.now(),
      held: { claim, progress: [] },
      isBegun: true,
    });
    if (isExpired(request, clock)) pending.cancellation.cancel(failureOf("expired"), 0);
    this.#opened(pending);
    return this.#queued(request, { claim, pending });
  }

  #opened(pending: PendingRequest<M>): void {
    this.#open.add(pending);
    this.#options.dedupe.begin(pending.request, pending.entry);
  }

  #enqueue(queued: Queued<M>): void {
    this.#lanes.add(queued, queued);
  }

  #queued(
    { channel, client, expiresAt }: Request,
    facts: Partial<Pick<Queued<M>, "claim" | "request" | "pending" | "isAnswered">>,
  ): Queued<M> {
    return {
      lane: laneOf({ channel, client }),
      channel,
      acceptedAt: this.#options.clock.now(),
      expiresAt,
      claim: facts.claim,
      request: facts.request,
      counts: this.#options.inFlight.enter(),
      isAnswered: facts.isAnswered ?? false,
      pending: facts.pending,
      failure: undefined,
      isReleased: false,
    };
  }

  #needs({ pending, expiresAt, failure, isReleased, isAnswered }: Queued<M>): Needs {
    // At shutdown nothing waits for a delivery.
    if (isReleased || this.#isStopped) return "nothing";
    if (isAnswered) return "delivery";
    const isOver = expiresAt !== undefined && isExpired({ expiresAt }, this.#options.clock);
    if (isOver) pending?.cancellation.cancel(failureOf("expired"), 0);
    const isCancelled = failure !== undefined || pending?.cancellation.failure !== undefined;
    return isOver || isCancelled ? "delivery" : "turn";
  }

  #start(queued: Queued<M>, hold: Hold): void {
    if (hold.tookSlot && queued.pending?.isBegun !== true) this.#backlog.leave(countedOf(queued));
    // The answerer's first steps are not taken inside the transport's callback.
    queueMicrotask(() => void this.#run(queued, hold));
  }

  /** From its turn to its delivery. Never rejects. */
  async #run(queued: Queued<M>, hold: Hold): Promise<void> {
    const pending = queued.pending ?? (await this.#load(queued));
    if (pending === undefined) {
      if (!hold.tookSlot) this.#backlog.leave(countedOf(queued));
      hold.done();
    } else {
      const [backlog, waitEstimate] = [this.#backlog, this.#waitEstimate];
      await processRequest(pending, hold, { options: this.#options, backlog, waitEstimate });
      this.#report(pending, true);
    }
    this.#options.inFlight.leave(queued.counts);
  }

  /** Reads a stored request whose turn has come; undefined where the store keeps it, or another has it. */
  async #load(queued: Queued<M>): Promise<PendingRequest<M> | undefined> {
    const { durableRequests, restore, direct } = this.#options;
    const { claim } = queued;
    if (claim === undefined || queued.isReleased) return undefined;
    const held = await durableRequests.load(claim).catch(() => undefined);
    if (held === undefined || queued.isReleased) return undefined;
    const restored = queued.request ?? restore?.(held);
    if (restored === undefined) return undefined;
    const pending = this.#pendingOf(queued, { ...restored, text: held.request.text }, held);
    if (pending === undefined) return undefined;
    queued.pending = pending;
    this.#opened(pending);
    for (const asker of this.#askers.take(claim.seq)) {
      const facts = { duplicate: "joined", unlimited: true } as const;
      direct.send({ request: asker, entry: pending.entry, ...facts });
    }
    return pending;
  }

  /** It gets no turn where it was cancelled or expired while it waited, or its client may not ask any more. */
  #pendingOf(
    { channel, acceptedAt, failure }: Queued<M>,
    request: Request,
    held: StoredRequest<M>,
  ): PendingRequest<M> | undefined {
    const { clock, policies } = this.#options;
    const policy = policies.get(channel);
    if (policy === undefined) return undefined;
    const pending = createPending<M>(request, { ...this.#options, policy, acceptedAt, held });
    const ended = [
      failure,
      isExpired(request, clock) ? failureOf("expired") : undefined,
      isAllowed(policy, request.client) ? undefined : failureOf("forbidden"),
    ].find((each) => each !== undefined);
    if (ended !== undefined && !pending.isAnswered) pending.cancellation.cancel(ended, 0);
    return pending;
  }

  /** Says whether there was something to cancel. */
  #cancel(queued: Queued<M>, failure: Failure, graceMs: number): boolean {
    const { pending } = queued;
    const isCancelled =
      pending?.cancellation.cancel(failure, graceMs) ?? queued.failure === undefined;
    if (pending === undefined) queued.failure ??= failure;
    if (isCancelled) this.#lanes.recheck(queued.lane);
    return isCancelled;
  }

  #report(pending: PendingRequest<M>, delivered: boolean): void {
    if (!this.#open.delete(pending)) return;
    pending.cancellation.release();
    this.#options.write(entryOf(pending, delivered));
  }
}

function mayBeCancelled<M>({ pending, failure, isAnswered }: Queued<M>): boolean {
  if (isAnswered) return false;
  if (pending === undefined) return failure === undefined;
  return pending.outcome === undefined && pending.cancellation.failure === undefined;
}

function countedOf<M>({ channel, pending }: Queued<M>): Counted {
  return pending?.request ?? { channel, durable: true, text: "" };
}

/** How many there are of each name; none is held at 0. */
function createCount(): { of(name: string): number; add(name: string, more: number): void } {
  const counts = new Map<string, number>();
  return {
    of: (name) => counts.get(name) ?? 0,
    add(name, more) {
      const count = (counts.get(name) ?? 0) + more;
      if (count > 0) counts.set(name, count);
      else counts.delete(name);
    },
  };
}

/** Places of further askers, and askers of one request; those beyond ask again later. */
const MOST_PLACES = 8192;
const MOST_ASKERS = 8;

/** Who else hears the answer of a request that waits in the store. */
function createAskers(): {
  add(seq: number, asker: Request): void;
  take(seq: number): readonly Request[];
} {
  const bySeq = new Map<number, Request[]>();
  let places = 0;
  return {
    add(seq, asker) {
      const askers = bySeq.get(seq) ?? [];
      const isKnown = askers.some(({ address }) => address === asker.address);
      if (isKnown || askers.length >= MOST_ASKERS || places >= MOST_PLACES) return;
      bySeq.set(seq, [...askers, asker]);
      places += queueWeight(asker);
    },
    take(seq) {
      const askers = bySeq.get(seq) ?? [];
      bySeq.delete(seq);
      for (const asker of askers) places -= queueWeight(asker);
      return askers;
    },
  };
}

/** What of a request counts. */
type Counted = Pick<Request, "channel" | "durable" | "text">;

/** What was accepted and is neither running nor delivered. */
export interface Backlog {
  enter(request: Counted): void;
  leave(request: Counted): void;
  /** Whether one more request fits; `waiting` is what its client has waiting already. */
  hasRoom(request: Counted, policy: ChannelPolicy, waiting: number): boolean;
}

/** Requests that only this process holds, and the characters of their texts, whatever the configuration says. */
const IN_MEMORY = 1024;
const CHARACTERS = 8 * 2 ** 20;
/** Requests that the store holds: some hundred bytes of memory each. */
const IN_STORE = 65_536;

/** `queued` is how many the configuration allows in all; 0 is no limit but the program's own. */
function createBacklog(queued: number): Backlog {
  const byChannel = new Map<string, number>();
  const stored = { requests: 0 };
  const held = { requests: 0 };
  let characters = 0;

  const change = (request: Counted, by: 1 | -1): void => {
    (request.durable ? stored : held).requests += by;
    if (!request.durable) characters += by * request.text.length;
    byChannel.set(request.channel, (byChannel.get(request.channel) ?? 0) + by);
  };
  const fits = ({ durable, text }: Counted): boolean =>
    durable
      ? stored.requests < IN_STORE
      : held.requests < IN_MEMORY && characters + text.length <= CHARACTERS;

  return {
    enter: (request) => change(request, 1),
    leave: (request) => change(request, -1),
    hasRoom(request, policy, waiting) {
      return (
        fits(request) &&
        isBelow(stored.requests + held.requests, queued) &&
        isBelow(waiting, policy.limits.queued) &&
        isBelow(byChannel.get(request.channel) ?? 0, policy.totalLimits.queued)
      );
    },
  };
}

/** 0 is no limit. */
function isBelow(count: number, limit: number): boolean {
  return limit === 0 || count < limit;
}

/** How long turns take lately, to say to whom there was no room when there may be. */
export interface WaitEstimate {
  add(turnMs: number): void;
  /** Seconds, at least 1, until each of so many clients had a turn. */
  secondsFor(clients: number): number;
}

/** Before the first turn was seen. */
const FIRST_GUESS_MS = 2000;
/** How much one turn weighs against all before it. */
const WEIGHT = 0.2;
const LONGEST_SECONDS = 600;

function createWaitEstimate(slots: number): WaitEstimate {
  let averageMs = FIRST_GUESS_MS;
  return {
    add(turnMs) {
      averageMs += (turnMs - averageMs) * WEIGHT;
    },
    secondsFor(clients) {
      const seconds = Math.ceil(((averageMs / 1000) * Math.max(clients, slots)) / slots);
      return Math.min(Math.max(seconds, 1), LONGEST_SECONDS);
    },
  };
}
