import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { settlesWithin } from "../../base/async.ts";
import type { Diagnosis } from "../../base/contract.ts";
import { asFailure, Failure } from "../../base/failure.ts";
import type { MqttSettings } from "../../config/contract.ts";
import { randomClientId } from "../client/connection.ts";
import type { Session } from "../client/session.ts";
import { type Incoming, probeProperties } from "../protocol/message.ts";
import { agentAddressOf, isDeviceClient, requestFilter } from "../protocol/topics.ts";
import { type PublishTopic, requestTopic, responseTopic } from "../protocol/topics.ts";
import { accessUser, grantRemedy } from "../requester/access.ts";
import { type BrokerConnection, withSession } from "../requester/topic-session.ts";

/** One broker of a channel. */
export interface BrokerTarget extends BrokerConnection {
  /** Of the channel. */
  readonly name: string;
  /** The address, as the configuration names it. */
  readonly broker: string;
}

/** Marks the messages of this process. */
const PROBE_NAME = randomClientId("picoclaw-doctor");
/** Milliseconds for an echo; a working one takes a round trip. */
const ECHO_MS = 2_500;

/** What became of the messages of a probe. */
interface Echo {
  readonly isHeard: boolean;
  /** The broker's refusals, in the order of the topics; undefined is accepted, or dropped in silence. */
  readonly refusals: readonly (Failure | undefined)[];
  /** On MQTT 5 with QoS 1 a broker reports what it refuses. */
  readonly isReported: boolean;
}

/**
 * Proves that requests come in: brokers accept what they then drop, so only an echo proves it. Publishes empty requests, which every gateway ignores, and waits for one of them: of a
 * random client, and of our own user, because access lists often let a user ask only as itself.
 */
export async function requestCheck(options: BrokerTarget): Promise<Diagnosis> {
  const address = agentAddressOf(options.settings);
  const filter = requestFilter(address);
  const facts = { code: "broker.subscribe", name: options.name } as const;
  const remedy = remedyOf(options, `topic read ${filter}`);
  const clients = await probeClients(options.settings);
  const echoes = clients.map((client) =>
    requestEcho(options, requestTopic(address, client), filter),
  );
  const found = await firstHeard(echoes);
  if (found.some((echo) => !(echo instanceof Failure) && echo?.isHeard)) {
    const message = `${options.broker}: subscribed to ${filter}, and a request came through it`;
    return { ...facts, result: "ok", message };
  }
  for (const echo of found) {
    if (echo instanceof Failure) {
      const message = `${options.broker}: ${echo.message}: ${who(options)} may not read it`;
      return { ...facts, result: "fail", message, remedy, failure: echo };
    }
    if (echo?.isReported && echo.refusals.includes(undefined)) {
      const message = `${options.broker} accepts the subscription to ${filter} and delivers nothing: ${who(options)} may not read that topic`;
      const failure = new Failure("refused", message, { remedy });
      return { ...facts, result: "fail", message, remedy, failure };
    }
  }
  const message = `${options.broker}: no request came back through ${filter}: ${who(options)} may not read that topic, or may not ask as a device, which is no fault`;
  return { ...facts, result: "warn", message, remedy: askFirst(remedy) };
}

type RequestEcho = Echo | Failure | undefined;

/** The first echo that was heard, or all of them. */
async function firstHeard(
  echoes: readonly Promise<RequestEcho>[],
): Promise<readonly RequestEcho[]> {
  const heard = echoes.map(async (echo) => {
    const outcome = await echo;
    return outcome instanceof Failure || !outcome?.isHeard
      ? new Promise<never>(() => {})
      : [outcome];
  });
  return Promise.race([...heard, Promise.all(echoes)]);
}

/** A `Failure` if the subscription is refused; undefined if the connection was lost, as some brokers answer a refused message. */
async function requestEcho(
  options: BrokerTarget,
  topic: PublishTopic,
  filter: string,
): Promise<RequestEcho> {
  try {
    return await echoOf(options, [topic], [filter]);
  } catch (thrown) {
    options.signal.throwIfAborted();
    const failure = asFailure(thrown);
    return failure.code === "unreachable" ? undefined : failure;
  }
}

function askFirst(remedy: string): string {
  return `ask from a device; if no answer comes, ${remedy}`;
}

/** Proves that answers go out: publishes empty ones, to clients that do not exist. */
export async function responseCheck(options: BrokerTarget): Promise<Diagnosis> {
  const address = agentAddressOf(options.settings);
  const clients = await probeClients(options.settings);
  const topics = clients.map((client) => responseTopic(address, client));
  const wanted = `${address.prefix}/${address.agent}/+/response`;
  const facts = { code: "broker.publish", name: options.name } as const;
  const remedy = remedyOf(options, `topic write ${wanted}`);
  let echo: Echo;
  try {
    echo = await echoOf(options, topics, []);
  } catch (thrown) {
    options.signal.throwIfAborted();
    const { message: said } = asFailure(thrown);
    const message = `${options.broker}: ${said}, when an answer was published to ${wanted}`;
    const failure = new Failure("refused", message, { remedy });
    return { ...facts, result: "fail", message, remedy, failure };
  }
  if (echo.refusals[0] !== undefined) {
    const message = `${options.broker} refuses answers to ${wanted}: ${who(options)} may not publish there`;
    const failure = new Failure("refused", message, { remedy });
    return { ...facts, result: "fail", message, remedy, failure };
  }
  if (echo.isReported || echo.isHeard) {
    return { ...facts, result: "ok", message: `${options.broker}: takes answers to ${wanted}` };
  }
  const message = `${options.broker}: no answer came back: ${who(options)} may not publish to ${wanted}, or may not read it, which is no fault`;
  return { ...facts, result: "warn", message, remedy: askFirst(remedy) };
}

function who({ settings }: BrokerTarget): string {
  return accessUser(settings);
}

function remedyOf({ settings }: BrokerTarget, line: string): string {
  return `${grantRemedy(settings, line)}; picoclaw acl mosquitto prints all of it`;
}

/** A random client, and those that the broker may take us for. */
export async function probeClients({ username, tls }: MqttSettings): Promise<readonly string[]> {
  const names = [username?.reveal() ?? "", await certificateName(tls.cert_file)];
  const own = names.filter((name) => isDeviceClient(name));
  return [`doctor-${crypto.randomUUID().slice(0, 8)}`, ...new Set(own)];
}

async function certificateName(file: string | undefined): Promise<string> {
  if (file === undefined) return "";
  try {
    const { subject } = new X509Certificate(await readFile(file));
    return /^CN=(.+)$/m.exec(subject)?.[1] ?? "";
  } catch {
    return "";
  }
}

/** Publishes an empty message to each topic. Rejects if a filter of `needed` is refused, or the connection lost. */
async function echoOf(
  options: BrokerTarget,
  topics: readonly PublishTopic[],
  needed: readonly string[],
): Promise<Echo> {
  const heard = Promise.withResolvers<void>();
  let isHeard = false;
  const take = ({ topic, payload, retain }: Incoming): void => {
    if (payload.length > 0 || retain || !topics.some((own) => own === topic)) return;
    isHeard = true;
    heard.resolve();
  };
  return withSession(options, take, async (session, lost) => {
    if (needed.length > 0) await session.subscribe(needed, 1);
    else await subscribeToEach(session, topics);
    const isReported = session.protocol === 5 && session.maximumQos > 0;
    const refusals = await Promise.all(topics.map((topic) => refusalOf(session, topic)));
    // An answer that the broker took is out, and who asked may not read it.
    const isKnown = needed.length === 0 && isReported;
    const isOut = isKnown || !refusals.includes(undefined);
    if (!isOut) await settlesWithin(Promise.race([heard.promise, lost]), ECHO_MS, options.signal);
    return { isHeard, refusals, isReported };
  });
}

async function subscribeToEach(session: Session, topics: readonly string[]): Promise<void> {
  for (const topic of topics) {
    await session.subscribe([topic], 1).catch((error: unknown) => {
      if (!(error instanceof Failure)) throw error;
    });
  }
}

/** Why the broker does not take an empty message; undefined if it does, or does not say. */
async function refusalOf(session: Session, topic: PublishTopic): Promise<Failure | undefined> {
  try {
    const mark = probeProperties(PROBE_NAME, session.protocol);
    await session.publish({ topic, payload: "", qos: 1, ...mark });
    return undefined;
  } catch (thrown) {
    if (thrown instanceof Failure && thrown.code === "refused") return thrown;
    throw thrown;
  }
}
