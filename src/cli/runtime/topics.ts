import type { Topics } from "../../agent/tools/mqtt.ts";
import { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { MqttChannel } from "../../config/contract.ts";
import type { TopicConnection } from "../../mqtt/requester/topic-session.ts";

export interface TopicsOptions {
  /** As they are connected; none while built-in brokers start. */
  readonly channels: () => readonly MqttChannel[];
  readonly connectTimeoutMs: number;
  readonly log: Log;
}

/** Gives the agent access to topics of the channels' brokers. The code is loaded with the first call. */
export function createTopics({ channels, connectTimeoutMs, log }: TopicsOptions): Topics {
  const trees = (): readonly string[] => reservedPrefixesOf(channels());
  const connectTo = (name: string | undefined, signal: AbortSignal): TopicConnection => {
    const found = channels().find((channel) => name === undefined || channel.name === name);
    if (found === undefined) throw new Failure("failed", "no broker is available");
    return { settings: found.settings, connectTimeoutMs, reservedPrefixes: trees(), log, signal };
  };
  return {
    trees,
    async read({ channel, signal, ...wanted }) {
      const { readTopics } = await import("../../mqtt/requester/topic-session.ts");
      return await readTopics(connectTo(channel, signal), wanted);
    },
    async publish({ channel, signal, ...message }) {
      const { publishTo } = await import("../../mqtt/requester/topic-session.ts");
      return await publishTo(connectTo(channel, signal), message);
    },
  };
}

/** The prefixes of the agents' own topics, which no tool reads or publishes to. */
export function reservedPrefixesOf(channels: readonly MqttChannel[]): readonly string[] {
  return channels.map(({ settings }) => `${settings.topic_prefix}/${settings.agent_id}`);
}
