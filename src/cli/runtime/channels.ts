import type { Agent } from "../../agent/agent.ts";
import { settlesWithin } from "../../base/async.ts";
import type { Part } from "../../base/contract.ts";
import { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { keepMemorySmall } from "../../base/memory.ts";
import { VERSION } from "../../base/version.ts";
import type { Config, MqttChannel } from "../../config/contract.ts";
import type { Recipient } from "../../gateway/durable/recovery.ts";
import type { Gateway } from "../../gateway/gateway.ts";
import type { AskOptions } from "../../gateway/http/ask.ts";
import { openChannel } from "../../mqtt/agent-channel/channel.ts";
import type { Broker } from "../../mqtt/broker/broker.ts";
import type { AgentUsage, Channel, ChannelOptions } from "../../mqtt/contract.ts";
import { isBuiltIn, type State } from "../state/state.ts";
import type { ClusterChannels } from "./cluster-channels.ts";
import { lossTexts } from "./loss-texts.ts";
import { announcedHost, othersText } from "./other-gateways.ts";

export interface ChannelsOptions {
  readonly config: Config;
  readonly channels: readonly MqttChannel[];
  readonly connectTimeoutMs: number;
  readonly log: Log;
  /** The home folder of the program. */
  readonly home?: string;
}

/** Milliseconds that the rest of a start waits for brokers which do not answer. */
const SUBSCRIBED_MS = 250;

/** The channels of a gateway, with their built-in brokers. Agent and gateway refer to them before they are open. */
export class Channels {
  readonly #options: ChannelsOptions;
  readonly #state: State;
  readonly #opened = Promise.withResolvers<readonly Channel[]>();
  #dialled: readonly MqttChannel[] = [];
  /** The built-in broker of a channel, by its name. */
  #brokerOf: ReadonlyMap<string, Broker> = new Map();
  #cluster: ClusterChannels | undefined;
  #channels: readonly Channel[] = [];
  /** Closes in the opposite order. */
  readonly #closing = new AsyncDisposableStack();

  constructor(options: ChannelsOptions, state: State) {
    this.#options = options;
    this.#state = state;
  }

  /** The settings by which they connect: a built-in broker with its actual port. None before `listen`. */
  get dialled(): readonly MqttChannel[] {
    return this.#dialled;
  }

  /** None before `open`. */
  get all(): readonly Channel[] {
    return this.#channels;
  }

  /** Starts the built-in brokers. Throws a `Failure` if one cannot. */
  async listen(): Promise<void> {
    const { channels, log } = this.#options;
    if (!channels.some(({ settings }) => isBuiltIn(settings))) {
      this.#dialled = channels;
      return;
    }
    const { withBrokers } = await import("./built-in-brokers.ts");
    const { brokers, brokerOf, ...listening } = await withBrokers(channels, log);
    this.#closing.defer(() => closeAll(brokers));
    this.#brokerOf = brokerOf;
    this.#dialled = listening.channels;
  }

  /** Connects and gives the gateway their requests. */
  async open(
    gateway: Gateway,
    agent: Pick<Agent, "model" | "direct">,
    policies: AskOptions["policies"],
  ): Promise<void> {
    this.#cluster = await this.#openCluster(gateway.distrustUsage);
    const cluster = this.#cluster && (await import("../../mqtt/agent-channel/cluster-channel.ts"));
    const serveA2a = this.#serves("a2a") ? (await import("./a2a.ts")).serveA2a : undefined;
    const serveMcp = this.#serves("mcp") ? (await import("./mcp.ts")).serveMcp : undefined;
    const { direct } = agent;
    const accept: AskOptions["accept"] = (request) => gateway.accept(request);
    const ports = { direct, clients: { accept, policies } };
    this.#channels = this.#dialled.map((channel) => {
      const usage = this.#usageOf(channel, gateway, agent);
      const alone = this.#optionsOf(channel, gateway, usage);
      const { a2a, mcp } = channel.settings;
      const shared = this.#cluster?.share(alone);
      const options = shared ?? alone;
      let opened = (shared && cluster?.openClusterChannel(shared)) ?? openChannel(alone);
      if (a2a.enabled && serveA2a) opened = serveA2a(opened, options, gateway);
      if (mcp.enabled && serveMcp) opened = serveMcp(opened, options, ports);
      return opened;
    });
    this.#closing.defer(() => closeAll(this.#channels));
    this.#opened.resolve(this.#channels);
  }

  /** Whether a channel serves other agents, or programs of MCP, as well. */
  #serves(what: "a2a" | "mcp"): boolean {
    return this.#dialled.some(({ settings }) => settings[what].enabled);
  }

  async #openCluster(taken: () => void): Promise<ClusterChannels | undefined> {
    const { cluster } = this.#state;
    if (cluster === undefined) return undefined;
    const { openClusterChannels } = await import("./cluster-channels.ts");
    const { config, home, log } = this.#options;
    const opened = await openClusterChannels(cluster, { config, home, taken, log });
    this.#closing.defer(opened.close);
    return opened;
  }

  /** What the channel has used today, while a model answers. */
  #usageOf({ name }: MqttChannel, gateway: Gateway, agent: Pick<Agent, "model">) {
    const hasPrices = this.#options.config.model_list.some(({ prices }) => prices !== undefined);
    return (): AgentUsage | undefined => {
      if (agent.model() === undefined) return undefined;
      const { tokens, cost } = gateway.usedToday(name);
      return hasPrices ? { tokens, cost } : { tokens };
    };
  }

  #optionsOf(
    channel: MqttChannel,
    gateway: Gateway,
    usage: () => AgentUsage | undefined,
  ): ChannelOptions {
    const { config, connectTimeoutMs, log } = this.#options;
    const state = this.#state;
    const clientId = state.clientId(channel);
    const broker = this.#brokerOf.get(channel.name);
    const host = (): string | undefined => announcedHost(channel.settings);
    return {
      channel,
      connectTimeoutMs,
      info: { version: VERSION, instance: state.instanceId, load: gateway.load, usage, host },
      exclusive: config.gateway.exclusive,
      log,
      onRequest(request) {
        keepMemorySmall();
        return gateway.accept(request);
      },
      ...(clientId !== undefined && { clientId }),
      brokerNotes: state.brokerNotes(channel),
      discoveryNotes: state.discoveryNotes(channel),
      onConflict: () => state.noteConflict(channel.name),
      ...(broker && { hasSubscriber: (topic: string) => broker.hasSubscriber(topic) }),
    };
  }

  /** Resolves when the channel of that name is subscribed for the first time; rejects if it never will be. */
  async subscribed(name: string): Promise<void> {
    await this.#channels.find((channel) => channel.name === name)?.ready();
  }

  /** Resolves when all are subscribed, or a moment later. */
  async allSubscribed(): Promise<void> {
    // A channel that failed for good has said so by itself.
    const all = Promise.all(this.#channels.map((channel) => channel.ready())).catch(() => {});
    await settlesWithin(all, SUBSCRIBED_MS);
    // What they write next goes out before code is loaded.
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** The way back to the recipient of a request of a former process: known as soon as the channels are open. */
  replyTo(name: string, recipient: Recipient): (part: Part) => Promise<void> {
    let reply: Promise<(part: Part) => Promise<void>> | undefined;
    const find = async (): Promise<(part: Part) => Promise<void>> => {
      const channel = (await this.#opened.promise).find((each) => each.name === name);
      const found = channel?.replyTo(recipient);
      if (found !== undefined) return found;
      throw new Failure("failed", "the reply address of this request is no longer known");
    };
    return async (part) => {
      reply ??= find();
      const send = await reply;
      await send(part);
    };
  }

  /** Whether an answer can leave through at least one of them. */
  canAnswer(): boolean {
    return this.#channels.some(
      (channel) => channel.canAnswer?.() ?? channel.problem() === undefined,
    );
  }

  /** Why not all are connected and subscribed; undefined while all are. */
  problem(): string | undefined {
    const problems = this.#channels.flatMap(({ name, problem }) => {
      const failure = problem();
      return failure ? [`${name}: ${failure.message}`] : [];
    });
    return problems.length === 0 ? undefined : problems.join("; ");
  }

  /** What `/status` says of them: other gateways that serve the same, and what a broker has lost. */
  status(): readonly string[] {
    return [
      ...(this.#cluster ? [this.#cluster.status()] : []),
      ...this.#channels.flatMap((channel) => linesOf(channel)),
    ];
  }

  /** Resolves when every channel has ended, with the first failure. Logs each; to be called once. */
  async ended(): Promise<Failure> {
    const failures = await Promise.all(
      this.#channels.map(async ({ name, ended }) => {
        const failure = await ended;
        if (failure) {
          const { message, why, remedy } = failure;
          this.#options.log.error(message, { channel: name, why, try: remedy });
        }
        return failure;
      }),
    );
    return failures.find((failure) => failure !== undefined) ?? CLOSED;
  }

  /** They hear no more requests where another gateway of the cluster does; answers still leave. */
  async handOver(): Promise<void> {
    await this.#cluster?.leave();
    await Promise.all(this.#channels.map(async (channel) => channel.handOver?.()));
  }

  async close(): Promise<void> {
    await this.#closing.disposeAsync();
  }
}

async function closeAll(parts: readonly (Broker | Channel)[]): Promise<void> {
  await Promise.all(parts.map((part) => part.close()));
}

function linesOf(channel: Channel): readonly string[] {
  const others = channel.otherGateways();
  return [
    ...(others.length === 0 ? [] : [`${channel.name}: ${othersText(others)}`]),
    ...lossTexts(channel),
  ];
}

const CLOSED = new Failure("failed", "every channel was closed");
