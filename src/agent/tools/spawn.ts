import type { TaskRunner } from "../tasks.ts";
import type { Tool } from "./contract.ts";
import { defineTool } from "./define.ts";
import { labelOf, TASK_INPUT } from "./subagent.ts";

/** Begins a task that goes on in the background. */
export function createSpawnTool(runner: TaskRunner): Tool {
  return defineTool({
    name: "spawn",
    description:
      "Begins a task in the background (at most 5 minutes) and returns its id at once. You are told its result in a later turn, or ask with spawn_status.",
    input: TASK_INPUT,
    async run(input, call) {
      const label = labelOf(input);
      const begun = runner.begin(input.task, label, call);
      if (typeof begun === "string") return `error: ${begun}`;
      return `Task ${begun.id} (${label}) has begun. It is not done yet: say so, and do not wait for it.`;
    },
  });
}
