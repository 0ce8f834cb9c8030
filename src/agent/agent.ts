import type { Log } from "../base/log.ts";
import { pause } from "../base/pause.ts";
import type { Config } from "../config/contract.ts";
import type { Answerer } from "./contract.ts";
import type { Device } from "./device/contract.ts";
import type { Fetch } from "./model/contract.ts";
import { systemPrompt } from "./prompt.ts";
import { createDeviceTool } from "./tools/device.ts";

export interface AgentOptions {
  readonly config: Pick<Config, "agents" | "model_list">;
  readonly log: Log;
  /** The runtime's own where it is left out; proxies are its affair. */
  readonly fetch?: Fetch;
  /** Under which `proc`, `sys` and `etc` lie: `/` where it is left out. */
  readonly root?: string;
}

/**
 * The agent that the configuration asks for: one with a model, or the offline one where no entry of
 * `model_list` can be used. Only the code of the one that is needed is loaded, and nothing is sent
 * before the first turn. Throws a `Failure` of code `config` where a model is named that cannot work.
 */
export async function createAgent(options: AgentOptions): Promise<Answerer> {
  const { config, log } = options;
  const { defaults } = config.agents;
  const device: Device = {
    root: options.root ?? "/",
    workspace: defaults.workspace,
    now: () => new Date(),
    pause,
  };
  const tool = createDeviceTool(device);
  const models = await configuredModels(options);
  if (models === undefined) {
    const { createOfflineAgent } = await import("./offline.ts");
    return createOfflineAgent(tool);
  }
  const [{ createModelAgent }, { createStandby }] = await Promise.all([
    import("./turn.ts"),
    import("./standby.ts"),
  ]);
  const { workspace, max_tool_iterations } = defaults;
  const agent = createModelAgent({
    modelFor: models.forTurn,
    toolsFor: () => [tool],
    systemFor: async ({ client, resumed }) =>
      systemPrompt({ client, workspace, now: new Date(), isResumed: resumed !== undefined }),
    max_tool_iterations,
    log,
  });
  return createStandby({ agent, deviceTool: tool, log });
}

async function configuredModels({ config, log, fetch = globalThis.fetch }: AgentOptions) {
  if (config.model_list.length === 0 && config.agents.defaults.model_name === "") return undefined;
  const { openModels } = await import("./model/models.ts");
  return openModels({ config, fetch, log });
}
