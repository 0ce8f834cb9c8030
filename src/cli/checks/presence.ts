import type { Diagnosis } from "../../base/contract.ts";
import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { textAt } from "../../base/unknown.ts";
import type { Config, MqttChannel } from "../../config/contract.ts";
import { anotherServes } from "../../mqtt/agent-channel/exclusive-start.ts";
import { readPresence, type KeptPresence } from "../../mqtt/checks/presence.ts";
import { CLIENT_ID } from "../../mqtt/client/reasons.ts";
import type { ClusterGateway } from "../../store/contract/cluster.ts";
import { clientIdConflictsIn } from "../../store/home/client-id-conflicts.ts";
import { instanceIdsIn } from "../../store/home/instance-lock.ts";
import { othersText } from "../runtime/other-gateways.ts";
import { stateFolderOf } from "../state/state-folder.ts";
import { isBuiltIn } from "../state/state.ts";

interface PresenceCheckOptions {
  readonly config: Config;
  readonly channel: MqttChannel;
  /** The gateways with which this one shares a store. */
  readonly cluster: readonly ClusterGateway[];
  readonly connectTimeoutMs: number;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** An older conflict of client ids is not shown. */
const RECENT_MS = 86_400_000;

/**
 * Other gateways of a channel's agent id, as its broker knows them, and other programs with our client id, as the
 * gateways of this home noted them. A broker that cannot be reached was reported before.
 */
export async function presenceChecks(options: PresenceCheckOptions): Promise<readonly Diagnosis[]> {
  const folder = stateFolderOf(options.config);
  const cluster = options.cluster.map(({ about }) => textAt(about, "instance"));
  const home = new Set(instanceIdsIn(folder));
  const own = { home, all: new Set([...home, ...cluster]) };
  const { name, settings } = options.channel;
  const found = isBuiltIn(settings) ? [] : await gatewayChecks(own, options);
  const conflicts = clientIdConflictsIn(folder)
    .filter(({ channel, lastAt }) => channel === name && Date.now() - lastAt < RECENT_MS)
    .map(({ lastAt, times }): Diagnosis => {
      const last = new Date(lastAt).toISOString();
      const message = `another program used it, or seemed to, ${times} times, last at ${last}`;
      const about = `client id of ${name}`;
      return { code: "gateway.client_id", name: about, result: "warn", message, remedy: CLIENT_ID };
    });
  return [...found, ...conflicts];
}

/** Instance ids of this home, and with them those of the gateways that share its store. */
interface OwnIds {
  readonly home: ReadonlySet<string>;
  readonly all: ReadonlySet<string>;
}

async function gatewayChecks(
  own: OwnIds,
  { config, channel, connectTimeoutMs, log, signal }: PresenceCheckOptions,
): Promise<readonly Diagnosis[]> {
  const { name, settings } = channel;
  const facts = { code: "gateway.others", name: `gateways of ${name}` } as const;
  const target = { settings, connectTimeoutMs, log, signal };
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
    return [{ ...facts, result: "warn", message, remedy }];
  }
  const here = runningHere(kept.info, own.home);
  const others = othersIn(kept.info, own.all);
  const [first] = others;
  if (first === undefined) return here;
  const message = othersText(others);
  const remedy = "stop one of them, or give one an agent_id of its own";
  if (!config.gateway.exclusive) return [...here, { ...facts, result: "warn", message, remedy }];
  const failure = anotherServes(settings.agent_id, first);
  return [...here, { ...facts, result: "fail", message, remedy, failure }];
}

/** Gateways of this home: one is as it should be. */
function runningHere(
  info: NonNullable<KeptPresence["info"]>,
  home: ReadonlySet<string>,
): readonly Diagnosis[] {
  const running = [info, ...info.others].filter(({ instance }) => home.has(instance));
  const facts = { code: "gateway.home", name: "gateways of this home" } as const;
  if (running.length === 0) return [];
  if (running.length === 1) return [{ ...facts, result: "ok", message: "one serves" }];
  const message = `${running.length} gateways of this home run: every request is answered ${running.length} times`;
  const remedy = "stop all but one (who they are: pgrep -af picoclaw)";
  return [{ ...facts, result: "warn", message, remedy }];
}

/** The gateways that serve and share no store with this home; those that share one count as one. */
function othersIn(info: NonNullable<KeptPresence["info"]>, own: ReadonlySet<string>) {
  const isOwn = [info, ...(info.gateways ?? [])].some(({ instance }) => own.has(instance));
  const others = info.others.filter(({ instance }) => !own.has(instance));
  return isOwn ? others : [info, ...others];
}
