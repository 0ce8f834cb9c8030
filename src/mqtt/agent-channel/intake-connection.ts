import { createHash } from "node:crypto";
import { pause, settlesWithin } from "../../base/async.ts";
import type { Failure } from "../../base/failure.ts";
import { Connection } from "../client/connection.ts";
import type { Session } from "../client/session.ts";
import type { ClusterChannelOptions, KeptSession } from "../contract.ts";
import type { Incoming } from "../protocol/message.ts";
import { requestFilter, statusTopic, type AgentAddress } from "../protocol/topics.ts";
import type { BrokerQueue } from "./broker-queue.ts";
import { announce, brokerQueueFor, connectionOptionsOf, type Probe } from "./channel.ts";
import { createConnectedLog, createQosWarning, isLastGateway } from "./channel.ts";
import { LeasedMessages } from "./leased-messages.ts";
import type { Presence } from "./presence.ts";

/** Above the time in which another gateway takes the lease and connects, so that this is no `offline`. */
const WILL_DELAY_SECONDS = 10;
/** A session of QoS 0 outlives its connection only for the will's delay. */
const QOS0_EXPIRY_SECONDS = 30;
/** Dials in a row that may fail before the lease is given to a gateway that has a path to the broker. */
const FAILED_DIALS = 2;
const REDIAL_MS = 1_000;
/** A connection that lasted less is not dialled again at once. */
const SHORT_MS = 10_000;
/** After it gave the lease back, a gateway tries again so much later, doubled each time up to the bound. */
const GIVEN_BACK_MS = 5_000;
const MOST_GIVEN_BACK_MS = 60_000;
/** When the gateway stops: to give back the lease. */
const RELEASED_MS = 1_000;

export interface IntakeConnectionOptions extends ClusterChannelOptions {
  readonly address: AgentAddress;
  readonly presence: Presence;
  readonly createProbe: () => Probe;
  /** Called when it has subscribed. */
  readonly hears: () => void;
  /** Takes a message; it may be acknowledged when the promise resolves. */
  readonly receive: (message: Incoming) => Promise<void> | undefined;
}

/**
 * The connection that hears a channel's requests while this gateway holds the lease of the intake. All gateways of
 * the cluster connect with the same client id, one after the other, so that the broker ends the connection of a
 * former holder and gives what that one did not acknowledge to the next. Without the lease it hands nothing over
 * and acknowledges nothing, and after a loss it looks at the lease before it dials.
 */
export class IntakeConnection {
  readonly #options: IntakeConnectionOptions;
  readonly #probe: Probe;
  readonly #queue: BrokerQueue | undefined;
  readonly #logConnected: ReturnType<typeof createConnectedLog>;
  readonly #warnOfQos: ReturnType<typeof createQosWarning>;
  #connection: Connection | undefined;
  #connectedAt: number | undefined;
  #failedDials = 0;
  /** Connections in a row that were short. */
  #shortOnes = 0;
  #givenBack = 0;
  /** Sessions that the broker has lost, on former connections. */
  #sessionsLost = 0;
  /** The session of the former connection. */
  #kept: KeptSession | undefined;
  /** With `exclusive`: requests wait until it is known that no other cluster serves; undefined since then. */
  #joined: PromiseWithResolvers<void> | undefined;
  #hasJoined: boolean;
  #isRefused = false;
  readonly #messages: LeasedMessages;

  constructor(options: IntakeConnectionOptions) {
    this.#options = options;
    const { intake, receive } = options;
    this.#messages = new LeasedMessages(() => intake.isHeld(), receive);
    this.#hasJoined = options.exclusive !== true;
    this.#probe = options.createProbe();
    this.#queue = brokerQueueFor(options, options.log);
    this.#logConnected = createConnectedLog(options.log, "connected as the intake");
    this.#warnOfQos = createQosWarning(options.log, options.channel.settings.qos);
  }

  /**
   * Hears until it is cut or closed. Resolves then, or with the failure that no retry can mend. With `wasOthers`
   * another gateway heard before.
   */
  async open(identity: string, wasOthers: boolean): Promise<Failure | undefined> {
    const { channel, intake, address, log } = this.#options;
    this.#failedDials = 0;
    this.#connectedAt = undefined;
    this.#joined = this.#hasJoined ? undefined : Promise.withResolvers();
    const clientId = sharedClientId(this.#options, identity);
    if (wasOthers) this.#kept = othersSession(this.#options, clientId);
    const connection = new Connection({
      ...connectionOptionsOf(this.#options),
      clientId,
      sharesClientId: true,
      sessionExpiry: sessionExpiryOf(this.#options),
      will: {
        topic: statusTopic(address),
        payload: "offline",
        delaySeconds: WILL_DELAY_SECONDS,
      },
      sessionNotes: {
        read: () => this.#kept,
        write: (kept) => (this.#kept = kept),
      },
      mayAcknowledge: () => intake.isHeld(),
      pause: (milliseconds, signal) => this.#beforeDial(milliseconds, signal),
      log,
      onMessage: (message) => this.#receive(message),
      onSession: (session) => this.#begin(session),
      onLoss: (failure) => this.#lost(failure),
    });
    this.#connection = connection;
    const failure = await connection.ended;
    this.#sessionsLost += connection.sessionsLost();
    if (this.#connection !== connection || this.#messages.isStopping) return undefined;
    this.#connection = undefined;
    await intake.giveBack(MOST_GIVEN_BACK_MS, `channel ${channel.name} cannot hear`);
    return failure;
  }

  /** Why it does not hear although it should; undefined without the lease. */
  problem(): Failure | undefined {
    return this.#connection && (this.#connection.problem() ?? this.#probe.problem());
  }

  /** Sessions with requests that the broker has lost while this gateway heard. */
  sessionsLost(): number {
    return this.#sessionsLost + (this.#connection?.sessionsLost() ?? 0);
  }

  /** Messages that the broker has dropped from full queues. */
  messagesDropped(): number {
    return this.#queue?.dropped ?? 0;
  }

  /** The lease is lost: ends the connection at once. */
  cut(why: string): void {
    const connection = this.#connection;
    this.#connection = undefined;
    this.#options.presence.stop();
    this.#messages.forget();
    connection?.abort(`the lease of the intake is lost: ${why}`);
  }

  /** Another cluster serves: it has the status, and this gateway ends. */
  refuse({ message }: Failure): void {
    this.#isRefused = true;
    void this.#options.intake.giveBack(MOST_GIVEN_BACK_MS, message);
  }

  /** Stops to hear, so that another gateway does at once. If there is none, it hears until it is closed. */
  async handOver(): Promise<void> {
    if (this.#connection === undefined) return this.#options.intake.close();
    if (!(await isLastGateway(this.#options.isAlone))) await this.#stop();
  }

  /** Ends it. The last gateway of the cluster says `offline`, over `voice` if it does not hear. */
  async close(voice: Connection): Promise<void> {
    const { presence, intake } = this.#options;
    const isAlone = await isLastGateway(this.#options.isAlone);
    const isSaid = this.#connection?.session() !== undefined;
    if (isAlone) await this.#end({ saysOffline: true });
    else await this.#stop();
    const session = voice.session();
    if (isAlone && !isSaid && !this.#isRefused && session) await presence.offline(session);
    await settlesWithin(intake.close(), RELEASED_MS);
  }

  async #begin(session: Session): Promise<void> {
    const { address, channel, presence } = this.#options;
    if (!this.#hasJoined) await this.#join(session);
    await session.subscribe([requestFilter(address)], channel.settings.qos);
    this.#connectedAt = performance.now();
    this.#failedDials = 0;
    this.#givenBack = 0;
    this.#logConnected(session);
    this.#warnOfQos(session.maximumQos);
    this.#options.hears();
    this.#queue?.watch(session);
    void announce(session, presence).then(() => this.#probe.watch(session));
  }

  /** A gateway of a cluster that serves already need not ask. */
  async #join(session: Session): Promise<void> {
    if (await isLastGateway(this.#options.isAlone)) await this.#options.presence.join(session);
    this.#hasJoined = true;
    this.#joined?.resolve();
    this.#joined = undefined;
  }

  #receive(message: Incoming): Promise<void> | undefined {
    const { intake, presence } = this.#options;
    this.#probe.received(message);
    this.#queue?.received(message);
    if (intake.isHeld()) presence.received(message);
    const take = (): Promise<void> | undefined => this.#messages.take(message);
    return this.#joined?.promise.then(take) ?? take();
  }

  #lost(failure: Failure): void {
    const { presence, intake, onProblem, log } = this.#options;
    presence.stop();
    onProblem?.(failure);
    if (this.#connectedAt !== undefined) {
      const isShort = performance.now() - this.#connectedAt < SHORT_MS;
      this.#shortOnes = isShort ? this.#shortOnes + 1 : 0;
      this.#connectedAt = undefined;
      return;
    }
    this.#failedDials += 1;
    if (this.#failedDials < FAILED_DIALS) return;
    const waits = Math.min(GIVEN_BACK_MS * 2 ** this.#givenBack, MOST_GIVEN_BACK_MS);
    this.#givenBack += 1;
    log.warn("the broker cannot be reached: another gateway may hear", {
      again_in_s: waits / 1000,
    });
    void intake.giveBack(waits, "the broker cannot be reached");
  }

  /** Somebody may have the lease by now who ended our connection. */
  async #beforeDial(milliseconds: number, signal: AbortSignal): Promise<void> {
    const tries = this.#shortOnes + this.#failedDials;
    const waits = tries === 0 ? 0 : Math.min(milliseconds, REDIAL_MS * 2 ** (tries - 1));
    await pause(waits, signal);
    await this.#options.intake.confirmed(signal);
  }

  /** What is stored is acknowledged, then the next gateway may connect. */
  async #stop(): Promise<void> {
    this.#messages.stop();
    await this.#messages.stored();
    await this.#end({ saysOffline: false });
    await settlesWithin(this.#options.intake.close(), RELEASED_MS);
  }

  async #end({ saysOffline }: { readonly saysOffline: boolean }): Promise<void> {
    const { presence } = this.#options;
    this.#messages.stop();
    presence.stop();
    const say = saysOffline ? (session: Session) => presence.offline(session) : undefined;
    await this.#connection?.close(say, { keepsWill: !saysOffline });
    this.#connection = undefined;
  }
}

/** The same for all gateways of the cluster, and another one for each channel and for other clusters. */
function sharedClientId({ channel }: ClusterChannelOptions, identity: string): string {
  const { client_id, agent_id } = channel.settings;
  if (client_id) return client_id;
  const names = JSON.stringify([identity, channel.name, agent_id]);
  const hash = createHash("sha256").update(names).digest("hex").slice(0, 8);
  return `picoclaw-mqtt-${agent_id}-${hash}`;
}

/** What another gateway that heard until now has left with the broker. */
function othersSession(
  { channel }: ClusterChannelOptions,
  clientId: string,
): KeptSession | undefined {
  const { broker, qos, session_expiry_secs: expirySecs } = channel.settings;
  const [node = ""] = broker;
  return qos === 0 ? undefined : { clientId, broker: node, seenAt: Date.now(), expirySecs };
}

function sessionExpiryOf({ channel }: ClusterChannelOptions) {
  const { qos, session_expiry_secs } = channel.settings;
  if (qos > 0) return { seconds: session_expiry_secs, cleanStart: false };
  return { seconds: QOS0_EXPIRY_SECONDS, cleanStart: false, only5: true } as const;
}
