import { basename } from "node:path";
import type { Check } from "../base/contract.ts";
import type { Limits } from "../base/contract.ts";
import type { Config } from "../config/contract.ts";
import type { Counted, Usage } from "../gateway/usage/report.ts";
import { stateFolderOf } from "./conversations.ts";

/** Clients that are told of. */
const HEAVIEST = 5;

/**
 * Which limits there are and what was used of them today: of the gateway, of each channel, and of the
 * clients that used or were refused most. Reads the databases of the home beside the gateways that may be
 * running; each of those counts for itself.
 */
export async function usageChecks(config: Config): Promise<readonly Check[]> {
  const [{ databaseFilesIn }, { readCounters }, { usageIn }] = await Promise.all([
    import("../store/instance-lock.ts"),
    import("../store/shared-access.ts"),
    import("../gateway/usage/report.ts"),
  ]);
  const files = databaseFilesIn(stateFolderOf(config));
  const checks: Check[] = [];
  for (const file of files) {
    const at = { epoch: Date.now(), heaviest: HEAVIEST };
    const usage = await readCounters(file, (meters) => usageIn(meters, at));
    const where = files.length > 1 ? ` (${basename(file)})` : "";
    for (const check of usageOf(config, usage)) {
      checks.push({ ...check, name: check.name + where });
    }
  }
  return checks;
}

function usageOf({ gateway, channels }: Config, usage: Usage): readonly Check[] {
  return [
    used("the gateway today", gateway.limits, usage.gateway, "gateway.limits"),
    ...channels.map(({ name, settings: { limits } }) => {
      const counted = usage.channels.get(name) ?? NOTHING;
      const path = `channel_list.${name}.settings.limits.total`;
      return used(`${name} today`, limits.total, counted, path);
    }),
    ...usage.clients.map((client) => {
      const { channel = "", client: id = "" } = client;
      const limits = channels.find(({ name }) => name === channel)?.settings.limits;
      return used(`client ${id} of ${channel}`, limits, client, "the limits of its channel");
    }),
    ...usage.refused.map(({ channel, client = "", count }): Check => ({
      name: `client ${client} of ${channel}`,
      result: "ok",
      message: `was refused ${count} times today`,
    })),
  ];
}

const NOTHING: Counted = { requests: 0, tokens: 0, cost: 0, refused: {} };

function used(name: string, limits: Limits | undefined, counted: Counted, path: string): Check {
  const { tokens_per_day: tokens = 0, cost_per_day: cost = 0 } = limits ?? {};
  const refusals = Object.entries(counted.refused).map(([code, count]) => `${count} ${code}`);
  const parts = [
    `${counted.requests} requests`,
    `${counted.tokens} tokens${ofLimit(tokens)}`,
    ...(counted.cost > 0 || cost > 0
      ? [`cost ${Number(counted.cost.toFixed(4))}${ofLimit(cost)}`]
      : []),
    ...(refusals.length > 0 ? [`refused ${refusals.join(", ")}`] : []),
  ];
  const isOver = (tokens > 0 && counted.tokens >= tokens) || (cost > 0 && counted.cost >= cost);
  const facts = { name, message: parts.join(", ") };
  if (!isOver) return { ...facts, result: "ok" };
  return { ...facts, result: "warn", remedy: `wait for the next day, or raise ${path}` };
}

function ofLimit(limit: number): string {
  return limit > 0 ? ` of ${limit}` : "";
}
