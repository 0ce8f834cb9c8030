import { dirname } from "node:path";
import type { Log } from "../base/log.ts";
import { pause } from "../base/pause.ts";
import type { Config } from "../config/contract.ts";
import { createCommands } from "./commands.ts";
import type { CommandContext, ModelChoice } from "./commands/contract.ts";
import type { Condenser } from "./condense.ts";
import type { Answerer } from "./contract.ts";
import type { Device } from "./device/contract.ts";
import type { DeviceHistory } from "./device/history.ts";
import type { ModelAgent, ModelAgentOptions } from "./model-agent.ts";
import type { Fetch } from "./model/contract.ts";
import type { Models } from "./model/models.ts";
import { estimatedTokens } from "./tokens.ts";
import type { Tool } from "./tools/contract.ts";
import { createDeviceTool } from "./tools/device.ts";
import type { Workspace } from "./workspace/contract.ts";
import { openWorkspace } from "./workspace/workspace.ts";

export interface AgentOptions {
  readonly config: Pick<Config, "agents" | "model_list" | "tools" | "channels">;
  readonly log: Log;
  /** The program's own folder, where skills for every workspace lie; the workspace's parent where it is left out. */
  readonly home?: string;
  /** What the device was like before; its owner closes it. */
  readonly history?: DeviceHistory;
  /** Reads the configuration again, for `/reload`, and says what came of it. */
  readonly reload?: () => Promise<string>;
  /** The runtime's own where it is left out. */
  readonly fetch?: Fetch;
  /** Under which `proc`, `sys` and `etc` lie: `/` where it is left out. */
  readonly root?: string;
}

export interface Agent {
  readonly answer: Answerer;
  /** Summarizes a conversation that grew too long; absent where no model could. */
  readonly condense?: Condenser;
  /** Ends what runs beside the turns: commands, tasks. */
  close(): Promise<void>;
}

/**
 * The agent that the configuration asks for: one with a model, or the offline one where no entry of
 * `model_list` can be used. Only the code of the one that is needed is loaded, and nothing is sent
 * before the first turn. Throws a `Failure` of code `config` where a model is named that cannot work.
 */
export async function openAgent(options: AgentOptions): Promise<Agent> {
  const { config, log } = options;
  const { workspace: folder } = config.agents.defaults;
  const models = await configuredModels(options);
  const device: Device = {
    root: options.root ?? "/",
    workspace: folder,
    now: () => new Date(),
    pause,
  };
  const deviceTool = createDeviceTool(device, options.history);
  const home = options.home ?? dirname(folder);
  const workspace = openWorkspace({ folder, home, now: () => new Date(), log });
  const parts = { ...options, fetch: options.fetch ?? globalThis.fetch, workspace, deviceTool };
  const agent = models && (await loadModelAgent({ ...parts, models }));
  const body = agent?.answer ?? (await loadOffline(deviceTool));
  const commands = createCommands(commandContext({ ...parts, models, agent }));
  return {
    answer: (turn) => commands.answer(turn) ?? body(turn),
    ...(agent && { condense: agent.condense }),
    async close() {
      await agent?.close();
    },
  };
}

async function configuredModels({ config, log, fetch = globalThis.fetch }: AgentOptions) {
  if (config.model_list.length === 0 && config.agents.defaults.model_name === "") return undefined;
  const { openModels } = await import("./model/models.ts");
  return openModels({ config, fetch, log });
}

async function loadModelAgent(options: ModelAgentOptions): Promise<ModelAgent> {
  const { openModelAgent } = await import("./model-agent.ts");
  return openModelAgent(options);
}

async function loadOffline(deviceTool: Tool): Promise<Answerer> {
  const { createOfflineAgent } = await import("./offline.ts");
  return createOfflineAgent(deviceTool);
}

interface Parts extends AgentOptions {
  readonly workspace: Workspace;
  readonly deviceTool: Tool;
  readonly models: Models | undefined;
  readonly agent: ModelAgent | undefined;
}

function commandContext(parts: Parts): CommandContext {
  const { config, workspace, deviceTool, models, agent, reload } = parts;
  const startedAt = performance.now();
  return {
    models: modelChoice(models),
    tools: async () => (agent === undefined ? [deviceTool] : await agent.tools()),
    channels: () => config.channels.map(({ name }) => name),
    workspace,
    device: (signal) => deviceTool.run({ facts: STATUS }, { signal, client: "", isRemote: false }),
    uptime: () => (performance.now() - startedAt) / 1000,
    window: () => agent?.window() ?? 0,
    tokens: estimatedTokens,
    tasks: (client) => agent?.subagents.list(client) ?? [],
    ...(reload && { reload }),
    ...(agent && { answer: agent.answer }),
  };
}

const STATUS = ["cpu", "memory", "disk", "temperature", "uptime"];

function modelChoice(models: Models | undefined): ModelChoice {
  return {
    list: () => models?.list() ?? [],
    current: () => models?.current(),
    async switchTo(name) {
      models?.switchTo(name);
    },
  };
}
