import type { Duplex } from "node:stream";
import { MqttClient, type IClientOptions, type IPublishPacket } from "mqtt";
import { onAbort, settlesWithin } from "../../base/async.ts";
import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { MqttSettings } from "../../config/contract.ts";
import { limitIncoming } from "../limiter/packet-limiter.ts";
import { ConnectionLost } from "../protocol/message.ts";
import type { Incoming, IncomingProperties, Outgoing, Published } from "../protocol/message.ts";
import type { PublishTopic } from "../protocol/topics.ts";
import { DeferredAcks, sendPacketOf, type InboundQos2 } from "./acks.ts";
import { controlFlow, type Backlog } from "./flow-control.ts";
import { createDeadlines, createReadingClock, watchKeepAlive } from "./flow-control.ts";
import type { Publisher } from "./publish.ts";
import { closeReason, TAKEN_OVER_IN_TURN } from "./reasons.ts";
import { unanswered, unreachable, type Refusal } from "./reasons.ts";
import { subscribingOn, type Subscribing } from "./subscribing.ts";
import type { Transport } from "./transport.ts";

/** One network connection to a broker, from CONNACK to its end. The library's client never leaves this file. */
export interface Session extends Subscribing {
  /** The node, as the configuration names it. */
  readonly broker: string;
  readonly protocol: 4 | 5;
  /** The broker had kept our session (Session Present, MQTT 5 section 3.2.2.1.1). */
  readonly resumed: boolean;
  /** Seconds for which the broker keeps the session after this connection; undefined if it does not keep it. */
  readonly expirySecs: number | undefined;
  /** MQTT 5 section 3.2.2.3.8; 0 if the broker takes none. */
  readonly topicAliasMaximum: number;
  /** Bytes of the largest packet that the broker accepts (MQTT 5 section 3.2.2.3.6); 0 is unknown. */
  readonly maximumPacketBytes: number;
  /** The highest QoS that the broker accepts (MQTT 5 section 3.2.2.3.4). */
  readonly maximumQos: 0 | 1 | 2;
  /** Resolves when the connection is over. */
  readonly lost: Promise<Refusal>;
  /** Resolves when delivered as far as the QoS tells; rejects with `ConnectionLost`, or a `Failure` for a refusal. */
  publish(message: Outgoing): Promise<Published>;
  /** Tells that we are subscribed: other messages, and those of the last connection, may be sent now. */
  readonly open: () => void;
  /** Milliseconds in which this connection was read, without those in which flow control paused it. */
  readonly readingTime: () => number;
  /** Whether a message that was handed over is not stored yet. */
  readonly isStoring: () => boolean;
  /**
   * Waits for acknowledgements and sends DISCONNECT; takes at most so long. No will is published, unless `keepsWill`
   * asks the broker to publish it after its delay (on MQTT 5, section 3.14.2.1).
   */
  end(milliseconds: number, keepsWill?: boolean): Promise<void>;
  /** Cuts the connection as a fault would. */
  abort(reason: string): void;
}

/** A retained message that the broker publishes at QoS 1 when the connection is lost. */
export interface Will {
  readonly topic: PublishTopic;
  readonly payload: string;
  /** On MQTT 5 it is published so many seconds later, unless the session is connected again by then. */
  readonly delaySeconds?: number;
  /** Only on MQTT 5. */
  readonly properties?: { readonly userProperties: Readonly<Record<string, string>> };
}

export interface SessionExpiry {
  readonly seconds: number;
  readonly cleanStart: boolean;
  readonly only5?: boolean;
}

/** What is the same for all sessions of a connection. */
export interface ClientOptions {
  readonly settings: MqttSettings;
  readonly clientId: string;
  readonly connectTimeoutMs: number;
  /** Bytes of the largest packet that we accept; CONNECT announces it on MQTT 5. A larger packet cuts the connection. */
  readonly maximumPacketBytes: number;
  /** A larger PUBLISH is truncated instead. */
  readonly truncateOversizedPublish?: boolean;
  readonly will?: Will | undefined;
  /**
   * Whether messages may be acknowledged now. One that is ready while they may not is never acknowledged on this
   * network connection.
   */
  readonly mayAcknowledge?: () => boolean;
  /**
   * How long the broker keeps messages while we are disconnected; `cleanStart` drops those for a former
   * process. Undefined is a session that ends with its connection, and so is `only5` on MQTT 3.1.1.
   */
  readonly sessionExpiry?: SessionExpiry | undefined;
  /** Of CONNECT; only on MQTT 5. */
  readonly userProperties?: Readonly<Record<string, string>>;
  /** Other gateways use this client id in turn: to be thrown out by one of them is a loss like any other. */
  readonly sharesClientId?: boolean;
  readonly log: Log;
  /** The message is acknowledged when the promise resolves; undefined is at once. Reading goes on meanwhile. */
  readonly onMessage: (message: Incoming) => Promise<void> | undefined;
}

export interface SessionOptions extends ClientOptions {
  readonly broker: string;
  readonly transport: Transport;
  readonly protocol: 4 | 5;
  /** Shared by all sessions of a connection: what one did not acknowledge the next sends again. */
  readonly publisher: Publisher;
  /** Shared by all sessions of a connection, as the broker's session is. */
  readonly inboundQos2: InboundQos2;
  /** Shared by all sessions of a connection. */
  readonly backlog: Backlog;
}

/** A refused or failed attempt to connect. */
export class ConnectError extends Error {
  override readonly name = "ConnectError";
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(refusal.failure.message);
    this.refusal = refusal;
  }
}

/** Connects once; throws a `ConnectError`. */
export async function connectSession(
  options: SessionOptions,
  signal: AbortSignal,
): Promise<Session> {
  const client = createClient(options);
  const lost = closeReason(client, options.transport).then((refusal) =>
    options.sharesClientId && refusal.takenOver ? TAKEN_OVER_IN_TURN : refusal,
  );
  let resumed = false;
  client.once("connect", ({ sessionPresent }) => {
    resumed = sessionPresent;
  });
  await connected(client, options, { lost, signal });
  const socket: { setNoDelay?: (on: boolean) => void } = client.stream as object;
  socket.setNoDelay?.(true);
  return sessionOf(client, options, { lost, resumed });
}

function createClient(options: SessionOptions): MqttClient {
  const { will, transport, protocol, maximumPacketBytes } = options;
  const { truncateOversizedPublish = false } = options;
  const { keep_alive: keepAlive, ...credentials } = options.settings;
  const [username, password] = [credentials.username?.reveal(), credentials.password?.reveal()];
  const settings: IClientOptions = {
    protocolVersion: protocol,
    protocolId: "MQTT",
    clientId: options.clientId,
    keepalive: keepAlive,
    connectTimeout: options.connectTimeoutMs,
    clean: options.sessionExpiry?.cleanStart ?? true,
    messageIdProvider: options.publisher.messageIds,
    manualConnect: true,
    reconnectPeriod: 0,
    resubscribe: false,
    queueQoSZero: false,
    writeCache: false,
    incomingStore: options.inboundQos2.storeFor({
      handOver: (packet) => handOver(options, packet) ?? Promise.resolve(),
      wait: (until) => acks.wait(until),
      sheds: () => flow.sheds(),
    }),
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(will && { will: willOf(will, protocol) }),
    ...(protocol === 5 && { properties: connectProperties(options) }),
  };
  const open = (): Duplex => {
    const rules = {
      sender: "server",
      protocol,
      maximumPacketBytes,
      truncateOversizedPublish,
    } as const;
    return limitIncoming(transport.open(), { ...rules, ready: flow.ready });
  };
  const client = new MqttClient(open, settings);
  const giveUp = (why: string): void => {
    options.log.error(why);
    client.stream.destroy();
  };
  const acks = new DeferredAcks(client, giveUp, options.mayAcknowledge);
  const flow = controlFlow(client, { ...options, keepAlive, withhold: () => acks.withhold() });
  client.handleMessage = (packet, done) => {
    // A message of QoS 2 was handed over when its PUBLISH came.
    const isSkipped = packet.qos === 2 || (packet.qos === 1 && flow.sheds());
    const until = isSkipped ? undefined : handOver(options, packet);
    if (until !== undefined && packet.qos === 1) acks.wait(until);
    done();
  };
  client.once("connect", ({ sessionPresent }) => {
    if (!sessionPresent) options.inboundQos2.clear();
  });
  return client;
}

function willOf({ topic, payload, delaySeconds, properties }: Will, protocol: 4 | 5) {
  const delay = delaySeconds !== undefined && { willDelayInterval: delaySeconds };
  const more = (properties || delay) && { properties: { ...properties, ...delay } };
  const will = { topic, payload: Buffer.from(payload), qos: 1, retain: true } as const;
  return { ...will, ...(protocol === 5 && more) };
}

/** Calls `onMessage`; never throws, because a throw here would stop all further delivery. */
function handOver(options: SessionOptions, packet: IPublishPacket): Promise<void> | undefined {
  try {
    const stored = options.onMessage(incomingOf(packet));
    if (stored !== undefined) options.backlog.add(stored, packet.payload.length);
    return stored;
  } catch (error) {
    const { message, why } = asFailure(error);
    options.log.error("a message could not be handled", { error: message, why });
    return undefined;
  }
}

/**
 * MQTT 5 section 3.1.2.11. We set no Receive Maximum: we accept all that a broker may have in flight. Where
 * a larger message is truncated we set no Maximum Packet Size, except the transport's: a broker would drop
 * the message, and its sender would get no answer.
 */
function connectProperties(options: SessionOptions) {
  const { transport, maximumPacketBytes, truncateOversizedPublish, sessionExpiry } = options;
  const { userProperties } = options;
  const isTruncated = truncateOversizedPublish === true;
  const bytes = isTruncated ? transport.maximumPacketBytes : maximumPacketBytes;
  return {
    ...(bytes !== undefined && { maximumPacketSize: bytes }),
    ...(sessionExpiry && { sessionExpiryInterval: sessionExpiry.seconds }),
    ...(userProperties && { userProperties }),
  };
}

function incomingOf({ topic, payload, qos, dup, retain, properties }: IPublishPacket): Incoming {
  const bytes = typeof payload === "string" ? Buffer.from(payload) : payload;
  return { topic, payload: bytes, qos, dup, retain, properties: properties && typedOf(properties) };
}

/**
 * The properties that we read, if they have the right type. The library gives an array for a property that
 * comes twice, which MQTT 5 section 3.3.2.3 forbids, and null for one that is truncated.
 */
function typedOf({
  responseTopic,
  correlationData,
  messageExpiryInterval,
  contentType,
  userProperties,
}: NonNullable<IPublishPacket["properties"]>): IncomingProperties {
  const traceparent = userProperties?.["traceparent"];
  const mcpClient = userProperties?.["MCP-MQTT-CLIENT-ID"];
  const a2aStatus = userProperties?.["a2a-status"];
  return {
    ...(typeof responseTopic === "string" && { responseTopic }),
    ...(Buffer.isBuffer(correlationData) && { correlationData }),
    ...(typeof messageExpiryInterval === "number" && { messageExpiryInterval }),
    ...(typeof contentType === "string" && { contentType }),
    ...(typeof traceparent === "string" && { traceparent }),
    ...(typeof mcpClient === "string" && { mcpClient }),
    ...(typeof a2aStatus === "string" && { a2aStatus }),
  };
}

async function connected(
  client: MqttClient,
  { connectTimeoutMs }: SessionOptions,
  { lost, signal }: { lost: Promise<Refusal>; signal: AbortSignal },
): Promise<void> {
  if (signal.aborted) throw new ConnectError(aborted());
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const fail = (refusal: Refusal): void => {
    client.end(true);
    reject(new ConnectError(refusal));
  };
  const timer = setTimeout(() => {
    // Before the socket is connected, the broker has not left a CONNECT unanswered.
    const isDialling = Reflect.get(client.stream, "connecting") === true;
    fail({ ...unanswered(connectTimeoutMs), unanswered: !isDialling });
  }, connectTimeoutMs);
  client.once("connect", () => resolve());
  void lost.then(fail);
  const stopListening = onAbort(signal, () => fail(aborted()));
  try {
    client.connect();
    await promise;
  } finally {
    clearTimeout(timer);
    stopListening();
  }
}

function aborted(): Refusal {
  return unreachable("connect aborted", undefined);
}

function sessionOf(
  client: MqttClient,
  options: SessionOptions,
  { lost, resumed }: { lost: Promise<Refusal>; resumed: boolean },
): Session {
  const { broker, protocol, publisher, will } = options;
  const properties = client.serverProperties;
  const gone = new AbortController();
  const maximumQos = maximumQosOf(properties?.maximumQoS);
  let isAborted = false;
  const abort = (reason: string): void => {
    if (!gone.signal.aborted && !isAborted) options.log.warn("connection aborted", { reason });
    isAborted = true;
    client.stream.destroy();
  };
  const readingTime = createReadingClock(client.stream);
  watchKeepAlive(client, options.settings.keep_alive, { abort, readingTime });
  const expect = createDeadlines({ abort, readingTime });
  const send = sendPacketOf(client);
  const attached = publisher.attach({
    protocol,
    resumed,
    receiveMaximum: Math.max(1, properties?.receiveMaximum ?? Number.POSITIVE_INFINITY),
    maximumQos,
    write(packet, written) {
      if (client.connected && !client.disconnecting) send(packet, written, undefined, true);
    },
    expect,
    abort,
  });
  client.on("packetreceive", attached.take);
  void lost.then(() => {
    attached.detach(!isAborted);
    gone.abort(new ConnectionLost("the connection was lost"));
  });
  return {
    broker,
    protocol,
    resumed,
    // MQTT 5 section 3.2.2.3.2: the broker may keep it for another time than asked for.
    expirySecs:
      options.sessionExpiry && (properties?.sessionExpiryInterval ?? options.sessionExpiry.seconds),
    ...announcedIn(properties),
    maximumQos,
    lost,
    publish: (message) => publisher.publish(message, gone.signal, true),
    open: attached.open,
    ...subscribingOn(client, { maximumQos, expect, gone: gone.signal, granted: attached.granted }),
    readingTime,
    isStoring: () => options.backlog.level() > 0,
    end: (milliseconds, keepsWill = false) =>
      endClient(client, publisher.idle(), { hasWill: will !== undefined, keepsWill }, milliseconds),
    abort,
  };
}

function announcedIn(properties: MqttClient["serverProperties"]) {
  return {
    topicAliasMaximum: properties?.topicAliasMaximum ?? 0,
    maximumPacketBytes: properties?.maximumPacketSize ?? 0,
  };
}

/** MQTT 5 section 3.2.2.3.4: without the property, and on 3.1.1, it is 2. */
function maximumQosOf(announced: number | undefined): 0 | 1 | 2 {
  return announced === 0 || announced === 1 ? announced : 2;
}

/** MQTT 5 section 3.14.2.1. */
const DISCONNECT_WITH_WILL = 0x04;

/**
 * Sends DISCONNECT when all is acknowledged, and closes the connection in any case. With a will it waits
 * until the broker has closed its side, because a broker that did not read DISCONNECT publishes the will.
 */
async function endClient(
  client: MqttClient,
  idle: Promise<void>,
  { hasWill, keepsWill }: { readonly hasWill: boolean; readonly keepsWill: boolean },
  milliseconds: number,
): Promise<void> {
  const ended = Promise.withResolvers<void>();
  if (!hasWill) client.stream.once("finish", () => ended.resolve());
  const is5 = client.options.protocolVersion === 5;
  const reason = keepsWill && is5 ? { reasonCode: DISCONNECT_WITH_WILL } : {};
  void idle.then(() => client.end(false, reason, () => ended.resolve()));
  await settlesWithin(ended.promise, milliseconds);
  // A second end() would do nothing, and a broker that hangs never closes its side.
  client.stream.destroy();
}
