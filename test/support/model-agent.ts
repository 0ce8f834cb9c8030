import { FULL_ACCESS } from "../../src/agent/access/permissions.ts";
import { openModelAgent } from "../../src/agent/model-agent.ts";
import { openModels } from "../../src/agent/model/models.ts";
import type { Tool } from "../../src/agent/tools/contract.ts";
import { openWorkspace } from "../../src/agent/workspace/workspace.ts";
import { SILENT } from "../../src/base/log.ts";
import { createRedactor } from "../../src/base/redaction/redactor.ts";
import type { AgentDefaults, ModelEntry } from "../../src/config/contract.ts";
import { secretsIn } from "../../src/config/secrets.ts";
import { agentConfig } from "./agent-config.ts";

const device: Tool = {
  name: "device",
  description: "measures",
  parameters: { type: "object" },
  run: async () => "61 °C",
};

const permissionsOf = () => FULL_ACCESS;

/** An agent with the models of these entries and nothing in its workspace. */
export function openTestAgent(
  entries: readonly ModelEntry[],
  defaults: Partial<AgentDefaults> = {},
) {
  const config = agentConfig(entries, { max_llm_retries: 0, ...defaults });
  const models = openModels({ config, fetch, log: SILENT });
  if (models === undefined) throw new Error("no entry can be used");
  const folder = config.agents.defaults.workspace;
  const workspace = openWorkspace({ folder, home: folder, now: () => new Date(), log: SILENT });
  const redactor = createRedactor(secretsIn(config));
  const shared = { config, models, workspace, permissionsOf, redactor };
  const parts = { ...shared, deviceTool: device, fetch, log: SILENT };
  return { models, agent: openModelAgent(parts) };
}
