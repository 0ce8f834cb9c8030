import type { Limits } from "../../base/contract.ts";
import type { DayCount } from "../../store/contract/counters.ts";
import { countsOf } from "../../store/day-counts.ts";
import type { ChannelPolicy } from "../channel-policy.ts";
import type { StatusClient, StatusUsage } from "../statistics/contract.ts";
import { tokensOf } from "./account.ts";
import type { Account, DayName } from "./account.ts";

/** The accounts in memory, and what limits them. */
export interface AccountFacts {
  readonly accounts: Iterable<Account>;
  readonly day: DayName;
  readonly policies: ReadonlyMap<string, ChannelPolicy>;
  /** Of the whole gateway. */
  readonly limits: Limits;
}

/** The usage of today of the gateway, its channels and its heaviest clients. */
export interface UsageToday {
  readonly gateway: StatusUsage;
  readonly channels: readonly StatusUsage[];
  readonly clients: readonly StatusClient[];
}

const CLIENTS = 20;

export function usageToday({ accounts, day, policies, limits }: AccountFacts): UsageToday {
  let gateway = usageOf(countsOf([], day), limits);
  const channels: StatusUsage[] = [];
  const clients: StatusClient[] = [];
  for (const { holder, days = [] } of accounts) {
    const { channel, client } = holder;
    const counts = countsOf(days, day);
    const policy = channel === undefined ? undefined : policies.get(channel);
    if (channel === undefined) gateway = usageOf(counts, limits);
    else if (client !== undefined) clients.push({ channel, client, ...usedIn(counts) });
    else if (policy) channels.push({ channel, ...usageOf(counts, policy.totalLimits) });
  }
  return { gateway, channels, clients: heaviestOf(clients) };
}

function usageOf(counts: DayCount, limits: Limits): StatusUsage {
  return { ...usedIn(counts), rejected: counts.refused, limits };
}

function usedIn(counts: DayCount) {
  const { requests, cost } = counts;
  return { requests, tokens: tokensOf(counts), cost: Number(cost.toFixed(6)) };
}

function heaviestOf(clients: readonly StatusClient[]): readonly StatusClient[] {
  return clients
    .filter(({ requests, tokens }) => requests + tokens > 0)
    .toSorted((a, b) => b.cost - a.cost || b.tokens - a.tokens || b.requests - a.requests)
    .slice(0, CLIENTS);
}
