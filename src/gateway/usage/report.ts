import { isObject, listAt, textAt } from "../../base/unknown.ts";
import type { Counter } from "../../store/contract/counters.ts";
import { countsOf, numberAt } from "../../store/day-counts.ts";
import { accountIn, todayAt, todayInZone, tokensOf } from "./account.ts";
import type { DayName, Holder } from "./account.ts";

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
  readonly refused: readonly RejectedClient[];
}

const NOTHING: Counted = { requests: 0, tokens: 0, cost: 0, refused: {} };

/** Clients in memory at a time. */
const COMPARED = 1000;

interface ReportOptions {
  /** Now. */
  readonly epoch: number;
  /** Of the time zone by which the days begin; that of this machine if it is absent. */
  readonly utcOffsetMs?: number;
  /** The number of clients to report. */
  readonly heaviest: number;
}

export function usageIn(
  counters: Iterable<Counter>,
  { epoch, utcOffsetMs, heaviest }: ReportOptions,
): Usage {
  const { day } = utcOffsetMs === undefined ? todayAt(epoch) : todayInZone(epoch, utcOffsetMs);
  let gateway = NOTHING;
  let refused: readonly RejectedClient[] = [];
  const channels = new Map<string, Counted>();
  let clients: (Holder & Counted)[] = [];
  for (const counter of counters) {
    if (counter.name === REJECTED_CLIENTS) refused = rejectedOn(day, counter);
    // The rejected clients are no account.
    const account = accountIn(counter, { now: 0, epoch });
    if (account === undefined) continue;
    const { channel, client } = account.holder;
    const used = countsOf(account.days ?? [], day);
    const { requests, cost, refused: codes } = used;
    const counted = { requests, tokens: tokensOf(used), cost, refused: codes };
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

function rejectedOn(day: DayName, counter: Counter): readonly RejectedClient[] {
  const stored = rejectedIn(counter);
  if (stored.day !== day) return [];
  return stored.clients
    .map(({ name: _name, ...client }) => client)
    .toSorted((a, b) => b.count - a.count);
}

/** The number of rejections of one client on one day. */
interface RejectedClient extends Holder {
  count: number;
}

/** The name of the counter. */
export const REJECTED_CLIENTS = "refused";

/** Clients that are counted: rejected client ids may be invented, so their number is bounded. */
const ROWS = 64;

/**
 * The clients with the most rejections on one day. When all rows are used, a new name replaces the one with
 * the fewest rejections: a client that is rejected again and again stays, and invented names replace each
 * other.
 */
export class RejectedClients {
  readonly #clients = new Map<string, RejectedClient>();
  #today: DayName = 0;
  /** Whether they changed since they were written. */
  isDirty = false;

  add(name: string, holder: Holder, day: DayName): void {
    const clients = this.#clients;
    this.isDirty = true;
    if (day !== this.#today) clients.clear();
    this.#today = day;
    const existing = clients.get(name);
    if (existing === undefined && clients.size >= ROWS) clients.delete(fewestOf(clients));
    clients.set(name, { ...holder, count: (existing?.count ?? 0) + 1 });
  }

  counter(): Counter {
    const clients = [...this.#clients].map(([name, { channel, client, count }]) => {
      return { name, channel, client, count };
    });
    return { name: REJECTED_CLIENTS, state: { day: this.#today, clients } };
  }

  load(counter: Counter): void {
    const { day, clients } = rejectedIn(counter);
    this.#today = day;
    for (const { name, ...client } of clients) this.#clients.set(name, client);
  }
}

function fewestOf(clients: ReadonlyMap<string, RejectedClient>): string {
  let [fewest, least] = ["", Number.POSITIVE_INFINITY];
  for (const [name, { count }] of clients) if (count < least) [fewest, least] = [name, count];
  return fewest;
}

/** The rejected clients in a stored counter. */
function rejectedIn({ state }: Counter): {
  readonly day: DayName;
  readonly clients: readonly (RejectedClient & { readonly name: string })[];
} {
  const clients = listAt(state, "clients")
    .filter(isObject)
    .map((fields) => ({
      name: textAt(fields, "name"),
      channel: textAt(fields, "channel"),
      client: textAt(fields, "client"),
      count: numberAt(fields, "count"),
    }));
  return { day: numberAt(state, "day"), clients };
}
