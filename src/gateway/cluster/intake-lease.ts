import { onAbort } from "../../base/async.ts";
import { asFailure, type Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { Intake } from "../../store/contract/cluster.ts";
import type { Clock } from "../clock.ts";

/** From one call of `take` to the next. */
const RENEW_MS = 1_000;
/** The part by which the time between attempts of a gateway that does not have the lease differs, at random. */
const JITTER = 0.25;

/** Another gateway had the lease if it did so for so long: it has connected. */
const CONNECTED_MS = 5_000;

/** What a channel does with its intake. None of it may throw. */
export interface IntakeListener {
  /** Whether the channel could hear now: without a path to the broker the lease is left to others. */
  readonly canHear: () => boolean;
  /**
   * The lease was taken: the channel hears from now on. `identity` names the shared store. With `wasOthers` another
   * gateway had it for a while before.
   */
  readonly taken: (identity: string, wasOthers: boolean) => void;
  /** The channel stops to hear and acknowledges nothing more, at once. */
  readonly lost: (why: string) => void;
  /** Another gateway has the lease, and hears. Called with each look that finds it so. */
  readonly elsewhere: () => void;
}

export interface IntakeLeaseOptions {
  readonly intake: Intake;
  /** Names the shared store. */
  readonly identity: () => Promise<string>;
  /** Whether another gateway should have it first. Asked before each attempt to take it. */
  readonly isForOthers: () => Promise<boolean>;
  /** Called after each renewal; with true the lease is given to another gateway. */
  readonly shouldGive: () => boolean;
  /** Called when it is taken, lost, or released. */
  readonly changed: (isHeld: boolean) => void;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
}

/**
 * Takes and renews the lease of one channel's intake. It counts as held only for the time that the store promised,
 * on this process's own monotonic clock from before the call: a process that was frozen finds it lost, whatever
 * has become of it.
 */
export class IntakeLease {
  readonly #options: IntakeLeaseOptions;
  #listener: IntakeListener | undefined;
  readonly #followers: Pick<IntakeListener, "taken" | "lost">[] = [];
  /** The listener hears. */
  #isTaken = false;
  #reliedUntil = Number.NEGATIVE_INFINITY;
  #notBefore = Number.NEGATIVE_INFINITY;
  /** Grows when the lease is lost or released, so that what a call brings that was on its way counts no more. */
  #term = 0;
  /** Since when another gateway was seen to have it, without this one in between. */
  #othersSince: number | undefined;
  #problem: Failure | undefined;
  #isClosed = false;
  /** A renewal is asked for that begins from now on. */
  #isAskedFor = false;
  #cancelExpiry = (): void => {};
  #wake = (): void => {};
  readonly #waiting = new Set<PromiseWithResolvers<void>>();

  constructor(options: IntakeLeaseOptions) {
    this.#options = options;
  }

  /** Tries to take it from now on. */
  start(listener: IntakeListener): void {
    this.#listener = listener;
    void this.#run();
  }

  /** Tells another one when it is taken, lost or given back. */
  follow(listener: Pick<IntakeListener, "taken" | "lost">): void {
    this.#followers.push(listener);
  }

  /** Whether this gateway may hear and acknowledge now. */
  isHeld(): boolean {
    return this.#options.clock.now() < this.#reliedUntil;
  }

  /** Whether the channel hears, or could. */
  canHear(): boolean {
    return this.#isTaken || this.#listener?.canHear() === true;
  }

  /** Why the store could not be asked last time. */
  problem(): Failure | undefined {
    return this.#problem;
  }

  /** Resolves when the lease is renewed by a call that begins now or later. Rejects when it is lost. */
  async confirmed(signal: AbortSignal): Promise<void> {
    if (!this.#isTaken) throw new Error("the lease is lost");
    const confirmation = Promise.withResolvers<void>();
    this.#waiting.add(confirmation);
    this.#isAskedFor = true;
    const stopListening = onAbort(signal, () => confirmation.reject(signal.reason));
    this.#wake();
    await confirmation.promise.finally(() => {
      stopListening();
      this.#waiting.delete(confirmation);
    });
  }

  /** Gives it to another gateway; this one does not try for so many milliseconds. */
  async giveBack(milliseconds: number, why: string): Promise<void> {
    this.#notBefore = this.#options.clock.now() + milliseconds;
    this.#lose(why);
    await this.#release();
  }

  /** Gives it back, so that another gateway can take it at once. Does not tell the listener. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#listener = undefined;
    this.#lose("closed");
    this.#wake();
    await this.#release();
  }

  async #run(): Promise<void> {
    const { clock, random } = this.#options;
    while (!this.#isClosed) {
      const asked = clock.now();
      await this.#attempt(asked);
      const every = this.#isTaken ? RENEW_MS : RENEW_MS * (1 - JITTER + 2 * JITTER * random());
      await this.#pause(asked + every - clock.now());
    }
  }

  async #pause(milliseconds: number): Promise<void> {
    if (this.#isClosed || this.#isAskedFor) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    const cancel = this.#options.clock.after(milliseconds, resolve);
    await promise;
    cancel();
    this.#wake = () => {};
  }

  async #attempt(asked: number): Promise<void> {
    this.#loseIfLate();
    const asking = [...this.#waiting];
    this.#isAskedFor = false;
    try {
      await this.#ask(asked);
      if (this.#isTaken) for (const { resolve } of asking) resolve();
    } catch (thrown) {
      this.#problem = asFailure(thrown);
      const { message, why } = this.#problem;
      this.#options.log.debug("the intake's lease could not be asked for", { error: message, why });
    }
  }

  async #ask(asked: number): Promise<void> {
    const term = this.#term;
    const identity = await this.#options.identity();
    if (!this.#isTaken && !(await this.#mayTry())) return;
    const promised = await this.#options.intake.take();
    this.#problem = undefined;
    this.#loseIfLate();
    if (term !== this.#term) {
      // It was released, or ran out, while the call was on its way.
      if (promised !== undefined) await this.#release();
    } else if (promised === undefined) {
      this.#lose("another gateway has it");
      this.#othersSince ??= this.#options.clock.now();
      this.#listener?.elsewhere();
    } else this.#renewed(asked + promised, identity);
  }

  #loseIfLate(): void {
    if (this.#isTaken && !this.isHeld()) this.#lose("it was not renewed in time");
  }

  async #mayTry(): Promise<boolean> {
    const { clock, isForOthers } = this.#options;
    if (clock.now() < this.#notBefore || this.#listener?.canHear() !== true) return false;
    return !(await isForOthers());
  }

  #renewed(until: number, identity: string): void {
    const { clock, shouldGive, changed } = this.#options;
    this.#reliedUntil = until;
    if (!this.isHeld()) {
      this.#lose("it came too late");
      return;
    }
    this.#cancelExpiry();
    this.#cancelExpiry = clock.after(until - clock.now(), () => {
      this.#lose("it was not renewed in time");
    });
    if (this.#isTaken) {
      if (shouldGive()) void this.giveBack(GIVEN_MS, "another gateway hears less");
      return;
    }
    const othersMs = clock.now() - (this.#othersSince ?? clock.now());
    this.#othersSince = undefined;
    this.#isTaken = true;
    changed(true);
    const wasOthers = othersMs > CONNECTED_MS;
    this.#listener?.taken(identity, wasOthers);
    for (const follower of this.#followers) follower.taken(identity, wasOthers);
  }

  #lose(why: string): void {
    this.#cancelExpiry();
    this.#reliedUntil = Number.NEGATIVE_INFINITY;
    this.#term += 1;
    for (const { reject } of this.#waiting) reject(new Error(`the lease is lost: ${why}`));
    if (!this.#isTaken) return;
    this.#isTaken = false;
    this.#listener?.lost(why);
    for (const follower of this.#followers) follower.lost(why);
    this.#options.changed(false);
  }

  async #release(): Promise<void> {
    // If the store cannot be reached, it runs out.
    await this.#options.intake.release().catch(() => {});
  }
}

/** A gateway that gives the lease away waits so long before it tries to take it again. */
const GIVEN_MS = 5_000;
