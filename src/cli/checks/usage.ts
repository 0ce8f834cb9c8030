import { basename } from "node:path";
import { TimeoutError, withTimeout } from "../../base/async.ts";
import type { Check, Limits, PostgresAddress } from "../../base/contract.ts";
import { asFailure } from "../../base/failure.ts";
import { authorityOf } from "../../base/url.ts";
import type { Config } from "../../config/contract.ts";
import type { Counted, Usage } from "../../gateway/usage/report.ts";
import type { SharedFacts } from "../state/shared-state.ts";
import { stateFolderOf } from "../state/state-folder.ts";
import { coded } from "./checks.ts";

const STORE = { code: "gateway.store", name: "gateway.store" } as const;

const ASYNCHRONOUS: Check = {
  ...STORE,
  result: "warn",
  message:
    "its standby is asynchronous: what was acknowledged just before it is promoted can be lost",
  remedy: "set synchronous_standby_names = '*' and synchronous_commit = on at the database",
};

/** Clients that are listed. */
const HEAVIEST = 5;

/**
 * The limits and today's usage: of the gateway, of each channel, and of the clients that used or were refused
 * most. Reads the databases of the home while gateways may be running; each gateway counts for itself, unless they
 * share a store.
 */
export async function usageChecks(
  { config, home }: { readonly config: Config; readonly home: string },
  shared: SharedFacts | Check | undefined,
): Promise<readonly Check[]> {
  const [{ databaseFilesIn }, { readCounters }, { usageIn }] = await Promise.all([
    import("../../store/home/instance-files.ts"),
    import("../../store/sqlite/shared-access.ts"),
    import("../../gateway/usage/report.ts"),
  ]);
  const at = { epoch: Date.now(), heaviest: HEAVIEST };
  const { store } = config.gateway;
  if (store !== undefined && shared !== undefined) {
    if ("result" in shared) return [shared];
    const { counters, clock, gateways } = shared;
    const message = `gateways share ${placeOf(store)}`;
    const reached = { ...STORE, result: "ok", message } as const;
    const { clusterChecks } = await import("./cluster.ts");
    const cluster = { owner: "", gateways: () => Promise.resolve(gateways) };
    return [
      reached,
      ...(shared.hasOnlyAsynchronousStandbys ? [ASYNCHRONOUS] : []),
      ...coded("cluster", await clusterChecks({ config, home, cluster })),
      ...usageChecksOf(config, usageIn(counters, { ...at, ...clock })),
    ];
  }
  const files = databaseFilesIn(stateFolderOf(config));
  const checks: Check[] = [];
  for (const file of files) {
    const usage = await readCounters(file, (meters) => usageIn(meters, at));
    const where = files.length > 1 ? ` (${basename(file)})` : "";
    for (const check of usageChecksOf(config, usage)) {
      checks.push({ ...check, name: check.name + where });
    }
  }
  return checks;
}

/** Milliseconds for the database. The checks of brokers that need the answer have the rest of their time. */
const STORE_MS = 3_000;

/** What gateways share, or what is wrong with their database. */
export async function sharedFacts(
  config: Config,
  store: PostgresAddress,
): Promise<SharedFacts | Check> {
  const { readSharedFacts } = await import("../state/shared-state.ts");
  try {
    // What still connects when the time is over would keep the process alive.
    const hostMs = Math.min(store.connectTimeoutMs, STORE_MS / store.hosts.length);
    const address = { ...store, connectTimeoutMs: hostMs };
    return await withTimeout(STORE_MS, undefined, () => readSharedFacts(address, config));
  } catch (thrown) {
    if (thrown instanceof TimeoutError) {
      const message = `${placeOf(store)} did not answer within ${STORE_MS / 1000} s`;
      const remedy = "check gateway.store, the network, and that the server runs";
      return { ...STORE, result: "fail", message, remedy };
    }
    const { message, why = message, remedy } = asFailure(thrown);
    const fixes = remedy === undefined ? {} : { remedy };
    return { ...STORE, result: "fail", message: why, ...fixes };
  }
}

function placeOf({ database, hosts }: PostgresAddress): string {
  return `the database ${database} at ${hosts.map(({ host, port }) => authorityOf(host, port)).join(", ")}`;
}

function usageChecksOf({ gateway, channels }: Config, usage: Usage): readonly Check[] {
  return [
    usageCheck("the gateway today", gateway.limits, usage.gateway, "gateway.limits"),
    ...channels.map(({ name, settings: { limits } }) => {
      const counted = usage.channels.get(name) ?? NOTHING;
      const path = `channel_list.${name}.settings.limits.total`;
      return usageCheck(`${name} today`, limits.total, counted, path);
    }),
    ...usage.clients.map((client) => {
      const { channel = "", client: id = "" } = client;
      const limits = channels.find(({ name }) => name === channel)?.settings.limits;
      return usageCheck(`client ${id} of ${channel}`, limits, client, "the limits of its channel");
    }),
    ...usage.refused.map(({ channel, client = "", count }): Check => ({
      name: `client ${client} of ${channel}`,
      result: "ok",
      message: `was refused ${count} times today`,
    })),
  ];
}

const NOTHING: Counted = { requests: 0, tokens: 0, cost: 0, refused: {} };

function usageCheck(
  name: string,
  limits: Limits | undefined,
  counted: Counted,
  path: string,
): Check {
  const { tokens_per_day: tokens = 0, cost_per_day: cost = 0 } = limits ?? {};
  const refusals = Object.entries(counted.refused).map(([code, count]) => `${count} ${code}`);
  const parts = [
    `${counted.requests} request${counted.requests === 1 ? "" : "s"}`,
    `${counted.tokens} tokens${ofLimitText(tokens)}`,
    ...(counted.cost > 0 || cost > 0
      ? [`cost ${Number(counted.cost.toFixed(4))}${ofLimitText(cost)}`]
      : []),
    ...(refusals.length > 0 ? [`refused ${refusals.join(", ")}`] : []),
  ];
  const isOver = (tokens > 0 && counted.tokens >= tokens) || (cost > 0 && counted.cost >= cost);
  const facts = { name, message: parts.join(", ") };
  if (!isOver) return { ...facts, result: "ok" };
  return { ...facts, result: "warn", remedy: `wait for the next day, or raise ${path}` };
}

function ofLimitText(limit: number): string {
  return limit > 0 ? ` of ${limit}` : "";
}
