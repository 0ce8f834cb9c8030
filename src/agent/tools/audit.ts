import type { ToolVerdict } from "../../base/contract.ts";
import type { Log } from "../../base/log.ts";
import { truncate } from "../../base/truncate.ts";
import type { Caller, Permissions } from "../access/permissions.ts";
import type { Tool } from "./contract.ts";

const NAME = 128;

interface AuditedCall {
  /** The name that was called, of a tool or not. */
  readonly tool: string;
  readonly verdict: ToolVerdict;
  readonly ms: number;
  /** The result for the model. It is not logged. */
  readonly text: string;
}

/** Logs one line for a tool call: who called what, with which verdict, and how long it took. */
export function logToolCall(
  log: Log,
  { client, channel }: Pick<Caller, "client" | "channel">,
  { tool, verdict, ms, text }: AuditedCall,
): void {
  log.info("tool call", {
    client: truncate(client, NAME),
    channel,
    tool: truncate(tool, NAME),
    verdict,
    ms: Math.round(ms),
    characters: text.length,
  });
}

interface CallResult {
  readonly text: string;
  readonly isRefused: boolean;
}

interface OfferedTools {
  readonly tools: readonly Tool[];
  readonly permissions: Permissions;
  /** Whether there is a tool of that name, perhaps not for this caller; if left out, those of `tools`. */
  readonly hasTool?: ((name: string) => boolean) | undefined;
}

/** What became of a call of a model. A tool that is not offered to this client is refused, not unknown. */
export function verdictOnCall(
  name: string,
  { text, isRefused }: CallResult,
  { tools, permissions, hasTool }: OfferedTools,
): ToolVerdict {
  const tool = tools.find((each) => each.name === name);
  if (tool !== undefined) {
    const isAllowed = permissions.allows(tool.permission ?? name);
    return verdictOn({ text, isRefused: isRefused || !isAllowed });
  }
  return hasTool?.(name) ? "refused" : "unknown";
}

function verdictOn({ text, isRefused }: CallResult): ToolVerdict {
  if (isRefused) return "refused";
  return text.startsWith("error: ") ? "failed" : "ok";
}

/** The tool with a line for each call, for a caller without a model. */
export function withAudit(tool: Tool, log: Log): Tool {
  return {
    ...tool,
    async run(input, call) {
      const startedAt = performance.now();
      let isRefused = false;
      const onRefusal = (): void => {
        isRefused = true;
      };
      const text = await tool.run(input, { ...call, onRefusal });
      const verdict = verdictOn({ text, isRefused });
      logToolCall(log, call, {
        tool: tool.name,
        verdict,
        ms: performance.now() - startedAt,
        text,
      });
      return text;
    },
  };
}
