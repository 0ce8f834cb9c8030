import type { Counter, CounterChanges, CounterStore } from "../../store/contract.ts";
import { accountIn, counterOf } from "./account.ts";
import type { Account, Holder, Moment } from "./account.ts";

export interface AccountCacheOptions {
  /**
   * Accounts in memory. Four times as many while so many requests were prepared in the last seconds, and four
   * times as many that could not be written yet.
   */
  readonly rows: number;
  readonly store: Pick<CounterStore, "counter">;
  readonly moment: () => Moment;
  /** Whether the account is never evicted: those of served channels and of the gateway. */
  readonly isPermanent: (holder: Holder) => boolean;
  /** When the account counts for nothing any more, in milliseconds since the epoch. */
  readonly countsUntil: (account: Account) => number;
  /** Seconds until the account is below all its limits; 0 when it is. */
  readonly secondsUntilFree: (account: Account) => number;
  /** Called when changes were applied to an account that had to be read first. */
  readonly updated: () => void;
  /** Called when an account could not be read. */
  readonly onError: (thrown: unknown) => void;
}

/** `limited`: the change counts for a limit. */
export interface Change {
  readonly apply: (account: Account) => void;
  readonly limited: boolean;
}

interface Cached {
  readonly account: Account;
  /** On the monotonic clock: a prepared request needs the account until then. */
  heldUntil: number;
}

interface Unsaved {
  readonly account: Account;
  /** Writes in flight. */
  writes: number;
}

interface Reading {
  readonly holder: Holder;
  readonly updates: Change[];
  /** Undefined after the read failed. */
  done: Promise<void> | undefined;
}

/** The time of a request from `prepare` to its admission. */
const HELD_MS = 5000;
/** The factor by which the rows may be exceeded while requests are held or the store cannot be written. */
const MOST = 4;
/** The share of the rows that is evicted at once. */
const AT_ONCE = 1 / 16;
/** An eviction stops after so many accounts that cannot be evicted. */
const FEWEST_LOOKS = 64;

function begun(holder: Holder): Account {
  return { holder, bucket: undefined, days: [] };
}

/**
 * Accounts by name. The least recently used ones are evicted from memory. An evicted account stays in the
 * store while something of it counts: invented client ids must not evict real usage.
 */
export class AccountCache {
  readonly #options: AccountCacheOptions;
  /** The least recently used one is the first. */
  readonly #cached = new Map<string, Cached>();
  /** Accounts with changes that are not written, cached or not. */
  readonly #unsaved = new Map<string, Unsaved>();
  readonly #readings = new Map<string, Reading>();
  readonly #dirty = new DirtySet();
  /** The store may have accounts that are not in memory. */
  #hasMore = false;
  /** There was no room for the last account. */
  #isStuck = false;
  #room = { checkedAt: Number.NEGATIVE_INFINITY, seconds: 1 };

  constructor(options: AccountCacheOptions) {
    this.#options = options;
  }

  /** The account has changed since it was written; `limited`: the change counts for a limit. */
  readonly changed = (name: string, limited: boolean): void => {
    const account = this.find(name);
    // An unknown account is only in the store: a write would overwrite it.
    if (account !== undefined) this.#mark(name, account, limited);
  };

  readonly hasChanges = (which: "all" | "limited"): boolean => this.#dirty.has(which);

  find(name: string): Account | undefined {
    return this.#cached.get(name)?.account ?? this.#unsaved.get(name)?.account;
  }

  /** Whether the result of `find` is complete; if not, the store may have the account. */
  isLoaded(name: string): boolean {
    return !this.#hasMore || this.find(name) !== undefined;
  }

  /**
   * Reads the account and holds it in memory for 5 s. Returns undefined, the usual case, when the store need
   * not be read. Never rejects: an account that cannot be read stays unknown.
   */
  prepare(name: string, holder: Holder): Promise<void> | undefined {
    if (!this.isLoaded(name)) return this.#read(name, holder);
    // A new account, too: after an eviction, an account that is not here counts as unknown.
    this.#insert(name, this.find(name) ?? begun(holder), HELD_MS);
    return undefined;
  }

  /**
   * Gets or creates a known account. Returns undefined when there is no room: every one of four times the
   * rows is over a limit, and the store cannot be written.
   */
  open(name: string, holder: Holder): Account | undefined {
    const account = this.find(name) ?? begun(holder);
    return this.#insert(name, account, 0) ? account : undefined;
  }

  /** Changes an account, now if it is known, else after reading it. */
  update(name: string, holder: Holder, change: Change): void {
    if (this.isLoaded(name)) {
      const account = this.open(name, holder);
      if (account !== undefined) this.#apply(name, account, change);
      return;
    }
    void this.#read(name, holder);
    this.#readings.get(name)?.updates.push(change);
  }

  /** The changes since the last call: all, or those that count for a limit and a few others. */
  changes(which: "all" | "limited"): CounterChanges {
    const [put, drop]: [Counter[], string[]] = [[], []];
    const at = this.#options.moment();
    for (const name of this.#dirty.take(which)) {
      const account = this.find(name);
      if (account === undefined) {
        drop.push(name);
        continue;
      }
      const unsaved = this.#unsaved.get(name) ?? { account, writes: 0 };
      this.#unsaved.set(name, { account, writes: unsaved.writes + 1 });
      this.#dirty.stored(name);
      const { isPermanent, countsUntil } = this.#options;
      const until = isPermanent(account.holder) ? {} : { until: Math.ceil(countsUntil(account)) };
      put.push({ ...counterOf(name, account, at), ...until });
    }
    return { put, drop };
  }

  /** The changes were written. */
  saved({ put }: CounterChanges): void {
    for (const { name } of put) {
      const unsaved = this.#written(name);
      if (unsaved?.writes === 0 && !this.#dirty.isDirty(name)) this.#unsaved.delete(name);
      if (!this.#cached.has(name)) this.#dirty.evicted(name);
    }
  }

  /** The changes could not be written. */
  unsaved({ put, drop }: CounterChanges): void {
    for (const { name } of put) {
      if (this.#written(name) !== undefined) this.#dirty.changed(name, true);
    }
    for (const name of drop) this.#dirty.changed(name, true);
  }

  /** Loads counters from the store; `hasMore`: the store has others. */
  load(counters: readonly Counter[], hasMore: boolean): void {
    this.#hasMore ||= hasMore;
    const at = this.#options.moment();
    for (const counter of counters) {
      this.#dirty.stored(counter.name);
      const account = accountIn(counter, at);
      if (account === undefined) this.#dirty.dropped(counter.name);
      else this.#cached.set(counter.name, { account, heldUntil: 0 });
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
    const { now } = this.#options.moment();
    if (now >= this.#room.checkedAt + 1000) {
      const { secondsUntilFree, isPermanent } = this.#options;
      const waits = [...this.#cached.values()]
        .filter(({ account }) => !isPermanent(account.holder))
        .map(({ account }) => secondsUntilFree(account) || HELD_MS / 1000);
      this.#room = { checkedAt: now, seconds: Math.min(...waits) };
    }
    return Math.max(1, this.#room.seconds);
  }

  #written(name: string): Unsaved | undefined {
    const unsaved = this.#unsaved.get(name);
    if (unsaved !== undefined && unsaved.writes > 0) unsaved.writes -= 1;
    return unsaved;
  }

  #apply(name: string, account: Account, { apply, limited }: Change): void {
    apply(account);
    this.#mark(name, account, limited);
  }

  #mark(name: string, account: Account, limited: boolean): void {
    if (!this.#unsaved.has(name)) this.#unsaved.set(name, { account, writes: 0 });
    this.#dirty.changed(name, limited);
  }

  #read(name: string, holder: Holder): Promise<void> {
    const reading = this.#readings.get(name) ?? { holder, updates: [], done: undefined };
    this.#readings.set(name, reading);
    reading.done ??= this.#options.store.counter(name).then(
      (counter) => this.#arrived(name, reading, counter),
      (thrown: unknown) => {
        reading.done = undefined;
        if (reading.updates.length === 0) this.#readings.delete(name);
        this.#options.onError(thrown);
      },
    );
    return reading.done;
  }

  #arrived(name: string, { holder, updates }: Reading, counter: Counter | undefined): void {
    this.#readings.delete(name);
    const read = counter && accountIn(counter, this.#options.moment());
    const account = this.find(name) ?? read ?? begun(holder);
    if (counter !== undefined) this.#dirty.stored(name);
    this.#insert(name, account, HELD_MS);
    for (const change of updates) this.#apply(name, account, change);
    if (updates.length > 0) this.#options.updated();
  }

  /** As the most recently used one; false when there is no room. */
  #insert(name: string, account: Account, heldMs: number): boolean {
    const { rows, moment } = this.#options;
    const existing = this.#cached.get(name);
    if (existing === undefined) {
      if (this.#cached.size >= rows) this.#evict();
      this.#isStuck = this.#cached.size >= rows * MOST;
      if (this.#isStuck) return false;
    }
    const heldUntil = Math.max(existing?.heldUntil ?? 0, heldMs > 0 ? moment().now + heldMs : 0);
    this.#cached.delete(name);
    this.#cached.set(name, { account, heldUntil });
    return true;
  }

  #evict(): void {
    const { rows, moment, isPermanent } = this.#options;
    const some = Math.max(1, Math.floor(rows * AT_ONCE));
    const { now, epoch } = moment();
    const isFull = this.#cached.size >= rows * MOST;
    const size = isFull ? this.#cached.size - some : rows - some;
    let stayed = 0;
    for (const [name, cached] of this.#cached) {
      if (this.#cached.size <= size || stayed > Math.max(some, FEWEST_LOOKS)) return;
      const { account, heldUntil } = cached;
      const stays = isPermanent(account.holder) || (heldUntil > now && !isFull);
      if (stays) {
        stayed += 1;
        continue;
      }
      this.#cached.delete(name);
      if (this.#leave(name, account, epoch)) continue;
      stayed += 1;
      // Behind the ones that can be evicted.
      this.#cached.set(name, cached);
    }
  }

  /** Drops the account or leaves it to the store; false when neither is possible. */
  #leave(name: string, account: Account, epoch: number): boolean {
    const { rows, countsUntil, secondsUntilFree } = this.#options;
    const isLost = this.#unsaved.has(name) && this.#unsaved.size >= rows * MOST;
    if (isLost && secondsUntilFree(account) > 0) return false;
    if (isLost || countsUntil(account) <= epoch) {
      this.#unsaved.delete(name);
      this.#dirty.dropped(name);
      return true;
    }
    this.#hasMore = true;
    if (!this.#unsaved.has(name)) this.#dirty.evicted(name);
    return true;
  }
}

/** So many changes that may wait are written with those that must not. */
const FEW = 8;

/** The names of accounts whose changes are not written. */
class DirtySet {
  readonly #urgent = new Set<string>();
  readonly #deferrable = new Set<string>();
  readonly #stored = new Set<string>();

  /** The account changed; `limited`: the change counts for a limit and must not wait. */
  changed(name: string, limited: boolean): void {
    (limited ? this.#urgent : this.#deferrable).add(name);
  }

  /** The account was dropped; if the store has it, the store must drop it too. */
  dropped(name: string): void {
    this.#deferrable.delete(name);
    // With the next write, so that the number of rows in the store stays bounded.
    if (this.#stored.delete(name)) this.#urgent.add(name);
    else this.#urgent.delete(name);
  }

  /** The store has the account. */
  stored(name: string): void {
    this.#stored.add(name);
  }

  /** The account is only in the store from now on. */
  evicted(name: string): void {
    this.#stored.delete(name);
  }

  isDirty(name: string): boolean {
    return this.#urgent.has(name) || this.#deferrable.has(name);
  }

  /** Takes the names to write: all, or those that must not wait and a few others. */
  take(which: "all" | "limited"): readonly string[] {
    const isAll = which === "all" || this.#deferrable.size <= FEW;
    const names = [...new Set([...this.#urgent, ...(isAll ? this.#deferrable : [])])];
    this.#urgent.clear();
    for (const name of names) this.#deferrable.delete(name);
    return names;
  }

  has(which: "all" | "limited"): boolean {
    return this.#urgent.size > 0 || (which === "all" && this.#deferrable.size > 0);
  }
}
