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

/** Clients that are compared at a time: of all meters a part is in memory. */
const COMPARED = 1000;

/** `epoch` is now, `heaviest` how many clients are told of. */
export function usageIn(
  meters: Iterable<Meter>,
  { epoch, heaviest }: { readonly epoch: number; readonly heaviest: number },
): Usage {
  const { day } = todayAt(epoch);
  let gateway = NOTHING;
  let refused: readonly RefusedClient[] = [];
  const channels = new Map<string, Counted>();
  let clients: (Holder & Counted)[] = [];
  for (const meter of meters) {
    if (meter.name === REFUSALS) refused = refusedOn(day, meter);
    const account = meter.name === REFUSALS ? undefined : accountIn(meter, { now: 0, epoch });
    if (account === undefined) continue;
    const { channel, client } = account.holder;
    const counted = countedOn(day, account);
    if (channel === undefined) gateway = counted;
    else if (client === undefined) channels.set(channel, counted);
    if (client !== undefined) clients.push({ ...counted, ...account.holder });
    if (clients.length > COMPARED) clients = heaviestOf(clients, heaviest);
  }
  return {
    gateway,
    channels,
    clients: heaviestOf(clients, heaviest),
    refused: refused.slice(0, heaviest),
  };
}

function heaviestOf(clients: (Holder & Counted)[], most: number): (Holder & Counted)[] {
  return clients
    .filter(({ requests, tokens }) => requests + tokens > 0)
    .toSorted((a, b) => b.cost - a.cost || b.tokens - a.tokens || b.requests - a.requests)
    .slice(0, most);
}

function countedOn(day: DayName, { days }: Account): Counted {
  const count = lookedUp(days, day);
  const { requests, cost, refused } = count;
  return { requests, tokens: tokensOf(count), cost, refused };
}

function refusedOn(day: DayName, meter: Meter): readonly RefusedClient[] {
  const kept = refusedIn(meter);
  if (kept.day !== day) return [];
  return kept.clients
    .map(({ name: _name, ...client }) => client)
    .toSorted((a, b) => b.count - a.count);
}
