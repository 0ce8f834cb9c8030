import { type Command, COMMANDS, GLOBAL_FLAGS, namesOf } from "../args/commands.ts";
import { candidatesOf, shownFlags } from "../args/commands.ts";
import { flagNamed, type FlagName } from "../args/flags.ts";

/** Completions for fish 3 and later. */
export function fishCompletion(): string {
  const outside = "not __fish_seen_subcommand_from (__picoclaw_commands)";
  return [
    "# Completion of picoclaw for fish: picoclaw completion fish > ~/.config/fish/completions/picoclaw.fish",
    "function __picoclaw_commands",
    `    string split ' ' -- ${quote(COMMANDS.flatMap(namesOf).join(" "))}`,
    "end",
    "complete -c picoclaw -f",
    ...COMMANDS.map(
      ({ name, summary }) =>
        `complete -c picoclaw -n ${quote(outside)} -a ${name} -d ${quote(summary)}`,
    ),
    ...[...GLOBAL_FLAGS, "version" as const].map((name) => flagLine(outside, name)),
    ...COMMANDS.flatMap(commandLines),
    "",
  ].join("\n");
}

function commandLines(command: Command): string[] {
  const inside = `__fish_seen_subcommand_from ${namesOf(command).join(" ")}`;
  const candidates = candidatesOf(command);
  return [
    ...shownFlags(command).map((name) => flagLine(inside, name)),
    ...(candidates.length > 0
      ? [`complete -c picoclaw -n ${quote(inside)} -a ${quote(candidates.join(" "))}`]
      : []),
  ];
}

function flagLine(condition: string, name: FlagName): string {
  const { type, letter, choices, summary } = flagNamed(name);
  const words = ["complete -c picoclaw -n", quote(condition), `-l ${name}`];
  if (letter !== undefined) words.push(`-s ${letter}`);
  if (type === "file") words.push("-r -F");
  else if (type !== "boolean") words.push("-x");
  if (choices !== undefined) words.push(`-a ${quote(choices.join(" "))}`);
  return [...words, `-d ${quote(summary)}`].join(" ");
}

function quote(text: string): string {
  return `'${text.replaceAll(/[\\']/g, "\\$&")}'`;
}
