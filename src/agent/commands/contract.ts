import { escapeControl } from "../../base/escape-control.ts";
import { truncate } from "../../base/truncate.ts";
import type { Message, Turn, Turned } from "../contract.ts";
import type { BackgroundTask } from "../subagents/background-tasks.ts";
import type { OpenSkill, Workspace } from "../workspace/contract.ts";

/** What the commands look at and change; whoever composes the agent wires it. */
export interface CommandContext {
  readonly models: ModelChoice;
  /** The tools that the client of this turn is offered. */
  readonly tools: (
    turn: Turn,
  ) => Promise<readonly { readonly name: string; readonly description: string }[]>;
  /** Whether who asks may use the tool. */
  readonly allows: (turn: Turn, tool: string) => boolean;
  /** Names of the enabled channels. */
  readonly channels: () => readonly string[];
  readonly workspace: Workspace;
  /** What the model is told that it has remembered, for who asks. */
  readonly memory: (turn: Turn) => Promise<string>;
  /** How the device is, in a line or a few. */
  readonly device: (turn: Turn) => Promise<string>;
  /** Seconds since the program began. */
  readonly uptime: () => number;
  /** Tokens that the model can read. */
  readonly window: () => number;
  /** About how many tokens the messages are. */
  readonly tokens: (messages: readonly Message[]) => number;
  /** Background tasks of who asks. */
  readonly tasks: (turn: Turn) => readonly BackgroundTask[];
  /** Reads the configuration again and says what came of it; absent where that cannot be done. */
  readonly reload?: () => Promise<string>;
  /** Answers with a model; absent where none is configured. */
  readonly answer?: AnswerWith;
}

/** An `Answerer` that works by the given skills in this turn: they belong into its system prompt. */
export type AnswerWith = (
  turn: Turn,
  skills?: readonly OpenSkill[],
) => AsyncGenerator<string, Turned>;

export interface ModelChoice {
  /** None for the offline agent. */
  readonly list: () => readonly ModelOutline[];
  readonly current: () => ModelOutline | undefined;
  /** For every client, from the next turn on; takes only names of the list. May throw a `Failure`. */
  readonly switchTo: (name: string) => Promise<void>;
}

export interface ModelOutline {
  /** Its `model_name`. */
  readonly name: string;
  readonly provider: string;
}

/** A command as it was written. */
export interface Asked {
  /** What follows the command's name, without blanks around. */
  readonly words: string;
  readonly turn: Turn;
}

/** What a command answers: a text that is not remembered, or a turn of the model. */
export type Outcome = string | { readonly text: string; readonly forget: true } | ModelTurn;

/** A turn that is still to run. */
export interface ModelTurn {
  readonly run: () => AsyncGenerator<string, Turned>;
}

export interface Command {
  /** Without its slash, in lower case. */
  readonly name: string;
  /** What may follow the name, for `Usage:`; absent where nothing may. */
  readonly options?: string;
  readonly about: string;
  /** Only for who may change things for everyone. */
  readonly isForAdmins?: true;
  readonly run: (asked: Asked, context: CommandContext) => Outcome | Promise<Outcome>;
}

export const NO_MODEL = "No model is configured.";

/** For who may not use skills. */
export const NO_SKILLS = "Skills are not for this client.";

/** `/show [model|channel|agents]`. */
export function usageOf({ name, options }: Pick<Command, "name" | "options">): string {
  return options === undefined ? `/${name}` : `/${name} ${options}`;
}

/** For an option that the command does not know, or where one is missing. */
export function usageText(command: Pick<Command, "name" | "options">, words: string): string {
  const usage = `Usage: ${usageOf(command)}`;
  return words === "" ? usage : `Unknown option: ${shown(words)}. ${usage}`;
}

/** The first word in lower case, and what follows it as it was written. */
export function firstWord(words: string): { readonly word: string; readonly rest: string } {
  const [, word = "", rest = ""] = /^(\S*)\s*([\s\S]*)$/.exec(words) ?? [];
  return { word: word.toLowerCase(), rest };
}

/** Somebody's words on one line. */
export function shown(words: string): string {
  return escapeControl(truncate(words, 64));
}

/** A heading with a line for each item. */
export function listing(title: string, items: readonly string[]): string {
  return [title, ...items.map((item) => `- ${item}`)].join("\n");
}
