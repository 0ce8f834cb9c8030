import type { Failure } from "../../base/failure.ts";
import type { MeterStore } from "../../store/contract.ts";
import type { Clock } from "../clock.ts";
import type { Allowance, Request, Spent } from "../contract.ts";
import { failureOf } from "../failures.ts";
import type { ChannelPolicy, Limits } from "../limits.ts";
import { laneOf } from "../names.ts";
import { debtOf } from "./account.ts";
import type { Account } from "./account.ts";
import { createAllowance } from "./allowance.ts";
import { filled, isRated, secondsUntilRoom, takenFrom } from "./bucket.ts";
import { countOf, createCalendar } from "./day.ts";
import type { DayName } from "./day.ts";
import { createKeeper } from "./keeper.ts";
import { GATEWAY, holderOf, nameOfChannel, overdrawn, partiesOf } from "./party.ts";
import type { Party } from "./party.ts";
import { createRefusals, REFUSALS } from "./refusals.ts";
import { createTable } from "./table.ts";
import type { Table } from "./table.ts";

/** What was asked, refused and spent, by client, by channel and in all, and what may be. */
export interface Accounting {
  /**
   * Counts one request against every limit on how often may be asked, or against none: then the result
   * is what to refuse it with.
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
  /** Accounts at a time. */
  readonly rows: number;
  /** Hears why something could not be kept; it is tried again with what is kept next. */
  readonly tell: (thrown: unknown) => void;
}

export function createAccounting(options: AccountingOptions): Accounting {
  const { limits, clock, store, tell, rows } = options;
  const today = createCalendar();
  const at = () => ({ today: today(clock.epoch()), epoch: clock.epoch(), now: clock.now() });
  const table = createTable({
    rows,
    moment: at,
    debtOf: (account) => debtIn(account, options, { now: clock.now(), day: at().today.day }),
  });
  const refusals = createRefusals();
  const keeper = createKeeper({ table, refusals: refusals.meter, store, tell });
  const { keep } = keeper;

  return {
    keep,
    keepAll: keeper.keepAll,
    charge(request, policy) {
      const {
        now,
        today: { day },
      } = at();
      const failure = charged(partiesOf(request, policy, limits), table, { now, day });
      if (failure === undefined) keep();
      return failure;
    },
    overdrawn: (request, policy) => overdrawn(partiesOf(request, policy, limits), table, at()),
    allowanceOf: (request, policy) =>
      createAllowance({ parties: partiesOf(request, policy, limits), table, at, keep }),
    refused(request, code) {
      const { day } = at().today;
      const { name, holder } = chargedForRefusal(request, options);
      const account = table.open(name, holder);
      if (account === undefined) return;
      const { refused } = countOf(account.days, day);
      refused[code] = (refused[code] ?? 0) + 1;
      table.changed(name, false);
      refusals.add(laneOf(request), holderOf(request), day);
      keeper.refusalsChanged();
    },
    async load() {
      const meters = await store.meters();
      table.load(meters.filter(({ name }) => name !== REFUSALS));
      const refused = meters.find(({ name }) => name === REFUSALS);
      if (refused !== undefined) refusals.load(refused);
    },
  };
}

/** Refusals are the channel's, or the gateway's where that channel is none: of clients there is no end. */
function chargedForRefusal(
  { channel }: Request,
  { policies }: Pick<AccountingOptions, "policies">,
): Omit<Party, "limits"> {
  if (!policies.has(channel)) return { name: GATEWAY, holder: {} };
  return { name: nameOfChannel(channel), holder: { channel } };
}

/** Channels that are served, and the gateway, are never forgotten. */
function debtIn(
  account: Account,
  { policies, limits }: Pick<AccountingOptions, "policies" | "limits">,
  at: Parameters<typeof debtOf>[2],
): number {
  const { channel, client } = account.holder;
  const policy = channel === undefined ? undefined : policies.get(channel);
  if (client === undefined && (channel === undefined || policy !== undefined)) {
    return Number.POSITIVE_INFINITY;
  }
  return debtOf(account, policy?.limits ?? limits, at);
}

/** Seconds after which somebody may find a row who finds none now. */
const CROWDED_SECONDS = 60;

/** Takes one request out of every bucket, or, where one is empty, out of none; says what to refuse it with. */
function charged(
  parties: readonly Party[],
  table: Table,
  { now, day }: { readonly now: number; readonly day: DayName },
): Failure | undefined {
  const buckets = parties.map(({ name, limits }) =>
    isRated(limits) ? filled(table.find(name)?.bucket, limits, now) : undefined,
  );
  const waits = parties.map(({ limits }, index) => {
    const bucket = buckets[index];
    return bucket === undefined ? 0 : secondsUntilRoom(bucket, limits);
  });
  const seconds = Math.max(0, ...waits);
  if (seconds > 0) return failureOf("rate_limited", seconds);
  const accounts = parties.map(({ name, holder }) => table.open(name, holder));
  if (accounts.includes(undefined)) return failureOf("rate_limited", CROWDED_SECONDS);
  for (const [index, { name }] of parties.entries()) {
    const [account, bucket] = [accounts[index], buckets[index]];
    if (account === undefined) continue;
    if (bucket !== undefined) account.bucket = takenFrom(bucket);
    countOf(account.days, day).requests += 1;
    table.changed(name, bucket !== undefined);
  }
  return undefined;
}
