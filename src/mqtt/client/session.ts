import type { Duplex } from "node:stream";
import { MqttClient, type IClientOptions, type IPublishPacket } from "mqtt";
import type { Packet } from "mqtt";
import { asFailure, Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { limitIncoming } from "../limiter/packet-limiter.ts";
import {
  ConnectionLost,
  type Incoming,
  type IncomingProperties,
  type Outgoing,
  type Published,
} from "../protocol/message.ts";
import type { PublishTopic } from "../protocol/topics.ts";
import { deferAcks } from "./acks.ts";
import { createInboundStore, type InboundQos2 } from "./acks.ts";
import type { Backlog } from "./flow-control.ts";
import { controlFlow, type FlowControl } from "./flow-control.ts";
import { createDeadlines, createReadingClock, watchKeepAlive } from "./flow-control.ts";
import type { Publisher } from "./publish.ts";
import { createLossGuard, closeReason } from "./reasons.ts";
import { unanswered, unreachable, type Refusal, refusalOf } from "./reasons.ts";
import type { Transport } from "./transport.ts";

/** One network connection to a broker, from CONNACK to its loss. The library's client never leaves this file. */
export interface Session {
  readonly protocol: 4 | 5;
  /** The broker had kept our session (Session Present, MQTT 5 section 3.2.2.1.1). */
  readonly resumed: boolean;
  /** Bytes of the largest packet that the broker takes (MQTT 5 section 3.2.2.3.6); 0 is unknown. */
  readonly maximumPacketBytes: number;
  /** Resolves when the connection is over. */
  readonly lost: Promise<Refusal>;
  /** Resolves when delivered as far as the QoS tells; rejects with `ConnectionLost`, or a `Failure` for a refusal. */
  publish(message: Outgoing): Promise<Published>;
  /** Rejects with `ConnectionLost`, or a `Failure` that names the broker's reason. */
  subscribe(filters: readonly string[], qos: 0 | 1 | 2, wish?: SubscriptionWish): Promise<void>;
  /** Our subscriptions stand: what others publish, and published on the last connection, may be sent. */
  readonly open: () => void;
  /** Milliseconds for which this connection was read from: not those in which it was held up by a flood. */
  readonly readingTime: () => number;
  /** Says DISCONNECT so that no will is sent; within two seconds, in which acknowledgements are awaited. */
  end(): Promise<void>;
  /** Cuts the connection as a fault would. */
  abort(reason: string): void;
}

export interface SessionOptions {
  readonly transport: Transport;
  readonly protocol: 4 | 5;
  readonly clientId: string;
  readonly username: string | undefined;
  readonly password: string | undefined;
  /** Seconds. */
  readonly keepAlive: number;
  readonly connectTimeoutMs: number;
  /** Bytes of the largest packet that we take, told to an MQTT 5 broker; a larger one cuts the connection. */
  readonly maximumPacketBytes: number;
  /** Of an MQTT 3.1.1 broker, which cannot be told, a larger message is taken cut short instead. */
  readonly truncateOversizedPublish?: boolean;
  readonly will?: { readonly topic: PublishTopic; readonly payload: string };
  /** The broker keeps what comes while we are away; undefined is a session that ends with its connection. */
  readonly sessionExpiry?: { readonly seconds: number; readonly cleanStart: boolean };
  /** Outlives a session: what was not acknowledged on one is sent again on the next. */
  readonly publisher: Publisher;
  /** Outlives a session as the broker's memory of it does. */
  readonly inboundQos2: InboundQos2;
  /** Of the channel, whatever connection its messages came on. */
  readonly backlog: Backlog;
  readonly log: Log;
  /** Says when the message may be acknowledged; undefined is at once. Reading goes on meanwhile. */
  onMessage(message: Incoming): Promise<void> | undefined;
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
  const lost = closeReason(client, options.transport);
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
  const { will } = options;
  const settings: IClientOptions = {
    protocolVersion: options.protocol,
    protocolId: "MQTT",
    clientId: options.clientId,
    keepalive: options.keepAlive,
    connectTimeout: options.connectTimeoutMs,
    clean: options.sessionExpiry?.cleanStart ?? true,
    messageIdProvider: options.publisher.messageIds,
    manualConnect: true,
    reconnectPeriod: 0,
    resubscribe: false,
    queueQoSZero: false,
    writeCache: false,
    incomingStore: createInboundStore(options.inboundQos2, {
      handOver: (packet) => handledBy(options, packet) ?? Promise.resolve(),
      wait: (until) => acks.wait(until),
      sheds: () => sheds(),
    }),
    ...(options.username !== undefined && { username: options.username }),
    ...(options.password !== undefined && { password: options.password }),
    ...(will && { will: { ...will, payload: Buffer.from(will.payload), qos: 1, retain: true } }),
    ...(options.protocol === 5 && { properties: connectProperties(options) }),
  };
  const client = new MqttClient(() => guarded(options, flow), settings);
  const flow = controlFlow(client, options);
  const acks = deferAcks(client, (why) => {
    options.log.error(why);
    client.stream.destroy();
  });
  const sheds = (): boolean => {
    const isShed = flow.sheds();
    if (isShed) acks.withhold();
    return isShed;
  };
  client.handleMessage = (packet, done) => {
    // A message of QoS 2 was handed over when it came.
    const isLeft = packet.qos === 2 || (packet.qos === 1 && sheds());
    const until = isLeft ? undefined : handledBy(options, packet);
    if (until !== undefined && packet.qos === 1) acks.wait(until);
    done();
  };
  client.once("connect", ({ sessionPresent }) => {
    if (!sessionPresent) options.inboundQos2.clear();
  });
  return client;
}

function guarded(
  { transport, protocol, maximumPacketBytes, truncateOversizedPublish = false }: SessionOptions,
  { ready }: FlowControl,
): Duplex {
  const rules = {
    sender: "server",
    protocol,
    maximumPacketBytes,
    truncateOversizedPublish,
  } as const;
  return limitIncoming(transport.open(), { ...rules, ready });
}

/** A throw here would stop all further delivery. */
function handledBy(options: SessionOptions, packet: IPublishPacket): Promise<void> | undefined {
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
 * MQTT 5 section 3.1.2.11. No Receive Maximum: all that a broker may have in flight is taken. No Maximum
 * Packet Size where a larger message is cut short, but what the way itself has: its sender would hear
 * nothing of a broker that drops it.
 */
function connectProperties({
  transport,
  maximumPacketBytes,
  truncateOversizedPublish,
  sessionExpiry,
}: SessionOptions) {
  const bytes =
    truncateOversizedPublish === true ? transport.maximumPacketBytes : maximumPacketBytes;
  return {
    ...(bytes !== undefined && { maximumPacketSize: bytes }),
    ...(sessionExpiry && { sessionExpiryInterval: sessionExpiry.seconds }),
  };
}

/**
 * The properties that are read, each of its own type: the library makes a list of one that comes twice,
 * which MQTT 5 section 3.3.2.3 forbids, and null of one that is cut off.
 */
function plainOf({
  responseTopic,
  correlationData,
  messageExpiryInterval,
}: NonNullable<IPublishPacket["properties"]>): IncomingProperties {
  return {
    ...(typeof responseTopic === "string" && { responseTopic }),
    ...(Buffer.isBuffer(correlationData) && { correlationData }),
    ...(typeof messageExpiryInterval === "number" && { messageExpiryInterval }),
  };
}

function incomingOf({ topic, payload, qos, dup, retain, properties }: IPublishPacket): Incoming {
  const bytes = typeof payload === "string" ? Buffer.from(payload) : payload;
  return { topic, payload: bytes, qos, dup, retain, properties: properties && plainOf(properties) };
}

async function connected(
  client: MqttClient,
  { connectTimeoutMs }: SessionOptions,
  { lost, signal }: { lost: Promise<Refusal>; signal: AbortSignal },
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const fail = (refusal: Refusal): void => {
    client.end(true);
    reject(new ConnectError(refusal));
  };
  const late = (): void => {
    // Where no connection stands nobody left the CONNECT unanswered.
    const isDialling = Reflect.get(client.stream, "connecting") === true;
    fail({ ...unanswered(connectTimeoutMs), unanswered: !isDialling });
  };
  const timer = setTimeout(late, connectTimeoutMs);
  const abort = (): void => fail(unreachable("the connection was given up", undefined));
  signal.addEventListener("abort", abort, { once: true });
  client.once("connect", () => resolve());
  void lost.then(fail);
  try {
    if (signal.aborted) abort();
    else client.connect();
    await promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", abort);
  }
}

function sessionOf(
  client: MqttClient,
  options: SessionOptions,
  { lost, resumed }: { lost: Promise<Refusal>; resumed: boolean },
): Session {
  const { protocol, publisher } = options;
  const properties = client.serverProperties;
  const { isLost, orLost } = createLossGuard(lost);
  const gone = new AbortController();
  let isAborted = false;
  const abort = (reason: string): void => {
    if (!isLost() && !isAborted) options.log.warn("connection given up", { reason });
    isAborted = true;
    client.stream.destroy();
  };
  const readingTime = createReadingClock(client.stream);
  watchKeepAlive(client, options.keepAlive, { abort, readingTime });
  const expect = createDeadlines({ abort, readingTime });
  const linked = publisher.attach({
    protocol,
    resumed,
    receiveMaximum: Math.max(1, properties?.receiveMaximum ?? Number.POSITIVE_INFINITY),
    write: packetWriter(client),
    expect,
    abort,
  });
  client.on("packetreceive", (packet) => linked.take(packet));
  void lost.then(() => {
    linked.detach();
    gone.abort(new ConnectionLost("the connection was lost"));
  });
  return {
    protocol,
    resumed,
    maximumPacketBytes: properties?.maximumPacketSize ?? 0,
    lost,
    publish: (message) => publisher.publish(message, gone.signal, true),
    open: linked.open,
    subscribe: (filters, qos, wish) => {
      const stop = expect("SUBACK");
      return orLost(subscribeWith(client, { filters, qos, ...wish })).finally(stop);
    },
    readingTime,
    end: () => endClient(client, publisher.idle()),
    abort,
  };
}

interface SubscriptionWish {
  /** Whether messages that the broker keeps are wanted; else only of filters without `+`. */
  readonly retained?: boolean;
}

interface Subscription extends SubscriptionWish {
  readonly filters: readonly string[];
  readonly qos: 0 | 1 | 2;
}

/** Subscribes; a refused filter rejects with a `Failure` that says why. */
function subscribeWith(
  client: MqttClient,
  { filters, qos, retained }: Subscription,
): Promise<void> {
  // Retain Handling 2 (MQTT 5 section 3.8.3.1): do not send retained messages at subscribe time.
  const handling = (filter: string): 0 | 2 => ((retained ?? !filter.includes("+")) ? 0 : 2);
  const wanted = Object.fromEntries(
    filters.map((filter) => [filter, { qos, rh: handling(filter) } as const]),
  );
  return new Promise((resolve, reject) => {
    client.subscribe(wanted, (error, _wanted, packet) => {
      // The library's error names the reason in words alone; the code is on the packet.
      const refused = packet?.granted.find((code) => typeof code === "number" && code >= 0x80);
      if (typeof refused === "number") {
        const { why, remedy } = refusalOf(refused, "").failure;
        const message = `the broker refused the subscription to ${filters.join(", ")}`;
        reject(
          new Failure("refused", message, { why: why ?? "", remedy: remedy ?? SUBSCRIBE_REMEDY }),
        );
      } else if (error) reject(new ConnectionLost(error.message));
      else resolve();
    });
  });
}

const SUBSCRIBE_REMEDY = "allow this user to read that topic in the broker's access list";

const END_MS = 2_000;

type Send = (packet: Packet, sent?: () => void, stored?: () => void, noStore?: boolean) => void;

/** The library's way to send one packet, past its own store. */
function packetWriter(client: MqttClient): (packet: Packet, written?: () => void) => void {
  const found: unknown = Reflect.get(client, "_sendPacket");
  if (!isSend(found)) throw new Error("this version of MQTT.js sends in another way");
  const send: Send = found.bind(client);
  return (packet, written) => {
    if (client.connected && !client.disconnecting) send(packet, written, undefined, true);
  };
}

function isSend(found: unknown): found is Send {
  return typeof found === "function";
}

/** Says DISCONNECT when all is acknowledged; closes the connection in any case. */
async function endClient(client: MqttClient, idle: Promise<void>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, END_MS);
  void idle.then(() => client.end(false, () => resolve()));
  await promise;
  clearTimeout(timer);
  // A second end() would do nothing, and a broker that hangs never closes its side.
  client.stream.destroy();
}
