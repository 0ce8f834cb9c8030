import type { Log } from "../../base/log.ts";
import { truncate } from "../../base/truncate.ts";
import type { Caller } from "../access/permissions.ts";
import type { Tool } from "./contract.ts";

const NAME = 128;

export interface AuditedCall {
  /** The name that was called, of a tool or not. */
  readonly tool: string;
  readonly verdict: string;
  readonly ms: number;
  /** The result for the model. It is not logged. */
  readonly text: string;
}

/** Logs one line for a tool call: who called what, what became of it, and how long it took. */
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

/** What became of a call, by its result. */
export function outcomeOf(text: string, isRefused: boolean): "ok" | "failed" | "refused" {
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
      const verdict = outcomeOf(text, isRefused);
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
