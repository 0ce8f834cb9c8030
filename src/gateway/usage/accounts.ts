import type { Allowance, Limits, Spent, UsageStatus } from "../../base/contract.ts";
import { Failure } from "../../base/failure.ts";
import { truncate } from "../../base/truncate.ts";
import type { Counter, CounterStore, CounterChanges } from "../../store/contract.ts";
import type { ChannelPolicy } from "../channel-policy.ts";
import type { Clock } from "../clock.ts";
import type { Request } from "../contract.ts";
import { failureOf } from "../errors.ts";
import { laneOf } from "../request-keys.ts";
import { AccountCache } from "./account-cache.ts";
import {
  addSpent,
  countOf,
  createCalendar,
  lookedUp,
  secondsLeftOf,
  tokensOf,
  usedUpBudget,
} from "./account.ts";
import type { DayCount, DayName, Holder, Moment } from "./account.ts";
import { isRated, secondsUntilToken, withTokenTaken } from "./rate-limit.ts";
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

/** The name of the gateway's account. */
const GATEWAY = "gateway";

/** The name of a channel's account; no lane has such a name. */
function nameOfChannel(channel: string): string {
  return `total ${channel}`;
}

/** Changes at QoS 0 wait so long: a short turn writes its conversation in the same transaction. */
const SOON_MS = 50;

/** Counts requests, rejections, tokens and cost of clients, channels and the gateway, and enforces the limits. */
export class Accounting {
  readonly #options: AccountingOptions;
  readonly #todayAt = createCalendar();
  readonly #cache: AccountCache;
  readonly #rejected = new RejectedClients();
  /** The store was asked to write the changes that count for a limit, and has not begun to. */
  #isAsked = false;
  #cancelTimer: (() => void) | undefined;

  constructor(options: AccountingOptions) {
    this.#options = options;
    const { policies, limits } = options;
    this.#cache = new AccountCache({
      ...options,
      moment: () => this.#moment(),
      isPermanent: ({ channel, client }) =>
        client === undefined && (channel === undefined || policies.has(channel)),
      limitsOf: ({ channel }) =>
        (channel === undefined ? undefined : policies.get(channel)?.limits) ?? limits,
      updated: this.save,
    });
    this.#cache.open(GATEWAY, {});
    for (const channel of policies.keys()) this.#cache.open(nameOfChannel(channel), { channel });
  }

  /** Loads the stored counters; rejects with a `Failure` when the store cannot be read. */
  async load(): Promise<void> {
    const { counters, isAll } = await readAtStart(this.#options);
    const accounts = counters.filter(({ name }) => name !== REJECTED_CLIENTS);
    this.#cache.load(accounts, !isAll);
    const rejected = counters.find(({ name }) => name === REJECTED_CLIENTS);
    if (rejected !== undefined) this.#rejected.load(rejected);
  }

  /**
   * Reads the usage of the client; call it at most 5 s before `consumeRateLimit` and `overBudget`. Returns
   * undefined, the usual case, when the usage is in memory. Never rejects.
   */
  prepare(request: Request): Promise<void> | undefined {
    return this.#cache.prepare(laneOf(request), holderOf(request));
  }

  /** Returns the failure when a budget of today is used up. Check it for requests that may call a model. */
  overBudget(request: Request, policy: ChannelPolicy): Failure | undefined {
    const scopes = this.#scopesOf(request, policy);
    for (const { name, limits } of scopes) {
      if (hasBudget(limits) && !this.#cache.isLoaded(name)) return this.#busy();
    }
    return overBudget(scopes, this.#cache, this.#moment());
  }

  /**
   * Takes a token from every rate-limit bucket, or from none. Returns the failure if one is empty; `busy` when
   * the usage of the client could not be read.
   */
  consumeRateLimit(request: Request, policy: ChannelPolicy): Failure | undefined {
    const scopes = this.#scopesOf(request, policy);
    const { now, today } = this.#moment();
    let seconds = 0;
    for (const { name, limits } of scopes) {
      if (!this.#cache.isLoaded(name)) return this.#busy();
      if (!isRated(limits)) continue;
      seconds = Math.max(seconds, secondsUntilToken(this.#cache.find(name)?.bucket, limits, now));
    }
    if (seconds > 0) return failureOf("rate_limited", seconds);
    // There is room for the accounts of channel and gateway: only that of the client, the first, may have none.
    for (const { name, holder, limits } of scopes) {
      const account = this.#cache.open(name, holder);
      if (account === undefined) return this.#busy();
      if (isRated(limits)) account.bucket = withTokenTaken(account.bucket, limits, now);
      countOf(account.days, today.day).requests += 1;
      this.#cache.changed(name, account, isRated(limits));
    }
    if (request.durable) this.save();
    else this.#saveSoon();
    return undefined;
  }

  /** The budget of a turn, and what the turn has used. */
  allowanceOf(request: Request, policy: ChannelPolicy): TurnAllowance {
    return new TurnAllowance({
      scopes: this.#scopesOf(request, policy),
      cache: this.#cache,
      moment: () => this.#moment(),
      save: this.save,
    });
  }

  /** Counts a rejection, which counts for no limit and is written with the next `saveAll`. */
  countRejection(request: Request, code: string): void {
    const { channel } = request;
    // For the gateway when the channel is unknown. Not for the client: client ids can be invented without end.
    const [name, holder] = this.#options.policies.has(channel)
      ? [nameOfChannel(channel), { channel }]
      : [GATEWAY, {}];
    const account = this.#cache.open(name, holder);
    if (account === undefined) return;
    const { day } = this.#moment().today;
    const { refused } = countOf(account.days, day);
    refused[code] = (refused[code] ?? 0) + 1;
    this.#cache.changed(name, account, false);
    this.#rejected.add(laneOf(request), holderOf(request), day);
  }

  /**
   * Writes the changes that count for a limit, before or with the next write of the store: asks the store
   * once for all changes until it writes.
   */
  readonly save = (): void => {
    this.#stopTimer();
    if (this.#isAsked || !this.#cache.hasChanges("limited")) return;
    this.#isAsked = true;
    this.#write("limited");
  };

  #saveSoon(): void {
    if (this.#isAsked || !this.#cache.hasChanges("limited")) return;
    this.#cancelTimer ??= this.#options.clock.after(SOON_MS, this.save);
  }

  /** Writes all changes, with and without a limit, and the rejected clients. */
  readonly saveAll = (): void => {
    this.#stopTimer();
    this.#cache.retry();
    if (this.#cache.hasChanges("all") || this.#rejected.isDirty) this.#write("all");
  };

  #stopTimer(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #write(which: "all" | "limited"): void {
    let taken: CounterChanges | undefined;
    const take = (): CounterChanges => {
      if (which === "limited") this.#isAsked = false;
      return (taken = this.#take(which));
    };
    this.#options.store.writeCounters(take).then(
      () => taken && this.#cache.saved(taken),
      (thrown: unknown) => {
        this.#isAsked = false;
        if (taken !== undefined) this.#putBack(taken);
        this.#options.onError(thrown);
      },
    );
  }

  #take(which: "all" | "limited"): CounterChanges {
    const { put, drop } = this.#cache.changes(which);
    if (which === "limited" || !this.#rejected.isDirty) return { put, drop };
    this.#rejected.isDirty = false;
    return { put: [...put, this.#rejected.counter()], drop };
  }

  #putBack(taken: CounterChanges): void {
    this.#rejected.isDirty ||= taken.put.some(({ name }) => name === REJECTED_CLIENTS);
    this.#cache.unsaved(taken);
  }

  /** When the client's usage may be known, or there may be room for it. */
  #busy(): Failure {
    return failureOf("busy", this.#cache.secondsUntilRoom());
  }

  #moment(): Moment {
    const { clock } = this.#options;
    const epoch = clock.epoch();
    return { now: clock.now(), epoch, today: this.#todayAt(epoch) };
  }

  /** The scopes that a request counts for: its client, its channel and the gateway. */
  #scopesOf(request: Request, { limits, totalLimits }: ChannelPolicy): Scopes {
    const { channel } = request;
    return [
      { name: laneOf(request), holder: holderOf(request), limits },
      { name: nameOfChannel(channel), holder: { channel }, limits: totalLimits },
      { name: GATEWAY, holder: {}, limits: this.#options.limits },
    ];
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

const LONGEST_CLIENT = 128;

function holderOf({ channel, client }: Request): Holder {
  return { channel, client: truncate(client, LONGEST_CLIENT) };
}

/** An account and its limits. */
interface LimitScope {
  readonly name: string;
  readonly holder: Holder;
  readonly limits: Limits;
}

/** The client's scope is the first. */
type Scopes = readonly [LimitScope, ...LimitScope[]];

/** Whether there is a daily limit of tokens or cost. */
function hasBudget({ tokens_per_day: tokens, cost_per_day: cost }: Limits): boolean {
  return tokens > 0 || cost > 0;
}

/** Returns the failure when one of the scopes has used up its budget of today. */
function overBudget(
  scopes: Scopes,
  cache: AccountCache,
  { today, epoch }: Moment,
): Failure | undefined {
  for (const { name, holder, limits } of scopes) {
    if (!hasBudget(limits)) continue;
    const why = usedUpBudget(lookedUp(cache.find(name)?.days ?? [], today.day), limits);
    if (why === undefined) continue;
    const { code, message } = failureOf("budget");
    const retryAfter = secondsLeftOf(today, epoch);
    return new Failure(code, message, { retryAfter, why: `${why} of ${wholeOf(holder)}` });
  }
  return undefined;
}

function wholeOf({ channel, client }: Holder): string {
  if (channel === undefined) return "the whole gateway";
  return client === undefined ? "the whole channel" : "the client";
}

interface AllowanceOptions {
  readonly scopes: Scopes;
  readonly cache: AccountCache;
  readonly moment: () => Moment;
  readonly save: () => void;
}

/**
 * The budget of one turn and all that it starts. A model call that starts within the budget runs to its end,
 * so a turn exceeds the budget by the running calls at most.
 */
export class TurnAllowance implements Allowance {
  readonly #options: AllowanceOptions;
  /** What the turn has used so far. */
  readonly spent = { inputTokens: 0, outputTokens: 0, cost: 0 };
  /** The fewest that a scope allows; 0 is no limit. */
  #mostCalls = 0;
  #calls = 0;

  constructor(options: AllowanceOptions) {
    this.#options = options;
    for (const { limits } of options.scopes) {
      const most = limits.tool_calls_per_turn;
      if (most > 0) this.#mostCalls = Math.min(most, this.#mostCalls || most);
    }
  }

  begin(expected: Spent): (more: Spent) => void {
    const { scopes, cache, moment } = this.#options;
    const at = moment();
    const failure = overBudget(scopes, cache, at);
    if (failure !== undefined) throw failure;
    // The difference is counted on the day of the call.
    const { day } = at.today;
    this.#count(day, expected);
    return (more) => this.#count(day, more);
  }

  #count(day: DayName, more: Spent): void {
    const { scopes, cache, save } = this.#options;
    addSpent(this.spent, more);
    for (const { name, holder, limits } of scopes) {
      cache.spend(name, holder, { day, more, limited: hasBudget(limits) });
    }
    save();
  }

  takeCall(): boolean {
    if (this.#mostCalls > 0 && this.#calls >= this.#mostCalls) return false;
    this.#calls += 1;
    return true;
  }

  status(): UsageStatus {
    const { scopes, cache, moment } = this.#options;
    const { today, epoch } = moment();
    const [{ name, limits }] = scopes;
    const usedOf = (account: string): DayCount =>
      lookedUp(cache.find(account)?.days ?? [], today.day);
    const used = usedOf(name);
    return {
      tokensToday: tokensOf(used),
      tokensPerDay: limits.tokens_per_day,
      costToday: used.cost,
      costPerDay: limits.cost_per_day,
      requestsPerMinute: limits.requests_per_minute,
      burst: limits.burst,
      toolCallsPerTurn: this.#mostCalls,
      secondsLeft: secondsLeftOf(today, epoch),
      droppedToday: scopes.reduce(
        (sum, scope) => sum + (usedOf(scope.name).refused["dropped"] ?? 0),
        0,
      ),
    };
  }
}
