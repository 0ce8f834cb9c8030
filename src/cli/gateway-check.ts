import { basename } from "node:path";
import { openAgent } from "../agent/agent.ts";
import type { Check, Limits, PostgresAddress } from "../base/contract.ts";
import { escapeControl } from "../base/escape-control.ts";
import { asFailure, Failure } from "../base/failure.ts";
import { VERSION } from "../base/version.ts";
import type { Config, MqttChannel } from "../config/contract.ts";
import type { Counted, Usage } from "../gateway/usage/report.ts";
import { openChannel } from "../mqtt/agent-channel/channel.ts";
import { certificateChecks } from "../mqtt/checks/tls.ts";
import { agentAddressOf, requestFilter } from "../mqtt/protocol/topics.ts";
import { checkLine, runChecks } from "./checks.ts";
import type { Context } from "./context.ts";
import { presenceChecks, type PresenceCheck } from "./presence-checks.ts";
import { type RuntimeOptions, withBrokers } from "./runtime.ts";
import type { SharedFacts } from "./shared-state.ts";
import { stateFolderOf } from "./state-folder.ts";

/**
 * `gateway --check`: validates, connects and subscribes every channel without serving or publishing `online`.
 * Prints one line per channel and per check on stdout, and throws the first failure at the end.
 */
export async function checkGateway(options: RuntimeOptions, context: Context): Promise<number> {
  const { config, log, redactor } = options;
  await (await openAgent({ config, log, redactor })).close();
  const { channels, brokers } = await withBrokers(options.channels, log);
  const failures: Failure[] = [];
  try {
    for (const channel of channels) {
      const outcomes = await checkNodes(channel, options, context.signal);
      context.signal.throwIfAborted();
      const failed = outcomes.filter((outcome) => outcome instanceof Failure);
      const isUsable = failed.length < outcomes.length;
      // As for a gateway: a broker is refused only if every node refuses.
      const worst = failed.find(({ code }) => code !== "refused") ?? failed[0];
      if (!isUsable && worst) failures.push(worst);
      for (const outcome of outcomes) {
        const how = isUsable ? "warning" : "failed";
        const text = outcome instanceof Failure ? `${how}: ${outcome.message}` : outcome;
        await context.host.stdout.write(
          `${escapeControl(redactor.redact(`${channel.name}: ${text}`))}\n`,
        );
      }
    }
    for (const found of await allChecks({ ...options, channels }, context)) {
      await context.host.stdout.write(checkLine(found));
      if (found.result !== "fail") continue;
      failures.push(found.failure ?? new Failure("failed", found.message));
    }
  } finally {
    await Promise.all(brokers.map((broker) => broker.close()));
  }
  const [first] = failures;
  if (first) throw first;
  return 0;
}

/** Everything but the connections of the channels. */
async function allChecks(
  options: RuntimeOptions,
  { signal }: Context,
): Promise<readonly PresenceCheck[]> {
  const { config, channels, secretFiles = [] } = options;
  const checks = await runChecks({ ...options, secretFiles });
  const terms = await Promise.all(channels.map((channel) => certificateChecks(channel)));
  const { store } = config.gateway;
  const shared = store && (await sharedFacts(config, store));
  const cluster = shared && "gateways" in shared ? shared.gateways : [];
  const others = await presenceChecks({ ...options, cluster, signal });
  return [...others, ...checks, ...terms.flat(), ...(await usageChecks(options, shared))];
}

/** Connects to every node of the channel's broker by itself. One that works is enough for a gateway. */
function checkNodes(
  channel: MqttChannel,
  options: RuntimeOptions,
  signal: AbortSignal,
): Promise<readonly (string | Failure)[]> {
  const nodes = channel.settings.broker.map((broker) => {
    const settings = { ...channel.settings, broker: [broker] };
    return checkNode({ ...channel, settings }, broker, options, signal);
  });
  return Promise.all(nodes);
}

async function checkNode(
  channel: MqttChannel,
  broker: string,
  { connectTimeoutMs, log, pid }: RuntimeOptions,
  signal: AbortSignal,
): Promise<string | Failure> {
  const { settings } = channel;
  const first = Promise.withResolvers<Failure>();
  const opened = openChannel({
    channel,
    connectTimeoutMs,
    info: { version: VERSION, instance: String(pid) },
    quiet: true,
    log: { ...log, warn: () => {}, info: () => {} },
    onRequest: () => new Promise(() => {}),
    onProblem: first.resolve,
  });
  try {
    const outcome = await Promise.race([opened.ready(signal), first.promise, opened.ended]);
    if (outcome instanceof Failure) return namingBroker(outcome, broker);
    const protocol = outcome?.protocol === 5 ? "5" : "3.1.1";
    const topic = requestFilter(agentAddressOf(settings));
    const most = outcome?.maximumQos ?? settings.qos;
    const warning = most < settings.qos ? `; warning: the broker allows QoS ${most} at most` : "";
    return `connected to ${broker} (MQTT ${protocol}), subscribed to ${topic}${warning}`;
  } catch (error) {
    if (error instanceof Failure) return namingBroker(error, broker);
    throw error;
  } finally {
    await opened.close();
  }
}

function namingBroker({ code, message, why, remedy, cause }: Failure, broker: string): Failure {
  return new Failure(code, `${broker}: ${message}`, { why, remedy, cause });
}

/** Clients that are listed. */
const HEAVIEST = 5;

/**
 * The limits and today's usage: of the gateway, of each channel, and of the clients that used or were refused
 * most. Reads the databases of the home while gateways may be running; each gateway counts for itself, unless they
 * share a store.
 */
async function usageChecks(
  { config, home }: RuntimeOptions,
  shared: SharedFacts | Check | undefined,
): Promise<readonly Check[]> {
  const [{ databaseFilesIn }, { readCounters }, { usageIn }] = await Promise.all([
    import("../store/instance-lock.ts"),
    import("../store/shared-access.ts"),
    import("../gateway/usage/report.ts"),
  ]);
  const at = { epoch: Date.now(), heaviest: HEAVIEST };
  const { store } = config.gateway;
  if (store !== undefined && shared !== undefined) {
    if ("result" in shared) return [shared];
    const { counters, clock, gateways } = shared;
    const hosts = store.hosts.map(({ host, port }) => `${host}:${port}`).join(", ");
    const message = `gateways share the database ${store.database} at ${hosts}`;
    const reached = { name: "gateway.store", result: "ok", message } as const;
    const { clusterChecks } = await import("./cluster-checks.ts");
    const cluster = { owner: "", gateways: () => Promise.resolve(gateways) };
    return [
      reached,
      ...(await clusterChecks({ config, home, cluster })),
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

/** What gateways share, or what is wrong with their database. */
async function sharedFacts(config: Config, store: PostgresAddress): Promise<SharedFacts | Check> {
  const { readSharedFacts } = await import("./shared-state.ts");
  try {
    return await readSharedFacts(store, config);
  } catch (thrown) {
    const { message, why = message, remedy } = asFailure(thrown);
    const fixes = remedy === undefined ? {} : { remedy };
    return { name: "gateway.store", result: "fail", message: why, ...fixes };
  }
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
    `${counted.requests} requests`,
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
