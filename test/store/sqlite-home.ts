import { join } from "node:path";
import { SILENT } from "../../src/base/log.ts";
import type { Store } from "../../src/store/contract/store.ts";
import { openInstance } from "../../src/store/home/instance-lock.ts";
import { openSqliteStore, type SqliteStoreOptions } from "../../src/store/sqlite/store.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { BOUNDS, type StoreUnderTest } from "./contract.ts";

/** The store of a home with this state folder, held as its gateway holds it. */
export async function openHomeStore(state: string) {
  const home = await openInstance(state, { log: SILENT });
  const file = home.databaseFile;
  const facts = { owner: "test", now: () => Date.now(), bounds: BOUNDS, log: SILENT };
  const store = await openSqliteStore<string>(file, facts);
  return {
    store,
    file,
    async [Symbol.asyncDispose]() {
      await store.close();
      home.close();
    },
  };
}

export interface SqliteHome extends StoreUnderTest {
  readonly folder: string;
  readonly file: string;
  open(facts?: Partial<SqliteStoreOptions>): Promise<Store<string>>;
}

/** One file that processes open one after the other, none of which closes it. */
export async function sqliteHome(): Promise<SqliteHome> {
  let now = 1_800_000_000_000;
  const folder = await temporaryFolder();
  const file = join(folder.path, "state", "picoclaw.db");
  const opened: Store<string>[] = [];
  return {
    folder: folder.path,
    file,
    async open(facts = {}) {
      const owner = `owner ${opened.length}`;
      const own = { owner, now: () => now, bounds: BOUNDS, log: SILENT };
      const store = await openSqliteStore<string>(file, { ...own, ...facts });
      opened.push(store);
      return store;
    },
    pass(ms) {
      now += ms;
    },
    async [Symbol.asyncDispose]() {
      for (const store of opened) await store.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}
