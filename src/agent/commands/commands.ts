import { commandIn } from "../../base/command.ts";
import { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { alternatives } from "../../base/spelling.ts";
import type { Config } from "../../config/contract.ts";
import type { Confirmations } from "../access/confirmations.ts";
import { ownerOf } from "../access/permissions.ts";
import type { PermissionsOf } from "../access/permissions.ts";
import type { Turn, Turned } from "../contract.ts";
import type { ModelAgent } from "../model-agent.ts";
import type { Models } from "../model/models.ts";
import { promptText } from "../small-window.ts";
import { estimatedTokens } from "../tokens.ts";
import type { Tool } from "../tools/contract.ts";
import { jobText } from "../tools/cron.ts";
import type { Jobs } from "../tools/cron.ts";
import { callContextOf } from "../tools/run.ts";
import { useSkill } from "../tools/use-skill.ts";
import { bothMemories } from "../workspace/client-memory.ts";
import type { AgentCluster, OpenSkill } from "../workspace/contract.ts";
import { workspaceOf } from "../workspace/workspace.ts";
import type {
  Asked,
  Command,
  CommandContext,
  AnswerWith,
  Outcome,
  ModelChoice,
} from "./contract.ts";
import { listing, usageOf, usageText, NO_MODEL, firstWord, shown, NO_SKILLS } from "./contract.ts";
import { INFO_COMMANDS } from "./info-commands.ts";

export interface Commands {
  /**
   * The answer to a command; undefined if the text is not a command (the model gets it unchanged). Answers of
   * commands are not remembered. The message after `/use <skill>` is answered here too, because it needs
   * the skill.
   */
  readonly answer: (turn: Turn) => AsyncGenerator<string, Turned> | undefined;
}

interface CommandsOptions {
  readonly config: Pick<Config, "agents" | "channels">;
  readonly log: Log;
  readonly home?: string;
  readonly cluster?: AgentCluster | undefined;
  readonly reload?: () => Promise<string>;
  readonly channelStatus?: () => readonly string[];
  readonly confirmations?: Confirmations | undefined;
  readonly deviceTool: Tool;
  readonly jobs?: Jobs | undefined;
  readonly permissionsOf: PermissionsOf;
  readonly models: Models | undefined;
  /** Absent for the offline agent. */
  readonly agent: ModelAgent | undefined;
}

/** The facts in `/status`. */
const STATUS = ["cpu", "memory", "disk", "temperature", "uptime"];

/** The commands of an agent. */
export function openCommands(options: CommandsOptions): Commands {
  const { config, deviceTool, permissionsOf, models, agent, reload } = options;
  const workspace = agent?.workspace ?? workspaceOf(options);
  return createCommands({
    models: models ?? NO_MODELS,
    tools: async (turn) =>
      agent === undefined
        ? [deviceTool].filter(({ name }) => permissionsOf(turn).allows(name))
        : await agent.tools(turn),
    allows: (turn, tool) => permissionsOf(turn).allows(tool),
    channels: () => config.channels.map(({ name }) => name),
    workspace,
    async memory(turn) {
      const [{ memory }, own] = await Promise.all([
        workspace.read(),
        permissionsOf(turn).memory === "own" ? workspace.own(ownerOf(turn)) : "",
      ]);
      return bothMemories(own, memory);
    },
    device: (turn) => deviceTool.run({ facts: STATUS }, callContextOf(turn, permissionsOf(turn))),
    // The uptime of the process: after a reload the agent is younger.
    uptime: () => performance.now() / 1000,
    window: () => models?.window().tokens ?? 0,
    prompt: () => models && promptText(models.window()),
    tokens: estimatedTokens,
    channelStatus: () => options.channelStatus?.() ?? [],
    servers: () => agent?.mcp?.servers() ?? [],
    tasks: (turn) => agent?.subagents.list(ownerOf(turn)) ?? [],
    jobs: options.jobs,
    confirmations: options.confirmations,
    ...(reload && { reload }),
    ...(agent && { answer: agent.answer }),
  });
}

const NO_MODELS: ModelChoice = { list: () => [], current: () => undefined, switchTo: () => {} };

const start: Command = {
  name: "start",
  about: "a greeting",
  run: () => "Hello! I am PicoClaw 🦞",
};

const stop: Command = {
  name: "stop",
  about: "stop the running answer and the waiting requests",
  // The gateway handles /stop. Here there is no running answer.
  run: () => "Nothing to stop.",
};

/** The commands that begin with `/` or `!`. Most need no model. */
export function createCommands(context: CommandContext): Commands {
  const chosen = createChosenSkills();
  const help: Command = {
    name: "help",
    about: "this list",
    run: () => helpText(table),
  };
  const table: readonly Command[] = [
    start,
    help,
    stop,
    ...INFO_COMMANDS,
    ...CHANGE_COMMANDS,
    ...(context.confirmations ? DECISION_COMMANDS : []),
    ...turnCommands(chosen),
  ];
  return {
    answer(turn) {
      const { name: word, words = "" } = commandIn(turn.text) ?? {};
      const command = table.find(({ name }) => name === word);
      if (command !== undefined) return runCommand(command, { words, turn }, context);
      const skill = context.answer === undefined ? undefined : chosen.take(ownerOf(turn));
      return skill === undefined ? undefined : context.answer?.(turn, [skill]);
    },
  };
}

async function* runCommand(
  command: Command,
  asked: Asked,
  context: CommandContext,
): AsyncGenerator<string, Turned> {
  asked.turn.signal.throwIfAborted();
  if (asked.turn.format !== undefined) throw plainOnly(command);
  const outcome = refusalOf(command, asked) ?? (await command.run(asked, context));
  if (typeof outcome === "string") {
    yield outcome;
    return { messages: [] };
  }
  if ("run" in outcome) return yield* outcome.run();
  yield outcome.text;
  return { messages: [], forget: outcome.forget };
}

function plainOnly({ name }: Command): Failure {
  return new Failure("bad_request", `/${name} is answered in plain text: send it without "format"`);
}

/** Why the command is not run at all. */
function refusalOf(command: Command, { words, turn }: Asked): string | undefined {
  if (command.isForAdmins === true && turn.isRemote === true && turn.isAdmin !== true) {
    return `/${command.name} is for administrators only: clients that admin_from of the channel names in config.json.`;
  }
  if (command.options === undefined && words !== "") return usageText(command, words);
  return undefined;
}

function helpText(table: readonly Command[]): string {
  const lines = table.map((command) => {
    const mark = command.isForAdmins === true ? " (administrators only)" : "";
    return `${usageOf(command)}: ${command.about}${mark}`;
  });
  return listing("Commands:", lines);
}

const clear: Command = {
  name: "clear",
  about: "start this conversation over",
  run: () => ({ text: "Chat history cleared!", forget: true }),
};

const jobsCommand: Command = {
  name: "jobs",
  options: "[remove <id>]",
  about: "what the agent does for you later, or no longer",
  async run({ words, turn: { client, channel } }, { jobs }) {
    if (jobs === undefined || channel === undefined) return "No jobs are done here.";
    const owner = { channel, client };
    const { word, rest } = firstWord(words);
    if (word === "") {
      const found = await jobs.list(owner);
      return found.length === 0
        ? "You have no jobs."
        : listing(
            "Your jobs:",
            found.map((job) => jobText(job)),
          );
    }
    if (word !== "remove" || rest === "")
      return usageText(jobsCommand, word === "remove" ? "" : words);
    try {
      await jobs.remove(owner, rest);
      return `Job ${shown(rest)} is removed.`;
    } catch (error) {
      return `The job was not removed: ${reasonOf(error)}.`;
    }
  },
};

const switchCommand: Command = {
  name: "switch",
  options: "model to <name>",
  about: "use another model for everyone",
  isForAdmins: true,
  async run({ words }, context) {
    const [, name] = /^model\s+to\s+([\s\S]+)$/i.exec(words) ?? [];
    if (name !== undefined) return await switchModel(name.trim(), context);
    const { word } = firstWord(words);
    return usageText(switchCommand, word === "model" ? "" : words);
  },
};

const reloadCommand: Command = {
  name: "reload",
  about: "read the configuration again",
  isForAdmins: true,
  async run(_, context) {
    if (context.reload === undefined) {
      return "Failed to reload configuration: this program has to be started again instead";
    }
    try {
      return ["Config reload triggered!", await context.reload()].filter(Boolean).join("\n");
    } catch (error) {
      return `Failed to reload configuration: ${reasonOf(error)}`;
    }
  },
};

/** Decides about a call, or lists those that wait. Who decides is known by the topic of the request. */
function decisionCommand(name: string, decision: "confirmed" | "denied", about: string): Command {
  return {
    name,
    options: "[id]",
    about,
    async run({ words, turn }, { confirmations }) {
      const { client, channel, isRemote = false } = turn;
      if (confirmations === undefined || channel === undefined || !isRemote) {
        return "Only clients that a profile names can decide about calls.";
      }
      const { decidedText, waitingText } = await import("../access/confirmations.ts");
      const by = { client, channel };
      if (words === "") return waitingText(await confirmations.waitingFor(by));
      return decidedText(await confirmations.decide(words, decision, by), by, decision);
    },
  };
}

const DECISION_COMMANDS: readonly Command[] = [
  decisionCommand(
    "confirm",
    "confirmed",
    "allow a call that waits for you; without an id, list them",
  ),
  decisionCommand("deny", "denied", "refuse a call that waits for you"),
];

/** Commands that change something. */
const CHANGE_COMMANDS: readonly Command[] = [clear, jobsCommand, switchCommand, reloadCommand];

async function switchModel(name: string, { models }: CommandContext): Promise<string> {
  const names = models.list().map((model) => model.name);
  if (names.length === 0) return NO_MODEL;
  if (!names.includes(name)) {
    return `There is no model "${shown(name)}"${alternatives("Models", name, names)}`;
  }
  const before = models.current()?.name ?? "none";
  try {
    await models.switchTo(name);
  } catch (error) {
    return `The model was not switched: ${reasonOf(error)}`;
  }
  return `Switched model from ${before} to ${name}`;
}

/** The message of a `Failure`, which any client may read. Throws other errors again. */
function reasonOf(error: unknown): string {
  if (error instanceof Failure) return error.message;
  throw error;
}

/** Clients with a chosen skill (up to 32 KB each). Beyond that the oldest choice is dropped. */
const MAX_CHOSEN = 100;

type ChosenSkills = ReturnType<typeof createChosenSkills>;

/** The skills that clients want for their next message. In memory only: after a restart they choose again. */
function createChosenSkills() {
  const skills = new Map<string, OpenSkill>();
  return {
    /** Returns and removes the skill: it is for one message. */
    take(owner: string): OpenSkill | undefined {
      const skill = skills.get(owner);
      skills.delete(owner);
      return skill;
    },
    choose(owner: string, skill: OpenSkill): void {
      skills.delete(owner);
      skills.set(owner, skill);
      const [oldest] = skills.keys();
      if (skills.size > MAX_CHOSEN && oldest !== undefined) skills.delete(oldest);
    },
  };
}

/** Commands that ask the model. */
function turnCommands(chosen: ChosenSkills): readonly Command[] {
  const use: Command = {
    name: "use",
    options: "<skill> [message] | clear",
    about: "use a skill for this message or the next",
    run: async ({ words, turn }, context) => {
      const { word, rest } = firstWord(words);
      if (word === "") return usageText(use, "");
      if (word === "clear" && rest === "") {
        const skill = chosen.take(ownerOf(turn));
        return skill === undefined
          ? "No skill was chosen."
          : `Skill ${skill.name} is no longer chosen.`;
      }
      return await useFor({ word, rest, turn }, context, chosen);
    },
  };
  const btw: Command = {
    name: "btw",
    options: "<question>",
    about: "ask a question that is not remembered",
    run({ words, turn }, { answer }) {
      if (words === "") return usageText(btw, "");
      if (answer === undefined) return NO_MODEL;
      return { run: () => answerUnremembered(answer, { words, turn }) };
    },
  };
  return [use, btw];
}

interface Use extends Pick<Asked, "turn"> {
  readonly word: string;
  readonly rest: string;
}

async function useFor(
  { word, rest, turn }: Use,
  { answer, workspace, allows }: CommandContext,
  chosen: ChosenSkills,
): Promise<Outcome> {
  if (answer === undefined) return NO_MODEL;
  if (!allows(turn, "use_skill")) return NO_SKILLS;
  const skill = await useSkill(workspace, word);
  if (typeof skill === "string") return `${skill.charAt(0).toUpperCase()}${skill.slice(1)}`;
  if (rest !== "") return { run: () => answer({ ...turn, text: rest }, [skill]) };
  chosen.choose(ownerOf(turn), skill);
  return `Skill ${skill.name} will be used for your next message. To change your mind: /use clear`;
}

async function* answerUnremembered(
  answer: AnswerWith,
  { words, turn }: Asked,
): AsyncGenerator<string, Turned> {
  const turned = yield* answer({ ...turn, text: words });
  return { ...turned, messages: [] };
}
