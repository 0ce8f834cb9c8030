import { abortable, pause, settlesWithin } from "../../base/async.ts";
import { Failure, asFailure } from "../../base/failure.ts";
import { shouldLog } from "../../base/log.ts";
import type { SessionNotes } from "../contract.ts";
import { ConnectionLost, type Outgoing, type Published } from "../protocol/message.ts";
import { InboundQos2 } from "./acks.ts";
import { ClientIdConflict } from "./client-id-conflict.ts";
import { Backlog } from "./flow-control.ts";
import { KeptSessions } from "./kept-session.ts";
import { NodeRotation, nodesOf, type BrokerNode, type NodeOutcome } from "./nodes.ts";
import { Publisher } from "./publish.ts";
import { unanswered, unreachable, type Refusal } from "./reasons.ts";
import { ConnectError, connectSession, type ClientOptions, type Session } from "./session.ts";
import { prepareTransport } from "./transport.ts";

export interface ConnectionOptions extends ClientOptions {
  /** Milliseconds from a loss to the next attempt, and between attempts; of several nodes, between rounds. */
  readonly reconnectMs: number;
  /** Waits between attempts; tests put a clock of their own here. */
  readonly pause?: typeof pause | undefined;
  readonly sessionNotes?: SessionNotes | undefined;
  /** Subscribes on a new session; a `Failure` from it ends the connection for good. */
  readonly onSession: (session: Session) => Promise<void>;
  /** Called at a loss, and after an attempt, or one at each of several nodes, that failed. */
  readonly onLoss?: (failure: Failure) => void;
  /** Called when another program uses, or seems to use, our client id. */
  readonly onConflict?: (() => void) | undefined;
}

/** The time to disconnect; then the connection is cut. */
const CLOSE_MS = 2_000;

/** Eight random hex digits tell two processes of one agent apart. */
export function randomClientId(start: string): string {
  return `${start}-${crypto.randomUUID().slice(0, 8)}`;
}

/**
 * A connection to one broker, at one of its nodes. Connects, and reconnects after each loss under the same client
 * id.
 */
export class Connection {
  readonly clientId: string;
  /** Resolves once: with the failure that no retry can mend, or with undefined after `close`. */
  readonly ended: Promise<Failure | undefined>;
  readonly #options: ConnectionOptions;
  readonly #publisher: Publisher;
  readonly #kept: KeptSessions;
  readonly #stop = new AbortController();
  #session: Session | undefined;
  /** Whether an answer was published since it connected. */
  #hasAnswered = false;
  #problem: Failure | undefined = new Failure("unreachable", "not connected yet");
  /** Why we ended the connection ourselves. */
  #refusal: Failure | undefined;
  /** Settles with the next session, or rejects with what ended the connection. */
  #next = nextSession();

  constructor(options: ConnectionOptions) {
    this.clientId = options.clientId;
    this.#options = options;
    this.#publisher = new Publisher(options.settings.qos === 2);
    this.#kept = new KeptSessions({
      clientId: options.clientId,
      brokers: options.settings.broker,
      keepAliveSecs: options.settings.keep_alive,
      notes: options.sessionNotes,
      log: options.log,
    });
    this.ended = this.#run(nodesOf(options.settings));
  }

  /** The current session, with its subscriptions; undefined while there is none. */
  session(): Session | undefined {
    return this.#session;
  }

  /** Why there is no session; undefined while there is one. */
  problem(): Failure | undefined {
    return this.#problem;
  }

  /** Sessions that the broker has lost since this process started. */
  sessionsLost(): number {
    return this.#kept.lost;
  }

  /** The current or next session. Rejects with the failure that ended the connection, or the signal's reason. */
  async ready(signal?: AbortSignal): Promise<Session> {
    signal?.throwIfAborted();
    return this.#session ?? abortable(this.#next.promise, signal);
  }

  /**
   * Publishes as soon as there is a session, and after a loss again on the next one. Rejects when the
   * broker refuses the message, when the connection has ended, and with the signal's reason.
   */
  async publish(message: Outgoing, signal?: AbortSignal): Promise<Published> {
    const published = await this.#publisher.publish(message, signal);
    this.#hasAnswered = true;
    return published;
  }

  /**
   * Disconnects within two seconds; `beforeDisconnect` runs first, on the current session, and may fail: brokers
   * refuse messages. With `keepsWill` the broker publishes the will after its delay. Does not reject.
   */
  async close(
    beforeDisconnect?: (session: Session) => Promise<void>,
    { keepsWill = false } = {},
  ): Promise<void> {
    const last = this.#session;
    const end = performance.now() + CLOSE_MS;
    if (last && beforeDisconnect) {
      await settlesWithin(
        beforeDisconnect(last).catch(() => {}),
        CLOSE_MS,
      );
    }
    this.#stop.abort(closed());
    await last?.end(end - performance.now(), keepsWill);
    await this.ended;
  }

  /** Disconnects as `close` does, and ends with this failure. */
  async refuse(
    failure: Failure,
    beforeDisconnect?: (session: Session) => Promise<void>,
  ): Promise<void> {
    this.#refusal = failure;
    await this.close(beforeDisconnect);
  }

  /** Cuts the connection at once, as a fault would, and for good. */
  abort(reason: string): void {
    this.#stop.abort(closed());
    this.#session?.abort(reason);
  }

  /** Runs session after session. Resolves with the failure that ended it for good, or undefined when stopped. */
  async #run(nodes: readonly BrokerNode[]): Promise<Failure | undefined> {
    const { onLoss, reconnectMs, pause: wait = pause } = this.#options;
    const { signal } = this.#stop;
    const connectTo = createConnector(this.#options, this.#publisher, signal);
    const dialled = nodes.map((node) => ({
      ...node,
      connect: createProtocolChooser(this.#options, (protocol) => connectTo(node, protocol)),
    }));
    const rotation = new NodeRotation(dialled, reconnectMs);
    const conflict = new ClientIdConflict(this.#options);
    const logFailure = createFailureLog(this.#options);
    while (!signal.aborted) {
      const { broker, connect } = rotation.current();
      const outcome = await this.#oneSession(connect);
      if (signal.aborted) break;
      const next = conflict.next(outcome, rotation.next(outcome));
      const { refusal, waitMs } = next;
      if (refusal && refusal.disposition !== "retry") return this.#end(refusal.failure);
      this.#session = undefined;
      if (refusal) this.#problem = refusal.failure;
      if (refusal) onLoss?.(refusal.failure);
      logFailure(broker, next.failure, waitMs);
      // When it is stopped meanwhile, the loop's condition ends it.
      await wait(waitMs, signal).catch(() => {});
    }
    this.#end(this.#refusal ?? closed());
    return this.#refusal;
  }

  #end(failure: Failure): Failure {
    this.#session = undefined;
    this.#problem = failure;
    this.#next.reject(failure);
    this.#publisher.end(failure);
    return failure;
  }

  /** Connects, subscribes, and waits until the session ends. Resolves with what ended it; never throws. */
  async #oneSession(connect: () => Promise<Session>): Promise<NodeOutcome> {
    let connectedAt: number | undefined;
    const refusal = await this.#untilLost(connect, () => {
      connectedAt = performance.now();
      this.#hasAnswered = false;
    });
    if (connectedAt === undefined) return { refusal, connectedMs: undefined };
    this.#kept.disconnected(this.#stop.signal.aborted);
    const connectedMs = performance.now() - connectedAt;
    return { refusal, connectedMs, hasAnswered: this.#hasAnswered };
  }

  async #untilLost(connect: () => Promise<Session>, onConnected: () => void): Promise<Refusal> {
    const { onSession, log } = this.#options;
    let session: Session | undefined;
    try {
      session = await connect();
      this.#kept.accepted(session);
      await abortable(onSession(session), this.#stop.signal);
      this.#session = session;
      this.#problem = undefined;
      onConnected();
      this.#next.resolve(session);
      this.#next = nextSession();
      session.open();
      this.#kept.connected();
      return await session.lost;
    } catch (error) {
      if (error instanceof ConnectError) return error.refusal;
      if (session && error instanceof ConnectionLost) {
        session.abort(error.message);
        return await session.lost;
      }
      await session?.end(CLOSE_MS);
      if (error instanceof Failure) return { disposition: "fatal", failure: error };
      log.error("connecting failed in an unexpected way", { error: asFailure(error).why });
      return unreachable("the connection failed", asFailure(error).why);
    }
  }
}

function nextSession(): PromiseWithResolvers<Session> {
  const next = Promise.withResolvers<Session>();
  next.promise.catch(() => {});
  return next;
}

function closed(): Failure {
  return new Failure("unreachable", "the connection was closed");
}

/** After a connection that lasted so long the count of failures starts again. */
const CALM_MS = 60_000;
/** Different failures that are counted separately. */
const MOST_FAILURES = 16;

/** Logs the same failure ever less often: a broker that is down for a week does not fill the disk. */
function createFailureLog({ reconnectMs, log }: ConnectionOptions) {
  const counts = new Map<string, number>();
  let last = Number.NEGATIVE_INFINITY;
  return (broker: string, { message, why, remedy }: Failure, waitMs: number): void => {
    const now = performance.now();
    if (now - last > CALM_MS + reconnectMs || counts.size > MOST_FAILURES) counts.clear();
    last = now;
    const key = `${broker} ${message}: ${why}`;
    const times = (counts.get(key) ?? 0) + 1;
    counts.set(key, times);
    const again = { again_in_s: Math.round(waitMs) / 1000, ...(times > 1 && { times }) };
    const fields = { broker, why, try: remedy, ...again };
    log[shouldLog(times) ? "warn" : "debug"](message, fields);
  };
}

/**
 * Returns the function that makes one network connection. The state that outlives it is shared by all of them, at
 * whatever node, because the nodes of a broker share its sessions.
 */
function createConnector(
  options: ConnectionOptions,
  publisher: Publisher,
  signal: AbortSignal,
): (node: BrokerNode, protocol: 4 | 5) => Promise<Session> {
  const shared = { inboundQos2: new InboundQos2(), publisher, backlog: new Backlog() };
  let cleanStart = options.sessionExpiry?.cleanStart ?? true;
  return async ({ broker, address }, protocol) => {
    const { settings, sessionExpiry } = options;
    const transport = await prepareTransport(address, settings.tls, options.maximumPacketBytes);
    // MQTT 3.1.1 has no expiry: the broker would keep the session of a generated client id for ever.
    const isEndless = protocol === 4 && sessionExpiry?.cleanStart === false && !sessionExpiry.only5;
    const isKept = sessionExpiry !== undefined && (protocol === 5 || isEndless);
    const expiry = isKept ? { ...sessionExpiry, cleanStart } : undefined;
    const details = { ...options, ...shared, broker, transport, protocol, sessionExpiry: expiry };
    const session = await connectSession(details, signal);
    cleanStart = false;
    return session;
  };
}

/**
 * Tries MQTT 5 first where the configuration says `auto`, then 3.1.1 if the broker does not speak 5: some
 * say so in a CONNACK, some hang up, some do not answer. What worked is remembered for the life of the
 * process. Silence can also mean a slow network: then 3.1.1 is remembered only until an attempt fails.
 */
function createProtocolChooser(
  { settings, connectTimeoutMs, log }: ConnectionOptions,
  connect: (protocol: 4 | 5) => Promise<Session>,
): () => Promise<Session> {
  const isAuto = settings.protocol_version === "auto";
  let chosen = settings.protocol_version === "auto" ? undefined : settings.protocol_version;
  let isGuess = false;
  let spoke5 = false;
  const connectChosen = async (protocol: 4 | 5): Promise<Session> => {
    try {
      return await connect(protocol);
    } catch (error) {
      // Another broker may have taken this one's place: try both versions again.
      if (!isAuto || !(isOlder(error) || (isGuess && error instanceof ConnectError))) throw error;
      chosen = undefined;
      const { refusal } = error;
      const disposition = refusal.disposition === "downgrade" ? "retry" : refusal.disposition;
      throw new ConnectError({ ...refusal, disposition });
    }
  };
  return async () => {
    if (chosen !== undefined) return connectChosen(chosen);
    try {
      const session = await connect(5);
      chosen = 5;
      spoke5 = true;
      isGuess = false;
      return session;
    } catch (error) {
      isGuess = isUnanswered(error) && !spoke5;
      if (!isOlder(error) && !isGuess) throw error;
    }
    const session = await connect(4).catch((error: unknown) => {
      if (!isGuess || !isUnanswered(error)) throw error;
      throw new ConnectError(unanswered(connectTimeoutMs, ", neither on MQTT 5 nor on 3.1.1"));
    });
    chosen = 4;
    log.info("the broker speaks MQTT 3.1.1");
    return session;
  };
}

/** The broker may speak only 3.1.1: it said so, or it hung up on MQTT 5. */
function isOlder(error: unknown): error is ConnectError {
  return (
    error instanceof ConnectError &&
    (error.refusal.disposition === "downgrade" || error.refusal.hungUp === true)
  );
}

function isUnanswered(error: unknown): boolean {
  return error instanceof ConnectError && error.refusal.unanswered === true;
}
