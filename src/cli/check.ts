import { openAgent } from "../agent/agent.ts";
import { escapeControl } from "../base/escape-control.ts";
import { Failure } from "../base/failure.ts";
import { VERSION } from "../base/version.ts";
import type { MqttChannel } from "../config/contract.ts";
import { openChannel } from "../mqtt/agent-channel/channel.ts";
import { certificateChecks } from "../mqtt/checks/tls.ts";
import { checkLine, checkUp } from "./checks.ts";
import type { Context } from "./context.ts";
import { withBrokers, type ServingOptions } from "./serving.ts";
import { usageChecks } from "./usage.ts";

/**
 * Would it run? Validates, connects and subscribes every channel without serving or saying `online`;
 * one line a channel and one for each further look on stdout, and the first failure thrown at the end.
 */
export async function check(options: ServingOptions, context: Context): Promise<number> {
  const { config, log, redactor } = options;
  await (await openAgent({ config, log, redactor })).close();
  const { channels, brokers } = await withBrokers(options.channels, log);
  const failures: Failure[] = [];
  try {
    for (const channel of channels) {
      const outcome = await checkChannel(channel, options, context.signal);
      context.signal.throwIfAborted();
      if (outcome instanceof Failure) failures.push(outcome);
      const told = outcome instanceof Failure ? `failed: ${outcome.message}` : outcome;
      await context.host.stdout.write(
        `${escapeControl(redactor.redact(`${channel.name}: ${told}`))}\n`,
      );
    }
    const { secretFiles = [] } = options;
    const looks = await checkUp({ ...options, channels, secretFiles });
    const terms = await Promise.all(channels.map((channel) => certificateChecks(channel)));
    for (const found of [...looks, ...terms.flat(), ...(await usageChecks(config))]) {
      await context.host.stdout.write(checkLine(found));
      if (found.result === "fail") failures.push(new Failure("failed", found.message));
    }
  } finally {
    await Promise.all(brokers.map((broker) => broker.close()));
  }
  const [first] = failures;
  if (first) throw first;
  return 0;
}

async function checkChannel(
  channel: MqttChannel,
  { connectTimeoutMs, log, pid }: ServingOptions,
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
    if (outcome instanceof Failure) return atBroker(outcome, settings.broker);
    const protocol = outcome?.protocol === 5 ? "5" : "3.1.1";
    const topic = `${settings.topic_prefix}/${settings.agent_id}/+/request`;
    return `connected to ${settings.broker} (MQTT ${protocol}), subscribed to ${topic}`;
  } catch (error) {
    if (error instanceof Failure) return atBroker(error, settings.broker);
    throw error;
  } finally {
    await opened.close();
  }
}

function atBroker({ code, message, why, remedy, cause }: Failure, broker: string): Failure {
  return new Failure(code, `${broker}: ${message}`, {
    ...(why !== undefined && { why }),
    ...(remedy !== undefined && { remedy }),
    cause,
  });
}
