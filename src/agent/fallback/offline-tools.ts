import type { Log } from "../../base/log.ts";
import type { ToolHooks } from "../hooks/contract.ts";
import { withAudit } from "../tools/audit.ts";
import type { Tool } from "../tools/contract.ts";
import { withHooks } from "../tools/run.ts";

/** The tools that the offline agent calls. */
export interface OfflineTools {
  /** The tool that a model would call. */
  readonly deviceTool: Tool;
  /** The tool for the devices of the home, if some client may use it. */
  readonly devicesTool: Tool | undefined;
}

interface OfflineToolsOptions {
  readonly deviceTool: Tool;
  readonly homeTools?: readonly Tool[] | undefined;
  readonly hooks?: ToolHooks | undefined;
  readonly log: Log;
}

/** The same tools as a model has, with hooks and a line in the log. */
export function offlineTools(options: OfflineToolsOptions): OfflineTools {
  const { deviceTool, homeTools = [], hooks, log } = options;
  const wrapped = (tool: Tool): Tool => withAudit(withHooks(tool, hooks), log);
  const devicesTool = homeTools.find(({ name }) => name === "devices");
  return { deviceTool: wrapped(deviceTool), devicesTool: devicesTool && wrapped(devicesTool) };
}
