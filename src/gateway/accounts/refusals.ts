import type { Meter } from "../../store/contract.ts";
import { isFields, numberIn, textIn } from "./account.ts";
import type { Holder } from "./account.ts";
import type { DayName } from "./day.ts";

/** How often one client was refused on the day. */
export interface RefusedClient extends Holder {
  count: number;
}

/** The clients that were refused most on one day. */
export interface Refusals {
  add(name: string, holder: Holder, day: DayName): void;
  readonly meter: () => Meter;
  load(meter: Meter): void;
}

/** The name of the meter. */
export const REFUSALS = "refused";

/** Clients at a time: who is refused need not exist, so what is remembered of them has a bound. */
const ROWS = 64;

/**
 * Where all rows are taken, a further name takes the place of the one with the fewest refusals: who is
 * refused again and again stays, and names that are invented push out one another.
 */
export function createRefusals(): Refusals {
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

/** What was kept of the clients that were refused. */
export function refusedIn({ state }: Meter): {
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
