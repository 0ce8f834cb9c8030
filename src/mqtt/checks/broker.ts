import type { Diagnosis } from "../../base/contract.ts";
import { asFailure, Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { MqttChannel } from "../../config/contract.ts";
import type { BrokerNode } from "../client/nodes.ts";
import { nodesOf } from "../client/nodes.ts";
import type { Session } from "../client/session.ts";
import { withSession } from "../requester/topic-session.ts";
import { type BrokerTarget, requestCheck, responseCheck } from "./echo.ts";
import { queueCheck, unmeasuredQueue } from "./queue.ts";
import { obstacleTo, protocolObstacle } from "./reach.ts";
import { sessionCheck } from "./session.ts";

export interface BrokerCheckOptions {
  readonly channel: MqttChannel;
  readonly connectTimeoutMs: number;
  /** Whether the queue of a client that is away is measured: other subscribers of everything see that. */
  readonly measuresQueue: boolean;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/**
 * Whether a gateway can work at the brokers of a channel: each address by itself. One that works is enough for a
 * gateway: the faults of the others are warnings then.
 */
export async function brokerChecks(options: BrokerCheckOptions): Promise<readonly Diagnosis[]> {
  const nodes = nodesOf(options.channel.settings);
  const found = await Promise.all(nodes.map((node) => nodeChecks(node, options)));
  const isUsable = found.some((each) => each.every(({ result }) => result !== "fail"));
  return isUsable ? found.flatMap((each) => each.map(asWarning)) : found.flat();
}

function asWarning(found: Diagnosis): Diagnosis {
  if (found.result !== "fail") return found;
  const { failure: _, ...facts } = found;
  return { ...facts, result: "warn" };
}

async function nodeChecks(
  { broker, address }: BrokerNode,
  { channel, connectTimeoutMs, measuresQueue, log, signal }: BrokerCheckOptions,
): Promise<readonly Diagnosis[]> {
  const { name } = channel;
  const settings = { ...channel.settings, broker: [broker] };
  const obstacle = await obstacleTo(address);
  if (obstacle !== undefined) return obstructed(name, broker, obstacle);
  const target = { settings, connectTimeoutMs, log, signal, name, broker };
  let about: Diagnosis;
  try {
    about = await withSession(target, undefined, (session) =>
      Promise.resolve(connectionCheck(target, session)),
    );
  } catch (thrown) {
    signal.throwIfAborted();
    const failure = asFailure(thrown);
    const isRefused = failure.code === "refused" || failure.code === "config";
    const why = isRefused ? undefined : await protocolObstacle(address, settings.tls);
    if (why !== undefined) return obstructed(name, broker, why);
    return [loginFault(target, failure), ...notMade(name)];
  }
  const checks = [requestCheck(target), responseCheck(target), sessionCheck(target)];
  if (measuresQueue) checks.push(queueCheck(target));
  const found = await Promise.all(checks);
  return [about, ...found, ...(measuresQueue ? [] : [unmeasuredQueue(target)])];
}

function obstructed(
  name: string,
  broker: string,
  { code, message: what, remedy }: { code: string; message: string; remedy: string },
): readonly Diagnosis[] {
  const message = `${broker}: ${what}`;
  const fix = remedy.replace(/^set broker\b/, `set channel_list.${name}.settings.broker`);
  const failure = new Failure("unreachable", message, { remedy: fix });
  return [{ code, name, result: "fail", message, remedy: fix, failure }, ...notMade(name)];
}

function loginFault({ name, broker, settings }: BrokerTarget, found: Failure): Diagnosis {
  const { code, message: said, why, remedy } = found;
  const user = settings.username?.reveal() ?? "";
  const as = user === "" ? "without a user name" : `as ${user}`;
  const isRefused = code === "refused";
  const message = `${broker}: ${said}${isRefused ? `, ${as}` : ""}${why === undefined ? "" : ` (${why})`}`;
  const failure = new Failure(code, message, { remedy, cause: found });
  const fixes = remedy === undefined ? {} : { remedy };
  return {
    code: isRefused ? "broker.login" : "broker.connect",
    name,
    result: "fail",
    message,
    ...fixes,
    failure,
  };
}

const AFTER_CONNECT = ["broker.subscribe", "broker.publish", "broker.session", "broker.queue"];

function notMade(name: string): readonly Diagnosis[] {
  const message = "the broker was not reached";
  return AFTER_CONNECT.map((code) => ({ code, name, result: "skip", message }));
}

/** What the broker is, and whether it allows what is configured. */
function connectionCheck({ name, broker, settings }: BrokerTarget, session: Session): Diagnosis {
  const { protocol, maximumQos, maximumPacketBytes } = session;
  const { qos, max_message_bytes: wanted } = settings;
  const facts = { code: "broker.connect", name } as const;
  const packets = maximumPacketBytes > 0 ? `, packets up to ${maximumPacketBytes} bytes` : "";
  const message = `connected to ${broker} (MQTT ${protocol === 5 ? "5" : "3.1.1"}${packets})`;
  if (maximumQos < qos) {
    return {
      ...facts,
      result: "warn",
      message: `${message}, which allows QoS ${maximumQos} at most`,
      remedy: `set channel_list.${name}.settings.qos to ${maximumQos}, or raise the broker's max_qos`,
    };
  }
  if (maximumPacketBytes > 0 && wanted > maximumPacketBytes) {
    return {
      ...facts,
      result: "warn",
      message: `${message}, less than max_message_bytes`,
      remedy: `set channel_list.${name}.settings.max_message_bytes to ${maximumPacketBytes}`,
    };
  }
  return { ...facts, result: "ok", message };
}
