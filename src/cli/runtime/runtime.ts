import { readdirSync } from "node:fs";
import type { Agent } from "../../agent/agent.ts";
import type { Message } from "../../agent/contract.ts";
import type { AgentCluster } from "../../agent/workspace/contract.ts";
import { Failure, codeOf, asFailure } from "../../base/failure.ts";
import { SILENT, type Log } from "../../base/log.ts";
import type { Redactor } from "../../base/redaction/redactor.ts";
import type { Config, LoadedConfig, MqttChannel } from "../../config/contract.ts";
import { SYSTEM_CLOCK } from "../../gateway/clock.ts";
import type { ClusterMember } from "../../gateway/cluster/cluster-member.ts";
import {
  createGateway,
  type DrainResult,
  type Gateway,
  type GatewayOptions,
} from "../../gateway/gateway.ts";
import type { AskOptions } from "../../gateway/http/ask.ts";
import { SHARED_CONVERSATION } from "../../gateway/request-keys.ts";
import type { GatewayStatus } from "../../gateway/statistics/contract.ts";
import { Statistics } from "../../gateway/statistics/statistics.ts";
import type { Context } from "../context.ts";
import { isShared } from "../state/conversations.ts";
import { openState, openTemporaryState, type State } from "../state/state.ts";
import { Channels } from "./channels.ts";
import { createConfirmations } from "./confirmations.ts";
import { createHomeDevices } from "./home-devices.ts";
import { RuntimeJobs } from "./jobs.ts";
import { createOtherAgents } from "./other-agents.ts";
import { createOutbox } from "./outbox.ts";
import {
  openReloadableAgent,
  type Reloaded,
  type ReloadableAgent,
  type ReloadableAgentOptions,
} from "./reloadable-agent.ts";
import { createReloadablePolicies, type ReloadablePolicies } from "./reloadable-policies.ts";
import { createTopicFeeds } from "./topic-feeds.ts";
import { createTopics } from "./topics.ts";
import { createWatching, type Watching } from "./watching.ts";

/** Everything that serves requests: built-in brokers, channels and the gateway. */
export interface Runtime {
  /** The channels as they are connected: a built-in broker with its actual port. */
  readonly dialled: readonly MqttChannel[];
  /** Resolves when the channel of that name is subscribed for the first time; rejects if it never will be. */
  readonly subscribed: (channel: string) => Promise<void>;
  /** The model that answers now; undefined if none can be used. */
  readonly model: Agent["model"];
  /** Reads the configuration again and uses what does not need a restart. Rejects if it cannot be used. */
  readonly reload: ReloadableAgent["reload"];
  /** What the last reload has put into effect. */
  readonly reloaded: ReloadableAgent["reloaded"];
  /** The configuration in use. */
  readonly config: () => Config;
  /** Why not all channels are connected and subscribed; undefined while all are. */
  readonly problem: () => string | undefined;
  /** What it has done and what it does now. */
  readonly status: () => Promise<GatewayStatus>;
  /** The name of the socket that tells it; undefined without state on disk. */
  readonly socketFile: string | undefined;
  /** Takes the requests of clients that ask over HTTP. */
  readonly clients: Pick<AskOptions, "accept" | "policies">;
  /** Calls of tools that they make by themselves. */
  readonly direct: Agent["direct"];
  /** Resolves when every channel has ended, with the first failure. */
  readonly over: Promise<Failure>;
  /** Drains, publishes `offline`, disconnects and closes, within seconds after the deadline. */
  readonly stop: (drainMs: number) => Promise<DrainResult>;
}

export interface RuntimeOptions {
  readonly config: Config;
  readonly channels: readonly MqttChannel[];
  readonly log: Log;
  readonly redactor: Redactor;
  readonly logContent: boolean;
  /** Called with each request that has ended. */
  readonly trace?: GatewayOptions<unknown>["trace"];
  readonly traceText?: GatewayOptions<unknown>["traceText"];
  readonly connectTimeoutMs: number;
  readonly pid: number;
  /** Whether requests and conversations are stored on disk. */
  readonly persistent: boolean;
  /** The home folder of the program. */
  readonly home?: string;
  readonly configFile?: string;
  /** Files that only their owner should be able to read. */
  readonly secretFiles?: readonly string[];
  /** Loads the configuration again, for a reload. */
  readonly load?: () => Promise<Reloaded>;
  /** What a reload has put into effect before everything was opened anew. */
  readonly reloaded?: Reloaded | undefined;
  /** Called with a configuration that is in use from now on. */
  readonly onReload?: (config: Config) => void;
}

/** Opens everything; throws a `Failure` if the agent or a built-in broker cannot start. */
export async function openRuntime(options: RuntimeOptions): Promise<Runtime> {
  const statistics = new Statistics(SYSTEM_CLOCK, options.logContent);
  const state = await openStateOf(options, statistics.committed);
  // In the opposite order all is closed, by a stop or when something cannot be opened.
  await using closing = new AsyncDisposableStack();
  closing.defer(() => state.close());
  const channels = new Channels(options, state);
  const feeds = createTopicFeeds({ ...options, channels: () => channels.dialled });
  const homeDevices = createHomeDevices({ ...options, feeds, channels: () => channels.dialled });
  let watching: Watching | undefined;
  const policies = createReloadablePolicies({
    ...options,
    onReload(config) {
      options.onReload?.(config);
      watching?.apply(config);
      homeDevices.warm(config);
    },
  });
  const jobs = jobsOf(options, state);
  const push: Gateway["push"] = (wanted) => gateway.push(wanted);
  const confirmations = createConfirmations({ ...options, ...state, push });
  const outbox = createOutbox(push, options.redactor);
  const sent = { outbox, confirmations, jobs: jobs?.jobs, homeDevices };
  const agent = await openAgentOf({ ...options, ...sent }, { state, channels, policies });
  closing.defer(() => agent.close());
  const gateway = createGateway<Message>({
    ...gatewayOptionsOf(options),
    ...policies,
    answer: agent.answer,
    // A reload replaces it.
    get compact() {
      return agent.compact;
    },
    store: state.store,
    statistics,
    member: await memberOf(options, state, channels),
    replyTo: (channel, recipient) => channels.replyTo(channel, recipient),
  });
  closing.defer(() => channels.close());
  closing.defer(() => feeds.close());
  await channels.listen();
  await gateway.resume();
  await channels.open(gateway, agent, policies.policies);
  closing.defer(() => confirmations.close());
  void confirmations.start(options.config);
  watching = createWatching({ ...options, feeds, state, push });
  closing.defer(watching.close);
  const config = options.reloaded?.config ?? options.config;
  if (options.persistent) watching.apply(config);
  if (options.persistent) homeDevices.warm(config);
  const { policies: byChannel } = policies;
  const opened = { state, channels, agent, gateway, jobs, watching, policies: byChannel };
  const parts = { ...options, ...opened };
  if (options.log !== SILENT) closing.defer(await checkOnceSubscribed(parts));
  closing.defer(async () => jobs?.close());
  void jobs?.start({ push, runCommand: agent.runCommand });
  return runtimeOf(parts, closing.move());
}

interface TemporaryOptions {
  readonly channel: MqttChannel;
  readonly connectTimeoutMs: number;
  readonly log: Log;
}

/** Serves one channel in the process of a command that asks it; writes nothing to disk. */
export async function openTemporaryRuntime(
  { host, redactor }: Pick<Context, "host" | "redactor">,
  { config, home, file, secretFiles }: LoadedConfig,
  { channel, ...options }: TemporaryOptions,
): Promise<{ readonly runtime: Runtime; readonly dialled: MqttChannel }> {
  const runtime = await openRuntime({
    ...options,
    config,
    channels: [channel],
    redactor,
    logContent: false,
    pid: host.pid,
    persistent: false,
    home,
    configFile: file,
    secretFiles,
  });
  const [dialled = channel] = runtime.dialled;
  return { runtime, dialled };
}

interface RuntimeParts extends Omit<RuntimeOptions, "channels"> {
  readonly state: State;
  readonly channels: Channels;
  readonly agent: ReloadableAgent;
  readonly gateway: Gateway;
  readonly jobs: RuntimeJobs | undefined;
  readonly watching: Watching;
  readonly policies: ReloadablePolicies["policies"];
}

function runtimeOf(parts: RuntimeParts, closing: AsyncDisposableStack): Runtime {
  const { state, channels, agent, gateway, jobs, watching, policies } = parts;
  const problem = (): string | undefined => channels.problem() ?? gateway.problem();
  return {
    dialled: channels.dialled,
    subscribed: (name) => channels.subscribed(name),
    model: agent.model,
    reload: agent.reload,
    reloaded: agent.reloaded,
    config: () => (agent.reloaded() ?? parts.reloaded ?? parts).config,
    problem,
    socketFile: state.socketFile,
    status: () => statusOf(parts, problem),
    clients: { accept: (request) => gateway.accept(request), policies },
    direct: agent.direct,
    over: Promise.race([channels.ended(), leaseLost(gateway)]),
    async stop(drainMs) {
      await jobs?.close();
      await watching.close();
      await channels.handOver();
      const drained = await gateway.drain(drainMs);
      await closing.disposeAsync();
      return drained;
    },
  };
}

async function statusOf(
  { state, channels, watching, ...parts }: RuntimeParts,
  problem: () => string | undefined,
): Promise<GatewayStatus> {
  const { gatewayStatus } = await import("./gateway-status.ts");
  const { all, dialled } = channels;
  const watch = watching.status();
  return gatewayStatus({ ...parts, ...state, channels: all, dialled, watch, problem });
}

async function openStateOf(
  options: RuntimeOptions,
  committed: (ms: number) => void,
): Promise<State> {
  const { config, log, persistent } = options;
  if (!persistent) return openTemporaryState(config);
  await initWorkspace(config, log);
  return openState({ ...options, committed });
}

function gatewayOptionsOf({ config, log, logContent, trace, traceText }: RuntimeOptions) {
  return {
    trace,
    traceText,
    dedupeWindowMs: config.gateway.dedupe_window_secs * 1000,
    log,
    logContent,
    maxParallelTurns: config.agents.defaults.max_parallel_turns,
    turnTimeoutMs: config.agents.defaults.turn_timeout_secs * 1000,
    conversation: isShared(config.session) ? SHARED_CONVERSATION : undefined,
  };
}

/** Absent without state on disk: a job outlives the process. */
function jobsOf(
  options: RuntimeOptions,
  { store, cluster, socketFile }: State,
): RuntimeJobs | undefined {
  if (socketFile === undefined) return undefined;
  return new RuntimeJobs({ ...options, store, isShared: cluster !== undefined });
}

interface AgentParts extends Pick<RuntimeParts, "state" | "channels"> {
  readonly policies: ReloadablePolicies;
}

async function openAgentOf(
  options: RuntimeOptions &
    Pick<ReloadableAgentOptions, "outbox" | "confirmations" | "jobs" | "homeDevices">,
  { state, channels, policies }: AgentParts,
): Promise<ReloadableAgent> {
  const topics = createTopics({ ...options, channels: () => channels.dialled });
  const channelStatus = (): readonly string[] => channels.status();
  const cluster = await agentClusterOf(state, options);
  const agents = createOtherAgents({ ...options, channels: () => channels.dialled });
  const ports = { topics, agents, channelStatus };
  const parts = { ...options, ...state.files, ...policies, cluster, ...ports };
  return openReloadableAgent({ ...parts, ...options.reloaded });
}

/** What the agents of a cluster share. */
async function agentClusterOf(
  { instanceId, notes }: State,
  { config, log }: RuntimeOptions,
): Promise<AgentCluster | undefined> {
  if (notes === undefined) return undefined;
  const { openAgentCluster } = await import("./agent-cluster.ts");
  return openAgentCluster({ config, notes, instanceId, log });
}

/** This gateway among those that share its store. */
async function memberOf(
  { log }: RuntimeOptions,
  { store, cluster }: State,
  channels: Channels,
): Promise<ClusterMember<Message> | undefined> {
  if (cluster === undefined) return undefined;
  const { ClusterMember: Member } = await import("../../gateway/cluster/cluster-member.ts");
  const canDeliver = (): boolean => channels.canAnswer();
  return new Member({ log, canDeliver, store, cluster, clock: SYSTEM_CLOCK });
}

/** Resolves when others may have all that this gateway holds in a shared store; it has to start anew. */
async function leaseLost({ lost }: Gateway): Promise<Failure> {
  await (lost ?? new Promise(() => {}));
  return new Failure("fenced", "this gateway lost its lease in the shared store", {
    why: "it could not renew the lease for 12 s: the database was away, or this process was stopped",
  });
}

/** What is not needed to subscribe is loaded and checked after it. Returns what ends the checks. */
async function checkOnceSubscribed(parts: RuntimeParts): Promise<() => Promise<void>> {
  const { state, channels, agent, gateway, secretFiles = [] } = parts;
  try {
    await channels.allSubscribed();
    await agent.load();
    const { checkAndWatch } = await import("../checks/checks.ts");
    return await checkAndWatch({ ...parts, ...state, channels: channels.dialled, secretFiles });
  } catch (thrown) {
    await gateway.drain(0);
    throw thrown;
  }
}

/**
 * Writes the template files into an unused workspace, if there is a model to read them. A failure is only a
 * warning: the agent works without them.
 */
export async function initWorkspace({ agents, model_list }: Config, log: Log): Promise<void> {
  const { workspace, model_name } = agents.defaults;
  const isAsked = model_name !== "" || model_list.some(({ enabled }) => enabled);
  if (!isAsked || !isUnused(workspace)) return;
  const { writeTemplates } = await import("../../agent/workspace/templates.ts");
  try {
    const files = await writeTemplates(workspace);
    log.info("created workspace files", {
      workspace,
      files: files.join(", "),
    });
  } catch (thrown) {
    log.warn("could not create workspace files", { workspace, why: asFailure(thrown).why });
  }
}

function isUnused(folder: string): boolean {
  try {
    // The program itself creates the folder `state`.
    return readdirSync(folder).every((name) => name === "state");
  } catch (error) {
    return codeOf(error) === "ENOENT";
  }
}
