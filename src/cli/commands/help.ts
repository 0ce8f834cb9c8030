import { Failure } from "../../base/failure.ts";
import { suggestWord } from "../../base/spelling.ts";
import { VERSION } from "../../base/version.ts";
import type { Command } from "../args/command.ts";
import { COMMANDS, findCommand, GLOBAL_FLAGS, TOPICS } from "../args/commands.ts";
import { CONNECTION_FLAGS, shownOf } from "../args/flags.ts";
import type { Context } from "../context.ts";
import { EXIT_CODES } from "../exit-codes.ts";
import {
  exitRow,
  flagRow,
  type HelpOptions,
  longChoices,
  pageOf,
  type Row,
  usageOf,
} from "../help/page.ts";
import { createPaint, isColoured } from "../terminal/colour.ts";

/** `picoclaw help [command|topic]`. */
export async function run({ host, words, flags }: Context): Promise<number> {
  const paint = createPaint(isColoured(host.stdout, host.env, flags));
  const text = await textFor(words[0], { paint, columns: host.stdout.columns });
  await host.stdout.write(text);
  return 0;
}

async function textFor(topic: string | undefined, options: HelpOptions): Promise<string> {
  if (topic === undefined) return programHelp(options);
  if (topic === "exit-codes") return exitCodesHelp(options);
  if (topic === "man") return (await import("../help/man.ts")).manPage();
  const command = findCommand(topic);
  if (command !== undefined) return commandHelp(command, options);
  if (TOPICS.some((name) => name === topic)) {
    const { topicBlocks } = await import("../help/topics.ts");
    return pageOf(options, await topicBlocks(topic));
  }
  const guess = suggestWord(topic, [...COMMANDS.map(({ name }) => name), ...TOPICS]);
  throw new Failure("usage", `no help for "${topic}"`, {
    remedy: guess === undefined ? "picoclaw help" : `picoclaw help ${guess}`,
  });
}

const EVERY_COMMAND_ENDS_WITH = [0, 1, 2];

/** The help of the program: usage, commands, flags. */
export function programHelp(options: HelpOptions): string {
  const commands = COMMANDS.map((command): Row => [usageOf(command), command.summary]);
  return pageOf(options, [
    `picoclaw ${VERSION}: an AI agent behind an MQTT topic`,
    { title: "Usage", rows: [["picoclaw <command> [flags]", ""]] },
    { title: "Commands", rows: commands },
    { title: "Flags", rows: [...GLOBAL_FLAGS, "version" as const].map(flagRow) },
    {
      title: "More",
      rows: [
        ["picoclaw help <command>", "flags and examples of a command"],
        ["picoclaw help settings", "every key of the configuration"],
        ["picoclaw help environment", "the environment variables"],
        ["picoclaw help exit-codes", "what the exit codes mean"],
        ["picoclaw help wire", "topics and payloads"],
        ["picoclaw help json", "what --json prints"],
        ["picoclaw help man", "the manual page, for man -l -"],
      ],
    },
  ]);
}

/** The help of one command. */
export function commandHelp(command: Command, options: HelpOptions): string {
  const own = command.flags.filter((name) => !CONNECTION_FLAGS.includes(name));
  const connects = command.flags.length > own.length;
  const exits = [...EVERY_COMMAND_ENDS_WITH, ...(command.exits ?? [])];
  return pageOf(options, [
    `picoclaw ${command.name}: ${command.summary}`,
    { title: "Usage", rows: [[`picoclaw ${usageOf(command)} [flags]`, ""]] },
    ...(command.aliases ? [`Also: picoclaw ${command.aliases.join(", picoclaw ")}`] : []),
    ...longChoices(command),
    ...(command.detail ?? []),
    { title: "Flags", rows: [...shownOf(own), ...GLOBAL_FLAGS].map(flagRow) },
    ...(connects
      ? [
          {
            title: "Connection (instead of the configuration's)",
            rows: CONNECTION_FLAGS.map(flagRow),
          },
        ]
      : []),
    { title: "Examples", rows: command.examples.map(({ line, does }): Row => [line, does]) },
    { title: "Exit codes", rows: exits.map(exitRow) },
  ]);
}

/** The help about exit codes. */
export function exitCodesHelp(options: HelpOptions): string {
  return pageOf(options, [{ title: "Exit codes", rows: [...EXIT_CODES.keys()].map(exitRow) }]);
}
