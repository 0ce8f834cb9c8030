import * as v from "valibot";
import { shortened } from "../../base/truncate.ts";
import { visible } from "../../base/visible.ts";
import type { TaskRunner } from "../tasks.ts";
import type { Tool } from "./contract.ts";
import { defineTool } from "./define.ts";

/** Characters of a task and of its label. */
const MAX_TASK = 20_000;
const MAX_LABEL = 80;

/** What a task is, for the tools that begin one. */
export const TASK_INPUT = v.object({
  task: v.pipe(
    v.string(),
    v.minLength(1, "say what to do"),
    v.maxLength(MAX_TASK, `a task has at most ${MAX_TASK} characters`),
    v.description(
      "All that is needed to do it: whoever does it knows nothing of this conversation.",
    ),
  ),
  label: v.optional(v.pipe(v.string(), v.description("A few words to tell it by."))),
});

/** Runs a part of the work as a turn of its own and gives its answer. */
export function createSubagentTool(runner: TaskRunner, milliseconds: number): Tool {
  return defineTool({
    name: "subagent",
    description:
      "Hands a part of the work to an agent of its own and waits for its answer (at most 5 minutes). Use it for long searches whose steps would only fill this conversation.",
    input: TASK_INPUT,
    milliseconds,
    // A little more than a result, for the words around it.
    characters: 11_000,
    async run({ task }, call) {
      return await runner.runNow(task, call);
    },
  });
}

/** What a task is called: its label, or how it begins, on one line. */
export function labelOf({
  task,
  label = "",
}: {
  task: string;
  label?: string | undefined;
}): string {
  const words = label.trim() === "" ? task : label;
  return visible(shortened(words.replace(/\s+/g, " ").trim(), MAX_LABEL));
}
