import type { Failure } from "../base/failure.ts";
import type { Claim, Held } from "../store/contract.ts";
import type { Accounting } from "./accounts/accounting.ts";
import { createBacklog } from "./backlog.ts";
import type { Backlog, Counted } from "./backlog.ts";
import type { Request } from "./contract.ts";
import type { DirectReplies } from "./direct-replies.ts";
import { failureOf, shuttingDown } from "./failures.ts";
import type { Entry } from "./journal.ts";
import { createLanes } from "./lanes.ts";
import type { Hold, Lanes } from "./lanes.ts";
import { GRACE_MS } from "./leash.ts";
import { isAllowed } from "./limits.ts";
import type { ChannelPolicy } from "./limits.ts";
import { laneOf, placesOf } from "./names.ts";
import { createPace } from "./pace.ts";
import type { Pace } from "./pace.ts";
import { createPending, entryOf, isExpired } from "./pending-request.ts";
import type { PendingRequest } from "./pending-request.ts";
import { processRequest } from "./process-request.ts";
import type { ProcessOptions } from "./process-request.ts";
import type { Tally } from "./tally.ts";

export interface RequestQueueOptions<M> extends ProcessOptions<M> {
  readonly slots: number;
  /** Requests that may wait in all; 0 is no limit but the program's own. */
  readonly queued: number;
  readonly policies: ReadonlyMap<string, ChannelPolicy>;
  /** What the turn of a request may use. */
  readonly allowanceOf: Accounting["allowanceOf"];
  readonly tally: Tally;
  readonly write: (entry: Entry) => void;
  readonly direct: Pick<DirectReplies, "keep" | "seen" | "caughtUp" | "send">;
  /** A request as the store has it, with the way back; without it the way back stays in memory. */
  readonly restore?: ((held: Held<unknown>) => Request) | undefined;
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
  readonly #pace: Pace;
  readonly #lanes: Lanes<Queued<M>>;
  /** Requests of a lane that have room, are not stored yet and will wait. */
  readonly #reserved = createCount();
  /** Lanes of requests that are not stored yet and will start then. */
  readonly #starting = new Set<string>();
  /** What has or had its turn, or waits in memory, and is not reported. */
  readonly #open = new Set<PendingRequest<M>>();
  readonly #askers = createAskers();

  constructor(options: RequestQueueOptions<M>) {
    this.#options = options;
    this.#backlog = createBacklog(options.queued);
    this.#pace = createPace(options.slots);
    this.#lanes = createLanes<Queued<M>>({
      slots: options.slots,
      clock: options.clock,
      needsSlot: (queued) => this.#needsSlot(queued),
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
    return this.#pace.secondsFor(this.#lanes.size);
  }

  reserve(request: Request, policy: ChannelPolicy): Place {
    const lane = laneOf(request);
    let start = this.#lanes.reserve(lane);
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
    this.#lanes.add(laneOf(request), this.#queued(request, { pending }));
  }

  attach({ seq }: Claim, asker: Request): void {
    const { dedupe, direct } = this.#options;
    const running = dedupe.running(asker);
    if (running !== undefined && "answer" in running) {
      direct.send({ request: asker, known: running, duplicate: "joined", unlimited: true });
    } else this.#askers.add(seq, asker);
  }

  hasWork(lane: string): boolean {
    if (this.#starting.has(lane)) return true;
    return this.#reserved.of(lane) > 0 || this.#lanes.jobs(lane).some(mayBeCancelled);
  }

  stop(lane: string): void {
    for (const queued of this.#lanes.jobs(lane)) {
      this.#cancel(queued, failureOf("cancelled"), GRACE_MS);
    }
  }

  stopAll(): { readonly cancelled: number; readonly kept: number } {
    const count = { cancelled: 0, kept: 0 };
    // Those that wait behind first: none of them begins when the one before it ends.
    for (const queued of this.#lanes.all().toReversed()) {
      const { pending, claim } = queued;
      const isKept = claim !== undefined && queued.failure === undefined && !pending?.leash.failure;
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
    this.#lanes.add(laneOf(request), this.#queued(request, { claim, isAnswered, ...kept }));
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
    if (isExpired(request, clock)) pending.leash.pull(failureOf("expired"), 0);
    this.#opened(pending);
    return this.#queued(request, { claim, pending });
  }

  #opened(pending: PendingRequest<M>): void {
    this.#open.add(pending);
    this.#options.dedupe.begin(pending.request, pending.known);
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
      counts: this.#options.tally.enter(),
      isAnswered: facts.isAnswered ?? false,
      pending: facts.pending,
      failure: undefined,
      isReleased: false,
    };
  }

  #needsSlot({ pending, expiresAt, failure, isReleased, isAnswered }: Queued<M>): boolean {
    if (isReleased || isAnswered) return false;
    const isOver = expiresAt !== undefined && isExpired({ expiresAt }, this.#options.clock);
    if (isOver) pending?.leash.pull(failureOf("expired"), 0);
    return !isOver && failure === undefined && pending?.leash.failure === undefined;
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
      const [backlog, pace] = [this.#backlog, this.#pace];
      await processRequest(pending, hold, { options: this.#options, backlog, pace });
      this.#report(pending, true);
    }
    this.#options.tally.leave(queued.counts);
  }

  /** Reads a stored request whose turn has come; undefined where the store keeps it, or another has it. */
  async #load(queued: Queued<M>): Promise<PendingRequest<M> | undefined> {
    const { ledger, restore, direct } = this.#options;
    const { claim } = queued;
    if (claim === undefined || queued.isReleased) return undefined;
    const held = await ledger.load(claim).catch(() => undefined);
    if (held === undefined || queued.isReleased) return undefined;
    const known = queued.request ?? restore?.(held);
    if (known === undefined) return undefined;
    const pending = this.#pendingOf(queued, { ...known, text: held.ticket.text }, held);
    if (pending === undefined) return undefined;
    queued.pending = pending;
    this.#opened(pending);
    for (const asker of this.#askers.take(claim.seq)) {
      const facts = { duplicate: "joined", unlimited: true } as const;
      direct.send({ request: asker, known: pending.known, ...facts });
    }
    return pending;
  }

  /** It gets no turn where it was cancelled or expired while it waited, or its client may not ask any more. */
  #pendingOf(
    { channel, acceptedAt, failure }: Queued<M>,
    request: Request,
    held: Held<M>,
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
    if (ended !== undefined && !pending.isAnswered) pending.leash.pull(ended, 0);
    return pending;
  }

  /** Says whether there was something to cancel. */
  #cancel(queued: Queued<M>, failure: Failure, graceMs: number): boolean {
    const { pending } = queued;
    const isCancelled = pending?.leash.pull(failure, graceMs) ?? queued.failure === undefined;
    if (pending === undefined) queued.failure ??= failure;
    if (isCancelled) this.#lanes.stir(queued.lane);
    return isCancelled;
  }

  #report(pending: PendingRequest<M>, delivered: boolean): void {
    if (!this.#open.delete(pending)) return;
    pending.leash.release();
    this.#options.write(entryOf(pending, delivered));
  }
}

function mayBeCancelled<M>({ pending, failure, isAnswered }: Queued<M>): boolean {
  if (isAnswered) return false;
  if (pending === undefined) return failure === undefined;
  return pending.outcome === undefined && pending.leash.failure === undefined;
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
      places += placesOf(asker);
    },
    take(seq) {
      const askers = bySeq.get(seq) ?? [];
      bySeq.delete(seq);
      for (const asker of askers) places -= placesOf(asker);
      return askers;
    },
  };
}
