import type { Log } from "../../base/log.ts";
import type { Cluster, JoinedRequest, Polled } from "../../store/contract/cluster.ts";
import { restoredAnswer } from "../answer/answer-stream.ts";
import type { DirectReplies } from "../answer/direct-replies.ts";
import type { ChannelPolicy } from "../channel-policy.ts";
import type { Clock } from "../clock.ts";
import type { DurableRequests } from "../durable/durable-requests.ts";
import { furtherRequest, resumeRequest } from "../durable/recovery.ts";
import type { ReplyTo } from "../durable/recovery.ts";
import { isCancellation } from "../known-requests.ts";
import type { RequestQueue } from "../request/request-queue.ts";
import type { Lease } from "./lease.ts";

/** Between two polls: while there is work, at most while there is none, and at most while the database is away. */
const POLL_MS = { busy: 250, idle: 1000, away: 4000 };
/** Between the end of a poll and the next one after a hint, of which there may be very many. */
const HINT_MS = 20;
/** A poll that took longer counts as one that took this. */
const MOST_POLL_MS = 1000;
/** For the last call at a shutdown: without it the others wait for the end of the lease. */
const LEAVE_MS = 2000;

/** What a poller needs of its gateway. */
export interface PollerPorts<M> {
  readonly queue: Pick<
    RequestQueue<M>,
    | "addStored"
    | "attach"
    | "cancelStored"
    | "has"
    | "leaveWaiting"
    | "roomForLanes"
    | "startedLanes"
    | "stop"
    | "isEmpty"
  >;
  readonly direct: Pick<DirectReplies, "send">;
  readonly durableRequests: Pick<DurableRequests<M>, "load" | "once">;
  readonly policies: ReadonlyMap<string, ChannelPolicy>;
  readonly replyTo?: ReplyTo | undefined;
}

export interface LanePollerOptions {
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly log: Log;
  readonly canDeliver?: () => boolean;
}

/** Asks the shared store regularly, and on its hints, for lanes with work that this gateway has room for. */
export class LanePoller<M> {
  /** A poll is under way, or its result is not in the queue yet. */
  isPolling = false;
  readonly #options: LanePollerOptions;
  readonly #lease: Pick<Lease, "isHeld">;
  #ports: PollerPorts<M> | undefined;
  #cancelTimer: (() => void) | undefined;
  #stopHints: (() => void) | undefined;
  #endedAt = Number.NEGATIVE_INFINITY;
  /** How long the last poll took. */
  #tookMs = 0;
  #waitMs = POLL_MS.busy;
  /** The last poll claimed as many lanes as it could: there may be more. */
  #hasMore = false;
  #isWoken = false;
  /** Lanes that were not left with the others. */
  #kept = Number.POSITIVE_INFINITY;
  #isLeaving = false;
  #isClosed = false;

  constructor(options: LanePollerOptions, lease: Pick<Lease, "isHeld">) {
    this.#options = options;
    this.#lease = lease;
  }

  /** Polls for the first time and returns the number of claimed requests. Rejects as the store does. */
  async start(ports: PollerPorts<M>): Promise<number> {
    this.#ports = ports;
    const { claimed } = await this.#poll(ports);
    this.#stopHints = this.#options.cluster.onHint(() => {
      // While there is no room, the regular polls are enough.
      if (ports.queue.roomForLanes(HINT_MS) > 0) this.#wake();
      else this.#hasMore = true;
    });
    return claimed.length;
  }

  onSpare(): void {
    if (this.#hasMore) this.#wake();
  }

  leave(): void {
    this.#isLeaving = true;
    this.#stopHints?.();
    this.#ports?.queue.leaveWaiting();
    this.#wake();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#stopHints?.();
    this.#cancelTimer?.();
    if (!this.#lease.isHeld()) return;
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const cancelTimer = this.#options.clock.after(LEAVE_MS, resolve);
    await Promise.race([this.#options.cluster.leave([]).catch(() => {}), late]);
    cancelTimer();
  }

  /** Polls soon. */
  #wake(): void {
    const { clock } = this.#options;
    this.#isWoken = true;
    if (!this.isPolling) this.#next(Math.max(0, this.#endedAt + HINT_MS - clock.now()));
  }

  #next(ms: number): void {
    this.#cancelTimer?.();
    if (this.#isClosed) return;
    this.#cancelTimer = this.#options.clock.after(ms, () => {
      const ports = this.#ports;
      if (ports === undefined || this.isPolling || !this.#lease.isHeld()) return;
      const done = this.#isLeaving ? this.#leaveRest(ports) : this.#poll(ports);
      void done.catch(() => {});
    });
  }

  /** Claims lanes, and schedules the next poll. */
  async #poll(ports: PollerPorts<M>): Promise<Polled> {
    const { cluster, clock, canDeliver = () => true } = this.#options;
    const { queue, durableRequests } = ports;
    this.isPolling = true;
    this.#isWoken = false;
    let mostMs = POLL_MS.away;
    try {
      // Enough for the turns that end until the next poll brings more: a busy database takes its time.
      const lanes = canDeliver() ? queue.roomForLanes(HINT_MS + this.#tookMs) : 0;
      const askedAt = clock.now();
      const polled = await durableRequests.once(cluster.poll(lanes));
      this.#tookMs = Math.min(clock.now() - askedAt, MOST_POLL_MS);
      // What was accepted before the poll is added first.
      await new Promise((resolve) => setImmediate(resolve));
      if (!this.#lease.isHeld()) return polled;
      this.#take(polled, ports);
      this.#hasMore = new Set(polled.claimed.map(({ request }) => request.lane)).size >= lanes;
      const isBusy = polled.claimed.length > 0 || !queue.isEmpty;
      mostMs = isBusy ? POLL_MS.busy : POLL_MS.idle;
      if (isBusy) this.#waitMs = POLL_MS.busy;
      return polled;
    } finally {
      this.isPolling = false;
      this.#schedule(mostMs);
    }
  }

  /** After the work that runs here ended, its lanes are left, too. */
  async #leaveRest({ queue }: PollerPorts<M>): Promise<void> {
    this.isPolling = true;
    const lanes = queue.startedLanes();
    try {
      if (lanes.length < this.#kept) await this.#options.cluster.leave(lanes);
      this.#kept = lanes.length;
    } finally {
      this.isPolling = false;
      this.#schedule(POLL_MS.busy);
    }
  }

  #schedule(mostMs: number): void {
    this.#endedAt = this.#options.clock.now();
    if (this.#isWoken) {
      this.#wake();
      return;
    }
    const waitMs = Math.min(this.#waitMs, mostMs);
    this.#waitMs = waitMs * 1.5;
    this.#next(waitMs * (0.75 + Math.random() / 2));
  }

  #take({ claimed, stopped, joined }: Polled, ports: PollerPorts<M>): void {
    const { clock, log } = this.#options;
    // Only what came before the command is cancelled.
    for (const lane of stopped) ports.queue.stop(lane);
    for (const each of claimed) {
      const isResumed = each.isAnswered || each.claim.attempt > 0;
      resumeRequest(each, { ...ports, clock, log }, isResumed ? "info" : "debug");
    }
    for (const each of joined) void this.#join(each, ports);
  }

  /** Sends the answer of a request to a further address, also when it is delivered already; or cancels the request. */
  async #join({ claim, request, to }: JoinedRequest, ports: PollerPorts<M>): Promise<void> {
    const { queue, direct, durableRequests, replyTo } = ports;
    if (isCancellation(to)) {
      queue.cancelStored(claim, request.lane);
      return;
    }
    if (replyTo === undefined) return;
    const further = furtherRequest(request, to, replyTo);
    if (queue.has(claim, request.lane)) {
      queue.attach(claim, further);
      return;
    }
    const stored = await durableRequests.load(claim).catch(() => undefined);
    if (stored?.answer === undefined) return;
    const answer = restoredAnswer(stored.answer, this.#options.clock);
    direct.send({ request: further, answer, duplicate: "joined", unlimited: true });
  }
}
