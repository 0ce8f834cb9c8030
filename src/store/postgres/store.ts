import type { PostgresAddress } from "../../base/contract.ts";
import type { Cluster } from "../contract/cluster.ts";
import type { Store } from "../contract/store.ts";
import { methodsOf } from "./conversations.ts";
import { openPostgres } from "./database.ts";
import type { PostgresDatabase, PostgresOptions } from "./database.ts";
import { requestStoreOf } from "./request-store.ts";
import type { RequestStoreOptions } from "./request-store.ts";

export interface PostgresStoreOptions
  extends
    Omit<PostgresOptions, "onNotify">,
    Pick<RequestStoreOptions<unknown>, "sole" | "elapsed"> {}

export interface PostgresStore<M> extends Store<M> {
  readonly cluster: Cluster;
  readonly database: PostgresDatabase<M>;
}

/**
 * Opens a store that several gateways may share. `bounds.leaseMs` is how long an owner lives after it was renewed.
 * Rejects as `openPostgres` does.
 */
export async function openPostgresStore<M>(
  address: PostgresAddress,
  options: PostgresStoreOptions,
): Promise<PostgresStore<M>> {
  const listeners = new Set<(to: string) => void>();
  const database = await openPostgres<M>(address, {
    ...options,
    onNotify(to) {
      for (const listener of listeners) listener(to);
    },
  });
  const { commits, conversations: turns, counters } = database;
  const { open, close, ...requests } = requestStoreOf<M>({
    ...options,
    ...database,
    async append(tx, added) {
      await Promise.all(
        added.map(({ name, messages, forgets }) => turns.add(tx, name, messages, forgets)),
      );
    },
    onHint(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  });
  await open();
  return {
    ...requests,
    database,
    ...methodsOf(turns),
    counters: (most) => counters.counters(most),
    counter: (name) => counters.counter(name),
    count: (take) => counters.count(take),
    clock: () => counters.clock(),
    hasJobs: async () => (await commits.read("SELECT FROM picoclaw.jobs LIMIT 1")).length > 0,
    async jobs() {
      const { PostgresJobs } = await import("./jobs.ts");
      return new PostgresJobs(commits, options.owner);
    },
    async confirmations() {
      const { PostgresConfirmations } = await import("./confirmations.ts");
      return new PostgresConfirmations(commits, options.now);
    },
    async purge() {
      await requests.purge();
      await turns.purge();
      await counters.purge();
    },
    async close() {
      await close().catch(() => {});
      await commits.close();
    },
  };
}
