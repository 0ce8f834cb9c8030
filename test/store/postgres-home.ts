import type { PostgresAddress } from "../../src/base/contract.ts";
import type { ConversationStore, CounterStore, StoreOptions } from "../../src/store/contract.ts";
import { openPostgres, type PostgresDatabase } from "../../src/store/postgres/database.ts";
import type { PostgresOptions } from "../../src/store/postgres/database.ts";
import { sharedPostgres, type Postgres } from "../support/postgres.ts";
import { BOUNDS } from "./contract.ts";

type Opened = ConversationStore<string> &
  CounterStore & { readonly database: PostgresDatabase<string> };

export interface PostgresHome extends AsyncDisposable {
  readonly server: Postgres;
  readonly address: PostgresAddress;
  /** The next gateway; those before it go on. */
  open(facts?: Partial<StoreOptions>): Promise<Opened>;
  pass(ms: number): void;
}

/** The address of a server of the tests. */
export function addressOf(
  { port }: Pick<Postgres, "port">,
  database: string,
  facts: Partial<PostgresAddress> = {},
): PostgresAddress {
  return {
    hosts: [{ host: "127.0.0.1", port }],
    user: "postgres",
    database,
    tls: { mode: "disable" },
    connectTimeoutMs: 5000,
    applicationName: "picoclaw",
    ...facts,
  };
}

/** One database that several gateways use. */
export async function postgresHome(
  facts: Partial<PostgresOptions> = {},
  given?: PostgresAddress,
): Promise<PostgresHome> {
  const server = await sharedPostgres();
  const address = given ?? addressOf(server, await server.createDatabase());
  let now = 1_800_000_000_000;
  const opened: PostgresDatabase<string>[] = [];
  return {
    server,
    address,
    async open(more = {}) {
      const owner = `owner ${opened.length}`;
      const options = { owner, now: () => now, bounds: BOUNDS, ...facts, ...more };
      const database = await openPostgres<string>(address, options);
      opened.push(database);
      return storeOf(database);
    },
    pass(ms) {
      now += ms;
    },
    async [Symbol.asyncDispose]() {
      for (const { commits } of opened) await commits.close();
      if (given === undefined) await server.sql(`DROP DATABASE ${address.database} WITH (FORCE)`);
    },
  };
}

function storeOf(database: PostgresDatabase<string>): Opened {
  const { conversations: of, counters, commits } = database;
  return {
    database,
    history: (name: string) => of.history(name),
    conversation: (name: string) => of.conversation(name),
    size: (name: string) => of.size(name),
    append: (...args: Parameters<typeof of.append>) => of.append(...args),
    compact: (...args: Parameters<typeof of.compact>) => of.compact(...args),
    importConversation: (...args: Parameters<typeof of.importConversation>) =>
      of.importConversation(...args),
    conversations: () => of.conversations(),
    transcript: (name: string) => of.transcript(name),
    erase: (name: string) => of.erase(name),
    counters: (most?: number) => counters.counters(most),
    counter: (name: string) => counters.counter(name),
    count: (...args: Parameters<typeof counters.count>) => counters.count(...args),
    async purge() {
      await of.purge();
      await counters.purge();
    },
    close: () => commits.close(),
  };
}
