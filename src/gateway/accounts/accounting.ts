import type { Allowance, Limits, Spent } from "../../base/contract.ts";
import type { Failure } from "../../base/failure.ts";
import type { Meter, MeterStore } from "../../store/contract.ts";
import type { Clock } from "../clock.ts";
import type { Request } from "../contract.ts";
import { failureOf } from "../failures.ts";
import type { ChannelPolicy } from "../limits.ts";
import { laneOf } from "../names.ts";
import { createAccountCache } from "./account-cache.ts";
import type { AccountCache } from "./account-cache.ts";
import { countsUntil, secondsUntilFree } from "./account.ts";
import type { Account, Moment } from "./account.ts";
import { createAllowance } from "./allowance.ts";
import { filled, isRated, secondsUntilRoom, takenFrom } from "./bucket.ts";
import { countOf, createCalendar } from "./day.ts";
import type { Today } from "./day.ts";
import { createKeeper } from "./keeper.ts";
import { GATEWAY, hasBudget, holderOf, nameOfChannel, overdrawn, partiesOf } from "./party.ts";
import type { Party } from "./party.ts";
import { createRefusals, REFUSALS } from "./refusals.ts";

/** What was asked, refused and spent, by client, by channel and in all, and what may be. */
export interface Accounting {
  /**
   * Makes known what the store has of who asks, before `charge` and `overdrawn` are asked of it, within
   * 5 s. Undefined, the usual case, where it is known. Never rejects.
   */
  readonly prepare: (request: Request) => Promise<void> | undefined;
  /**
   * Takes a token from every rate limit, or from none; then the result is what to refuse the request with.
   * That is `busy` where an account is not known, because nothing prepared it or it could not be read.
   */
  readonly charge: (request: Request, policy: ChannelPolicy) => Failure | undefined;
  /** What to refuse a request with that would ask a model: a budget of today is used up. */
  readonly overdrawn: (request: Request, policy: ChannelPolicy) => Failure | undefined;
  /** What the turn of a request may use, and what it has. */
  readonly allowanceOf: (
    request: Request,
    policy: ChannelPolicy,
  ) => Allowance & { readonly spent: Spent };
  /** Counts a refusal; no limit hangs on it, and it is kept with the next `keepAll`. */
  readonly refused: (request: Request, code: string) => void;
  /** Takes over what was kept; rejects with a `Failure` when the store cannot be read. */
  readonly load: () => Promise<void>;
  /** Asks the store to keep what changed and has a limit hanging on it, before whatever it is asked for next. */
  readonly keep: () => void;
  /** Asks it to keep all that changed. */
  readonly keepAll: () => void;
}

export interface AccountingOptions {
  readonly policies: ReadonlyMap<string, ChannelPolicy>;
  /** Of the whole gateway. */
  readonly limits: Limits;
  readonly store: MeterStore;
  readonly clock: Pick<Clock, "epoch" | "now">;
  /** Accounts in memory; the store has more. */
  readonly rows: number;
  /** Hears why something could not be kept; it is tried again with what is kept next. */
  readonly tell: (thrown: unknown) => void;
}

export function createAccounting(options: AccountingOptions): Accounting {
  const { limits, clock, store, tell } = options;
  const today = createCalendar();
  const at = () => {
    const epoch = clock.epoch();
    return { today: today(epoch), epoch, now: clock.now() };
  };
  const keep = (): void => keeper.keep();
  const cache = openCache(options, at, keep);
  const refusals = createRefusals();
  const keeper = createKeeper({ cache, refusals: refusals.meter, store, tell });

  return {
    keep,
    keepAll: keeper.keepAll,
    prepare: (request) => cache.prepare(laneOf(request), holderOf(request)),
    charge(request, policy) {
      const failure = charged(partiesOf(request, policy, limits), cache, at());
      if (failure === undefined) keep();
      return failure;
    },
    overdrawn(request, policy) {
      const parties = partiesOf(request, policy, limits);
      const isUnknown = parties.some(
        (party) => hasBudget(party.limits) && !cache.isKnown(party.name),
      );
      return isUnknown ? crowded(cache) : overdrawn(parties, cache, at());
    },
    allowanceOf: (request, policy) =>
      createAllowance({ parties: partiesOf(request, policy, limits), cache, at, keep }),
    refused(request, code) {
      const { day } = at().today;
      const { name, holder } = chargedForRefusal(request, options);
      const account = cache.open(name, holder);
      if (account === undefined) return;
      const { refused } = countOf(account.days, day);
      refused[code] = (refused[code] ?? 0) + 1;
      cache.changed(name, false);
      refusals.add(laneOf(request), holderOf(request), day);
      keeper.refusalsChanged();
    },
    async load() {
      const { meters, isAll } = await readAtStart(options);
      const accounts = meters.filter(({ name }) => name !== REFUSALS);
      cache.load(accounts, !isAll);
      const refused = meters.find(({ name }) => name === REFUSALS);
      if (refused !== undefined) refusals.load(refused);
    },
  };
}

/** All meters where they fit into memory, and else the ones that count for all. */
async function readAtStart({ rows, policies, store }: AccountingOptions): Promise<{
  readonly meters: readonly Meter[];
  readonly isAll: boolean;
}> {
  const some = await store.meters(rows + 1);
  if (some.length <= rows) return { meters: some, isAll: true };
  const names = [REFUSALS, GATEWAY, ...[...policies.keys()].map(nameOfChannel)];
  const meters = await Promise.all(names.map((name) => store.meter(name)));
  return { meters: meters.filter((meter) => meter !== undefined), isAll: false };
}

/** With the accounts that are always in memory: channels that are served, and the gateway. */
function openCache(
  options: AccountingOptions,
  at: () => Moment & { readonly today: Today },
  updated: () => void,
): AccountCache {
  const { policies, limits, rows, store, tell } = options;
  const limitsOf = ({ holder: { channel } }: Account): Limits =>
    (channel === undefined ? undefined : policies.get(channel)?.limits) ?? limits;
  const cache = createAccountCache({
    rows,
    store,
    tell,
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

/** Refusals are the channel's, or the gateway's where that channel is none: of clients there is no end. */
function chargedForRefusal(
  { channel }: Request,
  { policies }: Pick<AccountingOptions, "policies">,
): Omit<Party, "limits"> {
  if (!policies.has(channel)) return { name: GATEWAY, holder: {} };
  return { name: nameOfChannel(channel), holder: { channel } };
}

function crowded(cache: AccountCache): Failure {
  return failureOf("busy", cache.secondsUntilRoom());
}

/** Takes one request out of every bucket, or, where one is empty, out of none; says what to refuse it with. */
function charged(
  parties: readonly Party[],
  cache: AccountCache,
  { now, today: { day } }: Moment & { readonly today: Today },
): Failure | undefined {
  if (!parties.every(({ name }) => cache.isKnown(name))) return crowded(cache);
  const buckets = parties.map(({ name, limits }) =>
    isRated(limits) ? filled(cache.find(name)?.bucket, limits, now) : undefined,
  );
  const waits = parties.map(({ limits }, index) => {
    const bucket = buckets[index];
    return bucket === undefined ? 0 : secondsUntilRoom(bucket, limits);
  });
  const seconds = Math.max(0, ...waits);
  if (seconds > 0) return failureOf("rate_limited", seconds);
  const accounts = parties.map(({ name, holder }) => cache.open(name, holder));
  if (accounts.includes(undefined)) return crowded(cache);
  for (const [index, { name }] of parties.entries()) {
    const [account, bucket] = [accounts[index], buckets[index]];
    if (account === undefined) continue;
    if (bucket !== undefined) account.bucket = takenFrom(bucket);
    countOf(account.days, day).requests += 1;
    cache.changed(name, bucket !== undefined);
  }
  return undefined;
}
