import * as v from "valibot";
import type { TaskRunner } from "../tasks.ts";
import type { BackgroundTask } from "../tasks.ts";
import type { Tool } from "./contract.ts";
import { defineTool } from "./define.ts";

const input = v.object({
  task_id: v.optional(
    v.pipe(v.string(), v.description("The id that spawn gave; all tasks where it is left out.")),
  ),
});

/** Tells how background tasks are, and the result of one. */
export function createSpawnStatusTool({ tasks }: TaskRunner): Tool {
  return defineTool({
    name: "spawn_status",
    description: "Tells the state of background tasks, and the result of one that has ended.",
    input,
    characters: 11_000,
    async run({ task_id: id = "" }, { owner }) {
      const known = tasks.list(owner);
      if (id === "") return known.map(stateText).join("\n") || "There are no tasks.";
      const task = known.find((one) => one.id === id);
      if (task === undefined) {
        const ids = known.map((one) => one.id).join(", ") || "none";
        return `error: there is no task ${JSON.stringify(id.slice(0, 40))}. Tasks are: ${ids}.`;
      }
      const result = tasks.result(owner, id);
      return result === undefined ? stateText(task) : `${stateText(task)}\n${result}`;
    },
  });
}

function stateText({ id, label, state, seconds }: BackgroundTask): string {
  return `${id} (${label}): ${state}, ${Math.round(seconds)} s`;
}
