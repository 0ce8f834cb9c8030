import type { Log } from "../base/log.ts";
import { isTold } from "../base/thin.ts";
import { dialAddressOf } from "./address.ts";
import { createReply } from "./answer.ts";
import {
  openConnection,
  randomClientId,
  type Connection,
  type ConnectionOptions,
} from "./connection.ts";
import type { Channel, ChannelOptions } from "./contract.ts";
import { packetLimit } from "./packet-rules.ts";
import { createPresence } from "./presence.ts";
import { createProbe } from "./probe.ts";
import { createReceiver, replyAddressAgain, replyLimitsOf } from "./receive.ts";
import { requestFilter, statusTopic, type AgentAddress } from "./topics.ts";

const RECONNECT_MS = 5_000;

/** Opens a channel: it connects, subscribes and says that it is online, again after each loss. */
export function openChannel(options: ChannelOptions): Channel {
  const { channel, log, quiet = false } = options;
  const { settings } = channel;
  const address: AgentAddress = { prefix: settings.topic_prefix, agent: settings.agent_id };
  const receive = createReceiver(options, address, () => connection);
  const presence = createPresence(options, address);
  const tagged = taggedLog(log, channel.name);
  const { qos } = settings;
  const seconds = quiet ? 0 : settings.probe_secs;
  const probe = createProbe({ topic: statusTopic(address), qos, seconds, log: tagged });
  const tellConnected = createConnectedLog(tagged, settings.broker);
  const connection: Connection = openConnection({
    ...lineOf(options, address, quiet),
    log: tagged,
    onMessage(message) {
      const until = receive(message);
      probe.heard(message, until);
      return until;
    },
    async onSession(session) {
      await session.subscribe([requestFilter(address)], qos);
      if (!quiet) await presence.online(session);
      tellConnected(session.protocol);
      probe.watch(session);
    },
    onLoss(failure) {
      presence.stop();
      options.onProblem?.(failure);
    },
  });
  return {
    name: channel.name,
    problem: () => connection.problem() ?? probe.problem(),
    ready: (signal) => connection.ready(signal),
    ended: connection.ended,
    replyTo(asker) {
      const to = replyAddressAgain(address, asker);
      return to && createReply(connection, to, replyLimitsOf(options));
    },
    close: () => {
      presence.stop();
      return connection.close(quiet ? undefined : presence.offline);
    },
  };
}

/** What stays the same from connection to connection. */
function lineOf(options: ChannelOptions, address: AgentAddress, quiet: boolean) {
  const { settings } = options.channel;
  return {
    address: dialAddressOf(settings),
    settings,
    clientId: clientIdFor(options, quiet),
    connectTimeoutMs: options.connectTimeoutMs,
    reconnectMs: options.reconnectMs ?? RECONNECT_MS,
    maximumPacketBytes: packetLimit(settings.max_payload_bytes),
    shortens: true,
    ...(settings.qos > 0 && !quiet && { away: awayFor(options) }),
    ...(!quiet && { will: { topic: statusTopic(address), payload: "offline" } }),
  };
}

/** A mere check never takes the id of a gateway that may be running: the broker would throw that one out. */
function clientIdFor({ channel, clientId }: ChannelOptions, quiet: boolean): string {
  const { client_id, agent_id } = channel.settings;
  const own = client_id || clientId;
  if (own && !quiet) return own;
  return randomClientId(client_id || `picoclaw-mqtt-${agent_id}`);
}

/** From QoS 1 on the broker keeps requests that come while we are away. */
function awayFor({ channel, clientId }: ChannelOptions): ConnectionOptions["away"] & object {
  const { client_id, session_expiry_secs } = channel.settings;
  return { seconds: session_expiry_secs, anew: !client_id && clientId === undefined };
}

const CALM_MS = 60_000;

/** Another connection is not worth a line where they come and go all the time. */
function createConnectedLog(log: Log, broker: string): (mqtt: 4 | 5) => void {
  let last = Number.NEGATIVE_INFINITY;
  let times = 0;
  return (mqtt) => {
    const now = performance.now();
    times = now - last > CALM_MS ? 1 : times + 1;
    last = now;
    log[isTold(times) ? "info" : "debug"]("connected", { broker, mqtt });
  };
}

function taggedLog(log: Log, channel: string): Log {
  return {
    debug: (message, fields) => log.debug(message, { channel, ...fields }),
    info: (message, fields) => log.info(message, { channel, ...fields }),
    warn: (message, fields) => log.warn(message, { channel, ...fields }),
    error: (message, fields) => log.error(message, { channel, ...fields }),
  };
}
