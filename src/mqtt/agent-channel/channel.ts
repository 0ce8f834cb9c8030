import { settlesWithin } from "../../base/async.ts";
import { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { shouldLog } from "../../base/log.ts";
import {
  openConnection,
  randomClientId,
  type Connection,
  type ConnectionOptions,
} from "../client/connection.ts";
import type { Session } from "../client/session.ts";
import { dialAddressOf } from "../client/transport.ts";
import type { Channel, ChannelOptions } from "../contract.ts";
import { packetLimit } from "../limiter/rules.ts";
import { requestFilter, statusTopic, type AgentAddress, infoTopic } from "../protocol/topics.ts";
import { createProbe } from "./probe.ts";
import { createReceiver, parseReplyAddress, replyLimitsOf } from "./receive.ts";
import { createReply } from "./reply.ts";

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
    ...connectionOptionsOf(options, address, quiet),
    log: tagged,
    onMessage(message) {
      const until = receive(message);
      probe.received(message, until);
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
      const to = parseReplyAddress(address, asker);
      return to && createReply(connection, to, replyLimitsOf(options));
    },
    close: () => {
      presence.stop();
      return connection.close(quiet ? undefined : presence.offline);
    },
  };
}

/** What stays the same from connection to connection. */
function connectionOptionsOf(
  options: ChannelOptions,
  address: AgentAddress,
  quiet: boolean,
): Omit<ConnectionOptions, "log" | "onMessage" | "onSession" | "onLoss"> {
  const { settings } = options.channel;
  return {
    address: dialAddressOf(settings),
    settings,
    clientId: clientIdFor(options, quiet),
    connectTimeoutMs: options.connectTimeoutMs,
    reconnectMs: options.reconnectMs ?? RECONNECT_MS,
    maximumPacketBytes: packetLimit(settings.max_payload_bytes),
    truncateOversizedPublish: true,
    ...(settings.qos > 0 && !quiet && { sessionExpiry: sessionExpiryFor(options) }),
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
function sessionExpiryFor({
  channel,
  clientId,
}: ChannelOptions): ConnectionOptions["sessionExpiry"] & object {
  const { client_id, session_expiry_secs } = channel.settings;
  return { seconds: session_expiry_secs, cleanStart: !client_id && clientId === undefined };
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
    log[shouldLog(times) ? "info" : "debug"]("connected", { broker, mqtt });
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

const OFFLINE_MS = 2_000;

/** What others see of the gateway while it comes and goes. */
interface Presence {
  readonly online: (session: Session) => Promise<void>;
  readonly offline: (session: Session) => Promise<void>;
  readonly stop: () => void;
}

/**
 * The retained `status` and `info`. `online` is said at every connect, and once more after the longest
 * time in which a broker can still publish the will of a predecessor that lost its power.
 */
function createPresence({ channel, info, log }: ChannelOptions, address: AgentAddress): Presence {
  const { settings, name } = channel;
  const since = new Date().toISOString();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const publishStatus = (session: Session, word: "online" | "offline"): Promise<unknown> =>
    session.publish({ topic: statusTopic(address), payload: word, qos: 1, retain: true });
  const publishInfo = (session: Session): Promise<unknown> => {
    const limits = {
      max_payload_bytes: settings.max_payload_bytes,
      max_message_bytes: settings.max_message_bytes,
    };
    const payload = JSON.stringify({ ...info, since, protocol: session.protocol, limits });
    return session.publish({ topic: infoTopic(address), payload, qos: 1, retain: true });
  };
  /** A broker that does not let us say so still lets us answer: a warning, no more. */
  const tolerate = async (work: Promise<unknown>, what: string): Promise<void> => {
    try {
      await work;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      log.warn(`${what} could not be published`, { channel: name, error: error.message });
    }
  };
  const stop = (): void => clearTimeout(timer);
  return {
    stop,
    async online(session) {
      await tolerate(publishStatus(session, "online"), "status");
      await tolerate(publishInfo(session), "info");
      stop();
      timer = setTimeout(
        () => void publishStatus(session, "online").catch(() => {}),
        settings.keep_alive * 1000 * 2,
      );
      timer.unref();
    },
    async offline(session) {
      const published = tolerate(publishStatus(session, "offline"), "status").catch(() => {});
      await settlesWithin(published, OFFLINE_MS);
    },
  };
}
