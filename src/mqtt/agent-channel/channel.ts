import { pause, settlesWithin } from "../../base/async.ts";
import { Failure, asFailure } from "../../base/failure.ts";
import { shouldLog, type Log } from "../../base/log.ts";
import { Connection, randomClientId, type ConnectionOptions } from "../client/connection.ts";
import type { Session } from "../client/session.ts";
import type { Channel, ChannelOptions } from "../contract.ts";
import { packetLimit } from "../limiter/framing.ts";
import { ConnectionLost, type Incoming } from "../protocol/message.ts";
import { agentAddressOf, requestFilter, statusTopic } from "../protocol/topics.ts";
import type { AgentAddress, PublishTopic } from "../protocol/topics.ts";
import { BrokerQueue } from "./broker-queue.ts";
import { Presence } from "./presence.ts";
import { createReceiver, parseReplyAddress } from "./receive.ts";
import { createReply, replyOptionsOf } from "./reply.ts";

const RECONNECT_MS = 5_000;
const LOOK_MS = 5_000;

/** Connects, subscribes and publishes `online`, and does so again after each loss. */
export function openChannel(options: ChannelOptions): Channel {
  const { channel, log } = options;
  const { settings } = channel;
  const address = agentAddressOf(settings);
  const tagged = taggedLog(log, channel.name);
  const replyOptions = replyOptionsOf(options, tagged);
  const presence = new Presence(options, address, {
    log: tagged,
    sessionsLost: () => connection.sessionsLost(),
    refuse: (failure) => void connection.refuse(failure, (session) => presence.offline(session)),
  });
  const receive = whenJoined(presence, createReceiver(options, address, replyOptions));
  const { qos } = settings;
  const probe = probeFor(options, address, tagged);
  const queue = brokerQueueFor(options, tagged);
  const logConnected = createConnectedLog(tagged);
  const warnOfQos = createQosWarning(tagged, qos);
  const connection: Connection = new Connection({
    ...connectionOptionsOf(options),
    ...sessionOptionsOf(options, address),
    log: tagged,
    onMessage(message) {
      probe.received(message);
      queue?.received(message);
      return receive(message, connection);
    },
    async onSession(session) {
      await presence.join(session);
      await session.subscribe([requestFilter(address)], qos);
      logConnected(session);
      warnOfQos(session.maximumQos);
      queue?.watch(session);
      // Answers do not wait until the broker has acknowledged that.
      void announce(session, presence).then(() => probe.watch(session));
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
    sessionsLost: () => connection.sessionsLost(),
    messagesDropped: () => queue?.dropped ?? 0,
    replyTo(recipient) {
      const to = parseReplyAddress(address, recipient, channel.settings);
      return to && createReply(connection, to, replyOptions);
    },
    otherGateways: () => presence.others(),
    close: () => {
      presence.stop();
      return connection.close((session) => presence.offline(session));
    },
  };
}

export function probeFor(options: ChannelOptions, address: AgentAddress, log: Log): Probe {
  const { qos, probe_secs } = options.channel.settings;
  return new Probe({
    topic: statusTopic(address),
    qos,
    seconds: probe_secs,
    pause: options.pause ?? pause,
    log,
  });
}

/** Undefined at QoS 0, at which nothing waits for us. */
export function brokerQueueFor(
  { channel, lookMs = LOOK_MS, brokerNotes: notes }: ChannelOptions,
  log: Log,
): BrokerQueue | undefined {
  if (channel.settings.qos === 0) return undefined;
  return new BrokerQueue({ lookMs, notes, log });
}

type Receive = ReturnType<typeof createReceiver>;

/** Hands requests over when it is known that this gateway may serve. */
function whenJoined(presence: Presence, receive: Receive): Receive {
  return (message, connection) => {
    presence.received(message);
    const joined = presence.joined();
    if (joined === undefined) return receive(message, connection);
    return joined.then(() => receive(message, connection));
  };
}

/** Publishes `online` and `info`. Never rejects: after a loss the next session announces itself. */
export async function announce(session: Session, presence: Presence): Promise<void> {
  try {
    await presence.online(session);
  } catch (error) {
    if (!(error instanceof ConnectionLost)) session.abort(asFailure(error).message);
  }
}

/** Of every connection of a channel: a random client id, and a session that ends with it. */
export function connectionOptionsOf(
  options: ChannelOptions,
): Omit<ConnectionOptions, "log" | "onMessage" | "onSession" | "onLoss"> {
  const { settings } = options.channel;
  return {
    settings,
    clientId: randomClientId(settings.client_id || `picoclaw-mqtt-${settings.agent_id}`),
    connectTimeoutMs: options.connectTimeoutMs,
    reconnectMs: options.reconnectMs ?? RECONNECT_MS,
    pause: options.pause,
    maximumPacketBytes: packetLimit(settings.max_payload_bytes),
    truncateOversizedPublish: true,
    sessionExpiry: undefined,
    onConflict: options.onConflict,
  };
}

/** Of the one connection of a gateway that is alone: the session that the broker keeps for it, and the will. */
function sessionOptionsOf(options: ChannelOptions, address: AgentAddress) {
  const { client_id, qos } = options.channel.settings;
  const clientId = client_id || options.clientId;
  return {
    ...(clientId && { clientId }),
    sessionExpiry: qos > 0 ? sessionExpiryFor(options) : undefined,
    sessionNotes: options.brokerNotes,
    will: { topic: statusTopic(address), payload: "offline" },
  };
}

/** From QoS 1 on the broker keeps requests that come while we are disconnected. */
function sessionExpiryFor({
  channel,
  clientId,
}: ChannelOptions): ConnectionOptions["sessionExpiry"] {
  const { client_id, session_expiry_secs } = channel.settings;
  return { seconds: session_expiry_secs, cleanStart: !client_id && clientId === undefined };
}

/** For the store to say who else lives. */
const ASKED_MS = 1_000;

/** Whether no other gateway of the cluster lives; also when the store does not say. */
export async function isLastGateway(isAlone?: () => Promise<boolean>): Promise<boolean> {
  let isLast = true;
  const asked = isAlone?.().then(
    (answer) => {
      isLast = answer;
    },
    () => {},
  );
  if (asked !== undefined) await settlesWithin(asked, ASKED_MS);
  return isLast;
}

const CALM_MS = 60_000;

/** Frequent reconnects are logged ever less often. */
export function createConnectedLog(log: Log, message = "connected"): (session: Session) => void {
  let last = Number.NEGATIVE_INFINITY;
  let times = 0;
  return ({ broker, protocol }) => {
    const now = performance.now();
    times = now - last > CALM_MS ? 1 : times + 1;
    last = now;
    log[shouldLog(times) ? "info" : "debug"](message, { broker, mqtt: protocol });
  };
}

/** Warns once of a broker that accepts less than the configured QoS. */
export function createQosWarning(log: Log, qos: 0 | 1 | 2): (maximumQos: 0 | 1 | 2) => void {
  let isWarned = false;
  return (maximumQos) => {
    if (maximumQos >= qos || isWarned) return;
    isWarned = true;
    const fields = { qos, try: `set qos to ${maximumQos}` };
    log.warn(`the broker allows QoS ${maximumQos} at most`, fields);
  };
}

export function taggedLog(log: Log, channel: string): Log {
  return {
    debug: (message, fields) => log.debug(message, { channel, ...fields }),
    info: (message, fields) => log.info(message, { channel, ...fields }),
    warn: (message, fields) => log.warn(message, { channel, ...fields }),
    error: (message, fields) => log.error(message, { channel, ...fields }),
  };
}

interface ProbeOptions {
  /** A retained topic: at each subscription the broker sends its message, the same way as requests. */
  readonly topic: PublishTopic;
  readonly qos: 0 | 1 | 2;
  /** Between probes; 0 is no probes. */
  readonly seconds: number;
  readonly pause: typeof pause;
  readonly log: Log;
}

/** Silence after a probe that counts; at most the time between probes. */
const SILENCE_MS = 20_000;
const CHECKS = 20;

const SILENT = "the broker delivers nothing on this connection";

/**
 * Finds a connection on which the broker acknowledges everything and delivers nothing.
 *
 * Silence counts only after this process received a probe on an existing subscription: some brokers accept
 * subscriptions that their access list forbids and then send nothing, and some send retained messages only
 * to new subscriptions. It does not count while messages wait to be stored and acknowledged, because the
 * broker may wait for that, nor while reading is paused.
 */
export class Probe {
  readonly #options: ProbeOptions;
  readonly #silenceMs: number;
  /** A message came since the last probe. */
  #isAnswered = false;
  /** The subscription existed before this probe. */
  #isRepeated = false;
  #isProven = false;
  /** The node of the last session. */
  #broker: string | undefined;
  /** Probes in a row without an answer. */
  #silences = 0;

  constructor(options: ProbeOptions) {
    this.#options = options;
    this.#silenceMs = Math.min(SILENCE_MS, options.seconds * 1000);
  }

  /** Probes this session at once, and then at intervals, until it is lost. */
  watch(session: Session): void {
    if (this.#options.seconds === 0) return;
    // What one node does with a probe says nothing of the next.
    if (this.#broker !== session.broker) this.#isProven = false;
    this.#broker = session.broker;
    const over = new AbortController();
    void session.lost.then(() => over.abort());
    this.#run(session, over.signal).catch((error: unknown) => {
      if (over.signal.aborted || error instanceof ConnectionLost) return;
      const { message, why } = asFailure(error);
      this.#options.log.debug("the connection cannot be probed", { error: message, why });
    });
  }

  /** Takes note of any message. */
  received({ topic, retain }: Incoming): void {
    this.#isAnswered = true;
    if (topic === this.#options.topic && retain && this.#isRepeated) this.#isProven = true;
    if (this.#silences > 0) this.#options.log.info("the broker delivers again");
    this.#silences = 0;
  }

  /** Set from a silence on until a message comes, on whatever connection. */
  problem(): Failure | undefined {
    return this.#silences > 0 ? silentBroker(this.#options.topic) : undefined;
  }

  async #run(session: Session, signal: AbortSignal): Promise<void> {
    this.#isRepeated = session.resumed;
    for (;;) {
      await this.#probe(session, signal);
      // The first probe of a process is repeated at once: a broker may stop delivering early.
      const isDue = this.#isAnswered && !this.#isProven && !this.#isRepeated;
      this.#isRepeated = true;
      if (!isDue) await this.#options.pause(this.#options.seconds * 1000, signal);
    }
  }

  async #probe(session: Session, signal: AbortSignal): Promise<void> {
    const { topic, qos, log } = this.#options;
    this.#isAnswered = false;
    await session.subscribe([topic], qos, { retained: true });
    if (!(await this.#isSilent(session, signal))) return;
    if (!this.#isProven) {
      log.debug("the connection cannot be probed: the broker does not send our status back");
      return;
    }
    this.#silences += 1;
    // If a new connection did not help, further ones are made ever less often.
    if (shouldLog(this.#silences)) session.abort(`${SILENT}: it does not send our status back`);
  }

  async #isSilent(session: Session, signal: AbortSignal): Promise<boolean> {
    const interval = this.#silenceMs / CHECKS;
    let last = session.readingTime();
    for (let quiet = 0; quiet < this.#silenceMs;) {
      if (this.#isAnswered) return false;
      await this.#options.pause(interval, signal);
      const now = session.readingTime();
      // Time in which this process was frozen does not count.
      if (!session.isStoring()) quiet += Math.min(now - last, interval);
      last = now;
    }
    return !this.#isAnswered;
  }
}

function silentBroker(topic: PublishTopic): Failure {
  return new Failure("unreachable", SILENT, {
    why: `it acknowledges, but does not send ${topic} back`,
    remedy:
      "look at the broker's log; let the gateway's user read its status topic, or set probe_secs to 0",
  });
}
