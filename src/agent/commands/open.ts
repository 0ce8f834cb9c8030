import type { Log } from "../../base/log.ts";
import type { Config } from "../../config/contract.ts";
import { ownerOf } from "../access/permissions.ts";
import type { PermissionsOf } from "../access/permissions.ts";
import type { ModelAgent } from "../model-agent.ts";
import type { Models } from "../model/models.ts";
import { estimatedTokens } from "../tokens.ts";
import type { Tool } from "../tools/contract.ts";
import { callContextOf } from "../tools/run.ts";
import { bothMemories } from "../workspace/client-memory.ts";
import { workspaceOf } from "../workspace/workspace.ts";
import { createCommands } from "./commands.ts";
import type { Commands } from "./commands.ts";
import type { ModelChoice } from "./contract.ts";

export interface CommandsOptions {
  readonly config: Pick<Config, "agents" | "channels">;
  readonly log: Log;
  readonly home?: string;
  readonly reload?: () => Promise<string>;
  readonly deviceTool: Tool;
  readonly permissionsOf: PermissionsOf;
  readonly models: Models | undefined;
  /** Absent for the offline agent. */
  readonly agent: ModelAgent | undefined;
}

/** The facts in `/status`. */
const STATUS = ["cpu", "memory", "disk", "temperature", "uptime"];

/** The commands of an agent. */
export function openCommands(options: CommandsOptions): Commands {
  const { config, deviceTool, permissionsOf, models, agent, reload } = options;
  const workspace = agent?.workspace ?? workspaceOf(options);
  return createCommands({
    models: modelChoice(models),
    tools: async (turn) =>
      agent === undefined
        ? [deviceTool].filter(({ name }) => permissionsOf(turn).allows(name))
        : await agent.tools(turn),
    allows: (turn, tool) => permissionsOf(turn).allows(tool),
    channels: () => config.channels.map(({ name }) => name),
    workspace,
    async memory(turn) {
      const [{ memory }, own] = await Promise.all([
        workspace.read(),
        permissionsOf(turn).memory === "own" ? workspace.own(ownerOf(turn)) : "",
      ]);
      return bothMemories(own, memory);
    },
    device: (turn) => deviceTool.run({ facts: STATUS }, callContextOf(turn, permissionsOf(turn))),
    // The uptime of the process: after a reload the agent is younger.
    uptime: () => performance.now() / 1000,
    window: () => agent?.window() ?? 0,
    tokens: estimatedTokens,
    tasks: (turn) => agent?.subagents.list(ownerOf(turn)) ?? [],
    ...(reload && { reload }),
    ...(agent && { answer: agent.answer }),
  });
}

function modelChoice(models: Models | undefined): ModelChoice {
  return {
    list: () => models?.list() ?? [],
    current: () => models?.current(),
    async switchTo(name) {
      models?.switchTo(name);
    },
  };
}
