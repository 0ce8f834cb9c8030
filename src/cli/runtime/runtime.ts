import { readdirSync } from "node:fs";
import type { Agent } from "../../agent/agent.ts";
import type { Message } from "../../agent/contract.ts";
import type { AgentCluster } from "../../agent/workspace/contract.ts";
import { settlesWithin } from "../../base/async.ts";
import type { Part } from "../../base/contract.ts";
import { Failure, codeOf, asFailure } from "../../base/failure.ts";
import { SILENT, type Log } from "../../base/log.ts";
import { keepMemorySmall } from "../../base/memory.ts";
import type { Redactor } from "../../base/redaction/redactor.ts";
import { VERSION } from "../../base/version.ts";
import type { Config, MqttChannel } from "../../config/contract.ts";
import { SYSTEM_CLOCK } from "../../gateway/clock.ts";
import type { ClusterMember } from "../../gateway/cluster/cluster-member.ts";
import type { Recipient } from "../../gateway/durable/recovery.ts";
import {
  createGateway,
  type DrainResult,
  type Gateway,
  type GatewayOptions,
} from "../../gateway/gateway.ts";
import { SHARED_CONVERSATION } from "../../gateway/request-keys.ts";
import type { GatewayStatus } from "../../gateway/statistics/contract.ts";
import { Statistics } from "../../gateway/statistics/statistics.ts";
import { openChannel } from "../../mqtt/agent-channel/channel.ts";
import type { Broker } from "../../mqtt/broker/broker.ts";
import type { Channel, ChannelOptions } from "../../mqtt/contract.ts";
import type { Cluster } from "../../store/cluster.ts";
import type { Store } from "../../store/contract.ts";
import { isShared } from "../state/conversations.ts";
import { isBuiltIn, openState, openTemporaryState } from "../state/state.ts";
import type { State } from "../state/state.ts";
import type { ClusterChannels } from "./cluster-channels.ts";
import type { StatusParts } from "./gateway-status.ts";
import { lossTexts } from "./loss-texts.ts";
import { announcedHost, othersText } from "./other-gateways.ts";
import { openReloadableAgent, type Reloaded, type ReloadableAgent } from "./reloadable-agent.ts";
import { createReloadablePolicies } from "./reloadable-policies.ts";
import { createTopics } from "./topics.ts";

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
  /** Why not all channels are connected and subscribed; undefined while all are. */
  readonly problem: () => string | undefined;
  /** What it has done and what it does now. */
  readonly status: () => Promise<GatewayStatus>;
  /** The name of the socket that tells it; undefined without state on disk. */
  readonly socketFile: string | undefined;
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
  const { log, logContent } = options;
  const statistics = new Statistics(SYSTEM_CLOCK, logContent);
  const state = await stateOf(options, statistics.committed);
  // In the opposite order all is closed, by a stop or when something cannot be opened.
  await using closing = new AsyncDisposableStack();
  closing.defer(() => state.close());
  let dialled: readonly MqttChannel[] = [];
  const topics = createTopics({ ...options, channels: () => dialled });
  let channels: readonly Channel[] = [];
  let cluster: ClusterChannels | undefined;
  const channelStatus = (): readonly string[] => [
    ...(cluster ? [cluster.status()] : []),
    ...channels.flatMap((channel) => linesOf(channel)),
  ];
  const shared = await agentClusterOf(state, options);
  const reloadable = createReloadablePolicies(options);
  const parts = { ...options, ...state.files, ...shared, ...reloadable, topics, channelStatus };
  const agent = await openReloadableAgent({ ...parts, ...options.reloaded });
  closing.defer(() => agent.close());
  const opened = Promise.withResolvers<readonly Channel[]>();
  const canDeliver = (): boolean => channels.some((channel) => canAnswer(channel));
  const gateway = createGateway<Message>({
    ...gatewayOptionsOf(options),
    ...reloadable,
    answer: agent.answer,
    // A reload replaces it.
    get compact() {
      return agent.compact;
    },
    store: state.store,
    statistics,
    member: state.cluster && (await memberOf(state.store, state.cluster, { log, canDeliver })),
    replyTo: (channel, recipient) => replyTo(opened.promise, channel, recipient),
  });
  const { brokers, brokerOf, ...listening } = await withBrokers(options.channels, log);
  closing.defer(async () => void (await Promise.all(brokers.map((broker) => broker.close()))));
  dialled = listening.channels;
  await gateway.resume();
  cluster = await clusterChannelsOf(state, options, gateway.distrustUsage);
  closing.defer(() => cluster?.close());
  const open = cluster?.open ?? openChannel;
  channels = openChannels(dialled, options, { state, gateway, brokerOf, open });
  opened.resolve(channels);
  closing.defer(async () => void (await Promise.all(channels.map((channel) => channel.close()))));
  if (log !== SILENT) {
    const checking = checkOnceSubscribed({ ...options, ...state }, dialled, { channels, agent });
    const endChecks = await checking.catch(async (thrown: unknown) => {
      await gateway.drain(0);
      throw thrown;
    });
    closing.defer(endChecks);
  }
  return runtimeOf({ ...options, ...state, gateway, agent, dialled, channels }, closing.move());
}

interface RuntimeParts extends Omit<StatusParts, "problem">, Pick<State, "socketFile"> {
  readonly gateway: Gateway;
  readonly agent: ReloadableAgent;
  readonly log: Log;
}

function runtimeOf(parts: RuntimeParts, closing: AsyncDisposableStack): Runtime {
  const { gateway, agent, dialled, channels, log, socketFile } = parts;
  const problem = (): string | undefined => problemOf(channels) ?? gateway.problem();
  return {
    dialled,
    subscribed: (name) => subscribedTo(channels, name),
    model: agent.model,
    reload: agent.reload,
    reloaded: agent.reloaded,
    problem,
    socketFile,
    status: () => statusOf({ ...parts, problem }),
    over: Promise.race([allEnded(channels, log), leaseLost(gateway)]),
    stop: (drainMs) => stopAll(drainMs, channels, gateway, closing),
  };
}

async function subscribedTo(channels: readonly Channel[], name: string): Promise<void> {
  await channels.find((channel) => channel.name === name)?.ready();
}

async function statusOf(parts: StatusParts): Promise<GatewayStatus> {
  const { gatewayStatus } = await import("./gateway-status.ts");
  return gatewayStatus(parts);
}

async function stopAll(
  drainMs: number,
  channels: readonly Channel[],
  gateway: Gateway,
  closing: AsyncDisposableStack,
): Promise<DrainResult> {
  await Promise.all(channels.map(async (channel) => channel.handOver?.()));
  const drained = await gateway.drain(drainMs);
  await closing.disposeAsync();
  return drained;
}

function canAnswer(channel: Channel): boolean {
  return channel.canAnswer?.() ?? channel.problem() === undefined;
}

async function stateOf(options: RuntimeOptions, committed: (ms: number) => void): Promise<State> {
  const { config, log, persistent } = options;
  if (!persistent) return openTemporaryState(config);
  await initWorkspace(config, log);
  return openState({ ...options, committed });
}

function gatewayOptionsOf({ config, log, logContent, trace }: RuntimeOptions) {
  return {
    trace,
    dedupeWindowMs: config.gateway.dedupe_window_secs * 1000,
    log,
    logContent,
    maxParallelTurns: config.agents.defaults.max_parallel_turns,
    turnTimeoutMs: config.agents.defaults.turn_timeout_secs * 1000,
  };
}

async function memberOf(
  store: Store<Message>,
  cluster: Cluster,
  options: { readonly log: Log; readonly canDeliver: () => boolean },
): Promise<ClusterMember<Message>> {
  const { ClusterMember: Member } = await import("../../gateway/cluster/cluster-member.ts");
  return new Member({ ...options, store, cluster, clock: SYSTEM_CLOCK });
}

async function clusterChannelsOf(
  { cluster }: State,
  { config, home, log }: RuntimeOptions,
  taken: () => void,
): Promise<ClusterChannels | undefined> {
  if (cluster === undefined) return undefined;
  const { openClusterChannels } = await import("./cluster-channels.ts");
  return openClusterChannels(cluster, { config, home, taken, log });
}

/** What the agents of a cluster share. */
async function agentClusterOf(
  { instanceId, notes }: State,
  { config, log }: RuntimeOptions,
): Promise<{ readonly cluster?: AgentCluster }> {
  if (notes === undefined) return {};
  const { openAgentCluster } = await import("./agent-cluster.ts");
  return { cluster: await openAgentCluster({ config, notes, instanceId, log }) };
}

/** Resolves when others may have all that this gateway holds in a shared store; it has to start anew. */
async function leaseLost({ lost }: Gateway): Promise<Failure> {
  await (lost ?? new Promise(() => {}));
  return new Failure("fenced", "this gateway lost its lease in the shared store", {
    why: "it could not renew the lease for 12 s: the database was away, or this process was stopped",
  });
}

/** Milliseconds that the rest of a start waits for brokers which do not answer. */
const SUBSCRIBED_MS = 250;

/** What is not needed to subscribe is loaded and checked after it. Returns what ends the checks. */
async function checkOnceSubscribed(
  options: RuntimeOptions & Pick<State, "cluster">,
  dialled: readonly MqttChannel[],
  { channels, agent }: { channels: readonly Channel[]; agent: Pick<Agent, "load"> },
): Promise<() => Promise<void>> {
  await subscribed(channels);
  await agent.load();
  const { checkAndWatch } = await import("../checks/checks.ts");
  const { secretFiles = [] } = options;
  return checkAndWatch({ ...options, channels: dialled, secretFiles });
}

/** Resolves when all channels are subscribed, or a moment later. */
async function subscribed(channels: readonly Channel[]): Promise<void> {
  // A channel that failed for good has said so by itself.
  const all = Promise.all(channels.map((channel) => channel.ready())).catch(() => {});
  await settlesWithin(all, SUBSCRIBED_MS);
  // What they write next goes out before code is loaded.
  await new Promise((resolve) => setImmediate(resolve));
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

interface ChannelDeps {
  readonly state: State;
  readonly gateway: Gateway;
  /** The built-in broker of a channel, by its name. */
  readonly brokerOf: ReadonlyMap<string, Broker>;
  readonly open: (options: ChannelOptions) => Channel;
}

function openChannels(
  dialled: readonly MqttChannel[],
  { config, connectTimeoutMs, log }: RuntimeOptions,
  { state, gateway, brokerOf, open }: ChannelDeps,
): readonly Channel[] {
  const shared = isShared(config.session) ? { conversation: SHARED_CONVERSATION } : {};
  return dialled.map((channel) => {
    const clientId = state.clientId(channel);
    const broker = brokerOf.get(channel.name);
    return open({
      channel,
      connectTimeoutMs,
      info: infoOf(channel, state, gateway),
      exclusive: config.gateway.exclusive,
      log,
      onRequest(request) {
        keepMemorySmall();
        return gateway.accept({ ...request, ...shared });
      },
      ...(clientId !== undefined && { clientId }),
      brokerNotes: state.brokerNotes(channel),
      discoveryNotes: state.discoveryNotes(channel),
      onConflict: () => state.noteConflict(channel.name),
      ...(broker && { hasSubscriber: (topic: string) => broker.hasSubscriber(topic) }),
    });
  });
}

/** What a channel publishes of this gateway. */
function infoOf({ settings }: MqttChannel, { instanceId }: State, { load }: Gateway) {
  return { version: VERSION, instance: instanceId, load, host: () => announcedHost(settings) };
}

/** The way back to the recipient of a request of a former process: known as soon as the channels are open. */
function replyTo(
  channels: Promise<readonly Channel[]>,
  name: string,
  recipient: Recipient,
): (part: Part) => Promise<void> {
  let reply: Promise<(part: Part) => Promise<void>> | undefined;
  const find = async (): Promise<(part: Part) => Promise<void>> => {
    const channel = (await channels).find((each) => each.name === name);
    const found = channel?.replyTo(recipient);
    if (found !== undefined) return found;
    throw new Failure("failed", "the reply address of this request is no longer known");
  };
  return async (part) => {
    reply ??= find();
    await (
      await reply
    )(part);
  };
}

/** Starts the built-in brokers of the channels, one per address, and returns the channels with their ports. */
export async function withBrokers(
  channels: readonly MqttChannel[],
  log: Log,
): Promise<{
  channels: readonly MqttChannel[];
  brokers: readonly Broker[];
  brokerOf: ReadonlyMap<string, Broker>;
}> {
  const open = new Map<string, Broker>();
  const brokerOf = new Map<string, Broker>();
  const dialled: MqttChannel[] = [];
  try {
    for (const channel of channels) {
      dialled.push(await withBroker(channel, open, log));
      const broker = open.get(channel.settings.broker.join());
      if (broker !== undefined) brokerOf.set(channel.name, broker);
    }
  } catch (error) {
    await Promise.all([...open.values()].map((broker) => broker.close()));
    throw error;
  }
  return { channels: dialled, brokers: [...open.values()], brokerOf };
}

async function withBroker(
  channel: MqttChannel,
  open: Map<string, Broker>,
  log: Log,
): Promise<MqttChannel> {
  const { settings } = channel;
  if (!isBuiltIn(settings)) return channel;
  const address = settings.broker.join();
  let broker = open.get(address);
  if (!broker) {
    const { openBroker } = await import("../../mqtt/broker/broker.ts");
    broker = await openBroker({ ...settings, broker: address }, log);
    open.set(address, broker);
    log.info("built-in broker listens", { host: broker.host, port: broker.port });
  }
  broker.awaitGateway(settings);
  const host = broker.host.includes(":") ? `[${broker.host}]` : broker.host;
  return { ...channel, settings: { ...settings, broker: [`embedded://${host}:${broker.port}`] } };
}

/** What `/status` says of a channel: other gateways that serve it as well, and what its broker has lost. */
function linesOf(channel: Channel): readonly string[] {
  const others = channel.otherGateways();
  return [
    ...(others.length === 0 ? [] : [`${channel.name}: ${othersText(others)}`]),
    ...lossTexts(channel),
  ];
}

function problemOf(channels: readonly Channel[]): string | undefined {
  const problems = channels.flatMap(({ name, problem }) => {
    const failure = problem();
    return failure ? [`${name}: ${failure.message}`] : [];
  });
  return problems.length === 0 ? undefined : problems.join("; ");
}

async function allEnded(channels: readonly Channel[], log: Log): Promise<Failure> {
  const failures = await Promise.all(
    channels.map(async ({ name, ended }) => {
      const failure = await ended;
      if (failure) {
        const { message, why, remedy } = failure;
        log.error(message, { channel: name, why, try: remedy });
      }
      return failure;
    }),
  );
  return failures.find((failure) => failure !== undefined) ?? CLOSED;
}

const CLOSED = new Failure("failed", "every channel was closed");
