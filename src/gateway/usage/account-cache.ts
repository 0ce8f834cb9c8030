import type { Limits } from "../../base/contract.ts";
import type {
  Counter,
  CounterChange,
  CounterChanges,
  CounterStore,
  DayCount,
} from "../../store/contract/counters.ts";
import type { Clock } from "../clock.ts";
import {
  accountIn,
  adopt,
  countIn,
  countsUntil,
  createCalendar,
  newAccount,
  putBack,
  secondsUntilFree,
  takeChange,
  todayInZone,
} from "./account.ts";
import type { Account, Holder, Moment } from "./account.ts";

export interface AccountCacheOptions {
  /**
   * Accounts in memory. Four times as many while so many requests were prepared in the last seconds, and four
   * times as many that could not be written yet.
   */
  readonly rows: number;
  readonly store: Pick<CounterStore, "clock" | "counter">;
  readonly clock: Pick<Clock, "epoch" | "now">;
  /** Whether the account is never evicted: those of served channels and of the gateway. */
  readonly isPermanent: (holder: Holder) => boolean;
  readonly limitsOf: (holder: Holder) => Limits;
  /** Called when usage was added to an account that had to be read first. */
  readonly updated: () => void;
  /** Called when an account could not be read. */
  readonly onError: (thrown: unknown) => void;
}

/** What to add to a day. */
export interface Counted {
  readonly counts: DayCount;
  /** Whether it counts for a limit. */
  readonly limited: boolean;
}

/** An account in memory. */
interface Row {
  readonly account: Account;
  /** On the monotonic clock: a prepared request needs the account until then. */
  heldUntil: number;
  /** Changes in flight. */
  writes: readonly CounterChange[];
  /** The store has the account, too. */
  isStored: boolean;
}

interface Reading {
  readonly holder: Holder;
  /** Added once the account is read. */
  readonly counted: Counted[];
  /** Undefined after the read failed. */
  done: Promise<void> | undefined;
}

const NOTHING: readonly CounterChange[] = [];
/** The time of a request from `prepare` to its admission. */
const HELD_MS = 5000;
/** An account is relied on so long, if others write it, too. */
const FRESH_MS = 2000;
/** The factor by which the rows may be exceeded while requests are held or the store cannot be written. */
const MOST = 4;
/** The share of the rows that is evicted at once. */
const AT_ONCE = 1 / 16;
/** An eviction stops after so many accounts that cannot be evicted. */
const FEWEST_LOOKS = 64;
/** So many changes that may wait are written with those that must not. */
const FEW = 8;

function rowOf(account: Account, isStored: boolean): Row {
  return { account, heldUntil: 0, writes: NOTHING, isStored };
}

function newRow(holder: Holder): Row {
  return rowOf(newAccount(holder), false);
}

/**
 * Accounts by name. The least recently used ones are evicted from memory. An evicted account stays in the
 * store while something of it counts: invented client ids must not evict real usage.
 */
export class AccountCache {
  readonly #options: AccountCacheOptions;
  readonly #calendarDay = createCalendar();
  /** Others write the store, too. */
  readonly #isShared: boolean;
  /** On the monotonic clock: when accounts of a shared store had all that its writers counted. */
  readonly #knownAt = new Map<string, number>();
  /** How the clock of a shared store differs from this machine's. */
  #storeClock = { aheadMs: 0, utcOffsetMs: 0 };
  /** The least recently used one is the first. */
  readonly #cached = new Map<string, Row>();
  /** Accounts with changes that are not written, cached or not. */
  readonly #unsaved = new Map<string, Row>();
  readonly #readings = new Map<string, Reading>();
  /** Names of accounts with changes that count for a limit: they must be written at once. */
  readonly #urgent = new Set<string>();
  /** Names of accounts with other changes. */
  readonly #deferrable = new Set<string>();
  /** The store may have accounts that are not in memory. */
  #hasMore = false;
  /** There was no room for the last account. */
  #isStuck = false;
  #room = { checkedAt: Number.NEGATIVE_INFINITY, seconds: 1 };

  constructor(options: AccountCacheOptions) {
    this.#options = options;
    this.#isShared = options.store.clock !== undefined;
    this.#hasMore = this.#isShared;
  }

  moment(): Moment {
    const { clock } = this.#options;
    const { aheadMs, utcOffsetMs } = this.#storeClock;
    const epoch = clock.epoch() + aheadMs;
    const todayAt = this.#isShared
      ? (now: number) => todayInZone(now, utcOffsetMs)
      : this.#calendarDay;
    return {
      now: clock.now(),
      epoch,
      // The runtime's first use of its time zone takes milliseconds, and a start needs none.
      get today() {
        return todayAt(epoch);
      },
    };
  }

  /** Reads the clock of a shared store: the days are those of the store. Never rejects. */
  async readClock(): Promise<void> {
    const { store, clock, onError } = this.#options;
    try {
      const read = await store.clock?.();
      if (read === undefined) return;
      this.#storeClock = {
        aheadMs: read.epoch - clock.epoch(),
        utcOffsetMs: read.utcOffsetMs,
      };
    } catch (thrown) {
      onError(thrown);
    }
  }

  /** Others wrote what is in memory: it is read again before it is used. */
  distrust(): void {
    this.#knownAt.clear();
  }

  /** The account, which is in memory, has changed; `limited`: the change counts for a limit. */
  changed(name: string, limited: boolean): void {
    const row = this.#row(name);
    if (row !== undefined) this.#changed(name, row, limited);
  }

  hasChanges(which: "all" | "limited"): boolean {
    return this.#urgent.size > 0 || (which === "all" && this.#deferrable.size > 0);
  }

  /** All accounts in memory. */
  *accounts(): Generator<Account, void> {
    for (const { account } of this.#cached.values()) yield account;
  }

  find(name: string): Account | undefined {
    return this.#row(name)?.account;
  }

  /** Whether the result of `find` is complete; if not, the store may have the account. */
  isLoaded(name: string): boolean {
    if (this.#isShared) return this.#row(name) !== undefined && this.#knownAt.has(name);
    return !this.#hasMore || this.#row(name) !== undefined;
  }

  /**
   * Reads the account and holds it in memory for 5 s; with `fresh`, also one that others may have changed in
   * the last seconds. Returns undefined, the usual case, when the store need not be read. Never rejects: an
   * account that cannot be read stays unknown.
   */
  prepare(name: string, holder: Holder, fresh: boolean): Promise<void> | undefined {
    if (!this.isLoaded(name) || (fresh && this.#isOutdated(name))) return this.#read(name, holder);
    // A new account, too: after an eviction, an account that is not here counts as unknown.
    this.#insert(name, this.#row(name) ?? newRow(holder), HELD_MS);
    return undefined;
  }

  #isOutdated(name: string): boolean {
    const knownAt = this.#knownAt.get(name);
    return knownAt !== undefined && this.moment().now >= knownAt + FRESH_MS;
  }

  /**
   * Gets or creates a known account. Returns undefined when there is no room: every one of four times the
   * rows is over a limit, and the store cannot be written.
   */
  open(name: string, holder: Holder): Account | undefined {
    const row = this.#row(name) ?? newRow(holder);
    return this.#insert(name, row, 0) ? row.account : undefined;
  }

  /** Adds to what is counted of an account, now if it is known, else after reading it. */
  count(name: string, holder: Holder, counted: Counted): void {
    // A shared store returns what it has with the next write.
    if (!this.isLoaded(name) && !this.#isShared) {
      void this.#read(name, holder);
      this.#readings.get(name)?.counted.push(counted);
      return;
    }
    const account = this.open(name, holder);
    if (account === undefined) return;
    countIn(account, counted.counts);
    this.changed(name, counted.limited);
  }

  /** The changes since the last call: all, or those that count for a limit and a few others. */
  changes(which: "all" | "limited"): CounterChanges {
    const [put, drop]: [CounterChange[], string[]] = [[], []];
    const at = this.moment();
    for (const name of this.#takeDirty(which)) {
      const row = this.#row(name);
      if (row === undefined) {
        drop.push(name);
        continue;
      }
      row.isStored = true;
      const { account } = row;
      const { isPermanent, limitsOf } = this.#options;
      const until = Math.ceil(countsUntil(account, limitsOf(account.holder), at));
      const change = takeChange(name, account, at);
      if (!isPermanent(account.holder)) change.until = until;
      row.writes = row.writes.length === 0 ? [change] : [...row.writes, change];
      put.push(change);
    }
    return { put, drop };
  }

  /** The changes were written; `totals` are the counters of `put`. */
  saved({ put }: CounterChanges, totals: readonly Counter[]): void {
    for (const [index, change] of put.entries()) {
      const { name } = change;
      const row = this.#written(change);
      const total = this.#isShared ? totals[index] : undefined;
      if (row !== undefined && total !== undefined) this.#adopt(row, total);
      const isDirty = this.#urgent.has(name) || this.#deferrable.has(name);
      if (row?.writes.length === 0 && !isDirty) this.#unsaved.delete(name);
    }
  }

  /** The changes could not be written. */
  unsaved({ put, drop }: CounterChanges): void {
    for (const change of put) {
      const row = this.#written(change);
      if (row === undefined) continue;
      putBack(row.account, change);
      this.#urgent.add(change.name);
    }
    for (const name of drop) this.#urgent.add(name);
  }

  /** Loads counters from the store; `hasMore`: the store has others. */
  load(counters: readonly Counter[], hasMore: boolean): void {
    this.#hasMore ||= hasMore;
    const at = this.moment();
    for (const counter of counters) {
      const account = accountIn(counter, at);
      // A malformed counter is dropped from the store.
      if (account !== undefined) {
        this.#cached.set(counter.name, rowOf(account, true));
        if (this.#isShared) this.#knownAt.set(counter.name, at.now);
      } else if (!this.#isShared) this.#urgent.add(counter.name);
    }
    if (this.#cached.size > this.#options.rows) this.#evict();
  }

  /** Reads accounts again that could not be read and have changes waiting. */
  retry(): void {
    for (const [name, { holder }] of this.#readings) void this.#read(name, holder);
  }

  /** Seconds, at least 1, until an unknown account may be known or there may be room. */
  secondsUntilRoom(): number {
    if (!this.#isStuck) return 1;
    const { isPermanent, limitsOf } = this.#options;
    const at = this.moment();
    if (at.now >= this.#room.checkedAt + 1000) {
      const waits = [...this.#cached.values()]
        .map(({ account }) => account)
        .filter(({ holder }) => !isPermanent(holder))
        .map((one) => secondsUntilFree(one, limitsOf(one.holder), at) || HELD_MS / 1000);
      this.#room = { checkedAt: at.now, seconds: Math.min(...waits) };
    }
    return Math.max(1, this.#room.seconds);
  }

  #adopt(row: Row, stored: Counter): void {
    const at = this.moment();
    const account = accountIn(stored, at);
    if (account !== undefined) adopt(row.account, account, row.writes);
    this.#knownAt.set(stored.name, at.now);
  }

  #row(name: string): Row | undefined {
    return this.#cached.get(name) ?? this.#unsaved.get(name);
  }

  #changed(name: string, row: Row, limited: boolean): void {
    this.#unsaved.set(name, row);
    (limited ? this.#urgent : this.#deferrable).add(name);
  }

  #written(change: CounterChange): Row | undefined {
    const row = this.#unsaved.get(change.name);
    if (row === undefined) return undefined;
    const isLast = row.writes.length === 1 && row.writes[0] === change;
    row.writes = isLast ? NOTHING : row.writes.filter((one) => one !== change);
    return row;
  }

  /** Takes the names to write: all, or those that must be written at once and a few others. */
  #takeDirty(which: "all" | "limited"): ReadonlySet<string> {
    // In a shared store others wait for the rows of channels and of the gateway.
    const isAll = which === "all" || (!this.#isShared && this.#deferrable.size <= FEW);
    const names = new Set([...this.#urgent, ...(isAll ? this.#deferrable : [])]);
    this.#urgent.clear();
    for (const name of names) this.#deferrable.delete(name);
    return names;
  }

  #read(name: string, holder: Holder): Promise<void> {
    const reading = this.#readings.get(name) ?? { holder, counted: [], done: undefined };
    this.#readings.set(name, reading);
    reading.done ??= this.#options.store.counter(name).then(
      (counter) => this.#arrived(name, reading, counter),
      (thrown: unknown) => {
        reading.done = undefined;
        if (reading.counted.length === 0) this.#readings.delete(name);
        this.#options.onError(thrown);
      },
    );
    return reading.done;
  }

  #arrived(name: string, { holder, counted }: Reading, counter: Counter | undefined): void {
    this.#readings.delete(name);
    const at = this.moment();
    const read = counter && accountIn(counter, at);
    const existing = this.#row(name);
    const row = existing ?? rowOf(read ?? newAccount(holder), false);
    row.isStored ||= counter !== undefined;
    if (this.#isShared) this.#knownAt.set(name, at.now);
    if (this.#isShared && existing && read) adopt(existing.account, read, existing.writes);
    this.#insert(name, row, HELD_MS);
    for (const { counts, limited } of counted) {
      countIn(row.account, counts);
      this.#changed(name, row, limited);
    }
    if (counted.length > 0) this.#options.updated();
  }

  /** As the most recently used one; false when there is no room. */
  #insert(name: string, row: Row, heldMs: number): boolean {
    const { rows } = this.#options;
    if (!this.#cached.delete(name)) {
      if (this.#cached.size >= rows) this.#evict();
      this.#isStuck = this.#cached.size >= rows * MOST;
      if (this.#isStuck) return false;
    }
    if (heldMs > 0) row.heldUntil = Math.max(row.heldUntil, this.moment().now + heldMs);
    this.#cached.set(name, row);
    return true;
  }

  #evict(): void {
    const { rows, isPermanent } = this.#options;
    const some = Math.max(1, Math.floor(rows * AT_ONCE));
    const at = this.moment();
    const isFull = this.#cached.size >= rows * MOST;
    const size = isFull ? this.#cached.size - some : rows - some;
    let stayed = 0;
    for (const [name, row] of this.#cached) {
      if (this.#cached.size <= size || stayed > Math.max(some, FEWEST_LOOKS)) return;
      const isHeld = row.heldUntil > at.now && !isFull;
      if (isPermanent(row.account.holder) || isHeld) {
        stayed += 1;
        continue;
      }
      this.#cached.delete(name);
      this.#knownAt.delete(name);
      if (this.#leave(name, row, at)) continue;
      stayed += 1;
      // Behind the ones that can be evicted.
      this.#cached.set(name, row);
    }
  }

  /** Drops the account or leaves it to the store; false when neither is possible. */
  #leave(name: string, { account, isStored }: Row, at: Moment): boolean {
    const { rows, limitsOf } = this.#options;
    const limits = limitsOf(account.holder);
    const isLost = this.#unsaved.has(name) && this.#unsaved.size >= rows * MOST;
    if (isLost && secondsUntilFree(account, limits, at) > 0) return false;
    if (!isLost && countsUntil(account, limits, at) > at.epoch) {
      this.#hasMore = true;
      return true;
    }
    this.#unsaved.delete(name);
    this.#deferrable.delete(name);
    // The store drops it with the next write, so that the number of its rows stays bounded.
    if (isStored && !this.#isShared) this.#urgent.add(name);
    else this.#urgent.delete(name);
    return true;
  }
}
