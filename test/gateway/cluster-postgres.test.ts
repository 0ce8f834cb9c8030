import { setTimeout as sleep } from "node:timers/promises";
import { SYSTEM_CLOCK } from "../../src/gateway/clock.ts";
import { openPostgresStore } from "../../src/store/postgres/store.ts";
import type { PostgresStore } from "../../src/store/postgres/store.ts";
import { BOUNDS } from "../store/contract.ts";
import { addressOf } from "../store/postgres-home.ts";
import { needsPostgres, sharedPostgres } from "../support/postgres.ts";
import { testCluster } from "./cluster-suite.ts";
import type { SharedStore } from "./cluster-suite.ts";

/** A gateway that is dead for so long is found out: shorter than in use, so that the test is, too. */
const LEASE_MS = 8000;

async function openShared(): Promise<SharedStore> {
  const server = await sharedPostgres();
  const address = addressOf(server, await server.createDatabase());
  const stores: PostgresStore<string>[] = [];
  return {
    clock: SYSTEM_CLOCK,
    async open(owner) {
      const bounds = { ...BOUNDS, leaseMs: LEASE_MS };
      const store = await openPostgresStore<string>(address, { owner, now: Date.now, bounds });
      stores.push(store);
      return { store, cluster: store.cluster };
    },
    async pass(ms) {
      await sleep(ms);
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(stores.map((store) => store.close()));
    },
  };
}

testCluster("PostgreSQL", openShared, needsPostgres);
