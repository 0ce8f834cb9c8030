import { settlesWithin } from "../../base/async.ts";
import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { at, listAt } from "../../base/unknown.ts";
import type { Cluster, ClusterGateway } from "../../store/contract/cluster.ts";
import { SYSTEM_CLOCK, type Clock } from "../clock.ts";
import { IntakeLease } from "./intake-lease.ts";

export interface IntakesOptions {
  readonly cluster: Pick<Cluster, "owner" | "intake" | "identity" | "gateways" | "announce">;
  /** What this gateway tells the others of itself. */
  readonly about: () => object;
  /** Called when this gateway begins to hear a channel. */
  readonly taken?: () => void;
  readonly log: Log;
  readonly clock?: Clock;
  readonly random?: () => number;
}

/** A gateway that took one waits so long before it takes another, until those that start as well have announced. */
const NEXT_MS = 1_500;
/** Attempts in a row that a gateway leaves to others that hear fewer channels. */
const LEFT_TO_OTHERS = 2;
const SECOND_MS = 1_000;
/** Seconds between looks at the other gateways, and between announcements. */
const LOOK_SECONDS = 5;
const ANNOUNCE_SECONDS = 10;
/**
 * Milliseconds after the last change in which no lease is given away: a gateway that died is listed for 15 s.
 * Doubled each time a lease comes back that nobody else took, up to the bound.
 */
const SETTLED_MS = 20_000;
const MOST_SETTLED_MS = 600_000;
/** A lease that is taken again within this time after it was given away has come back. */
const CAME_BACK_MS = 30_000;

interface Entry {
  readonly lease: IntakeLease;
  isHeld: boolean;
  /** Attempts in a row that were left to others. */
  left: number;
  /** The other gateway that had it last. */
  lastOwner: string | undefined;
  givenAt: number | undefined;
}

/**
 * The intakes of this gateway's channels, shared with the other gateways: one that hears fewer channels takes a
 * free intake first, and one that hears at least two more than another gives one away. Only gateways count that
 * have a path to the broker; each announces for which intakes it has one.
 */
export class Intakes {
  readonly #options: IntakesOptions;
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();
  #identity: Promise<string> | undefined;
  /** As of the last look. */
  #gateways: readonly ClusterGateway[] = [];
  #listeners: (() => void)[] = [];
  /** Only one is taken at a time. */
  #trying: Entry | undefined;
  #takenAt = Number.NEGATIVE_INFINITY;
  #changedAt = 0;
  #settledMs = SETTLED_MS;
  #seconds = 0;
  #announced = "";
  #isLeaving = false;
  #isClosed = false;
  #cancelTick = (): void => {};

  constructor(options: IntakesOptions) {
    this.#options = options;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#tick();
  }

  /** The lease of the intake with this name. It is not taken before it is started. */
  open(name: string): IntakeLease {
    const { cluster, log, random = Math.random } = this.#options;
    const intake = cluster.intake(name);
    const take = (): Promise<number | undefined> =>
      intake.take().finally(() => {
        if (this.#trying === entry) this.#trying = undefined;
      });
    const lease = new IntakeLease({
      intake: { take, release: () => intake.release() },
      identity: () => this.#storeIdentity(),
      isForOthers: () => this.#isForOthers(name, entry),
      shouldGive: () => this.#shouldGive(name, entry),
      changed: (isHeld) => this.#changed(entry, isHeld),
      clock: this.#clock,
      random,
      log,
    });
    const entry: Entry = {
      lease,
      isHeld: false,
      left: 0,
      lastOwner: undefined,
      givenAt: undefined,
    };
    this.#entries.set(name, entry);
    return lease;
  }

  /** What the other living gateways told of themselves, as of the last look. */
  others(): readonly unknown[] {
    const { owner } = this.#options.cluster;
    return this.#gateways.flatMap((other) => (other.owner === owner ? [] : [other.about]));
  }

  /** Whether no other gateway lives and stays. Rejects as the store does. */
  async isAlone(): Promise<boolean> {
    return (await this.#others()).every(({ about }) => at(about, "leaves") === true);
  }

  /** Tells the other gateways that this one ends. Does not reject, and waits a second at most. */
  async leave(): Promise<void> {
    this.#isLeaving = true;
    await settlesWithin(this.#announce(true), SECOND_MS);
  }

  /** Calls `listener` when other gateways live, or hear, than at the look before. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Stops to look and to announce. */
  close(): void {
    this.#isClosed = true;
    this.#cancelTick();
  }

  #tick(): void {
    if (this.#isClosed) return;
    void this.#announce(this.#seconds % ANNOUNCE_SECONDS === 0);
    if (this.#seconds % LOOK_SECONDS === 0) void this.#look();
    this.#seconds += 1;
    this.#cancelTick = this.#clock.after(SECOND_MS, () => this.#tick());
  }

  async #announce(isDue: boolean): Promise<void> {
    const leaves = this.#isLeaving;
    const names = [...this.#entries].filter(([, { lease }]) => !leaves && lease.canHear());
    const able = names.map(([name]) => name);
    if (!isDue && able.join("\n") === this.#announced) return;
    this.#announced = able.join("\n");
    const { cluster, about } = this.#options;
    try {
      await cluster.announce({ ...about(), able, ...(leaves && { leaves }) });
    } catch (thrown) {
      this.#announced = "?";
      this.#debug("this gateway could not be announced to the others", thrown);
    }
  }

  async #look(): Promise<void> {
    try {
      const gateways = await this.#options.cluster.gateways();
      const isChanged = namesOf(gateways) !== namesOf(this.#gateways);
      this.#gateways = gateways;
      for (const [name, entry] of this.#entries) {
        const other = gateways.find((gateway) => this.#isOther(gateway, name));
        entry.lastOwner = other?.owner ?? entry.lastOwner;
      }
      if (isChanged) for (const listener of this.#listeners) listener();
    } catch (thrown) {
      this.#gateways = [];
      this.#debug("the other gateways could not be read", thrown);
    }
  }

  #isOther({ owner, intakes }: ClusterGateway, name: string): boolean {
    return owner !== this.#options.cluster.owner && intakes.includes(name);
  }

  async #others(): Promise<readonly ClusterGateway[]> {
    const gateways = await this.#options.cluster.gateways();
    return gateways.filter(({ owner }) => owner !== this.#options.cluster.owner);
  }

  #held(): number {
    return [...this.#entries.values()].filter(({ isHeld }) => isHeld).length;
  }

  async #isForOthers(name: string, entry: Entry): Promise<boolean> {
    if (this.#trying !== undefined && this.#trying !== entry) return true;
    this.#trying = entry;
    const isLeft = await this.#isLeft(name, entry).catch(() => false);
    if (isLeft) this.#trying = undefined;
    return isLeft;
  }

  async #isLeft(name: string, entry: Entry): Promise<boolean> {
    const held = this.#held();
    if (held === 0) return false;
    if (this.#clock.now() - this.#takenAt < NEXT_MS) return true;
    const others = await this.#others();
    const owner = others.find((other) => this.#isOther(other, name))?.owner;
    if (owner !== undefined) {
      entry.lastOwner = owner;
      entry.left = 0;
      // It was given away, and somebody took it.
      if (entry.givenAt !== undefined) this.#settledMs = SETTLED_MS;
      entry.givenAt = undefined;
      return false;
    }
    const isBetter = (other: ClusterGateway): boolean =>
      other.owner !== entry.lastOwner && other.intakes.length < held && isAble(other, name);
    const isLeft = entry.left < LEFT_TO_OTHERS && others.some((other) => isBetter(other));
    entry.left = isLeft ? entry.left + 1 : 0;
    return isLeft;
  }

  #shouldGive(name: string, entry: Entry): boolean {
    const { owner } = this.#options.cluster;
    const held = this.#held();
    if (held < 2 || this.#clock.now() - this.#changedAt < this.#settledMs) return false;
    const hearsLess = (other: ClusterGateway): boolean =>
      other.owner !== owner && other.intakes.length <= held - 2 && isAble(other, name);
    if (!this.#gateways.some((other) => hearsLess(other))) return false;
    entry.givenAt = this.#clock.now();
    return true;
  }

  #changed(entry: Entry, isHeld: boolean): void {
    const now = this.#clock.now();
    entry.isHeld = isHeld;
    this.#changedAt = now;
    if (!isHeld) return;
    this.#takenAt = now;
    this.#options.taken?.();
    const { givenAt } = entry;
    const cameBack = givenAt !== undefined && now - givenAt < CAME_BACK_MS;
    if (cameBack) this.#settledMs = Math.min(2 * this.#settledMs, MOST_SETTLED_MS);
    entry.givenAt = undefined;
    entry.lastOwner = undefined;
  }

  #storeIdentity(): Promise<string> {
    this.#identity ??= this.#options.cluster.identity().catch((thrown: unknown) => {
      this.#identity = undefined;
      throw thrown;
    });
    return this.#identity;
  }

  #debug(message: string, thrown: unknown): void {
    const { message: error, why } = asFailure(thrown);
    this.#options.log.debug(message, { error, why });
  }
}

/** Who lives and hears what. */
function namesOf(gateways: readonly ClusterGateway[]): string {
  const names = gateways.map(({ owner, intakes }) => JSON.stringify([owner, ...intakes]));
  return names.toSorted().join("\n");
}

function isAble({ about }: ClusterGateway, name: string): boolean {
  return listAt(about, "able").includes(name);
}
