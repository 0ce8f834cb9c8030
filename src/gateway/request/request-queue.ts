import { onAbort } from "../../base/async.ts";
import type { Failure } from "../../base/failure.ts";
import { withoutContent } from "../../base/request-extras.ts";
import type { AbandonedRequest, Claim, StoredRequest } from "../../store/contract/store.ts";
import { AnswerStream } from "../answer/answer-stream.ts";
import type { DirectReplies } from "../answer/direct-replies.ts";
import { isAllowed } from "../channel-policy.ts";
import type { ChannelPolicy } from "../channel-policy.ts";
import type { Clock } from "../clock.ts";
import type { Request } from "../contract.ts";
import { failureOf } from "../errors.ts";
import type { InFlight } from "../in-flight.ts";
import { isPush, laneOf, requestNameOf } from "../request-keys.ts";
import type { RequestRecord } from "../request-log.ts";
import type { Accounting } from "../usage/accounts.ts";
import { AttachedRequests } from "./attached-requests.ts";
import { Backlog } from "./backlog.ts";
import type { Counted } from "./backlog.ts";
import { Lanes } from "./fair-queue.ts";
import type { LaneKey, Needs, Reservation } from "./fair-queue.ts";
import {
  cancel,
  createPending,
  isCancellable,
  isExpired,
  isLeftToNextStart,
  isWaiting,
  recordOf,
  shutDown,
} from "./pending-request.ts";
import type { PendingFacts, PendingRequest, WaitingRequest } from "./pending-request.ts";
import { processRequest } from "./process-request.ts";
import type { ProcessOptions } from "./process-request.ts";
import type { Hold } from "./slots.ts";
import { GRACE_MS } from "./turn.ts";
import { inOrder, WaitingNotices } from "./waiting-notices.ts";

export interface RequestQueueOptions<M> extends ProcessOptions<M> {
  readonly slots: number;
  /** Requests that may wait in all; 0 sets no limit besides the program's own. */
  readonly queued: number;
  readonly policies: ReadonlyMap<string, ChannelPolicy>;
  readonly accounting: Pick<Accounting, "allowanceOf" | "prepareTurn" | "save">;
  readonly inFlight: InFlight;
  readonly write: (entry: RequestRecord) => void;
  readonly direct: Pick<DirectReplies, "send">;
  /** A request from the store, with the way to answer it; without this the way stays in memory. */
  readonly restore?: ((stored: StoredRequest<unknown>) => Request) | undefined;
  /** Called when a turn could start that is not here. */
  readonly onSpare?: (() => void) | undefined;
}

/** The place of a request that is being stored; end it with `addReserved` or `cancelReserved`. */
export interface Place<M> {
  readonly request: Request;
  readonly policy: ChannelPolicy;
  /** A lane and a slot: the request starts as soon as it is stored. Without them it waits like others. */
  start: Reservation<Queued<M>> | undefined;
}

/**
 * Clients of one channel whose turn runs or whose answer is being delivered. While the channel's
 * connection is lost, each of them holds about 10 KB; the requests of other clients stay in the store.
 */
const BUSY_PER_CHANNEL = 1024;
/** Lanes, for each slot, at which no more are claimed from a shared store. */
const MAX_LANES_PER_SLOT = 8;

/** What names a request. */
export type RequestKey = Parameters<typeof requestNameOf>[0];

/** One request of a client's lane. */
interface Queued<M> extends LaneKey {
  readonly acceptedAt: number;
  readonly isPush: boolean;
  /** Whether a shutdown waits for it. */
  readonly counts: boolean;
  isStarted: boolean;
  /** Of a request with a key, if its client can have it cancelled alone. */
  readonly name: string | undefined;
  notice?: () => void;
  /** In the store until its turn, of QoS 0 in memory. */
  pending: WaitingRequest | PendingRequest<M>;
}

/** Accepted requests, from the queue to the delivery of their answers. */
export class RequestQueue<M> {
  readonly #options: RequestQueueOptions<M>;
  readonly #backlog: Backlog;
  readonly #lanes: Lanes<Queued<M>>;
  /** By lane: requests that have a place, are not stored yet and will wait. */
  readonly #reserved = new Map<string, number>();
  /** Requests in memory that are not logged yet. */
  readonly #open = new Set<PendingRequest<M>>();
  readonly #attached = new AttachedRequests();
  readonly #notices: WaitingNotices<Queued<M>>;
  #isStopped = false;
  #isLeaving = false;

  constructor(options: RequestQueueOptions<M>) {
    this.#options = options;
    this.#backlog = new Backlog(options);
    this.#lanes = new Lanes<Queued<M>>({
      slots: options.slots,
      busyPerChannel: Math.max(BUSY_PER_CHANNEL, 2 * options.slots),
      clock: options.clock,
      needs: this.#needs,
      canWait: (queued) => queued.isPush,
      start: this.#start,
      onSpare: options.onSpare,
    });
    this.#notices = new WaitingNotices({
      ...options,
      waiting: () => this.#lanes.allWaiting(),
      open: this.#openWaiting,
    });
  }

  /** `elsewhere` is the number of the client's requests without an answer that this gateway does not hold. */
  hasRoom(request: Request, policy: ChannelPolicy, elsewhere = 0): boolean {
    const lane = laneOf(request);
    const expected = (this.#reserved.get(lane) ?? 0) + elsewhere;
    return this.#backlog.hasRoom(request, policy, this.#lanes.waiting(lane, expected));
  }

  /**
   * Lanes of other gateways' clients whose first turn could start within so many milliseconds. None while many
   * answers cannot be delivered.
   */
  roomForLanes(withinMs: number): number {
    const most = MAX_LANES_PER_SLOT * this.#options.slots - this.#lanes.size;
    const soon = this.#lanes.spare + this.#backlog.turnsWithin(withinMs);
    return this.#isLeaving ? 0 : Math.max(0, Math.min(most, soon));
  }

  /** Whether no request waits, runs or is being delivered. */
  get isEmpty(): boolean {
    return this.#lanes.size === 0;
  }

  /** Turns that run, how many may, and requests whose turn has not begun. */
  load(): { readonly running: number; readonly slots: number; readonly waiting: number } {
    const { slots } = this.#options;
    const waiting = this.#lanes.waitingItems;
    return { running: Math.max(0, slots - this.#lanes.free), slots, waiting };
  }

  /** Whether this gateway has the request, from its turn's wait to the delivery of its answer. */
  has({ seq }: Claim, lane: string): boolean {
    return this.#lanes.items(lane).some(({ pending }) => pending.claim?.seq === seq);
  }

  /** Seconds until there may be room. */
  secondsUntilRoom(): number {
    return this.#backlog.secondsUntilRoom(this.#lanes.size);
  }

  /** What a request of this client would wait for: its own running request, or other clients. */
  runs(request: Request): string {
    const { clock, slots } = this.#options;
    const lane = laneOf(request);
    const waiting = this.#lanes.waiting(lane);
    const pending = this.#lanes.current(lane)?.pending;
    if (pending !== undefined && !isWaiting(pending) && pending.state.is === "running") {
      const { id } = pending.request;
      const name = id === undefined ? "an earlier request" : `request ${id}`;
      const seconds = Math.round((clock.now() - pending.state.startedAt) / 1000);
      return `${name} has run for ${seconds} s, and ${waiting} of this client wait behind it`;
    }
    if (waiting > 0) return `${waiting} of this client wait already`;
    return `requests of other clients run (${Math.min(slots, this.#lanes.size)})`;
  }

  /** Takes a place before the request is stored, so that requests stored together do not take more than there are. */
  reserve(request: Request, policy: ChannelPolicy): Place<M> {
    const lane = laneOf(request);
    const start = this.#lanes.reserve({ lane, channel: request.channel }, isPush(request));
    if (start === undefined) this.#enter(request);
    return { request, policy, start };
  }

  /** The request cannot be stored yet: it waits like others, without a slot. */
  giveUpStart(place: Place<M>): void {
    if (place.start === undefined) return;
    this.#enter(place.request);
    place.start.cancel();
    place.start = undefined;
  }

  /** The request is stored under the claim; if its place has a start, its first attempt has begun. */
  addReserved({ request, policy, start }: Place<M>, claim: Claim): void {
    if (start === undefined) {
      this.#changeReserved(laneOf(request), -1);
      this.#addWaiting(request, { claim, isAnswered: false, cancelled: undefined });
      return;
    }
    const { clock } = this.#options;
    const stored = { claim, progress: [] };
    const facts = { policy, acceptedAt: clock.now(), next: "run", stored } as const;
    const pending = this.#openPending(request, facts);
    if (isExpired(request, clock)) cancel(pending, failureOf("expired"), 0);
    start.start(this.#queued(request, pending));
  }

  /** The request is not stored. */
  cancelReserved(place: Place<M>): void {
    this.giveUpStart(place);
    this.#changeReserved(laneOf(place.request), -1);
    this.#backlog.leave(place.request);
  }

  /**
   * Adds a request that a former process stored. It is read from the store when its turn comes; an answered
   * one is only delivered, and a cancelled one is answered without a turn.
   */
  addStored(request: Request, { claim, isAnswered, isCancelled }: AbandonedRequest): void {
    this.#backlog.enter(request);
    const cancelled = isCancelled ? failureOf("cancelled") : undefined;
    this.#addWaiting(request, { claim, isAnswered, cancelled });
  }

  /** Adds a request of QoS 0, which only this process has. */
  add(request: Request, policy: ChannelPolicy): void {
    this.#backlog.enter(request);
    const acceptedAt = this.#options.clock.now();
    const pending = this.#openPending(request, { policy, acceptedAt, next: "run" });
    this.#enqueue(request, pending);
    if (request.signal !== undefined)
      onAbort(request.signal, () => this.#cancel(laneOf(request), pending));
  }

  /** The answer of a stored request that waits or runs here also goes to this client's address. */
  attach({ seq }: Claim, request: Request): void {
    const { dedupe, direct } = this.#options;
    const answer = dedupe.running(request);
    if (answer instanceof AnswerStream) {
      if (answer.addresses.has(request.address)) return;
      answer.addresses.add(request.address);
      direct.send({ request, answer, duplicate: "joined", unlimited: true });
    } else this.#attached.add(seq, request);
  }

  /** Whether `stop` would cancel something. */
  hasWork(lane: string): boolean {
    return (
      this.#reserved.has(lane) ||
      this.#lanes.isReserved(lane) ||
      this.#lanes.items(lane).some(({ pending }) => isCancellable(pending))
    );
  }

  /**
   * Cancels all requests of the client that have no answer yet, running and waiting: otherwise the next
   * request would start. Each is answered `cancelled`, in order.
   */
  stop(lane: string): void {
    for (const { pending } of this.#lanes.items(lane)) this.#cancel(lane, pending);
  }

  /** Cancels one request of the client if it has no answer yet, running or waiting; false if there is none. */
  cancelOne(request: RequestKey): boolean {
    const lane = laneOf(request);
    const name = requestNameOf(request);
    const found = this.#lanes.items(lane).find((item) => item.name === name);
    if (found === undefined || !isCancellable(found.pending)) return false;
    this.#cancel(lane, found.pending);
    return true;
  }

  /** The same for a stored request that this gateway has. */
  cancelStored({ seq }: Claim, lane: string): void {
    const found = this.#lanes.items(lane).find(({ pending }) => pending.claim?.seq === seq);
    if (found !== undefined) this.#cancel(lane, found.pending);
  }

  #cancel(lane: string, pending: Queued<M>["pending"]): void {
    if (cancel(pending, failureOf("cancelled"), GRACE_MS)) this.#lanes.recheck(lane);
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

  /** Leaves to others what waits in the store, from now on. What has started goes on. */
  leaveWaiting(): void {
    this.#isLeaving = true;
    for (const { lane, pending } of this.#lanes.all()) {
      if (isWaiting(pending) && shutDown(pending) !== undefined) this.#lanes.recheck(lane);
    }
  }

  /** The lanes whose request has started, or starts as soon as it is stored. */
  startedLanes(): readonly string[] {
    return this.#lanes.started();
  }

  /** Logs the answers that are not delivered; counts those that are lost and those that the store has. */
  abandonUndelivered(): { readonly undelivered: number; readonly resumable: number } {
    this.#notices.close();
    const left = [...this.#open];
    for (const pending of left) this.#log(pending, false);
    const resumable = left.filter(({ claim }) => claim !== undefined).length;
    return { undelivered: left.length - resumable, resumable };
  }

  #enter(request: Request): void {
    this.#changeReserved(laneOf(request), 1);
    this.#backlog.enter(request);
  }

  #changeReserved(lane: string, by: 1 | -1): void {
    const count = (this.#reserved.get(lane) ?? 0) + by;
    if (count > 0) this.#reserved.set(lane, count);
    else this.#reserved.delete(lane);
  }

  #addWaiting(
    request: Request,
    facts: Pick<WaitingRequest, "claim" | "isAnswered" | "cancelled">,
  ): void {
    const { expiresAt } = request;
    const wayBack = this.#options.restore ? undefined : withoutContent(request);
    const waiting = { expiresAt, wayBack, ...facts };
    if (this.#isLeaving) shutDown(waiting);
    this.#enqueue(request, waiting);
  }

  #openPending(request: Request, facts: PendingFacts<M>): PendingRequest<M> {
    const pending = createPending(request, facts, this.#options);
    this.#open.add(pending);
    this.#options.dedupe.begin(request, pending.answer);
    return pending;
  }

  #enqueue(request: Request, pending: Queued<M>["pending"]): void {
    const queued = this.#queued(request, pending);
    this.#lanes.add(queued, queued);
    if (!queued.isStarted) this.#notices.start();
  }

  #queued(request: Request, pending: Queued<M>["pending"]): Queued<M> {
    return {
      lane: laneOf(request),
      channel: request.channel,
      acceptedAt: this.#options.clock.now(),
      isPush: isPush(request),
      counts: this.#options.inFlight.enter(),
      isStarted: false,
      name: request.conversation === undefined ? undefined : requestNameOf(request),
      pending,
    };
  }

  readonly #needs = ({ pending }: Queued<M>): Needs => {
    const { clock } = this.#options;
    // At shutdown nothing waits for a delivery.
    if (this.#isStopped) return "nothing";
    const isOver = isExpired(isWaiting(pending) ? pending : pending.request, clock);
    if (isOver && !isWaiting(pending)) cancel(pending, failureOf("expired"), 0);
    return !isOver && isCancellable(pending) ? "turn" : "delivery";
  };

  readonly #start = (queued: Queued<M>, hold: Hold): void => {
    const { pending } = queued;
    queued.isStarted = true;
    const isBegun = !isWaiting(pending) && pending.claim !== undefined;
    if (hold.tookSlot && !isBegun) this.#backlog.leave(countedOf(queued));
    // The answerer's first steps are not taken inside the transport's callback.
    queueMicrotask(() => void this.#run(queued, hold));
  };

  /** From its turn to its delivery. Never rejects. */
  async #run(queued: Queued<M>, hold: Hold): Promise<void> {
    const { pending: waiting } = queued;
    const pending = isWaiting(waiting) ? await this.#load(queued, waiting) : waiting;
    if (pending === undefined) {
      if (!hold.tookSlot) this.#backlog.leave(countedOf(queued));
      hold.done();
    } else {
      await processRequest(pending, hold, this.#backlog, this.#options);
      this.#log(pending, true);
    }
    this.#options.inFlight.leave(queued.counts);
  }

  /** Reads a stored request whose turn has come; undefined when it was released, or another gateway has it. */
  async #load(queued: Queued<M>, waiting: WaitingRequest): Promise<PendingRequest<M> | undefined> {
    const { durableRequests, restore, direct, policies, clock } = this.#options;
    const { claim } = waiting;
    if (isLeftToNextStart(waiting)) return undefined;
    const stored = await durableRequests.load(claim).catch(() => undefined);
    if (stored === undefined || isLeftToNextStart(waiting)) return undefined;
    const wayBack = waiting.wayBack ?? restore?.(stored);
    const policy = policies.get(queued.channel);
    if (wayBack === undefined || policy === undefined) return undefined;
    const { text, extras } = stored.request;
    const request = { ...wayBack, text, extras };
    const { acceptedAt } = queued;
    const next = stored.answer === undefined ? "begin" : "deliver";
    const pending = this.#openPending(request, { policy, acceptedAt, next, stored });
    const failure = reasonNotToRun(waiting, request, policy, clock);
    if (failure !== undefined && isCancellable(pending)) cancel(pending, failure, 0);
    queued.pending = pending;
    for (const each of this.#attached.take(claim.seq)) {
      const facts = { duplicate: "joined", unlimited: true } as const;
      direct.send({ request: each, answer: pending.answer, ...facts });
    }
    return pending;
  }

  readonly #openWaiting = async (queued: Queued<M>): Promise<Request | undefined> => {
    const { pending } = queued;
    if (queued.isStarted || !isCancellable(pending)) return undefined;
    if (!isWaiting(pending)) {
      if (!pending.request.stream) return undefined;
      return (pending.request = inOrder(pending.request));
    }
    const { wayBack = await this.#readWayBack(pending) } = pending;
    if (queued.isStarted || wayBack?.stream !== true) return undefined;
    return (pending.wayBack = inOrder(wayBack));
  };

  async #readWayBack({ claim }: WaitingRequest): Promise<Request | undefined> {
    const { durableRequests, restore } = this.#options;
    const stored = await durableRequests.load(claim).catch(() => undefined);
    return stored && restore?.(stored);
  }

  #log(pending: PendingRequest<M>, delivered: boolean): void {
    if (!this.#open.delete(pending)) return;
    pending.cancellation.release();
    this.#options.write(recordOf(pending, delivered));
  }
}

/** It was cancelled or its deadline passed while it waited, or its client is not allowed any more. */
function reasonNotToRun(
  { cancelled }: WaitingRequest,
  request: Request,
  policy: ChannelPolicy,
  clock: Pick<Clock, "epoch">,
): Failure | undefined {
  if (cancelled !== undefined) return cancelled;
  if (isExpired(request, clock)) return failureOf("expired");
  return isAllowed(policy, request.client) ? undefined : failureOf("forbidden");
}

function countedOf<M>({ channel, pending }: Queued<M>): Counted {
  return isWaiting(pending) ? { channel, durable: true, text: "" } : pending.request;
}
