import type { Check } from "../base/contract.ts";
import { asFailure, Failure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import { textAt } from "../base/unknown.ts";
import type { Config, MqttChannel } from "../config/contract.ts";
import { anotherServes } from "../mqtt/agent-channel/exclusive-start.ts";
import { readPresence, type KeptPresence } from "../mqtt/checks/presence.ts";
import { CLIENT_ID } from "../mqtt/client/reasons.ts";
import { clientIdConflictsIn } from "../store/client-id-conflicts.ts";
import type { ClusterGateway } from "../store/cluster.ts";
import { instanceIdsIn } from "../store/instance-lock.ts";
import { othersText } from "./other-gateways.ts";
import { stateFolderOf } from "./state-folder.ts";
import { isBuiltIn } from "./state.ts";

interface PresenceCheckOptions {
  readonly config: Config;
  readonly channels: readonly MqttChannel[];
  /** The gateways with which this one shares a store. */
  readonly cluster: readonly ClusterGateway[];
  readonly connectTimeoutMs: number;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** A check, and what the gateway would end with. */
export interface PresenceCheck extends Check {
  readonly failure?: Failure;
}

/** An older conflict of client ids is not shown. */
const RECENT_MS = 86_400_000;

/**
 * Other gateways of the same agent ids, as the brokers know them, and other programs with our client ids, as the
 * gateways of this home noted them. A broker that cannot be reached was reported before.
 */
export async function presenceChecks(
  options: PresenceCheckOptions,
): Promise<readonly PresenceCheck[]> {
  const folder = stateFolderOf(options.config);
  const cluster = options.cluster.map(({ about }) => textAt(about, "instance"));
  const own = new Set([...instanceIdsIn(folder), ...cluster]);
  const channels = options.channels.filter(({ settings }) => !isBuiltIn(settings));
  const found = await Promise.all(channels.map((channel) => gatewayChecks(channel, own, options)));
  const conflicts = clientIdConflictsIn(folder)
    .filter(({ lastAt }) => Date.now() - lastAt < RECENT_MS)
    .map(({ channel, lastAt, times }): Check => {
      const last = new Date(lastAt).toISOString();
      const message = `another program used it, or seemed to, ${times} times, last at ${last}`;
      return { name: `client id of ${channel}`, result: "warn", message, remedy: CLIENT_ID };
    });
  return [...found.flat(), ...conflicts];
}

async function gatewayChecks(
  { name: channel, settings }: MqttChannel,
  own: ReadonlySet<string>,
  { config, connectTimeoutMs, log, signal }: PresenceCheckOptions,
): Promise<readonly PresenceCheck[]> {
  const name = `gateways of ${channel}`;
  const target = { settings, connectTimeoutMs, reservedPrefixes: [], log, signal };
  let kept: KeptPresence;
  try {
    kept = await readPresence(target);
  } catch (error) {
    signal.throwIfAborted();
    log.debug("status and info could not be read", { why: asFailure(error).message });
    return [];
  }
  if (!kept.isOnline) return [];
  if (kept.info === undefined) {
    const message = "status is online, but info cannot be read: other gateways are not noticed";
    const remedy = "allow this user to read the topics status and info (picoclaw acl)";
    return [{ name, result: "warn", message, remedy }];
  }
  const others = othersIn(kept.info, own);
  const [first] = others;
  if (first === undefined) return [];
  const message = othersText(others);
  const remedy = "stop one of them, or give one an agent_id of its own";
  if (!config.gateway.exclusive) return [{ name, result: "warn", message, remedy }];
  const failure = anotherServes(settings.agent_id, first);
  return [{ name, result: "fail", message, remedy, failure }];
}

/** The gateways that serve and share no store with this home; those that share one count as one. */
function othersIn(info: NonNullable<KeptPresence["info"]>, own: ReadonlySet<string>) {
  const isOwn = [info, ...(info.gateways ?? [])].some(({ instance }) => own.has(instance));
  const others = info.others.filter(({ instance }) => !own.has(instance));
  return isOwn ? others : [info, ...others];
}
