import type { Confirmations } from "../../agent/access/confirmations.ts";
import { type Agent, openAgent } from "../../agent/agent.ts";
import type { Turn, Turned } from "../../agent/contract.ts";
import { type DeviceHistory, openDeviceHistory } from "../../agent/device/history.ts";
import type { LearnedStore } from "../../agent/model/memory.ts";
import type { Agents } from "../../agent/tools/ask-agent.ts";
import type { Jobs } from "../../agent/tools/cron.ts";
import type { HomeDevices } from "../../agent/tools/home/contract.ts";
import type { McpDocuments } from "../../agent/tools/mcp/contract.ts";
import type { Outbox } from "../../agent/tools/message.ts";
import type { Topics } from "../../agent/tools/mqtt.ts";
import type { AgentCluster } from "../../agent/workspace/contract.ts";
import { createSerialQueue, pause } from "../../base/async.ts";
import { asFailure, Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { Redactor } from "../../base/redaction/redactor.ts";
import type { Config, LoadedConfig } from "../../config/contract.ts";

/** What a reload changes. */
export type Reloaded = Pick<LoadedConfig, "config" | "secretFiles">;

export interface ReloadableAgentOptions {
  readonly config: Config;
  readonly log: Log;
  /** Applied to the agent's output; by default it knows only the secrets of `config`. */
  readonly redactor?: Redactor;
  /** Access to the topics of the brokers. */
  readonly topics?: Topics;
  /** The devices on those brokers. */
  readonly homeDevices?: HomeDevices;
  /** The other agents at the brokers. */
  readonly agents?: Agents;
  /** Where calls wait that a person has to allow. */
  readonly confirmations?: Confirmations | undefined;
  /** Takes messages for clients. */
  readonly outbox?: Outbox | undefined;
  /** The jobs of clients; absent if nobody does them. */
  readonly jobs?: Jobs | undefined;
  /** What `/status` says of the channels. */
  readonly channelStatus?: () => readonly string[];
  /** The home folder of the program. */
  readonly home?: string;
  readonly configFile?: string;
  /** Further files with secrets, which no tool may read. */
  readonly secretFiles?: readonly string[];
  /** The file of the device's history; kept only in memory if left out. */
  readonly historyFile?: string;
  /** Absent if the gateway is alone. */
  readonly cluster?: AgentCluster | undefined;
  /** Keeps what is learned about models. */
  readonly learned?: LearnedStore;
  /** Keeps what is known of MCP servers. */
  readonly mcpDocuments?: McpDocuments;
  /** Loads the configuration again, for `/reload`; without it there is no `/reload`. */
  readonly load?: () => Promise<Reloaded>;
  /**
   * Applies what a reload changes outside of the agent, once the new agent is open. Returns the keys whose
   * changes need a restart. Must not throw.
   */
  readonly applyConfig?: (config: Config) => readonly string[];
}

export interface ReloadableAgent extends Agent {
  /** Reads the configuration again; returns what is said about the result. Rejects if it cannot be used. */
  readonly reload: () => Promise<string>;
  /** What the last reload has put into effect; undefined if there was none. */
  readonly reloaded: () => Reloaded | undefined;
}

/** Opens the agent of a gateway; a reload replaces it with a new instance. */
export async function openReloadableAgent(
  options: ReloadableAgentOptions,
): Promise<ReloadableAgent> {
  const { config, secretFiles = [], log, historyFile: file, load } = options;
  const { workspace } = config.agents.defaults;
  const device = { root: "/", workspace, now: () => new Date(), pause };
  const history = openDeviceHistory({ device, log, ...(file !== undefined && { file }) });
  const open = (loaded: Reloaded): Promise<AgentInstance> =>
    openInstance({ ...options, ...loaded, history, ...(load && { reload }) });
  /** The current instance, and former ones whose last turns have not ended. */
  const instances = new Set<AgentInstance>();
  let current: AgentInstance;
  let isClosed = false;
  let reloaded: Reloaded | undefined;

  const reloadNow = async (read: () => Promise<Reloaded>): Promise<string> => {
    const loaded = await read();
    const [next, former] = [await open(loaded), current];
    if (isClosed) {
      await next.close();
      throw new Failure("cancelled", "the program is ending");
    }
    instances.add(next);
    current = next;
    void former.retire().then(() => instances.delete(former));
    reloaded = loaded;
    const restart = options.applyConfig?.(loaded.config) ?? [];
    logReload(log, restart);
    return reloadedText(restart);
  };
  const inTurn = createSerialQueue();
  // One after the other, so that the configuration that was loaded last stays in use.
  const reload = async (): Promise<string> =>
    load === undefined ? "" : await inTurn(() => reloadNow(load));

  try {
    current = await open({ config, secretFiles });
  } catch (thrown) {
    await history.close();
    throw thrown;
  }
  instances.add(current);
  return {
    answer: (turn) => current.answer(turn),
    model: () => current.agent.model(),
    reload,
    reloaded: () => reloaded,
    get compact() {
      return current.agent.compact;
    },
    runCommand: (scheduled) => current.runCommand(scheduled),
    direct: () => current.direct(),
    load: () => current.agent.load(),
    async close() {
      isClosed = true;
      await Promise.all([...instances].map((one) => one.close()));
      await history.close();
    },
  };
}

function logReload(log: Log, restart: readonly string[]): void {
  const facts = restart.length === 0 ? {} : { needs_restart: restart.join(" ") };
  log[restart.length === 0 ? "info" : "warn"]("configuration reloaded", facts);
}

function reloadedText(restart: readonly string[]): string {
  return [
    "The new configuration is in use from now on.",
    ...(restart.length === 0 ? [] : [`These changes need a restart: ${restart.join(", ")}.`]),
    "Background tasks of the previous agent end with its last answer.",
  ].join("\n");
}

/** An agent that closes after its last turn. */
interface AgentInstance {
  readonly agent: Agent;
  readonly answer: Agent["answer"];
  readonly runCommand: Agent["runCommand"];
  readonly direct: Agent["direct"];
  /** Closes the agent after its last turn. */
  readonly retire: () => Promise<void>;
  /** Closes the agent now; logs failures. */
  readonly close: () => Promise<void>;
}

interface InstanceOptions extends ReloadableAgentOptions {
  readonly history: DeviceHistory;
  readonly reload?: () => Promise<string>;
}

async function openInstance(options: InstanceOptions): Promise<AgentInstance> {
  const agent = await openAgent(options);
  const idle = Promise.withResolvers<void>();
  let [turns, isDismissed] = [0, false];
  const ended = (): void => {
    if (isDismissed && turns === 0) idle.resolve();
  };

  async function* answer(turn: Turn): AsyncGenerator<string, Turned> {
    turns += 1;
    try {
      return yield* agent.answer(turn);
    } finally {
      turns -= 1;
      ended();
    }
  }

  /** The agent stays open for this work. */
  async function during<T>(work: Promise<T>): Promise<T> {
    turns += 1;
    try {
      return await work;
    } finally {
      turns -= 1;
      ended();
    }
  }

  async function close(): Promise<void> {
    try {
      await agent.close();
    } catch (thrown) {
      const { message, why } = asFailure(thrown);
      options.log.warn("could not close an agent", { error: message, why });
    }
  }

  return {
    agent,
    answer,
    runCommand: (scheduled) => during(agent.runCommand(scheduled)),
    async direct() {
      const { offered, call } = await agent.direct();
      return { offered, call: (one) => during(call(one)) };
    },
    async retire() {
      isDismissed = true;
      ended();
      await idle.promise;
      await close();
    },
    close,
  };
}
