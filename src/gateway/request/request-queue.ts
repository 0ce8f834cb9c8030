import type { Failure } from "../../base/failure.ts";
import type { Claim, StoredRequest } from "../../store/contract.ts";
import type { DirectReplies } from "../answer/direct-replies.ts";
import { isAllowed } from "../channel-policy.ts";
import type { ChannelPolicy } from "../channel-policy.ts";
import type { Clock } from "../clock.ts";
import type { Request } from "../contract.ts";
import { failureOf } from "../errors.ts";
import type { InFlight } from "../in-flight.ts";
import { laneOf, queueWeight } from "../request-keys.ts";
import type { RequestRecord } from "../request-log.ts";
import type { Accounting } from "../usage/accounts.ts";
import { Lanes } from "./fair-queue.ts";
import type { Hold, LaneKey, Needs } from "./fair-queue.ts";
import {
  cancel,
  createPending,
  isCancellable,
  isExpired,
  isWaiting,
  recordOf,
  shutDown,
} from "./pending-request.ts";
import type { PendingRequest, WaitingRequest } from "./pending-request.ts";
import { processRequest } from "./process-request.ts";
import type { ProcessOptions } from "./process-request.ts";
import { GRACE_MS } from "./turn.ts";

/** One object for all waiting requests, of which there may be very many. */
const STORED = { is: "stored" } as const;

export interface RequestQueueOptions<M> extends ProcessOptions<M> {
  readonly slots: number;
  /** Requests that may wait in all; 0 sets no limit besides the program's own. */
  readonly queued: number;
  readonly policies: ReadonlyMap<string, ChannelPolicy>;
  readonly accounting: Pick<Accounting, "allowanceOf" | "prepare">;
  readonly inFlight: InFlight;
  readonly write: (entry: RequestRecord) => void;
  readonly direct: Pick<DirectReplies, "flushRetries" | "settle" | "send">;
  /** A request from the store, with the way to answer it; without this the way stays in memory. */
  readonly restore?: ((stored: StoredRequest<unknown>) => Request) | undefined;
}

/** The place of a request that is being stored; call `add` or `cancel` at the end. */
export interface Place {
  /** Whether the request starts as soon as it is stored: it holds its lane and a slot. */
  readonly starts: () => boolean;
  /** The request cannot be stored yet: it waits like others, without a slot. */
  readonly wait: () => void;
  /** The request is stored under the claim; if it `starts`, its first attempt has begun. */
  readonly add: (claim: Claim) => void;
  /** The request is not stored. */
  readonly cancel: () => void;
}

/**
 * Clients of one channel whose turn runs or whose answer is being delivered. While the channel's
 * connection is lost, each of them holds about 10 KB; the requests of other clients stay in the store.
 */
const BUSY_PER_CHANNEL = 1024;

/** One request of a client's lane. */
interface Queued<M> extends LaneKey {
  readonly acceptedAt: number;
  /** Whether a shutdown waits for it. */
  readonly counts: boolean;
  /** In the store until its turn, of QoS 0 in memory. */
  pending: WaitingRequest | PendingRequest<M>;
}

/** Accepted requests, from the queue to the delivery of their answers. */
export class RequestQueue<M> {
  readonly #options: RequestQueueOptions<M>;
  readonly #backlog: Backlog;
  readonly #waitEstimate: WaitEstimate;
  readonly #lanes: Lanes<Queued<M>>;
  /** Requests of a lane that have a place, are not stored yet and will wait. */
  readonly #reserved = createCount();
  /** Lanes of requests that are not stored yet and will start.  */
  readonly #starting = new Set<string>();
  /** Requests in memory that are not logged yet. */
  readonly #open = new Set<PendingRequest<M>>();
  readonly #clients = createAttached();
  #isStopped = false;

  constructor(options: RequestQueueOptions<M>) {
    this.#options = options;
    this.#backlog = createBacklog(options.queued);
    this.#waitEstimate = createWaitEstimate(options.slots);
    this.#lanes = new Lanes<Queued<M>>({
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
    // The first request of an idle lane does not wait.
    const starts = this.#lanes.isIdle(lane) && reserved > 0 ? 1 : 0;
    return this.#backlog.hasRoom(request, policy, this.#lanes.waiting(lane) + reserved - starts);
  }

  /** Seconds until there may be room. */
  secondsUntilRoom(): number {
    return this.#waitEstimate.secondsFor(this.#lanes.size);
  }

  /** Takes a place before the request is stored, so that requests stored together do not take more than there are. */
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
          start.start(this.#queued(request, this.#begun(request, policy, claim)));
        }
      },
      cancel: () => {
        wait();
        this.#reserved.add(lane, -1);
        this.#backlog.leave(request);
      },
    };
  }

  /**
   * Adds a request that a former process stored. It is read from the store when its turn comes; an answered
   * one is only delivered.
   */
  addStored(request: Request, claim: Claim, isAnswered: boolean): void {
    this.#backlog.enter(request);
    this.#addWaiting(request, claim, isAnswered);
  }

  /** Adds a request of QoS 0, which only this process has. */
  add(request: Request, policy: ChannelPolicy): void {
    const acceptedAt = this.#options.clock.now();
    const pending = createPending<M>(request, { ...this.#options, policy, acceptedAt });
    this.#opened(pending);
    this.#backlog.enter(request);
    this.#enqueue(request, pending);
  }

  /** The answer of a stored request that waits or runs here also goes to this client's address. */
  attach({ seq }: Claim, client: Request): void {
    const { dedupe, direct } = this.#options;
    const running = dedupe.running(client);
    if (running !== undefined && "answer" in running) {
      direct.send({ request: client, entry: running, duplicate: "joined", unlimited: true });
    } else this.#clients.add(seq, client);
  }

  /** Whether `stop` would cancel something. */
  hasWork(lane: string): boolean {
    if (this.#starting.has(lane)) return true;
    return (
      this.#reserved.of(lane) > 0 ||
      this.#lanes.items(lane).some(({ pending }) => isCancellable(pending))
    );
  }

  /**
   * Cancels all requests of the client that have no answer yet, running and waiting: otherwise the next
   * request would start. Each is answered `cancelled`, in order.
   */
  stop(lane: string): void {
    for (const { pending } of this.#lanes.items(lane)) {
      if (cancel(pending, failureOf("cancelled"), GRACE_MS)) this.#lanes.recheck(lane);
    }
  }

  /** Ends everything at once: leaves durable requests to the next start and cancels the others. */
  stopAll(): { readonly cancelled: number; readonly resumable: number } {
    this.#isStopped = true;
    const count = { cancelled: 0, resumable: 0 };
    // The waiting ones first: none of them starts when the one before it ends.
    for (const { lane, pending } of this.#lanes.all().toReversed()) {
      const ended = shutDown(pending);
      if (ended === undefined) continue;
      count[ended] += 1;
      this.#lanes.recheck(lane);
    }
    return count;
  }

  /** Logs the answers that are not delivered; counts those that are lost and those that the store has. */
  abandonUndelivered(): { readonly undelivered: number; readonly resumable: number } {
    const left = [...this.#open];
    for (const pending of left) this.#log(pending, false);
    const resumable = left.filter(({ claim }) => claim !== undefined).length;
    return { undelivered: left.length - resumable, resumable };
  }

  #enter(request: Request): void {
    this.#reserved.add(laneOf(request), 1);
    this.#backlog.enter(request);
  }

  #addWaiting(request: Request, claim: Claim, isAnswered: boolean): void {
    const { expiresAt } = request;
    const wayBack = this.#options.restore ? undefined : { ...request, text: "" };
    this.#enqueue(request, {
      state: STORED,
      claim,
      expiresAt,
      wayBack,
      isAnswered,
      cancelled: undefined,
    });
  }

  /** A request that was stored a moment ago, together with the start of its first attempt. */
  #begun(request: Request, policy: ChannelPolicy, claim: Claim): PendingRequest<M> {
    const { clock } = this.#options;
    const stored = { claim, progress: [], isBegun: true };
    const options = { ...this.#options, policy, acceptedAt: clock.now() };
    const pending = createPending<M>(request, options, stored);
    if (isExpired(request, clock)) cancel(pending, failureOf("expired"), 0);
    this.#opened(pending);
    return pending;
  }

  #opened(pending: PendingRequest<M>): void {
    this.#open.add(pending);
    this.#options.dedupe.begin(pending.request, pending.entry);
  }

  #enqueue(request: Request, pending: Queued<M>["pending"]): void {
    const queued = this.#queued(request, pending);
    this.#lanes.add(queued, queued);
  }

  #queued(request: Request, pending: Queued<M>["pending"]): Queued<M> {
    return {
      lane: laneOf(request),
      channel: request.channel,
      acceptedAt: this.#options.clock.now(),
      counts: this.#options.inFlight.enter(),
      pending,
    };
  }

  #needs({ pending }: Queued<M>): Needs {
    const { clock } = this.#options;
    // At shutdown nothing waits for a delivery.
    if (this.#isStopped) return "nothing";
    const isOver = isExpired(isWaiting(pending) ? pending : pending.request, clock);
    if (isOver && !isWaiting(pending)) cancel(pending, failureOf("expired"), 0);
    return !isOver && isCancellable(pending) ? "turn" : "delivery";
  }

  #start(queued: Queued<M>, hold: Hold): void {
    const { pending } = queued;
    const isBegun = !isWaiting(pending) && pending.claim !== undefined;
    if (hold.tookSlot && !isBegun) this.#backlog.leave(countedOf(queued));
    // The answerer's first steps are not taken inside the transport's callback.
    queueMicrotask(() => void this.#run(queued, hold));
  }

  /** From its turn to its delivery. Never rejects. */
  async #run(queued: Queued<M>, hold: Hold): Promise<void> {
    const { pending: waiting } = queued;
    const pending = isWaiting(waiting) ? await this.#load(queued, waiting) : waiting;
    if (pending === undefined) {
      if (!hold.tookSlot) this.#backlog.leave(countedOf(queued));
      hold.done();
    } else {
      const progress = {
        turnEnded: (ms: number): void => {
          if (!hold.tookSlot) return;
          this.#waitEstimate.add(ms);
          this.#backlog.enter(pending.request);
        },
        delivered: () => this.#backlog.leave(pending.request),
      };
      await processRequest(pending, hold, progress, this.#options);
      this.#log(pending, true);
    }
    this.#options.inFlight.leave(queued.counts);
  }

  /** Reads a stored request whose turn has come; undefined when it was released, or another gateway has it. */
  async #load(queued: Queued<M>, waiting: WaitingRequest): Promise<PendingRequest<M> | undefined> {
    const { durableRequests, restore, direct, policies, clock } = this.#options;
    const { claim } = waiting;
    if (isReleased(waiting)) return undefined;
    const stored = await durableRequests.load(claim).catch(() => undefined);
    if (stored === undefined || isReleased(waiting)) return undefined;
    const wayBack = waiting.wayBack ?? restore?.(stored);
    const policy = policies.get(queued.channel);
    if (wayBack === undefined || policy === undefined) return undefined;
    const request = { ...wayBack, text: stored.request.text };
    const options = { ...this.#options, policy, acceptedAt: queued.acceptedAt };
    const pending = createPending<M>(request, options, stored);
    const failure = waiting.cancelled ?? reasonNotToRun(request, policy, clock);
    if (failure !== undefined && isCancellable(pending)) cancel(pending, failure, 0);
    queued.pending = pending;
    this.#opened(pending);
    for (const client of this.#clients.take(claim.seq)) {
      const facts = { duplicate: "joined", unlimited: true } as const;
      direct.send({ request: client, entry: pending.entry, ...facts });
    }
    return pending;
  }

  #log(pending: PendingRequest<M>, delivered: boolean): void {
    if (!this.#open.delete(pending)) return;
    pending.cancellation.release();
    this.#options.write(recordOf(pending, delivered));
  }
}

function isReleased({ state }: WaitingRequest): boolean {
  return state.is === "released";
}

/** The deadline passed while the request waited, or its client is not allowed any more. */
function reasonNotToRun(
  request: Request,
  policy: ChannelPolicy,
  clock: Pick<Clock, "epoch">,
): Failure | undefined {
  if (isExpired(request, clock)) return failureOf("expired");
  return isAllowed(policy, request.client) ? undefined : failureOf("forbidden");
}

function countedOf<M>({ channel, pending }: Queued<M>): Counted {
  return isWaiting(pending) ? { channel, durable: true, text: "" } : pending.request;
}

/** A counter for each name; a counter of 0 costs nothing. */
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

/** Weight of all attached requests, and attached requests of one request; the others must be asked again. */
const MAX_WEIGHT = 8192;
const MAX_ATTACHED = 8;

/** Requests that get the answer of the same request, which waits in the store. */
function createAttached(): {
  add(seq: number, request: Request): void;
  take(seq: number): readonly Request[];
} {
  const bySeq = new Map<number, Request[]>();
  let weight = 0;
  return {
    add(seq, request) {
      const requests = bySeq.get(seq) ?? [];
      const isKnown = requests.some(({ address }) => address === request.address);
      if (isKnown || requests.length >= MAX_ATTACHED || weight >= MAX_WEIGHT) return;
      bySeq.set(seq, [...requests, request]);
      weight += queueWeight(request);
    },
    take(seq) {
      const requests = bySeq.get(seq) ?? [];
      bySeq.delete(seq);
      for (const request of requests) weight -= queueWeight(request);
      return requests;
    },
  };
}

/** What the backlog needs of a request. */
type Counted = Pick<Request, "channel" | "durable" | "text">;

/** Counts the requests that are accepted and neither run nor are delivered. */
export interface Backlog {
  enter(request: Counted): void;
  leave(request: Counted): void;
  /** Whether one more request fits; `waiting` is the number of waiting requests of its client. */
  hasRoom(request: Counted, policy: ChannelPolicy, waiting: number): boolean;
}

/** Requests of QoS 0 and the UTF-16 units of their texts, whatever the configuration says. */
const IN_MEMORY = 1024;
const CHARACTERS = 8 * 2 ** 20;
/** Requests in the store: each costs a few hundred bytes of memory. */
const IN_STORE = 65_536;

/** `queued` is the configured limit in all; 0 sets no limit besides the program's own. */
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

/** Estimates when there may be room, from the duration of recent turns. */
export interface WaitEstimate {
  add(turnMs: number): void;
  /** Seconds, at least 1, until each of `clients` had a turn. */
  secondsFor(clients: number): number;
}

/** Before the first turn. */
const FIRST_GUESS_MS = 2000;
/** The weight of the latest turn in the average. */
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
