import type { Agent } from "../../agent/agent.ts";
import { withTimeout } from "../../base/async.ts";
import type { Redactor } from "../../base/redaction/redactor.ts";
import { brokerCredentials } from "../../config/broker.ts";
import type { MqttChannel } from "../../config/contract.ts";
import type { Gateway } from "../../gateway/gateway.ts";
import type {
  GatewayStatus,
  StatusChannel,
  StatusJobs,
  StatusWatches,
} from "../../gateway/statistics/contract.ts";
import { statusOf } from "../../gateway/statistics/status.ts";
import type { Channel } from "../../mqtt/contract.ts";
import type { RuntimeJobs } from "./jobs.ts";

export interface StatusParts {
  readonly gateway: Pick<Gateway, "report">;
  readonly agent: Pick<Agent, "model">;
  readonly channels: readonly Channel[];
  /** The same ones as they are connected. */
  readonly dialled: readonly MqttChannel[];
  readonly pid: number;
  readonly instanceId: string;
  readonly redactor: Pick<Redactor, "redact">;
  readonly watch: StatusWatches | undefined;
  readonly problem: () => string | undefined;
  readonly jobs: Pick<RuntimeJobs, "summary"> | undefined;
}

/** What the gateway of this process knows of itself. */
export async function gatewayStatus(parts: StatusParts): Promise<GatewayStatus> {
  const { gateway, agent, dialled, pid, redactor } = parts;
  const problem = parts.problem();
  const model = agent.model();
  return statusOf(gateway.report(), {
    pid,
    instance: parts.instanceId,
    problem: problem && redactor.redact(problem),
    watch: parts.watch,
    agent: model === undefined ? {} : { model: model.name, provider: model.provider },
    channels: dialled.map((settings) => channelOf(settings, parts)),
    jobs: await jobsOf(parts),
  });
}

/** Milliseconds for which a store that hangs is waited for. */
const STORE_MS = 500;

async function jobsOf({ jobs }: StatusParts): Promise<StatusJobs | undefined> {
  try {
    const found = await withTimeout(STORE_MS, undefined, async () => jobs?.summary());
    if (found === undefined) return undefined;
    const { nextAt, ...counts } = found;
    return { ...counts, ...(nextAt !== undefined && { next_at: new Date(nextAt).toISOString() }) };
  } catch {
    return undefined;
  }
}

function channelOf(
  { name, settings }: MqttChannel,
  { channels, redactor }: StatusParts,
): StatusChannel {
  const { agent_id, topic_prefix, broker, qos } = settings;
  const channel = channels.find((each) => each.name === name);
  const failure = channel?.problem();
  const problem = channel === undefined ? "it is not open yet" : failure?.message;
  return {
    name,
    agent_id,
    topic_prefix,
    broker: broker.map((url) => brokerCredentials(url).broker),
    qos,
    connected: problem === undefined,
    ...(problem !== undefined && { problem: redactor.redact(problem) }),
    sessions_lost: channel?.sessionsLost() ?? 0,
    messages_dropped: channel?.messagesDropped() ?? 0,
    other_gateways: channel?.otherGateways().length ?? 0,
  };
}
