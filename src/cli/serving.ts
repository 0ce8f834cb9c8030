import { createAgent } from "../agent/agent.ts";
import { Failure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import { VERSION } from "../base/version.ts";
import { parseBroker } from "../config/broker.ts";
import type { Config, MqttChannel } from "../config/contract.ts";
import { createGateway, type DrainResult } from "../gateway/serve.ts";
import type { Broker } from "../mqtt/broker.ts";
import { openChannel, type Channel } from "../mqtt/channel.ts";

/** Everything that serves requests: brokers of our own, channels, the gateway behind them. */
export interface Serving {
  /** The channels as they are dialled: a built-in broker's with the port it took. */
  readonly dialled: readonly MqttChannel[];
  /** Why not every channel is connected and subscribed; undefined while all are. */
  readonly problem: () => string | undefined;
  /** Resolves when no channel is left that could serve, with the failure of the first that ended. */
  readonly over: Promise<Failure>;
  /** Drains, says `offline`, disconnects, closes: within seconds of the deadline. */
  readonly stop: (drainMs: number) => Promise<DrainResult>;
}

export interface ServingOptions {
  readonly config: Config;
  readonly channels: readonly MqttChannel[];
  readonly log: Log;
  readonly logContent: boolean;
  readonly connectTimeoutMs: number;
  readonly pid: number;
}

/** Opens it all; throws a `Failure` when the agent or a broker of our own cannot be had. */
export async function openServing(options: ServingOptions): Promise<Serving> {
  const { config, log, logContent } = options;
  const { defaults } = config.agents;
  const gateway = createGateway({
    answer: await createAgent({ config, log }),
    log,
    logContent,
    maxParallelTurns: defaults.max_parallel_turns,
    turnTimeoutMs: defaults.turn_timeout_secs * 1000,
    policies: new Map(options.channels.map((channel) => [channel.name, policyOf(channel)])),
  });
  const { channels: dialled, brokers } = await withBrokers(options.channels, log);
  const channels = dialled.map((channel) =>
    openChannel({
      channel,
      connectTimeoutMs: options.connectTimeoutMs,
      info: { version: VERSION, instance: String(options.pid) },
      log,
      onRequest: (request) => gateway.accept(request),
    }),
  );
  return {
    dialled,
    problem: () => problemOf(channels),
    over: allEnded(channels, log),
    async stop(drainMs) {
      const drained = await gateway.drain(drainMs);
      await Promise.all(channels.map((channel) => channel.close()));
      await Promise.all(brokers.map((broker) => broker.close()));
      return drained;
    },
  };
}

function policyOf({ allow_from, settings }: MqttChannel) {
  return {
    allowFrom: allow_from,
    intervalMs: settings.streaming.interval_ms,
    limits: settings.limits,
    totalLimits: settings.limits.total,
  };
}

/** Starts the built-in brokers that channels name, one for each address, and tells where they listen. */
export async function withBrokers(
  channels: readonly MqttChannel[],
  log: Log,
): Promise<{ channels: readonly MqttChannel[]; brokers: readonly Broker[] }> {
  const open = new Map<string, Broker>();
  const dialled: MqttChannel[] = [];
  try {
    for (const channel of channels) dialled.push(await withBroker(channel, open, log));
  } catch (error) {
    await Promise.all([...open.values()].map((broker) => broker.close()));
    throw error;
  }
  return { channels: dialled, brokers: [...open.values()] };
}

async function withBroker(
  channel: MqttChannel,
  open: Map<string, Broker>,
  log: Log,
): Promise<MqttChannel> {
  const { settings } = channel;
  if (parseBroker(settings.broker).kind !== "embedded") return channel;
  let broker = open.get(settings.broker);
  if (!broker) {
    const { openBroker } = await import("../mqtt/broker.ts");
    broker = await openBroker(settings);
    open.set(settings.broker, broker);
    log.info("built-in broker listens", { host: broker.host, port: broker.port });
  }
  const host = broker.host.includes(":") ? `[${broker.host}]` : broker.host;
  return { ...channel, settings: { ...settings, broker: `embedded://${host}:${broker.port}` } };
}

function problemOf(channels: readonly Channel[]): string | undefined {
  const problems = channels.flatMap(({ name, problem }) => {
    const failure = problem();
    return failure ? [`${name}: ${failure.message}`] : [];
  });
  return problems.length === 0 ? undefined : problems.join("; ");
}

async function allEnded(channels: readonly Channel[], log: Log): Promise<Failure> {
  const failures = await Promise.all(
    channels.map(async ({ name, ended }) => {
      const failure = await ended;
      if (failure) {
        const { message, why, remedy } = failure;
        log.error(message, { channel: name, why, try: remedy });
      }
      return failure;
    }),
  );
  return failures.find((failure) => failure !== undefined) ?? CLOSED;
}

const CLOSED = new Failure("failed", "every channel was closed");
