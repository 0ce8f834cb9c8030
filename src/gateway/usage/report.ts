import type { Counter } from "../../store/contract.ts";
import { accountIn, tokensOf, isFields, numberIn, textIn } from "./account.ts";
import type { Account, Holder } from "./account.ts";
import { lookedUp, todayAt } from "./account.ts";
import type { DayName } from "./account.ts";

/** The usage of today of a client, a channel or the gateway. */
export interface Counted {
  readonly requests: number;
  readonly tokens: number;
  readonly cost: number;
  /** Rejections by error code. */
  readonly refused: Readonly<Record<string, number>>;
}

/** The usage of today in the counters of a store. */
export interface Usage {
  readonly gateway: Counted;
  readonly channels: ReadonlyMap<string, Counted>;
  /** The clients that used most, the heaviest first. */
  readonly clients: readonly (Holder & Counted)[];
  /** The clients that were rejected most. */
  readonly refused: readonly RefusedClient[];
}

const NOTHING: Counted = { requests: 0, tokens: 0, cost: 0, refused: {} };

/** Clients in memory at a time. */
const COMPARED = 1000;

/** `epoch` is now, `heaviest` the number of clients to report. */
export function usageIn(
  meters: Iterable<Counter>,
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

function refusedOn(day: DayName, meter: Counter): readonly RefusedClient[] {
  const kept = refusedIn(meter);
  if (kept.day !== day) return [];
  return kept.clients
    .map(({ name: _name, ...client }) => client)
    .toSorted((a, b) => b.count - a.count);
}

/** The number of rejections of one client on one day. */
interface RefusedClient extends Holder {
  count: number;
}

/** The clients with the most rejections on one day. */
interface RejectedClients {
  add(name: string, holder: Holder, day: DayName): void;
  readonly meter: () => Counter;
  load(meter: Counter): void;
}

/** The name of the counter. */
export const REFUSALS = "refused";

/** Clients that are counted: rejected client ids may be invented, so their number is bounded. */
const ROWS = 64;

/**
 * When all rows are used, a new name replaces the one with the fewest rejections: a client that is rejected
 * again and again stays, and invented names replace each other.
 */
export function createRejectedClients(): RejectedClients {
  let today: DayName = 0;
  const clients = new Map<string, RefusedClient>();

  return {
    add(name, holder, day) {
      if (day !== today) clients.clear();
      today = day;
      const known = clients.get(name);
      if (known === undefined && clients.size >= ROWS) clients.delete(fewestOf(clients));
      clients.set(name, { ...holder, count: (known?.count ?? 0) + 1 });
    },
    meter: () => ({
      name: REFUSALS,
      state: {
        day: today,
        clients: [...clients].map(([name, { channel, client, count }]) => ({
          name,
          channel,
          client,
          count,
        })),
      },
    }),
    load(meter) {
      const kept = refusedIn(meter);
      today = kept.day;
      for (const { name, ...client } of kept.clients) clients.set(name, client);
    },
  };
}

function fewestOf(clients: ReadonlyMap<string, RefusedClient>): string {
  let [fewest, least] = ["", Number.POSITIVE_INFINITY];
  for (const [name, { count }] of clients) if (count < least) [fewest, least] = [name, count];
  return fewest;
}

/** The rejected clients in a stored counter. */
function refusedIn({ state }: Counter): {
  readonly day: DayName;
  readonly clients: readonly (RefusedClient & { readonly name: string })[];
} {
  const list = isFields(state) && Array.isArray(state["clients"]) ? state["clients"] : [];
  const clients = list.filter(isFields).map((fields) => ({
    name: textIn(fields, "name") ?? "",
    channel: textIn(fields, "channel") ?? "",
    client: textIn(fields, "client") ?? "",
    count: numberIn(fields, "count"),
  }));
  return { day: numberIn(state, "day"), clients };
}
