import type { Message } from "../../agent/contract.ts";
import { jsonLine } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import { openInstance } from "../../store/home/instance-lock.ts";
import { openSqliteStore } from "../../store/sqlite/store.ts";
import { loadOrThrow } from "../connection.ts";
import { type Context, createCommandLog } from "../context.ts";
import { storeOptions } from "../state/conversations.ts";
import { copyStore } from "../state/copy-store.ts";
import { openSharedState } from "../state/shared-state.ts";
import { stateFolderOf } from "../state/state-folder.ts";

/** `picoclaw store migrate --from sqlite --to postgres`. */
export async function run(context: Context): Promise<number> {
  const { flags, host } = context;
  if ((flags.choice("to") ?? "postgres") !== "postgres") {
    throw new Failure("usage", "store migrate copies to postgres", {
      remedy: "picoclaw store migrate --from sqlite --to postgres",
    });
  }
  const log = await createCommandLog(context);
  const { config, file } = await loadOrThrow(context, log, {});
  const address = config.gateway.store;
  if (address === undefined) {
    throw new Failure("config", "gateway.store names no database", {
      why: file,
      remedy: 'set gateway.store to "postgres://user@host/database"',
    });
  }
  await using stack = new AsyncDisposableStack();
  const home = await openInstance(stateFolderOf(config), { log });
  stack.defer(() => home.close());
  if (home.instance > 1) {
    throw new Failure("failed", "a gateway of this home is running", {
      remedy: "stop it, and start it again after this",
    });
  }
  const options = { ...storeOptions(config), sole: true, log };
  const from = await openSqliteStore<Message>(home.databaseFile, options);
  stack.defer(() => from.close());
  const to = await openSharedState(address, { config, log });
  stack.defer(() => to.close());
  const living = await to.cluster.gateways();
  if (living.some(({ owner }) => owner !== to.cluster.owner)) {
    throw new Failure("failed", "gateways of that database are running", {
      remedy: "stop them, and start them again after this",
    });
  }
  const copied = await copyStore(from, { ...to.store, cluster: to.cluster });
  const { conversations, counters, jobs, requests } = copied;
  await host.stdout.write(
    flags.has("json")
      ? jsonLine({ v: 1, type: "migrated", ...copied })
      : `copied ${conversations} conversations, ${counters} counters and ${jobs} jobs, moved ${requests} open requests\n`,
  );
  return 0;
}
