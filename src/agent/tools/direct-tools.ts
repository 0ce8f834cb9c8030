import type { Log } from "../../base/log.ts";
import type { Redactor } from "../../base/redaction/redactor.ts";
import type { Caller, PermissionsOf } from "../access/permissions.ts";
import type { ToolDefinition } from "../model/contract.ts";
import { logToolCall, verdictOnCall } from "./audit.ts";
import type { CallContext, Tool } from "./contract.ts";
import { callContextOf, runTool } from "./run.ts";
import type { RunOptions } from "./run.ts";

/** Tools that clients call by themselves, without a model: of this device, and of those around it. */
const DIRECT: ReadonlySet<string> = new Set(["device", "devices", "set_device"]);

const hasTool = (name: string): boolean => DIRECT.has(name);

export interface DirectCall extends Caller, Pick<CallContext, "signal"> {
  readonly tool: string;
  /** Untrusted. */
  readonly arguments: unknown;
}

type DirectTool = ToolDefinition & Pick<Tool, "exclusive">;

export interface DirectResult {
  readonly text: string;
  readonly isError: boolean;
}

/** Calls of tools that a client makes by itself, under the same rules as those that its model makes. */
export interface DirectTools {
  /** Those that the client may use. */
  readonly offered: (caller: Caller) => Promise<readonly DirectTool[]>;
  /** A call that fails, or that the client may not make, has a result too. Rejects with the signal's reason. */
  readonly call: (call: DirectCall) => Promise<DirectResult>;
}

export interface DirectToolsOptions extends Pick<RunOptions, "hooks" | "confirmations"> {
  /** The tools that a model gets for the caller. */
  readonly toolsFor: (caller: Caller) => Promise<readonly Tool[]>;
  readonly permissionsOf: PermissionsOf;
  readonly redactor: Redactor;
  readonly log: Log;
}

export function createDirectTools(options: DirectToolsOptions): DirectTools {
  const { toolsFor, permissionsOf, redactor, log, ...running } = options;
  const offered = async (caller: Caller): Promise<readonly Tool[]> => {
    const permissions = permissionsOf(caller);
    const tools = await toolsFor(caller);
    return tools.filter(({ name }) => DIRECT.has(name) && permissions.allows(name));
  };
  return {
    offered,
    async call({ tool: name, arguments: given, signal, ...caller }) {
      const permissions = permissionsOf(caller);
      const tools = await offered(caller);
      const startedAt = performance.now();
      let isRefused = false;
      const onRefusal = (): void => {
        isRefused = true;
      };
      const context = callContextOf({ ...caller, signal }, permissions);
      const call = { id: "direct", name, arguments: JSON.stringify(given ?? {}) };
      const text = await runTool(call, { ...running, ...context, tools, onRefusal });
      const verdict = verdictOnCall(name, { text, isRefused }, { tools, permissions, hasTool });
      logToolCall(log, caller, { tool: name, verdict, ms: performance.now() - startedAt, text });
      return { text: redactor.redact(text), isError: verdict !== "ok" };
    },
  };
}
