import { lastLines } from "../base/truncate.ts";
import type { Confirmations } from "./access/confirmations.ts";
import { ownerOf } from "./access/permissions.ts";
import type { Caller, Permissions, PermissionsOf } from "./access/permissions.ts";
import type { AnswerWith } from "./commands/contract.ts";
import { createOfflineFallback } from "./fallback/offline-fallback.ts";
import { offlineTools } from "./fallback/offline-tools.ts";
import type { ToolHooks } from "./hooks/contract.ts";
import type { Model } from "./model/contract.ts";
import type { Models } from "./model/models.ts";
import { isSmallWindow } from "./small-window.ts";
import type { FinishedTask } from "./subagents/background-tasks.ts";
import { createSubagents } from "./subagents/subagents.ts";
import type { Subagents, SubagentTask } from "./subagents/subagents.ts";
import type { Tool } from "./tools/contract.ts";
import type { RunCommand, ScheduledCommand } from "./tools/exec/scheduled-command.ts";
import type { McpTools } from "./tools/mcp/mcp.ts";
import { createToolbox } from "./tools/toolbox.ts";
import type { Toolbox, ToolboxOptions } from "./tools/toolbox.ts";
import { createCompaction } from "./turn/compaction.ts";
import type { Compact } from "./turn/compaction.ts";
import { contextMessages, taskResultsText } from "./turn/context.ts";
import type { Note } from "./turn/context.ts";
import { prefaceOf, systemPrompt } from "./turn/prompt.ts";
import { createTurns } from "./turn/turn.ts";
import type { TurnSetup, TurnWithHistory } from "./turn/turn.ts";
import type { OpenSkill, Workspace, WorkspaceTexts } from "./workspace/contract.ts";
import { withoutComments } from "./workspace/markdown.ts";

export interface ModelAgentOptions extends ToolboxOptions {
  readonly models: Models;
  readonly permissionsOf: PermissionsOf;
  /** Run before and after each tool call. */
  readonly hooks?: ToolHooks | undefined;
  /** Where calls wait that a person has to allow. */
  readonly confirmations?: Confirmations | undefined;
}

/** An agent with a model. */
export interface ModelAgent {
  readonly answer: AnswerWith;
  readonly compact: Compact;
  /** The tools that a model gets for a caller. */
  readonly tools: (caller: Caller) => Promise<readonly Tool[]>;
  readonly subagents: Subagents;
  readonly workspace: Workspace;
  readonly runCommand: RunCommand;
  /** Absent without MCP servers. */
  readonly mcp?: McpTools | undefined;
  close(): Promise<void>;
}

/** Joins model, tools and workspace. Sends nothing before the first turn. */
export function openModelAgent(options: ModelAgentOptions): ModelAgent {
  const { config, models, permissionsOf, log } = options;
  const { defaults } = config.agents;
  const toolbox = createToolbox(options);
  const deps: AgentDeps = { ...options, toolbox, subagents: undefined };
  const turnsOf = (context: TurnContext) =>
    createTurns({
      prepareTurn: (turn) => prepareTurn(turn, context, deps),
      max_tool_iterations: defaults.max_tool_iterations,
      window: models.window,
      log,
    });
  const subagents = createSubagents({
    run: (task) => taskAnswer(task, turnsOf({ depth: task.depth, skills: [], finished: [] })),
    log,
    now: () => new Date(),
  });
  deps.subagents = subagents;
  const start = createOfflineFallback({ ...offlineTools(options), permissionsOf, log });
  return {
    async *answer(turn, skills = []) {
      const finished = subagents.takeUnreported(ownerOf(turn));
      let isReported = false;
      try {
        const agent = turnsOf({ depth: 0, skills, finished });
        const { first, rest, isOffline } = await start(agent, turn);
        try {
          if (first.done !== true) yield first.value;
          const turned = first.done === true ? first.value : yield* rest;
          isReported = !isOffline;
          return turned;
        } finally {
          await rest.return?.();
        }
      } finally {
        if (!isReported) subagents.putBack(finished);
      }
    },
    compact: createCompaction({
      model: models.main,
      defaults,
      log,
      window: () => models.window().tokens,
      room: models.room,
    }),
    tools: async (caller) =>
      (await offerOf(await options.workspace.read(), { permissions: permissionsOf(caller) }, deps))
        .tools,
    subagents,
    workspace: options.workspace,
    mcp: options.mcp,
    runCommand: (scheduled) => runCommand(scheduled, deps),
    async close() {
      subagents.close();
      await toolbox.close();
    },
  };
}

async function runCommand(
  scheduled: ScheduledCommand,
  deps: AgentDeps,
): Promise<string | undefined> {
  const { runScheduledCommand } = await import("./tools/exec/scheduled-command.ts");
  const permissions = deps.permissionsOf(scheduled);
  const { tools } = await offerOf(await deps.workspace.read(), { permissions }, deps);
  return runScheduledCommand(scheduled, { ...deps, permissions, tools });
}

interface AgentDeps extends ModelAgentOptions {
  readonly toolbox: Toolbox;
  subagents: Subagents | undefined;
}

/** The context of a turn: depth 0 is the conversation, 1 and more are its tasks. */
interface TurnContext {
  readonly depth: number;
  readonly skills: readonly OpenSkill[];
  /** Background tasks whose results were not reported yet. */
  readonly finished: readonly FinishedTask[];
}

async function prepareTurn(
  turn: TurnWithHistory,
  context: TurnContext,
  deps: AgentDeps,
): Promise<TurnSetup> {
  const { models, workspace } = deps;
  const permissions = deps.permissionsOf(turn);
  const [texts, own] = await Promise.all([
    workspace.read(),
    permissions.memory === "own" ? workspace.own(ownerOf(turn)) : "",
    deps.mcp?.settled(turn.signal),
  ]);
  const isBare = deps.config.agents.defaults.turn_profile?.system_prompt === "off";
  const wanted = { permissions, turn, depth: context.depth };
  const { tools, isShort } = await offerOf(texts, wanted, deps);
  const summary = turn.history.find(({ role }) => role === "summary")?.text ?? "";
  const system = systemPrompt({
    workspace: workspace.folder,
    memory: permissions.memory,
    texts,
    tools: tools.map(({ name }) => name),
    isBare,
    isShort,
  });
  const preface = prefaceOf({
    client: turn.client,
    now: new Date(),
    isResumed: turn.resumed !== undefined,
    isRemote: turn.isRemote ?? false,
    isAdmin: turn.isAdmin ?? false,
    isTask: context.depth > 0,
    pushed: context.depth > 0 ? undefined : turn.pushed,
    activeSkills: context.skills,
    taskResults: taskResultsText(context.finished),
    isBare,
  });
  const model = context.depth === 0 ? models.forTurn(turn) : models.forTask();
  const { maxTurns: rounds } = texts.settings;
  return {
    model: await formatted(model, turn),
    tools,
    permissions,
    hasTool: (name) =>
      deps.toolbox.has(name) ||
      deps.subagents?.tools(0).some((tool) => tool.name === name) === true,
    hooks: deps.hooks,
    confirmations: deps.confirmations,
    system,
    preface,
    contextMessages: contextMessages(isBare ? [] : notesIn(texts, own, isShort), summary),
    ...(rounds !== undefined && { rounds }),
  };
}

/** The code for formats and lengths is loaded with the first answer that must have one. */
async function formatted(model: Model, turn: TurnWithHistory): Promise<Model> {
  const { format, maxChars } = turn;
  if (maxChars !== undefined && format === undefined) {
    const { withMaxChars } = await import("./turn/char-limit.ts");
    return withMaxChars(model, maxChars);
  }
  if (format === undefined) return model;
  const { withFormat } = await import("./turn/answer-format.ts");
  return withFormat(model, format);
}

interface Wanted {
  readonly permissions: Permissions;
  /** Absent for a list of tools. */
  readonly turn?: Pick<TurnWithHistory, "history" | "resumed">;
  readonly depth?: number;
}

/** The tools for the model: for a small window few, in a short form, and no subagents. */
async function offerOf(
  texts: WorkspaceTexts,
  { permissions, turn, depth = 0 }: Wanted,
  { models, toolbox, subagents }: AgentDeps,
) {
  const isShort = isSmallWindow(models.window());
  if (!isShort) {
    const more = subagents?.tools(depth) ?? [];
    const history = [...(turn?.history ?? []), ...(turn?.resumed ?? [])];
    return { isShort, tools: toolbox.tools(texts, permissions, { more, history }) };
  }
  const { shortTools } = await import("./tools/short-forms.ts");
  return { isShort, tools: shortTools(toolbox.tools(texts, permissions), texts.settings.tools) };
}

/** Characters of each note in a short prompt. */
const MAX_SHORT_NOTE = 1_000;

/** The agent's notes: the shared memory, the newest days, and this client's own memory; in short their newest lines. */
function notesIn({ memory, days }: WorkspaceTexts, own: string, isShort: boolean): Note[] {
  const textOf = (text: string): string => {
    const words = withoutComments(text);
    return isShort ? lastLines(words, MAX_SHORT_NOTE) : words;
  };
  return [
    { source: "memory/MEMORY.md", text: textOf(memory) },
    ...(isShort ? days.slice(-1) : days).map(({ date, text }) => ({
      source: `notes of ${date}`,
      text: textOf(text),
    })),
    { source: "memory of this client", text: textOf(own) },
  ];
}

/** Runs a task as a turn of its caller, with the caller's permissions. */
async function taskAnswer(
  { text, caller, signal, allowance }: SubagentTask,
  answer: ReturnType<typeof createTurns>,
): Promise<string> {
  const turn = { history: () => Promise.resolve([]), text, ...caller, signal, allowance };
  let answered = "";
  for await (const piece of answer(turn)) answered += piece;
  return answered;
}
