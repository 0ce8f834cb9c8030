import type { Log } from "../../base/log.ts";
import { authorityOf } from "../../base/url.ts";
import type { MqttChannel } from "../../config/contract.ts";
import { type Broker, openBroker } from "../../mqtt/broker/broker.ts";
import { isBuiltIn } from "../state/state.ts";

/** Starts the built-in brokers of the channels, one per address, and returns the channels with their ports. */
export async function withBrokers(
  channels: readonly MqttChannel[],
  log: Log,
): Promise<{
  channels: readonly MqttChannel[];
  brokers: readonly Broker[];
  brokerOf: ReadonlyMap<string, Broker>;
}> {
  const open = new Map<string, Broker>();
  const brokerOf = new Map<string, Broker>();
  const dialled: MqttChannel[] = [];
  try {
    for (const channel of channels) {
      dialled.push(await withBroker(channel, open, log));
      const broker = open.get(channel.settings.broker.join());
      if (broker !== undefined) brokerOf.set(channel.name, broker);
    }
  } catch (error) {
    await Promise.all([...open.values()].map((broker) => broker.close()));
    throw error;
  }
  return { channels: dialled, brokers: [...open.values()], brokerOf };
}

async function withBroker(
  channel: MqttChannel,
  open: Map<string, Broker>,
  log: Log,
): Promise<MqttChannel> {
  const { settings } = channel;
  if (!isBuiltIn(settings)) return channel;
  const address = settings.broker.join();
  let broker = open.get(address);
  if (!broker) {
    broker = await openBroker({ ...settings, broker: address }, log);
    open.set(address, broker);
    log.info("built-in broker listens", { host: broker.host, port: broker.port });
  }
  broker.awaitGateway(settings);
  const authority = authorityOf(broker.host, broker.port);
  return { ...channel, settings: { ...settings, broker: [`embedded://${authority}`] } };
}
