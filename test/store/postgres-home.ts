import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PostgresAddress } from "../../src/base/contract.ts";
import { openPostgresStore } from "../../src/store/postgres/store.ts";
import type { PostgresStore, PostgresStoreOptions } from "../../src/store/postgres/store.ts";
import { sharedPostgres, type Postgres } from "../support/postgres.ts";
import { BOUNDS } from "./contract.ts";

export interface PostgresHome extends AsyncDisposable {
  readonly server: Postgres;
  readonly address: PostgresAddress;
  /** The next gateway; those before it go on. */
  open(facts?: Partial<PostgresStoreOptions>): Promise<PostgresStore<string>>;
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

/** One database that several gateways use, in which `now()` is the time of the store under test. */
export async function postgresHome(
  facts: Partial<PostgresStoreOptions> = {},
  given?: PostgresAddress,
): Promise<PostgresHome> {
  const server = await sharedPostgres();
  const address = given ?? addressOf(server, await server.createDatabase());
  const { database } = address;
  let now = 1_800_000_000_000;
  const file = join(server.folder, `${database}.clock`);
  const setClock = (): void => writeFileSync(file, `${now / 1000}`);
  setClock();
  if (given === undefined) await server.sql(clockFrom(file, database), database);
  const opened: PostgresStore<string>[] = [];
  return {
    server,
    address,
    async open(more = {}) {
      const owner = `owner ${opened.length}`;
      const options = { owner, now: () => now, bounds: BOUNDS, ...facts, ...more };
      const store = await openPostgresStore<string>(address, options);
      opened.push(store);
      return store;
    },
    pass(ms) {
      now += ms;
      setClock();
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(opened.map((store) => store.close()));
      if (given === undefined) await server.clearDatabase(database);
      rmSync(file, { force: true });
    },
  };
}

/** Puts a function before `now()` that reads the time from a file. */
function clockFrom(file: string, database: string): string {
  return `CREATE SCHEMA clock;
    CREATE FUNCTION clock.now() RETURNS timestamptz LANGUAGE sql STABLE
      AS $$ SELECT to_timestamp(pg_read_file('${file}')::float8) $$;
    ALTER DATABASE ${database} SET search_path = clock, pg_catalog, public;`;
}
