import { randomBytes } from "node:crypto";
import { pause } from "../../base/async.ts";
import { Failure, asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { shouldLog } from "../../base/log.ts";
import type { MqttSettings } from "../../config/contract.ts";
import { ConnectionLost } from "../protocol/message.ts";
import type { Incoming, Outgoing, Published } from "../protocol/message.ts";
import type { PublishTopic } from "../protocol/topics.ts";
import { createBacklog } from "./flow-control.ts";
import { createPublisher } from "./publish.ts";
import type { Publisher } from "./publish.ts";
import { unanswered, unreachable } from "./reasons.ts";
import type { Refusal } from "./reasons.ts";
import { ConnectError, connectSession, type Session } from "./session.ts";
import { prepareTransport, type DialAddress } from "./transport.ts";

/** A connection to one broker that is made anew whenever it is lost, under the same client id. */
export interface Connection {
  readonly clientId: string;
  /** The session in force, ready for use; undefined while there is none. */
  readonly session: () => Session | undefined;
  /** Why there is none; undefined while there is one. */
  readonly problem: () => Failure | undefined;
  /** The next session that is ready; rejects with the failure that ended the connection, or the signal's reason. */
  readonly ready: (signal?: AbortSignal) => Promise<Session>;
  /**
   * Publishes as soon as a session is ready, and after a loss again on the next; rejects when refused, ended
   * or aborted.
   */
  publish(message: Outgoing, signal?: AbortSignal): Promise<Published>;
  /** Resolves once: with the failure that no further try can mend, or undefined after `close`. */
  readonly ended: Promise<Failure | undefined>;
  /** Disconnects within two seconds; `beforeDisconnect` runs first, on the session in force. */
  close(beforeDisconnect?: (session: Session) => Promise<void>): Promise<void>;
}

export interface ConnectionOptions {
  readonly address: DialAddress;
  readonly settings: MqttSettings;
  readonly clientId: string;
  readonly connectTimeoutMs: number;
  /** Milliseconds from a loss to the next attempt, and between attempts. */
  readonly reconnectMs: number;
  readonly will?: { readonly topic: PublishTopic; readonly payload: string };
  /** How long the broker keeps messages for us while we are away; `anew` forgets what a former process left. */
  readonly sessionExpiry?: { readonly seconds: number; readonly cleanStart: boolean };
  /** Bytes of the largest packet we take. */
  readonly maximumPacketBytes: number;
  /** Of an MQTT 3.1.1 broker a larger message is taken cut short, instead of cutting the connection. */
  readonly truncateOversizedPublish?: boolean;
  readonly log: Log;
  /** Says when the message may be acknowledged; undefined is at once. */
  readonly onMessage: (message: Incoming) => Promise<void> | undefined;
  /** Makes a new session ready (subscriptions); a `Failure` from it ends the connection for good. */
  readonly onSession: (session: Session) => Promise<void>;
  readonly onLoss?: (failure: Failure) => void;
}

/** The client id of a process: eight random hex digits tell two of one agent apart. */
export function randomClientId(start: string): string {
  return `${start}-${randomBytes(4).toString("hex")}`;
}

/** Starts to connect and goes on until closed or refused for good; never throws. */
export function openConnection(options: ConnectionOptions): Connection {
  const stop = new AbortController();
  const state = createState(options.onLoss);
  const publisher = createPublisher(options.settings.qos === 2);
  const connect = createProtocolChooser({
    ...options,
    wanted: options.settings.protocol_version,
    connect: createConnector(options, publisher, stop.signal),
  });
  const running = keepConnected(options, connect, { state, signal: stop.signal }).then(
    (failure) => {
      publisher.end(state.end(failure));
      return failure;
    },
  );
  return {
    clientId: options.clientId,
    session: state.session,
    problem: state.problem,
    ready: async (signal) => {
      signal?.throwIfAborted();
      return state.session() ?? untilAborted(state.next(), signal);
    },
    ended: running,
    publish: (message, signal) => publisher.publish(message, signal),
    async close(beforeDisconnect) {
      const last = state.session();
      if (last) await beforeDisconnect?.(last);
      stop.abort(closed());
      await last?.end();
      await running;
    },
  };
}

interface State {
  readonly session: () => Session | undefined;
  readonly problem: () => Failure | undefined;
  /** Settles with the next session, or rejects with what ended the connection. */
  readonly next: () => Promise<Session>;
  readonly up: (session: Session) => void;
  readonly down: (failure: Failure) => void;
  /** Gives what those hear who still wait. */
  readonly end: (failure: Failure | undefined) => Failure;
}

function createState(onLoss: ConnectionOptions["onLoss"]): State {
  let session: Session | undefined;
  let problem: Failure | undefined = new Failure("unreachable", "not connected yet");
  let next = nextSession();
  return {
    session: () => session,
    problem: () => problem,
    next: () => next.promise,
    up(up) {
      session = up;
      problem = undefined;
      next.resolve(up);
      next = nextSession();
    },
    down(failure) {
      session = undefined;
      problem = failure;
      onLoss?.(failure);
    },
    end(failure) {
      session = undefined;
      problem = failure ?? closed();
      next.reject(problem);
      return problem;
    },
  };
}

function nextSession(): PromiseWithResolvers<Session> {
  const next = Promise.withResolvers<Session>();
  next.promise.catch(() => {});
  return next;
}

function closed(): Failure {
  return new Failure("unreachable", "the connection was closed");
}

/** Session after session; resolves with what ended it for good, or undefined when stopped. */
async function keepConnected(
  options: ConnectionOptions,
  connect: Connect,
  { state, signal }: { state: State; signal: AbortSignal },
): Promise<Failure | undefined> {
  const tell = createFailureLog(options);
  while (!signal.aborted) {
    const refusal = await oneSession(options, connect, { state, signal });
    if (signal.aborted) return undefined;
    if (refusal.disposition !== "retry") return refusal.failure;
    state.down(refusal.failure);
    tell(refusal.failure);
    // Stopped while it waits: the loop's own condition ends it.
    await pause(options.reconnectMs, signal).catch(() => {});
  }
  return undefined;
}

/** A connection that stood for so long was well: what happens to it then is a new trouble. */
const CALM_MS = 60_000;
/** Failures of one trouble that are told apart. */
const MOST_FAILURES = 16;

/** Tells each failure, and the same one ever less often: a broker that is away for a week fills no disk. */
function createFailureLog({ settings, reconnectMs, log }: ConnectionOptions) {
  const told = new Map<string, number>();
  let last = Number.NEGATIVE_INFINITY;
  return ({ message, why, remedy }: Failure): void => {
    const now = performance.now();
    if (now - last > CALM_MS + reconnectMs || told.size > MOST_FAILURES) told.clear();
    last = now;
    const key = `${message}: ${why}`;
    const times = (told.get(key) ?? 0) + 1;
    told.set(key, times);
    const again = { again_in_s: reconnectMs / 1000, ...(times > 1 && { times }) };
    const fields = { broker: settings.broker, why, try: remedy, ...again };
    log[shouldLog(times) ? "warn" : "debug"](message, fields);
  };
}

type Connect = () => Promise<Session>;

/** Connects, makes the session ready, and waits for its end: never throws, tells what ended it. */
async function oneSession(
  { onSession, log }: ConnectionOptions,
  connect: Connect,
  { state, signal }: { state: State; signal: AbortSignal },
): Promise<Refusal> {
  let session: Session | undefined;
  try {
    session = await connect();
    await untilAborted(onSession(session), signal);
    signal.throwIfAborted();
    state.up(session);
    session.open();
    return await session.lost;
  } catch (error) {
    if (error instanceof ConnectError) return error.refusal;
    if (session && error instanceof ConnectionLost) {
      session.abort(error.message);
      return await session.lost;
    }
    await session?.end();
    if (error instanceof Failure) return { disposition: "fatal", failure: error };
    log.error("connecting failed in an unexpected way", { error: asFailure(error).why });
    return unreachable("the connection failed", asFailure(error).why);
  }
}

/** Returns the function that makes one network connection; the state that outlives it is shared by all of them. */
function createConnector(
  options: ConnectionOptions,
  publisher: Publisher,
  signal: AbortSignal,
): (protocol: 4 | 5) => Promise<Session> {
  const shared = { inboundQos2: new Map(), publisher, backlog: createBacklog() };
  let cleanStart = options.sessionExpiry?.cleanStart ?? true;
  let wasConnected = false;
  return async (protocol) => {
    const { settings, address, sessionExpiry, ...rest } = options;
    const transport = await prepareTransport(address, settings.tls, options.maximumPacketBytes);
    const { keep_alive: keepAlive, username, password } = settings;
    const secrets = { username: username?.reveal(), password: password?.reveal() };
    // MQTT 3.1.1 has no expiry: the broker would keep the session of a generated client id for ever.
    const isKept = sessionExpiry !== undefined && (protocol === 5 || !sessionExpiry.cleanStart);
    const details = { ...rest, ...secrets, ...shared, transport, protocol, keepAlive };
    const expiry = isKept && { sessionExpiry: { seconds: sessionExpiry.seconds, cleanStart } };
    const session = await connectSession({ ...details, ...expiry }, signal);
    if (isKept && wasConnected && !session.resumed) {
      options.log.warn("the broker did not keep our session: requests sent meanwhile may be lost");
    }
    wasConnected = true;
    cleanStart = false;
    return session;
  };
}

function untilAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(asFailure(signal.reason));
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
    const settle = (): void => signal.removeEventListener("abort", abort);
    work.then(resolve, reject).finally(settle);
  });
}

interface ProtocolChoice {
  readonly wanted: "auto" | 4 | 5;
  readonly connectTimeoutMs: number;
  readonly log: Log;
  /** Throws a `ConnectError`. */
  readonly connect: (protocol: 4 | 5) => Promise<Session>;
}

/**
 * MQTT 5 first where the configuration leaves it open, 3.1.1 where the broker does not speak 5: some say so
 * in a CONNACK, some hang up, some say nothing. What worked is remembered for the life of the process; 3.1.1
 * after mere silence, which a slow network explains as well, only until the next attempt that fails.
 */
function createProtocolChooser({ wanted, connect, ...rest }: ProtocolChoice) {
  const { connectTimeoutMs, log } = rest;
  let known: 4 | 5 | undefined = wanted === "auto" ? undefined : wanted;
  let isGuess = false;
  let spoke5 = false;
  const connectKnown = async (protocol: 4 | 5): Promise<Session> => {
    try {
      return await connect(protocol);
    } catch (error) {
      // Another broker may have taken this one's place: find out anew what it speaks.
      if (wanted !== "auto" || !(isOlder(error) || (isGuess && error instanceof ConnectError))) {
        throw error;
      }
      known = undefined;
      const { disposition } = error.refusal;
      throw new ConnectError({
        ...error.refusal,
        disposition: disposition === "downgrade" ? "retry" : disposition,
      });
    }
  };
  return async (): Promise<Session> => {
    if (known !== undefined) return connectKnown(known);
    try {
      const session = await connect(5);
      known = 5;
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
    known = 4;
    log.info("the broker speaks MQTT 3.1.1");
    return session;
  };
}

/** The broker may speak 3.1.1 alone: it said so, or hung up at the sight of MQTT 5. */
function isOlder(error: unknown): error is ConnectError {
  return (
    error instanceof ConnectError &&
    (error.refusal.disposition === "downgrade" || error.refusal.hungUp === true)
  );
}

function isUnanswered(error: unknown): boolean {
  return error instanceof ConnectError && error.refusal.unanswered === true;
}

/** For connections whose losses are the caller's to tell. */
export function quietLog(log: Log): Log {
  const debug: Log["debug"] = (message, fields) => log.debug(message, fields);
  return { ...log, debug, info: debug, warn: debug };
}
