import type { ToolCall } from "../contract.ts";
import type { Tool } from "./contract.ts";

/** Calls of one answer that run at the same time; a board has few cores and little memory. */
const SIDE_BY_SIDE = 8;

/**
 * Runs the calls of one answer, and gives their results in the order of the calls: side by side as
 * far as the tools allow it. A call of a tool that must be alone begins when those before it have
 * ended, and those behind it wait for its end, so that what the model wrote first happens first.
 */
export async function runCalls<T>(
  calls: readonly ToolCall[],
  tools: readonly Tool[],
  run: (call: ToolCall) => Promise<T>,
): Promise<T[]> {
  const results: T[] = [];
  for (const batch of batchesOf(calls, tools)) results.push(...(await Promise.all(batch.map(run))));
  return results;
}

function batchesOf(calls: readonly ToolCall[], tools: readonly Tool[]): ToolCall[][] {
  const alone = new Set(tools.filter((tool) => tool.alone).map(({ name }) => name));
  const batches: ToolCall[][] = [];
  let open: ToolCall[] | undefined;
  for (const call of calls) {
    const isAlone = alone.has(call.name);
    if (isAlone || open === undefined || open.length === SIDE_BY_SIDE) {
      open = [];
      batches.push(open);
    }
    open.push(call);
    if (isAlone) open = undefined;
  }
  return batches;
}
