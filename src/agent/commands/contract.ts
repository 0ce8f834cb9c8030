import { escapeControl } from "../../base/escape-control.ts";
import { truncate } from "../../base/truncate.ts";
import type { Confirmations } from "../access/confirmations.ts";
import type { Message, Turn, Turned } from "../contract.ts";
import type { BackgroundTask } from "../subagents/background-tasks.ts";
import type { Jobs } from "../tools/cron.ts";
import type { McpServerState } from "../tools/mcp/mcp.ts";
import type { OpenSkill, Workspace } from "../workspace/contract.ts";

/** What the commands read and change. */
export interface CommandContext {
  readonly models: ModelChoice;
  /** The tools that the client of this turn is offered. */
  readonly tools: (
    turn: Turn,
  ) => Promise<readonly { readonly name: string; readonly description: string }[]>;
  /** Whether the client may use the tool. */
  readonly allows: (turn: Turn, tool: string) => boolean;
  /** Names of the enabled channels. */
  readonly channels: () => readonly string[];
  readonly workspace: Workspace;
  /** What the model remembers for the client. */
  readonly memory: (turn: Turn) => Promise<string>;
  /** The state of the device in a few lines. */
  readonly device: (turn: Turn) => Promise<string>;
  /** Seconds since the program began. */
  readonly uptime: () => number;
  /** Tokens that the model can read. */
  readonly window: () => number;
  /** How long the prompt is, and why; undefined without a model. */
  readonly prompt: () => string | undefined;
  /** Estimates the tokens of messages. */
  readonly tokens: (messages: readonly Message[]) => number;
  /** A line for each thing to know of a channel, such as other gateways that serve the same agent id. */
  readonly channelStatus: () => readonly string[];
  /** MCP servers. */
  readonly servers: () => readonly McpServerState[];
  /** Background tasks of the client. */
  readonly tasks: (turn: Turn) => readonly BackgroundTask[];
  /** The jobs of clients; absent if nobody does them. */
  readonly jobs?: Jobs | undefined;
  /** Calls that wait for a person's decision; absent if none ever does. */
  readonly confirmations?: Confirmations | undefined;
  /** Reads the configuration again and returns the outcome as text; absent if that is not possible. */
  readonly reload?: () => Promise<string>;
  /** Answers with a model; absent if none is configured. */
  readonly answer?: AnswerWith;
}

/** An `Answerer` with skills for this turn, which are part of its system prompt. */
export type AnswerWith = (
  turn: Turn,
  skills?: readonly OpenSkill[],
) => AsyncGenerator<string, Turned>;

export interface ModelChoice {
  /** Empty for the offline agent. */
  readonly list: () => readonly ModelOutline[];
  readonly current: () => ModelOutline | undefined;
  /** Changes the model for every client from the next turn on. Takes names of the list only. May throw a `Failure`. */
  readonly switchTo: (name: string) => unknown;
}

export interface ModelOutline {
  /** Its `model_name`. */
  readonly name: string;
  readonly provider: string;
}

/** A command as the client wrote it. */
export interface Asked {
  /** The text after the command's name, trimmed. */
  readonly words: string;
  readonly turn: Turn;
}

/** The answer of a command: a text that is not remembered, or a turn of the model. */
export type Outcome = string | { readonly text: string; readonly forget: true } | ModelTurn;

/** A turn that has not started. */
export interface ModelTurn {
  readonly run: () => AsyncGenerator<string, Turned>;
}

export interface Command {
  /** Without its slash, in lower case. */
  readonly name: string;
  /** The arguments, for `Usage:`; absent if there are none. */
  readonly options?: string;
  readonly about: string;
  /** Only for administrators, because it concerns everyone. */
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

/** The answer to an unknown or missing argument. */
export function usageText(command: Pick<Command, "name" | "options">, words: string): string {
  const usage = `Usage: ${usageOf(command)}`;
  return words === "" ? usage : `Unknown option: ${shown(words)}. ${usage}`;
}

/** The first word in lower case, and the rest as written. */
export function firstWord(words: string): { readonly word: string; readonly rest: string } {
  const [, word = "", rest = ""] = /^(\S*)\s*([\s\S]*)$/.exec(words) ?? [];
  return { word: word.toLowerCase(), rest };
}

/** A client's text, short and on one line. */
export function shown(words: string, most = 64): string {
  return escapeControl(truncate(words, most));
}

/** A heading with a line for each item. */
export function listing(title: string, items: readonly string[]): string {
  return [title, ...items.map((item) => `- ${item}`)].join("\n");
}
