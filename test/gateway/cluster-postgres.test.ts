import type { PostgresStore } from "../../src/store/postgres/store.ts";
import { BOUNDS } from "../store/contract.ts";
import { postgresHome } from "../store/postgres-home.ts";
import { needsPostgres } from "../support/postgres.ts";
import { testCluster } from "./cluster-suite.ts";
import type { SharedStore } from "./cluster-suite.ts";
import { createManualClock } from "./manual-clock.ts";

/** Time passes in steps; after each, all gateways have what they asked the database for. */
const STEP_MS = 50;

async function openShared(): Promise<SharedStore> {
  const clock = createManualClock();
  const bounds = { ...BOUNDS, leaseMs: 15_000 };
  const home = await postgresHome({ now: () => clock.epoch(), bounds });
  const stores: PostgresStore<string>[] = [];
  return {
    clock,
    async open(owner) {
      const store = await home.open({ owner, elapsed: () => clock.now() });
      stores.push(store);
      return { store, cluster: store.cluster };
    },
    async pass(ms) {
      for (let left = ms; left > 0; left -= STEP_MS) {
        const step = Math.min(left, STEP_MS);
        home.pass(step);
        await clock.advance(step);
        await Promise.all(stores.map((store) => store.counter("any").catch(() => undefined)));
      }
    },
    [Symbol.asyncDispose]: () => home[Symbol.asyncDispose](),
  };
}

testCluster("PostgreSQL", openShared, needsPostgres);
