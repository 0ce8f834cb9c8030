import { UNVERIFIED_CLIENTS } from "../../base/client-pattern.ts";
import { commandIn } from "../../base/command.ts";
import type { EndedCall, Limits } from "../../base/contract.ts";
import { asFailure } from "../../base/failure.ts";
import type { Failure } from "../../base/failure.ts";
import { truncate } from "../../base/truncate.ts";
import type { Counter, CounterStore, CounterChanges } from "../../store/contract/counters.ts";
import { countsOf, dayCount } from "../../store/day-counts.ts";
import type { ChannelPolicy } from "../channel-policy.ts";
import type { Clock } from "../clock.ts";
import type { Request } from "../contract.ts";
import { failureOf } from "../errors.ts";
import { laneOf } from "../request-keys.ts";
import { AccountCache } from "./account-cache.ts";
import { countIn, setBucket, tokensOf } from "./account.ts";
import type { Holder } from "./account.ts";
import { hasBudget, overBudget, TurnAllowance } from "./allowance.ts";
import type { LimitScope, Scopes } from "./allowance.ts";
import { isRated, secondsUntilToken, withTokenGiven, withTokenTaken } from "./rate-limit.ts";
import { RejectedClients, REJECTED_CLIENTS } from "./report.ts";
import type { AccountFacts } from "./today.ts";

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
  /** Called with each call of a model or a tool at its end. */
  readonly ended?: (call: EndedCall) => void;
  /** Redacts and bounds the texts of tool calls for traces. */
  readonly traceText?: ((text: string) => string) | undefined;
}

/** How the names of counters begin that are no accounts. */
export const WATCH_COUNTER = "watch ";

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
  /** By channel: the scopes of all its clients together and of the gateway. */
  readonly #totals = new Map<string, readonly LimitScope[]>();
  readonly #cache: AccountCache;
  readonly #rejected = new RejectedClients();
  /** The store was asked to write the changes that count for a limit, and has not begun to. */
  #isAsked = false;
  /** Writes that the store was asked for and that it has or has not: it is asked for the same ones again. */
  #unsure: (() => void)[] = [];
  #cancelTimer: (() => void) | undefined;

  constructor(options: AccountingOptions) {
    this.#options = options;
    const { policies, limits } = options;
    this.#cache = new AccountCache({
      ...options,
      isPermanent: ({ channel, client }) =>
        client === undefined && (channel === undefined || policies.has(channel)),
      limitsOf: ({ channel }) =>
        (channel === undefined ? undefined : policies.get(channel)?.limits) ?? limits,
      updated: this.save,
    });
    const gateway = { name: GATEWAY, holder: {}, limits };
    this.#cache.open(GATEWAY, gateway.holder);
    for (const [channel, { totalLimits }] of policies) {
      const total = { name: nameOfChannel(channel), holder: { channel }, limits: totalLimits };
      this.#totals.set(channel, [total, gateway]);
      this.#cache.open(total.name, total.holder);
    }
  }

  /** Loads the stored counters; rejects with a `Failure` when the store cannot be read. */
  async load(): Promise<void> {
    await this.#cache.readClock();
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
  prepare(request: Request, policy: ChannelPolicy): Promise<void> | undefined {
    if (this.#options.store.clock !== undefined)
      return this.#prepareShared(this.#scopesOf(request, policy).filter(isLimited), false);
    const { name, holder } = accountOf(request);
    return this.#cache.prepare(name, holder, false);
  }

  /** The same for the budget of a turn; call it before the turn starts. */
  prepareTurn(request: Request, policy: ChannelPolicy): Promise<void> | undefined {
    if (this.#options.store.clock === undefined) return this.prepare(request, policy);
    const scopes = this.#scopesOf(request, policy);
    // A command may show the usage.
    const isCommand = commandIn(request.text) !== undefined;
    const needed = scopes.filter(({ limits }) => isCommand || hasBudget(limits));
    return this.#prepareShared(needed, isCommand);
  }

  /** What the accounts in memory have used. */
  facts(): AccountFacts {
    const { policies, limits } = this.#options;
    const { day } = this.#cache.moment().today;
    return { accounts: this.#cache.accounts(), day, policies, limits };
  }

  /** The tokens and the cost of a channel today, as far as they are in memory. */
  usedToday(channel: string): { readonly tokens: number; readonly cost: number } {
    const { day } = this.#cache.moment().today;
    const counts = countsOf(this.#cache.find(nameOfChannel(channel))?.days ?? [], day);
    return { tokens: tokensOf(counts), cost: Number(counts.cost.toFixed(6)) };
  }

  /** Call it when this gateway begins to hear requests: others have counted rates until then. */
  readonly distrust = (): void => this.#cache.distrust();

  #prepareShared(scopes: readonly LimitScope[], fresh: boolean): Promise<void> | undefined {
    const readings = scopes
      .map(({ name, holder, limits }) =>
        this.#cache.prepare(name, holder, fresh || hasBudget(limits)),
      )
      .filter((reading) => reading !== undefined);
    return readings.length === 0 ? undefined : Promise.all(readings).then(() => {});
  }

  /** Returns the failure when a budget of today is used up. Check it for requests that may call a model. */
  overBudget(request: Request, policy: ChannelPolicy): Failure | undefined {
    const scopes = this.#scopesOf(request, policy);
    for (const { name, limits } of scopes) {
      if (hasBudget(limits) && !this.#cache.isLoaded(name)) return this.#busy();
    }
    return overBudget(scopes, this.#cache);
  }

  /**
   * Takes a token from every rate-limit bucket, or from none. Returns the failure if one is empty; `busy` when
   * the usage of the client could not be read.
   */
  consumeRateLimit(request: Request, policy: ChannelPolicy): Failure | undefined {
    const scopes = this.#scopesOf(request, policy);
    const { now, today } = this.#cache.moment();
    let seconds = 0;
    for (const { name, limits } of scopes) {
      // Of a shared store only what is limited has to be read.
      const isNeeded = isRated(limits) || this.#options.store.clock === undefined;
      if (isNeeded && !this.#cache.isLoaded(name)) return this.#busy();
      if (!isRated(limits)) continue;
      seconds = Math.max(seconds, secondsUntilToken(this.#cache.find(name)?.bucket, limits, now));
    }
    if (seconds > 0) return failureOf("rate_limited", seconds);
    const accepted = dayCount(today.day, { requests: 1 });
    // There is room for the accounts of channel and gateway: only that of the client, the first, may have none.
    for (const { name, holder, limits } of scopes) {
      const account = this.#cache.open(name, holder);
      if (account === undefined) return this.#busy();
      if (isRated(limits)) setBucket(account, withTokenTaken(account.bucket, limits, now));
      countIn(account, accepted);
      this.#cache.changed(name, isRated(limits));
    }
    if (request.durable) this.save();
    else this.#saveSoon();
    return undefined;
  }

  /** Gives back what `consumeRateLimit` took for a request that turned out to be known. */
  giveBack(request: Request, policy: ChannelPolicy): void {
    const { now, today } = this.#cache.moment();
    const counts = dayCount(today.day, { requests: -1 });
    for (const { name, holder, limits } of this.#scopesOf(request, policy)) {
      const account = this.#cache.open(name, holder);
      if (account === undefined) continue;
      if (isRated(limits)) setBucket(account, withTokenGiven(account.bucket, limits, now));
      countIn(account, counts);
      this.#cache.changed(name, isRated(limits));
    }
    this.save();
  }

  /** The budget of a turn, and what the turn has used. */
  allowanceOf(request: Request, policy: ChannelPolicy): TurnAllowance {
    const scopes = this.#scopesOf(request, policy);
    const { ended = () => {}, traceText } = this.#options;
    return new TurnAllowance({ scopes, cache: this.#cache, save: this.save, ended, traceText });
  }

  /** Counts a rejection, which counts for no limit and is written with the next `saveAll`. */
  countRejection(request: Request, code: string): void {
    const { channel } = request;
    // For the gateway when the channel is unknown. Not for the client: client ids can be invented without end.
    const [name, holder] = this.#options.policies.has(channel)
      ? [nameOfChannel(channel), { channel }]
      : [GATEWAY, {}];
    const { day } = this.#cache.moment().today;
    const counts = dayCount(day, { refused: { [code]: 1 } });
    this.#cache.count(name, holder, { counts, limited: false });
    this.#rejected.add(laneOf(request), holderOf(request), day);
  }

  /**
   * Writes the changes that count for a limit, before or with the next write of the store: asks the store
   * once for all changes until it writes.
   */
  readonly save = (): void => {
    this.#stopTimer();
    this.#askAgain();
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
    this.#askAgain();
    if (this.#options.store.clock !== undefined) void this.#cache.readClock();
    if (this.#cache.hasChanges("all") || this.#rejected.isDirty) this.#write("all");
  };

  #stopTimer(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #write(which: "all" | "limited"): void {
    let taken: CounterChanges | undefined;
    const take = (): CounterChanges => {
      if (which === "limited" && taken === undefined) this.#isAsked = false;
      return (taken ??= this.#take(which));
    };
    const write = (): void => {
      this.#options.store.count(take).then(
        (totals) => taken && this.#cache.saved(taken, totals),
        (thrown: unknown) => {
          this.#options.onError(thrown);
          if (asFailure(thrown).code === "unsure") this.#unsure.push(write);
          else {
            this.#isAsked = false;
            if (taken !== undefined) this.#putBack(taken);
          }
        },
      );
    };
    write();
  }

  #askAgain(): void {
    for (const write of this.#unsure.splice(0)) write();
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

  /** The scopes that a request counts for: its client, its channel and the gateway. */
  #scopesOf(request: Request, { limits }: ChannelPolicy): Scopes {
    const own = { ...accountOf(request), limits };
    return [own, ...(this.#totals.get(request.channel) ?? [])];
  }
}

function isLimited({ limits }: LimitScope): boolean {
  return isRated(limits) || hasBudget(limits);
}

/** All counters if they fit into memory, else those of the channels and the gateway. */
async function readAtStart({ rows, policies, store }: AccountingOptions): Promise<{
  readonly counters: readonly Counter[];
  readonly isAll: boolean;
}> {
  const some = await store.counters(rows + 1);
  if (some.length <= rows) {
    return { counters: some.filter(({ name }) => !name.startsWith(WATCH_COUNTER)), isAll: true };
  }
  const names = [REJECTED_CLIENTS, GATEWAY, ...[...policies.keys()].map(nameOfChannel)];
  const counters = await Promise.all(names.map((name) => store.counter(name)));
  return { counters: counters.filter((counter) => counter !== undefined), isAll: false };
}

/** Names that agents only say have one account: with one for each, whoever invents names would have no limit. */
function accountOf(request: Request): { readonly name: string; readonly holder: Holder } {
  const isShared = request.client.startsWith(UNVERIFIED_CLIENTS);
  const asked = isShared ? { ...request, client: `${UNVERIFIED_CLIENTS}*` } : request;
  return { name: laneOf(asked), holder: holderOf(asked) };
}

const LONGEST_CLIENT = 128;

function holderOf({ channel, client }: Request): Holder {
  if (client.length <= LONGEST_CLIENT) return { channel, client };
  // A copy: the beginning of a text holds the whole text, here a topic of up to 64 KB.
  const copy = Buffer.from(truncate(client, LONGEST_CLIENT), "utf16le").toString("utf16le");
  return { channel, client: copy };
}
