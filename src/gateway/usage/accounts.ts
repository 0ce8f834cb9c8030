import type { Allowance, Limits, Spent } from "../../base/contract.ts";
import type { Failure } from "../../base/failure.ts";
import type { Counter, CounterStore, CounterChanges } from "../../store/contract.ts";
import type { ChannelPolicy } from "../channel-policy.ts";
import type { Clock } from "../clock.ts";
import type { Request } from "../contract.ts";
import { failureOf } from "../errors.ts";
import { laneOf } from "../request-keys.ts";
import { AccountCache } from "./account-cache.ts";
import { countOf, countsUntil, createCalendar, secondsUntilFree } from "./account.ts";
import type { Account, Moment, Today } from "./account.ts";
import {
  createAllowance,
  GATEWAY,
  hasBudget,
  holderOf,
  nameOfChannel,
  overBudget,
  scopesOf,
} from "./budget.ts";
import type { LimitScope } from "./budget.ts";
import { filled, isRated, secondsUntilRoom, takenFrom } from "./rate-limit.ts";
import { RejectedClients, REJECTED_CLIENTS } from "./report.ts";

export interface AccountingOptions {
  readonly policies: ReadonlyMap<string, ChannelPolicy>;
  /** The limits of the whole gateway. */
  readonly limits: Limits;
  readonly store: CounterStore;
  readonly clock: Pick<Clock, "epoch" | "now" | "after">;
  /** Accounts in memory; the store has more. */
  readonly rows: number;
  /** Called when counters could not be written; they are written with the next ones. */
  readonly onError: (thrown: unknown) => void;
}

/** Counts requests, rejections, tokens and cost of clients, channels and the gateway, and enforces the limits. */
export class Accounting {
  readonly #options: AccountingOptions;
  readonly #today = createCalendar();
  readonly #cache: AccountCache;
  readonly #rejected = new RejectedClients();
  readonly #writer: UsageWriter;

  constructor(options: AccountingOptions) {
    this.#options = options;
    this.#cache = openCache(options, this.#at, () => this.save());
    this.#writer = new UsageWriter({
      ...options,
      cache: this.#cache,
      rejected: this.#rejected.counter,
    });
  }

  /**
   * Reads the usage of the client; call it at most 5 s before `consumeRateLimit` and `overBudget`. Returns
   * undefined, the usual case, when the usage is in memory. Never rejects.
   */
  prepare(request: Request): Promise<void> | undefined {
    return this.#cache.prepare(laneOf(request), holderOf(request));
  }

  /**
   * Takes a token from every rate-limit bucket, or from none. Returns the failure if one is empty; `busy` when
   * the usage of the client could not be read.
   */
  readonly consumeRateLimit = (request: Request, policy: ChannelPolicy): Failure | undefined => {
    const failure = takeTokens(this.#scopesOf(request, policy), this.#cache, this.#at());
    if (failure === undefined) this.#writer[request.durable ? "save" : "saveSoon"]();
    return failure;
  };

  /** Returns the failure when a budget of today is used up. Check it for requests that may call a model. */
  overBudget(request: Request, policy: ChannelPolicy): Failure | undefined {
    const scopes = this.#scopesOf(request, policy);
    const isUnknown = scopes.some(
      (scope) => hasBudget(scope.limits) && !this.#cache.isLoaded(scope.name),
    );
    return isUnknown ? busy(this.#cache) : overBudget(scopes, this.#cache, this.#at());
  }

  /** The budget of a turn, and what the turn has used. */
  allowanceOf(request: Request, policy: ChannelPolicy): Allowance & { readonly spent: Spent } {
    const scopes = this.#scopesOf(request, policy);
    return createAllowance({ scopes, cache: this.#cache, at: this.#at, save: this.save });
  }

  /** Counts a rejection, which counts for no limit and is written with the next `saveAll`. */
  countRejection(request: Request, code: string): void {
    const { day } = this.#at().today;
    const { name, holder } = rejectionScope(request, this.#options);
    const account = this.#cache.open(name, holder);
    if (account === undefined) return;
    const { refused } = countOf(account.days, day);
    refused[code] = (refused[code] ?? 0) + 1;
    this.#cache.changed(name, false);
    this.#rejected.add(laneOf(request), holderOf(request), day);
    this.#writer.rejectedChanged();
  }

  /** Loads the stored counters; rejects with a `Failure` when the store cannot be read. */
  async load(): Promise<void> {
    const { counters, isAll } = await readAtStart(this.#options);
    const accounts = counters.filter(({ name }) => name !== REJECTED_CLIENTS);
    this.#cache.load(accounts, !isAll);
    const rejected = counters.find(({ name }) => name === REJECTED_CLIENTS);
    if (rejected !== undefined) this.#rejected.load(rejected);
  }

  /** Writes the changes that count for a limit, before or with the next write of the store. */
  readonly save = (): void => this.#writer.save();

  /** Writes all changes. */
  readonly saveAll = (): void => this.#writer.saveAll();

  readonly #at = (): Moment & { readonly today: Today } => {
    const { clock } = this.#options;
    const epoch = clock.epoch();
    return { today: this.#today(epoch), epoch, now: clock.now() };
  };

  #scopesOf(request: Request, policy: ChannelPolicy): readonly [LimitScope, ...LimitScope[]] {
    return scopesOf(request, policy, this.#options.limits);
  }
}

/** All counters if they fit into memory, else those of the channels and the gateway. */
async function readAtStart({ rows, policies, store }: AccountingOptions): Promise<{
  readonly counters: readonly Counter[];
  readonly isAll: boolean;
}> {
  const some = await store.counters(rows + 1);
  if (some.length <= rows) return { counters: some, isAll: true };
  const names = [REJECTED_CLIENTS, GATEWAY, ...[...policies.keys()].map(nameOfChannel)];
  const counters = await Promise.all(names.map((name) => store.counter(name)));
  return { counters: counters.filter((counter) => counter !== undefined), isAll: false };
}

/** A cache with the accounts of the gateway and of all served channels. */
function openCache(
  options: AccountingOptions,
  at: () => Moment & { readonly today: Today },
  updated: () => void,
): AccountCache {
  const { policies, limits, rows, store, onError } = options;
  const limitsOf = ({ holder: { channel } }: Account): Limits =>
    (channel === undefined ? undefined : policies.get(channel)?.limits) ?? limits;
  const cache = new AccountCache({
    rows,
    store,
    onError,
    updated,
    moment: at,
    isPermanent: ({ channel, client }) =>
      client === undefined && (channel === undefined || policies.has(channel)),
    countsUntil: (account) => countsUntil(account, limitsOf(account), at()),
    secondsUntilFree: (account) => secondsUntilFree(account, limitsOf(account), at()),
  });
  cache.open(GATEWAY, {});
  for (const channel of policies.keys()) cache.open(nameOfChannel(channel), { channel });
  return cache;
}

/** Rejections count for the channel, or for the gateway when the channel is unknown: client ids can be invented without end. */
function rejectionScope(
  { channel }: Request,
  { policies }: Pick<AccountingOptions, "policies">,
): Omit<LimitScope, "limits"> {
  if (!policies.has(channel)) return { name: GATEWAY, holder: {} };
  return { name: nameOfChannel(channel), holder: { channel } };
}

function busy(cache: AccountCache): Failure {
  return failureOf("busy", cache.secondsUntilRoom());
}

/** Takes a token from every bucket, or from none. Returns the failure if one is empty. */
function takeTokens(
  scopes: readonly LimitScope[],
  cache: AccountCache,
  { now, today: { day } }: Moment & { readonly today: Today },
): Failure | undefined {
  if (!scopes.every(({ name }) => cache.isLoaded(name))) return busy(cache);
  const buckets = scopes.map(({ name, limits }) =>
    isRated(limits) ? filled(cache.find(name)?.bucket, limits, now) : undefined,
  );
  const waits = scopes.map(({ limits }, index) => {
    const bucket = buckets[index];
    return bucket === undefined ? 0 : secondsUntilRoom(bucket, limits);
  });
  const seconds = Math.max(0, ...waits);
  if (seconds > 0) return failureOf("rate_limited", seconds);
  const accounts = scopes.map(({ name, holder }) => cache.open(name, holder));
  if (accounts.includes(undefined)) return busy(cache);
  for (const [index, { name }] of scopes.entries()) {
    const [account, bucket] = [accounts[index], buckets[index]];
    if (account === undefined) continue;
    if (bucket !== undefined) account.bucket = takenFrom(bucket);
    countOf(account.days, day).requests += 1;
    cache.changed(name, bucket !== undefined);
  }
  return undefined;
}

interface UsageWriterOptions {
  readonly cache: AccountCache;
  readonly rejected: () => Counter;
  readonly store: CounterStore;
  readonly clock: Pick<Clock, "after">;
  /** Gets the failure of a write; what it was to write is written with the next one. */
  readonly onError: (thrown: unknown) => void;
}

const SOON_MS = 50;

/** Writes the counters that changed. */
class UsageWriter {
  readonly #options: UsageWriterOptions;
  #cancelTimer: (() => void) | undefined;
  #isAsked = false;
  #isRejectedDirty = false;

  constructor(options: UsageWriterOptions) {
    this.#options = options;
  }

  readonly rejectedChanged = (): void => {
    this.#isRejectedDirty = true;
  };

  /** Asks the store once for all changes until it writes, if one of them has a limit. */
  readonly save = (): void => {
    this.#stopTimer();
    if (this.#isAsked || !this.#options.cache.hasChanges("limited")) return;
    this.#isAsked = true;
    this.#write("limited");
  };

  /** The same within 50 ms: a short turn writes its conversation in the same transaction. */
  readonly saveSoon = (): void => {
    const { cache, clock } = this.#options;
    if (this.#isAsked || !cache.hasChanges("limited")) return;
    this.#cancelTimer ??= clock.after(SOON_MS, this.save);
  };

  /** The same for all changes, with and without a limit, and for the rejected clients. */
  readonly saveAll = (): void => {
    this.#stopTimer();
    this.#options.cache.retry();
    if (this.#options.cache.hasChanges("all") || this.#isRejectedDirty) this.#write("all");
  };

  #stopTimer(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #write(which: "all" | "limited"): void {
    const { store, cache, onError } = this.#options;
    let taken: CounterChanges | undefined;
    const take = (): CounterChanges => {
      if (which === "limited") this.#isAsked = false;
      return (taken = this.#take(which));
    };
    store.writeCounters(take).then(
      () => taken && cache.saved(taken),
      (thrown: unknown) => {
        this.#isAsked = false;
        if (taken !== undefined) this.#putBack(taken);
        onError(thrown);
      },
    );
  }

  #take(which: "all" | "limited"): CounterChanges {
    const { put, drop } = this.#options.cache.changes(which);
    if (which === "limited" || !this.#isRejectedDirty) return { put, drop };
    this.#isRejectedDirty = false;
    return { put: [...put, this.#options.rejected()], drop };
  }

  #putBack({ put, drop }: CounterChanges): void {
    const accounts = put.filter(({ name }) => name !== REJECTED_CLIENTS);
    this.#isRejectedDirty ||= accounts.length < put.length;
    this.#options.cache.unsaved({ put: accounts, drop });
  }
}
