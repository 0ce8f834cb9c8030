import type { Counter, CounterChanges, CounterStore } from "../../store/contract.ts";
import { accountIn, meterOf } from "./account.ts";
import type { Account, Holder, Moment } from "./account.ts";

export interface AccountCacheOptions {
  /**
   * Accounts in memory. Four times as many while that many requests were prepared a moment ago, and four
   * times as many that the store could not take yet.
   */
  readonly rows: number;
  readonly store: Pick<CounterStore, "counter">;
  readonly moment: () => Moment;
  /** Channels that are served, and the gateway: their accounts are never evicted. */
  readonly isPermanent: (holder: Holder) => boolean;
  /** Until when something of the account counts, in milliseconds since the epoch. */
  readonly countsUntil: (account: Account) => number;
  /** Seconds until none of the account's limits is used up; 0 where none is. */
  readonly secondsUntilFree: (account: Account) => number;
  /** Hears that accounts were changed as soon as they were read. */
  readonly updated: () => void;
  /** Hears why an account could not be read. */
  readonly onError: (thrown: unknown) => void;
}

/**
 * Accounts by their names. The ones used last are in memory; one that is evicted stays in the store as long
 * as something of it counts, and is forgotten otherwise: invented names never make what somebody spent be
 * forgotten.
 */
export interface AccountCache {
  find(name: string): Account | undefined;
  /** Whether `find` tells all there is: only the store may have what is not known. */
  isKnown(name: string): boolean;
  /**
   * Makes the account known and keeps it in memory for some seconds. Undefined, the usual case, where the
   * store need not be asked. Never rejects: an account that cannot be read stays unknown.
   */
  prepare(name: string, holder: Holder): Promise<void> | undefined;
  /**
   * A known account, begun where there is none. Undefined where there is no room for one more: all of four
   * times the rows are used up, and the store cannot be written.
   */
  open(name: string, holder: Holder): Account | undefined;
  /** Changes an account now where it is known, and else as soon as it was read. */
  update(name: string, holder: Holder, change: Change): void;
  /** The account is not what was saved of it any more; `limited` says whether a limit hangs on that. */
  readonly changed: (name: string, limited: boolean) => void;
  /** What changed since this was asked last, or that on which limits hang, with little else. */
  changes(which: "all" | "limited"): CounterChanges;
  readonly hasChanges: (which: "all" | "limited") => boolean;
  /** The store has these changes. */
  saved(changes: CounterChanges): void;
  /** The store could not take these changes. */
  unsaved(changes: CounterChanges): void;
  /** Takes over meters of the store; `hasMore` says whether it has others. */
  load(meters: readonly Counter[], hasMore: boolean): void;
  /** Reads again what could not be read and is to be changed. */
  retry(): void;
  /** Seconds after which an account that is not known, or has no room, may be; at least 1. */
  secondsUntilRoom(): number;
}

/** `limited` says whether a limit hangs on the change. */
export interface Change {
  readonly apply: (account: Account) => void;
  readonly limited: boolean;
}

interface Cached {
  readonly account: Account;
  /** A request that was prepared counts on it until then (milliseconds on the clock that never jumps). */
  heldUntil: number;
}

interface Unsaved {
  readonly account: Account;
  /** Writes under way. */
  writes: number;
}

interface Reading {
  readonly holder: Holder;
  readonly updates: Change[];
  /** Undefined after it failed. */
  done: Promise<void> | undefined;
}

/** From its preparation to its decision a request has so long. */
const HELD_MS = 5000;
/** How many times the rows there may be while requests are held, or the store cannot be written. */
const MOST = 4;
/** The part of all rows that is evicted in one go. */
const AT_ONCE = 1 / 16;
/** Accounts that may turn out to stay before one search for some to evict ends. */
const FEWEST_LOOKS = 64;

export function createAccountCache(options: AccountCacheOptions): AccountCache {
  return new LruAccountCache(options);
}

function begun(holder: Holder): Account {
  return { holder, bucket: undefined, days: [] };
}

class LruAccountCache implements AccountCache {
  readonly #options: AccountCacheOptions;
  /** The one used longest ago is the first. */
  readonly #cached = new Map<string, Cached>();
  /** Accounts that the store does not have as they are, cached or not. */
  readonly #unsaved = new Map<string, Unsaved>();
  readonly #readings = new Map<string, Reading>();
  readonly #dirty = createDirtySet();
  /** The store may have accounts that are not in memory. */
  #hasMore = false;
  /** There was no room for the last one. */
  #isStuck = false;
  #room = { checkedAt: Number.NEGATIVE_INFINITY, seconds: 1 };

  constructor(options: AccountCacheOptions) {
    this.#options = options;
  }

  readonly changed = (name: string, limited: boolean): void => {
    const account = this.find(name);
    // The store alone has what is not known: no write may take that away.
    if (account !== undefined) this.#mark(name, account, limited);
  };

  readonly hasChanges = (which: "all" | "limited"): boolean => this.#dirty.has(which);

  find(name: string): Account | undefined {
    return this.#cached.get(name)?.account ?? this.#unsaved.get(name)?.account;
  }

  isKnown(name: string): boolean {
    return !this.#hasMore || this.find(name) !== undefined;
  }

  prepare(name: string, holder: Holder): Promise<void> | undefined {
    if (!this.isKnown(name)) return this.#read(name, holder);
    // One that is new, too: others may be evicted meanwhile, and then what is not here may be elsewhere.
    this.#insert(name, this.find(name) ?? begun(holder), HELD_MS);
    return undefined;
  }

  open(name: string, holder: Holder): Account | undefined {
    const account = this.find(name) ?? begun(holder);
    return this.#insert(name, account, 0) ? account : undefined;
  }

  update(name: string, holder: Holder, change: Change): void {
    if (this.isKnown(name)) {
      const account = this.open(name, holder);
      if (account !== undefined) this.#apply(name, account, change);
      return;
    }
    void this.#read(name, holder);
    this.#readings.get(name)?.updates.push(change);
  }

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
      this.#dirty.isStored(name);
      const { isPermanent, countsUntil } = this.#options;
      const until = isPermanent(account.holder) ? {} : { until: Math.ceil(countsUntil(account)) };
      put.push({ ...meterOf(name, account, at), ...until });
    }
    return { put, drop };
  }

  saved({ put }: CounterChanges): void {
    for (const { name } of put) {
      const unsaved = this.#written(name);
      if (unsaved?.writes === 0 && !this.#dirty.isDirty(name)) this.#unsaved.delete(name);
      if (!this.#cached.has(name)) this.#dirty.evicted(name);
    }
  }

  unsaved({ put, drop }: CounterChanges): void {
    for (const { name } of put) {
      if (this.#written(name) !== undefined) this.#dirty.changed(name, true);
    }
    for (const name of drop) this.#dirty.changed(name, true);
  }

  load(meters: readonly Counter[], hasMore: boolean): void {
    this.#hasMore ||= hasMore;
    const at = this.#options.moment();
    for (const meter of meters) {
      this.#dirty.isStored(meter.name);
      const account = accountIn(meter, at);
      if (account === undefined) this.#dirty.forgotten(meter.name);
      else this.#cached.set(meter.name, { account, heldUntil: 0 });
    }
    if (this.#cached.size > this.#options.rows) this.#evict();
  }

  retry(): void {
    for (const [name, { holder }] of this.#readings) void this.#read(name, holder);
  }

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
      (meter) => this.#arrived(name, reading, meter),
      (thrown: unknown) => {
        reading.done = undefined;
        if (reading.updates.length === 0) this.#readings.delete(name);
        this.#options.onError(thrown);
      },
    );
    return reading.done;
  }

  #arrived(name: string, { holder, updates }: Reading, meter: Counter | undefined): void {
    this.#readings.delete(name);
    const read = meter && accountIn(meter, this.#options.moment());
    const account = this.find(name) ?? read ?? begun(holder);
    if (meter !== undefined) this.#dirty.isStored(name);
    this.#insert(name, account, HELD_MS);
    for (const change of updates) this.#apply(name, account, change);
    if (updates.length > 0) this.#options.updated();
  }

  /** As the one used last; false where there is no room for it. */
  #insert(name: string, account: Account, heldMs: number): boolean {
    const { rows, moment } = this.#options;
    const known = this.#cached.get(name);
    if (known === undefined) {
      if (this.#cached.size >= rows) this.#evict();
      this.#isStuck = this.#cached.size >= rows * MOST;
      if (this.#isStuck) return false;
    }
    const heldUntil = Math.max(known?.heldUntil ?? 0, heldMs > 0 ? moment().now + heldMs : 0);
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
      // Out of the way of the ones that can go.
      this.#cached.set(name, cached);
    }
  }

  /** Forgets the account or leaves it to the store; false, and nothing done, where neither can be. */
  #leave(name: string, account: Account, epoch: number): boolean {
    const { rows, countsUntil, secondsUntilFree } = this.#options;
    const isLost = this.#unsaved.has(name) && this.#unsaved.size >= rows * MOST;
    if (isLost && secondsUntilFree(account) > 0) return false;
    if (isLost || countsUntil(account) <= epoch) {
      this.#unsaved.delete(name);
      this.#dirty.forgotten(name);
      return true;
    }
    this.#hasMore = true;
    if (!this.#unsaved.has(name)) this.#dirty.evicted(name);
    return true;
  }
}

/** Names of what is not in the store as it is by now. */
interface DirtySet {
  /** It changed; `limited` says whether a limit hangs on that: what none does may wait. */
  readonly changed: (name: string, limited: boolean) => void;
  /** It is no more; where the store never had it, there is nothing to do. */
  readonly forgotten: (name: string) => void;
  /** The store has it. */
  readonly isStored: (name: string) => void;
  /** It is the store's alone from now on. */
  readonly evicted: (name: string) => void;
  readonly isDirty: (name: string) => boolean;
  /** The names to write, all of them or those that cannot wait with little else; none is pending then. */
  readonly take: (which: "all" | "limited") => readonly string[];
  readonly has: (which: "all" | "limited") => boolean;
}

/** Of what may wait, so much goes along with what may not. */
const FEW = 8;

function createDirtySet(): DirtySet {
  const urgent = new Set<string>();
  const patient = new Set<string>();
  const kept = new Set<string>();
  return {
    changed: (name, limited) => void (limited ? urgent : patient).add(name),
    forgotten(name) {
      patient.delete(name);
      // With the next write, so that the store has no more of them than there are.
      if (kept.delete(name)) urgent.add(name);
      else urgent.delete(name);
    },
    isStored: (name) => void kept.add(name),
    evicted: (name) => void kept.delete(name),
    isDirty: (name) => urgent.has(name) || patient.has(name),
    take(which) {
      const isAll = which === "all" || patient.size <= FEW;
      const names = [...new Set([...urgent, ...(isAll ? patient : [])])];
      urgent.clear();
      for (const name of names) patient.delete(name);
      return names;
    },
    has: (which) => urgent.size > 0 || (which === "all" && patient.size > 0),
  };
}
