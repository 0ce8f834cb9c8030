import * as v from "valibot";
import { escapeControl } from "../../base/escape-control.ts";
import { truncate } from "../../base/truncate.ts";
import type { BackgroundTask, TaskRunner } from "../subagents/background-tasks.ts";
import { ToolError } from "./contract.ts";
import type { Tool } from "./contract.ts";
import { defineTool, textField } from "./define.ts";

/** Characters of a task and of its label. */
const MAX_TASK = 20_000;
const MAX_LABEL = 80;

/** The arguments of the tools that begin a task. */
const TASK_INPUT = v.object({
  task: v.pipe(
    v.string(),
    v.minLength(1, "the task is empty"),
    v.maxLength(MAX_TASK, `a task has at most ${MAX_TASK} characters`),
    v.description(
      "All that is needed to do the task. The subagent knows nothing of this conversation.",
    ),
  ),
  label: v.optional(textField("A short name for the task.")),
});

/** The tool that runs a task as a turn of its own and returns its answer. */
export function createSubagentTool(runner: TaskRunner, milliseconds: number): Tool {
  return defineTool({
    name: "subagent",
    description:
      "Gives a part of the work to a subagent and waits for its answer (at most 5 minutes). Use it for long searches whose steps would only fill this conversation.",
    input: TASK_INPUT,
    milliseconds,
    // A little more than a result, for the text around it.
    characters: 11_000,
    async run({ task }, call) {
      return await runner.runNow(task, call);
    },
  });
}

/** The name of a task: its label, or the beginning of its text, on one line. */
function labelOf({ task, label = "" }: { task: string; label?: string | undefined }): string {
  const words = label.trim() === "" ? task : label;
  return escapeControl(truncate(words.replace(/\s+/g, " ").trim(), MAX_LABEL));
}

/** The tool that begins a background task. */
export function createSpawnTool(runner: TaskRunner): Tool {
  return defineTool({
    name: "spawn",
    description:
      "Begins a task in the background (at most 5 minutes) and returns its id at once. You get its result in a later turn, or by spawn_status.",
    input: TASK_INPUT,
    async run(input, call) {
      const label = labelOf(input);
      const begun = runner.begin(input.task, label, call);
      if (typeof begun === "string") throw new ToolError(begun);
      return `Task ${begun.id} (${label}) has begun. It is not done yet: say so, and do not wait for it.`;
    },
  });
}

const STATUS_INPUT = v.object({
  task_id: v.optional(textField("The id that spawn returned. Default: all tasks.")),
});

/** The tool that reports the state of background tasks, and the result of one. */
export function createSpawnStatusTool({ tasks }: TaskRunner): Tool {
  return defineTool({
    name: "spawn_status",
    description: "Returns the state of background tasks, and the result of one that has ended.",
    input: STATUS_INPUT,
    characters: 11_000,
    async run({ task_id: id = "" }, { owner }) {
      const all = tasks.list(owner);
      if (id === "") return all.map(stateText).join("\n") || "There are no tasks.";
      const task = all.find((one) => one.id === id);
      if (task === undefined) {
        const ids = all.map((one) => one.id).join(", ") || "none";
        throw new ToolError(
          `there is no task ${JSON.stringify(id.slice(0, 40))}. Tasks are: ${ids}.`,
        );
      }
      const result = tasks.result(owner, id);
      return result === undefined ? stateText(task) : `${stateText(task)}\n${result}`;
    },
  });
}

function stateText({ id, label, state, seconds }: BackgroundTask): string {
  return `${id} (${label}): ${state}, ${Math.round(seconds)} s`;
}
