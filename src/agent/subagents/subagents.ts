import * as v from "valibot";
import { TimeoutError, createFairSemaphore, withTimeout } from "../../base/async.ts";
import type { Allowance } from "../../base/contract.ts";
import { escapeControl } from "../../base/escape-control.ts";
import { Failure, messageOf } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { prefixOf, truncate } from "../../base/truncate.ts";
import { ownerOf } from "../access/permissions.ts";
import type { Caller } from "../access/permissions.ts";
import type { CallContext, Tool } from "../tools/contract.ts";
import { ToolError } from "../tools/contract.ts";
import { defineTool, textField } from "../tools/define.ts";
import { createTaskList } from "./background-tasks.ts";
import type { BackgroundTask, Ended, TaskList } from "./background-tasks.ts";

/** One task, which runs as a turn of its own. */
export interface SubagentTask {
  readonly text: string;
  /** The task runs with the permissions of this caller. */
  readonly caller: Caller;
  readonly signal: AbortSignal;
  /** Shared with the turn that started the task. */
  readonly allowance?: Allowance | undefined;
  /** 1 for a task of the conversation, 2 for a task of such a task; at most 3. */
  readonly depth: number;
}

export interface SubagentOptions {
  /** Runs a turn with an empty history and the tools of `tools(depth)`, and returns its whole answer. */
  readonly run: (task: SubagentTask) => Promise<string>;
  readonly log: Log;
  readonly now: () => Date;
  /** Milliseconds a task waits for a slot, 30 s, and may take, 5 min. */
  readonly slotMilliseconds?: number;
  readonly taskMilliseconds?: number;
}

export interface Subagents extends Pick<TaskList, "list" | "takeUnreported" | "putBack"> {
  /** The tools of a turn of this depth (0 is the conversation); none at the greatest depth. */
  tools(depth: number): readonly Tool[];
  /** Ends all running tasks. No task starts afterwards. */
  close(): void;
}

const MAX_DEPTH = 3;
/** Tasks that run at the same time: of all clients, and of one. */
const SIDE_BY_SIDE = 5;
const OF_ONE = 4;
const SLOT_MS = 30_000;
const TASK_MS = 300_000;
/** Milliseconds that a call waits longer than its task may take, so that it gets the task's own error. */
const SLACK_MS = 5_000;
/** Characters of a result. */
const MAX_RESULT = 10_000;
/** Tasks of one client that wait or run in the background. */
const MAX_ACTIVE = 10;
/** The same for all clients together. */
const MAX_ACTIVE_OF_ALL = 50;

/** Runs turns within turns: for a part of a question, and for work that continues after the answer. */
export function createSubagents(options: SubagentOptions): Subagents {
  const { slotMilliseconds = SLOT_MS, taskMilliseconds = TASK_MS } = options;
  const tasks = createTaskList(options.now);
  const closing = new AbortController();
  const slots = createFairSemaphore(SIDE_BY_SIDE, OF_ONE);
  const deps: SubagentDeps = {
    ...options,
    tasks,
    closing: closing.signal,
    async runTask(task) {
      const release = await slots.acquire(ownerOf(task.caller), slotMilliseconds, task.signal);
      try {
        return bounded(
          await withTimeout(taskMilliseconds, task.signal, (signal) =>
            options.run({ ...task, signal }),
          ),
        );
      } finally {
        release();
      }
    },
  };
  const milliseconds = 2 * slotMilliseconds + taskMilliseconds + SLACK_MS;
  // Made once: a tool's schema costs more than the rest of a turn's set-up.
  const status = createSpawnStatusTool(tasks);
  const toolsByDepth = Array.from({ length: MAX_DEPTH }, (_, depth) => {
    const runner = createRunner(deps, depth + 1);
    return [createSubagentTool(runner, milliseconds), createSpawnTool(runner), status];
  });
  return {
    tools: (depth) => toolsByDepth[depth] ?? [],
    list: tasks.list,
    takeUnreported: tasks.takeUnreported,
    putBack: tasks.putBack,
    close: () => closing.abort(new Failure("cancelled", "the program is ending")),
  };
}

interface SubagentDeps {
  readonly tasks: TaskList;
  readonly log: Log;
  /** Aborted when all tasks must end. */
  readonly closing: AbortSignal;
  /** Takes a slot and runs the task. Throws `TimeoutError`, what the run throws, and the signal's reason. */
  readonly runTask: (task: SubagentTask) => Promise<string>;
}

type TaskRunner = ReturnType<typeof createRunner>;

/** The runner for the tools of one depth. */
function createRunner({ tasks, log, closing, runTask }: SubagentDeps, depth: number) {
  return {
    /** Runs a task to its end, or until its call is aborted. Returns its result, or a sentence about its failure. */
    async runNow(text: string, { signal, allowance, ...call }: CallContext): Promise<string> {
      const { state, text: result } = await ended(() =>
        withEither([signal, closing], (either) =>
          runTask({ text, caller: callerOf(call), signal: either, allowance, depth }),
        ),
      );
      signal.throwIfAborted();
      log.debug("a subagent ended", { depth, state });
      return result;
    },
    /** Starts a task and returns its id. Throws a `ToolError` if it does not start. */
    begin(text: string, label: string, call: CallContext): string {
      if (closing.aborted) throw new ToolError("the program is ending");
      const caller = callerOf(call);
      const owner = ownerOf(caller);
      if (tasks.active(owner) >= MAX_ACTIVE) {
        throw new ToolError(
          `${MAX_ACTIVE} tasks of this client are under way; wait until one has ended`,
        );
      }
      if (tasks.activeInAll() >= MAX_ACTIVE_OF_ALL) {
        throw new ToolError(`${MAX_ACTIVE_OF_ALL} tasks are under way; try again later`);
      }
      const task = tasks.add(owner, label);
      const { allowance } = call;
      const facts = { text, caller, signal: closing, allowance, depth };
      void ended(() => runTask(facts)).then((end) => {
        task.end(end);
        log.debug("a background task ended", { task: task.id, depth, state: end.state });
      });
      return task.id;
    },
  };
}

function callerOf({ client, channel, isRemote = false, hops, isFromJob }: Caller): Caller {
  return { client, channel, isRemote, ...(hops && { hops }), ...(isFromJob && { isFromJob }) };
}

/** Runs work with a signal that is aborted with the first of several; removes its listeners afterwards. */
async function withEither<T>(
  signals: readonly AbortSignal[],
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const either = new AbortController();
  const onAbort = (): void => either.abort(signals.find(({ aborted }) => aborted)?.reason);
  if (signals.some(({ aborted }) => aborted)) onAbort();
  for (const signal of signals) signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await work(either.signal);
  } finally {
    for (const signal of signals) signal.removeEventListener("abort", onAbort);
  }
}

/** The end of a task, for the model. Nobody awaits it, so it never throws. */
async function ended(work: () => Promise<string>): Promise<Ended> {
  try {
    return { state: "done", text: await work() };
  } catch (error) {
    const what = error instanceof TimeoutError ? "was stopped" : "failed";
    return { state: "failed", text: `error: the task ${what}: ${messageOf(error)}` };
  }
}

function bounded(text: string): string {
  if (text.trim() === "") return "(the task ended without text)";
  if (text.length <= MAX_RESULT) return text;
  return `${prefixOf(text, MAX_RESULT)}\n… (cut here: the result has ${text.length} characters)`;
}

/** Characters of a task and of its label. */
const MAX_TASK = 20_000;
const MAX_LABEL = 80;

/** The arguments of the tools that begin a task. */
const TASK_INPUT = v.object({
  task: v.pipe(
    v.string(),
    v.minLength(1, "the task is empty"),
    v.maxLength(MAX_TASK, `a task has at most ${MAX_TASK} characters`),
    v.description("All it needs to know: it knows nothing of this conversation."),
  ),
  label: v.optional(v.string()),
});

/** The tool that runs a task as a turn of its own and returns its answer. */
function createSubagentTool(runner: TaskRunner, milliseconds: number): Tool {
  return defineTool({
    name: "subagent",
    description:
      "Gives a task to a subagent and waits for its answer, at most 5 minutes. Use it for long searches.",
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
function createSpawnTool(runner: TaskRunner): Tool {
  return defineTool({
    name: "spawn",
    description:
      "Begins a task in the background, at most 5 minutes. You get its result in a later turn, or by spawn_status.",
    input: TASK_INPUT,
    async run(input, call) {
      const label = labelOf(input);
      const id = runner.begin(input.task, label, call);
      return `Task ${id} (${label}) has begun. It is not done yet: say so, and do not wait for it.`;
    },
  });
}

const STATUS_INPUT = v.object({
  task_id: v.optional(textField("Default: all tasks.")),
});

/** The tool that reports the state of background tasks, and the result of one. */
function createSpawnStatusTool(tasks: TaskList): Tool {
  return defineTool({
    name: "spawn_status",
    description: "Returns the state of background tasks, and the result of one.",
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
