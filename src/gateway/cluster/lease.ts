import { Failure } from "../../base/failure.ts";
import type { Store } from "../../store/contract/store.ts";
import type { Clock } from "../clock.ts";
import type { Request } from "../contract.ts";

const RENEW_MS = 3000;
/** Between two renewals when one failed. */
const RETRY_MS = 1000;
/** From when the last successful renewal was sent. The store gives the requests to others 3 s later. */
const HELD_MS = 12_000;

export interface LeaseOptions {
  readonly store: Pick<Store<never>, "renew">;
  readonly clock: Pick<Clock, "now" | "after">;
}

/**
 * The right of a gateway to run and deliver what it holds in a store that it shares with others. It ends for good
 * when the store says so, or when no renewal succeeded for 12 s: measured at each use, so that a process that was
 * stopped meanwhile does nothing more.
 */
export class Lease {
  /** Resolves when the lease is lost. */
  readonly lost: Promise<void>;
  readonly #store: LeaseOptions["store"];
  readonly #clock: LeaseOptions["clock"];
  readonly #lose: () => void;
  /** On the clock: when the last successful renewal was sent. */
  #renewedAt = Number.NEGATIVE_INFINITY;
  #isLost = false;
  #isClosed = false;
  #cancelRenewal: (() => void) | undefined;
  #cancelEnd: (() => void) | undefined;

  constructor({ store, clock }: LeaseOptions) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#store = store;
    this.#clock = clock;
    this.lost = promise;
    this.#lose = resolve;
  }

  /** Takes the lease and renews it from now on. Rejects as `Store.renew`, or with `fenced` if it came too late. */
  async start(): Promise<void> {
    await this.#renew();
    if (!this.isHeld()) throw leaseLost();
    this.#renewAfter(RENEW_MS);
  }

  readonly isHeld = (): boolean => {
    if (!this.#isLost && this.#clock.now() - this.#renewedAt >= HELD_MS) this.#end();
    return !this.#isLost;
  };

  /** The same reply while the lease is held; then it rejects, and the answer is left to the next owner. */
  guarded(reply: Request["reply"]): Request["reply"] {
    return (part) => (this.isHeld() ? reply(part) : Promise.reject(leaseLost("unreachable")));
  }

  /** Stops renewing; leaves no timer. */
  close(): void {
    this.#isClosed = true;
    this.#cancelRenewal?.();
    this.#cancelEnd?.();
  }

  async #renew(): Promise<void> {
    const sentAt = this.#clock.now();
    if (await this.#store.renew()) this.#renewedAt = sentAt;
    else this.#end();
    this.#cancelEnd?.();
    if (this.#isLost || this.#isClosed) return;
    const left = sentAt + HELD_MS - this.#clock.now();
    this.#cancelEnd = this.#clock.after(left, () => void this.isHeld());
  }

  #renewAfter(ms: number): void {
    if (this.#isLost || this.#isClosed) return;
    this.#cancelRenewal = this.#clock.after(ms, () => {
      this.#renew().then(
        () => this.#renewAfter(RENEW_MS),
        () => this.#renewAfter(RETRY_MS),
      );
    });
  }

  #end(): void {
    this.#isLost = true;
    this.close();
    this.#lose();
  }
}

function leaseLost(code: "fenced" | "unreachable" = "fenced"): Failure {
  return new Failure(code, "this gateway lost its lease in the shared store", {
    why: "it could not renew the lease in time: the database was away, or this process was stopped",
  });
}

/** The store of a lease: requests are neither read nor written when that is lost. */
export function guardedStore<M>(store: Store<M>, lease: Pick<Lease, "isHeld">): Store<M> {
  const guarded =
    <Args extends unknown[], T>(call: (...args: Args) => Promise<T>) =>
    (...args: Args): Promise<T> =>
      lease.isHeld() ? call(...args) : Promise.reject(leaseLost());
  return {
    ...store,
    accept: guarded((request, admission) => store.accept(request, admission)),
    find: guarded((named) => store.find(named)),
    load: guarded((claim) => store.load(claim)),
    begin: guarded((claim) => store.begin(claim)),
    record: guarded((claim, message) => store.record(claim, message)),
    answered: guarded((...args) => store.answered(...args)),
    expire: guarded((claim, answer) => store.expire(claim, answer)),
    delivered: guarded((claim) => store.delivered(claim)),
    release: guarded((claim) => store.release(claim)),
    append: guarded((...args) => store.append(...args)),
    rejections: guarded((after, most) => store.rejections(after, most)),
  };
}
