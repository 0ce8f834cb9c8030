import type { Meter } from "../../store/contract.ts";
import { accountIn, tokensOf } from "./account.ts";
import type { Account, Holder } from "./account.ts";
import { lookedUp, todayAt } from "./day.ts";
import type { DayName } from "./day.ts";
import { refusedIn, REFUSALS } from "./refusals.ts";
import type { RefusedClient } from "./refusals.ts";

/** What was counted today of somebody. */
export interface Counted {
  readonly requests: number;
  readonly tokens: number;
  readonly cost: number;
  /** By the code of the error. */
  readonly refused: Readonly<Record<string, number>>;
}

/** What was used today, as the meters of a store have it. */
export interface Usage {
  readonly gateway: Counted;
  readonly channels: ReadonlyMap<string, Counted>;
  /** Those that used most, the heaviest first. */
  readonly clients: readonly (Holder & Counted)[];
  /** Those that were refused most. */
  readonly refused: readonly RefusedClient[];
}

const NOTHING: Counted = { requests: 0, tokens: 0, cost: 0, refused: {} };

/** `epoch` is now, `heaviest` how many clients are told of. */
export function usageIn(
  meters: readonly Meter[],
  { epoch, heaviest }: { readonly epoch: number; readonly heaviest: number },
): Usage {
  const { day } = todayAt(epoch);
  const accounts = meters
    .filter(({ name }) => name !== REFUSALS)
    .map((meter) => accountIn(meter, { now: 0, epoch }))
    .filter((account) => account !== undefined);
  const counted = (account: Account): Counted => countedOn(day, account);
  const [gateway] = accounts.filter(({ holder }) => holder.channel === undefined).map(counted);
  const channels = accounts.flatMap((account): [string, Counted][] => {
    const { channel, client } = account.holder;
    return channel === undefined || client !== undefined ? [] : [[channel, counted(account)]];
  });
  const clients = accounts
    .filter(({ holder }) => holder.client !== undefined)
    .map((account) => Object.assign(counted(account), account.holder))
    .filter(({ requests, tokens }) => requests + tokens > 0)
    .toSorted((a, b) => b.cost - a.cost || b.tokens - a.tokens || b.requests - a.requests);
  return {
    gateway: gateway ?? NOTHING,
    channels: new Map(channels),
    clients: clients.slice(0, heaviest),
    refused: refusedOn(day, meters).slice(0, heaviest),
  };
}

function countedOn(day: DayName, { days }: Account): Counted {
  const count = lookedUp(days, day);
  const { requests, cost, refused } = count;
  return { requests, tokens: tokensOf(count), cost, refused };
}

function refusedOn(day: DayName, meters: readonly Meter[]): readonly RefusedClient[] {
  const meter = meters.find(({ name }) => name === REFUSALS);
  const kept = meter && refusedIn(meter);
  if (kept?.day !== day) return [];
  return kept.clients
    .map(({ name: _name, ...client }) => client)
    .toSorted((a, b) => b.count - a.count);
}
