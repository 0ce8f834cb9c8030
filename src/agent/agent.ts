import { pause } from "../base/async.ts";
import { commandIn } from "../base/command.ts";
import type { Log } from "../base/log.ts";
import { createRedactor } from "../base/redaction/redactor.ts";
import type { Redactor } from "../base/redaction/redactor.ts";
import type { Config } from "../config/contract.ts";
import { secretsIn } from "../config/secrets-in.ts";
import { createPermissions } from "./access/permissions.ts";
import type { PermissionsOf } from "./access/permissions.ts";
import type { Commands } from "./commands/commands.ts";
import type { Answerer, Turn } from "./contract.ts";
import type { Device } from "./device/contract.ts";
import type { DeviceHistory } from "./device/history.ts";
import type { ToolHooks } from "./hooks/contract.ts";
import type { ModelAgent, ModelAgentOptions } from "./model-agent.ts";
import type { Fetch } from "./model/contract.ts";
import { redactedAnswerer, redactedCompact } from "./redacted.ts";
import type { Tool } from "./tools/contract.ts";
import { createDeviceTool } from "./tools/device.ts";
import type { Topics } from "./tools/mqtt.ts";
import { withHooks } from "./tools/run.ts";
import type { Compact } from "./turn/compaction.ts";

export interface AgentOptions {
  readonly config: Pick<Config, "agents" | "model_list" | "tools" | "channels" | "hooks">;
  readonly log: Log;
  /** Over what leaves the agent; over the secrets of `config` alone where it is left out. */
  readonly redactor?: Redactor;
  /** The program's own folder, where skills for every workspace lie; the workspace's parent where it is left out. */
  readonly home?: string;
  /** The configuration's file: no tool reads it. */
  readonly configFile?: string;
  /** Further files that hold secrets: no tool reads them, either. */
  readonly secretFiles?: readonly string[];
  /** The topics of the brokers of its channels, where it has any. */
  readonly topics?: Topics;
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
  readonly compact?: Compact | undefined;
  /** Ends what runs beside the turns: commands, tasks. */
  close(): Promise<void>;
}

/**
 * The agent that the configuration asks for: one with a model, or the offline one where no entry of
 * `model_list` can be used. Only the code of the one that is needed is loaded, and nothing is sent
 * before the first turn. Throws a `Failure` of code `config` where a model is named that cannot work.
 */
export async function openAgent(options: AgentOptions): Promise<Agent> {
  const { config } = options;
  const device: Device = {
    root: options.root ?? "/",
    workspace: config.agents.defaults.workspace,
    now: () => new Date(),
    pause,
  };
  const deviceTool = createDeviceTool(device, options.history);
  const { turn_profile: turnProfile } = config.agents.defaults;
  const { clientsAreSandboxed } = await import("./tools/exec/sandbox/check.ts");
  const permissionsOf = createPermissions({
    tools: config.tools,
    workspace: device.workspace,
    turnProfile,
    isSandboxed: await clientsAreSandboxed(config),
  });
  const models = await configuredModels(options);
  const fetch = options.fetch ?? globalThis.fetch;
  const redactor = options.redactor ?? createRedactor(secretsIn(config));
  const hooks = await configuredHooks(options, redactor);
  const parts = { ...options, fetch, models, deviceTool, permissionsOf, redactor, hooks };
  const agent = models && (await loadModelAgent({ ...parts, models }));
  const body = agent?.answer ?? (await loadOffline(withHooks(deviceTool, hooks), permissionsOf));
  const commanded = withCommands(body, async () => {
    const { openCommands } = await import("./commands/open.ts");
    return openCommands({ ...options, deviceTool, permissionsOf, models, agent });
  });
  const answer = turnProfile?.history === "off" ? withoutHistory(commanded) : commanded;
  return {
    answer: redactedAnswerer(answer, redactor),
    compact: agent?.compact && redactedCompact(agent.compact, redactor),
    async close() {
      await agent?.close();
      await hooks?.close();
    },
  };
}

/** Turns that know nothing of the conversation, and of which nothing is kept in it. */
function withoutHistory(body: Answerer): Answerer {
  return async function* answer(turn) {
    const turned = yield* body({ ...turn, history: [] });
    return { ...turned, messages: [] };
  };
}

/** Commands come first; their code is loaded with the first of them. */
function withCommands(body: Answerer, load: () => Promise<Commands>): Answerer {
  let loading: Promise<Commands> | undefined;
  const loadOnce = async (): Promise<Commands> => {
    try {
      return await load();
    } catch (thrown) {
      // The next command tries again.
      loading = undefined;
      throw thrown;
    }
  };
  let commands: Commands | undefined;
  const answerLoading = async function* answer(turn: Turn) {
    commands = await loading;
    return yield* commands?.answer(turn) ?? body(turn);
  };
  return (turn) => {
    if (commandIn(turn.text) !== undefined) loading ??= loadOnce();
    if (loading === undefined) return body(turn);
    return commands === undefined ? answerLoading(turn) : (commands.answer(turn) ?? body(turn));
  };
}

async function configuredModels({ config, log, fetch = globalThis.fetch }: AgentOptions) {
  if (config.model_list.length === 0 && config.agents.defaults.model_name === "") return undefined;
  const { openModels } = await import("./model/models.ts");
  return openModels({ config, fetch, log });
}

async function configuredHooks(
  { config, log }: AgentOptions,
  redactor: Redactor,
): Promise<ToolHooks | undefined> {
  const { hooks: settings, tools } = config;
  if (settings === undefined) return undefined;
  const [{ createToolHooks }, { createSecretFilter }] = await Promise.all([
    import("./hooks/hooks.ts"),
    import("./tools/filter.ts"),
  ]);
  const { workspace } = config.agents.defaults;
  return createToolHooks({ settings, workspace, filter: createSecretFilter(redactor, tools), log });
}

async function loadModelAgent(
  options: Omit<ModelAgentOptions, "workspace"> & Pick<AgentOptions, "home">,
): Promise<ModelAgent> {
  const [{ openModelAgent }, { workspaceOf }] = await Promise.all([
    import("./model-agent.ts"),
    import("./workspace/workspace.ts"),
  ]);
  return openModelAgent({ ...options, workspace: workspaceOf(options) });
}

async function loadOffline(deviceTool: Tool, permissionsOf: PermissionsOf): Promise<Answerer> {
  const { createOfflineAgent } = await import("./fallback/offline-agent.ts");
  return createOfflineAgent({ deviceTool, permissionsOf });
}
