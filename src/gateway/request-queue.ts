import type { Failure } from "../base/failure.ts";
import type { Claim } from "../store/contract.ts";
import type { Accounting } from "./accounts/accounting.ts";
import { createBacklog } from "./backlog.ts";
import type { Backlog } from "./backlog.ts";
import type { Request } from "./contract.ts";
import { failureOf, shuttingDown } from "./failures.ts";
import type { Entry } from "./journal.ts";
import { createLanes } from "./lanes.ts";
import type { Lanes } from "./lanes.ts";
import { GRACE_MS } from "./leash.ts";
import { isAllowed } from "./limits.ts";
import type { ChannelPolicy } from "./limits.ts";
import { laneOf } from "./names.ts";
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
  /** What the turn of a request may use. */
  readonly allowanceOf: Accounting["allowanceOf"];
  readonly tally: Tally;
  readonly write: (entry: Entry) => void;
}

/** The requests that were accepted, from their places in the queue to the delivery of their answers. */
export interface RequestQueue<M> {
  hasRoom(request: Request, policy: ChannelPolicy): boolean;
  /** Seconds after which there may be. */
  secondsUntilRoom(): number;
  /** A request that is about to be decided on: from now on it is under way, and a second one joins it. */
  open(request: Request, policy: ChannelPolicy, stored: Promise<void>): PendingRequest<M>;
  /** It takes its room before it is stored, so that those stored together do not take more than there is. */
  reserve(pending: PendingRequest<M>): void;
  /** It has its room, and is stored if it has to be: it runs when its turn comes. */
  enqueue(pending: PendingRequest<M>): void;
  /** It does not run; `hadRoom` where it was reserved for it. */
  drop(pending: PendingRequest<M>, hadRoom: boolean): void;
  /** Takes up what a former process left. Who may not ask any more gets no turn. */
  resume(request: Request, claim: Claim, policy: ChannelPolicy): void;
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

/** The grace at shutdown: less than what answers have to leave afterwards. */
const SHUTDOWN_GRACE_MS = 500;

export function createRequestQueue<M>(options: RequestQueueOptions<M>): RequestQueue<M> {
  return new LanedQueue(options);
}

class LanedQueue<M> implements RequestQueue<M> {
  readonly #options: RequestQueueOptions<M>;
  readonly #held: HeldRequests<M>;
  readonly #backlog: Backlog;
  readonly #pace: Pace;
  readonly #lanes: Lanes<PendingRequest<M>>;
  /** Requests of a lane that have room and are not stored yet. */
  readonly #reserved = createCount();

  constructor(options: RequestQueueOptions<M>) {
    this.#options = options;
    this.#held = createHeld(options);
    this.#backlog = createBacklog(options.queued);
    this.#pace = createPace(options.slots);
    const { report } = this.#held;
    const [backlog, pace] = [this.#backlog, this.#pace];
    this.#lanes = createRequestLanes({ options, backlog, pace, report });
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

  open(request: Request, policy: ChannelPolicy, stored: Promise<void>): PendingRequest<M> {
    const { tally, dedupe } = this.#options;
    const pending = createPending<M>(request, stored, { ...this.#options, policy });
    this.#held.all.set(pending, tally.begin());
    dedupe.begin(request, pending.known);
    return pending;
  }

  reserve(pending: PendingRequest<M>): void {
    this.#reserved.add(pending.lane, 1);
    this.#backlog.enter(pending.request);
  }

  enqueue(pending: PendingRequest<M>): void {
    this.#reserved.add(pending.lane, -1);
    if (pending.claim !== undefined) pending.request = { ...pending.request, text: "" };
    this.#lanes.add(pending.lane, pending);
  }

  drop(pending: PendingRequest<M>, hadRoom: boolean): void {
    this.#options.dedupe.forget(pending.request, pending.known);
    if (hadRoom) {
      this.#reserved.add(pending.lane, -1);
      this.#backlog.leave(pending.request);
    }
    this.#held.all.get(pending)?.();
    this.#held.all.delete(pending);
  }

  resume(request: Request, claim: Claim, policy: ChannelPolicy): void {
    const pending = this.open(request, policy, Promise.resolve());
    pending.claim = claim;
    if (!isAllowed(policy, request.client)) pending.leash.pull(failureOf("forbidden"), 0);
    this.reserve(pending);
    this.enqueue(pending);
  }

  hasWork(lane: string): boolean {
    return this.#reserved.of(lane) > 0 || this.#lanes.jobs(lane).some(mayBeCancelled);
  }

  stop(lane: string): void {
    cancel(this.#lanes.jobs(lane), this.#lanes, failureOf("cancelled"), GRACE_MS);
  }

  stopAll(): { readonly cancelled: number; readonly kept: number } {
    return stopAll([...this.#held.all.keys()], this.#lanes);
  }

  abandonUndelivered(): { readonly undelivered: number; readonly kept: number } {
    const left = [...this.#held.all.keys()];
    for (const pending of left) this.#held.report(pending, false);
    const kept = left.filter(({ claim }) => claim !== undefined).length;
    return { undelivered: left.length - kept, kept };
  }
}

function mayBeCancelled<M>({ outcome, cancelledWith }: PendingRequest<M>): boolean {
  return outcome === undefined && cancelledWith === undefined;
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

interface HeldRequests<M> {
  /** Everything accepted and not yet reported, with what ends its count in the tally. */
  readonly all: Map<PendingRequest<M>, () => void>;
  readonly report: (pending: PendingRequest<M>, delivered: boolean) => void;
}

function createHeld<M>({ write }: Pick<RequestQueueOptions<M>, "write">): HeldRequests<M> {
  const all = new Map<PendingRequest<M>, () => void>();
  return {
    all,
    report(pending, delivered) {
      const end = all.get(pending);
      if (end === undefined) return;
      all.delete(pending);
      pending.leash.release();
      write(entryOf(pending, delivered));
      end();
    },
  };
}

interface LaneOptions<M> {
  readonly options: RequestQueueOptions<M>;
  readonly backlog: Backlog;
  readonly pace: Pace;
  readonly report: HeldRequests<M>["report"];
}

function createRequestLanes<M>({
  options,
  backlog,
  pace,
  report,
}: LaneOptions<M>): Lanes<PendingRequest<M>> {
  return createLanes<PendingRequest<M>>({
    slots: options.slots,
    clock: options.clock,
    needsSlot(pending) {
      if (isExpired(pending.request, options.clock)) pending.leash.pull(failureOf("expired"), 0);
      return pending.cancelledWith === undefined;
    },
    start(pending, hold) {
      if (hold.tookSlot) backlog.leave(pending.request);
      // The answerer's first steps are not taken inside the transport's callback.
      queueMicrotask(() => {
        void processRequest(pending, hold, { options, backlog, pace }).then(() =>
          report(pending, true),
        );
      });
    },
  });
}

function stopAll<M>(
  all: readonly PendingRequest<M>[],
  lanes: Lanes<PendingRequest<M>>,
): { readonly cancelled: number; readonly kept: number } {
  for (const pending of all) {
    pending.isDraining = pending.request.durable && pending.cancelledWith === undefined;
  }
  const end = (some: readonly PendingRequest<M>[]): number =>
    cancel(some, lanes, shuttingDown("cancelled"), SHUTDOWN_GRACE_MS);
  return {
    cancelled: end(all.filter(({ isDraining }) => !isDraining)),
    kept: end(all.filter(({ isDraining }) => isDraining)),
  };
}

function cancel<M>(
  some: readonly PendingRequest<M>[],
  lanes: Lanes<PendingRequest<M>>,
  failure: Failure,
  graceMs: number,
): number {
  const cancelled = some.filter(({ leash }) => leash.pull(failure, graceMs));
  for (const { lane } of cancelled) lanes.stir(lane);
  return cancelled.length;
}
