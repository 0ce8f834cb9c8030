import { flagNamed, type FlagName } from "../line/flags.ts";
import { type Command, COMMANDS, GLOBAL_FLAGS, TOPICS } from "../line/table.ts";

/** What the first argument of a command can be, as far as it is known beforehand. */
export function candidatesOf(command: Command): readonly string[] {
  if (command.name === "help") return [...COMMANDS.map(({ name }) => name), ...TOPICS];
  return command.arguments[0]?.choices ?? [];
}

/** The flags of a command that completion offers. */
export function shownFlags(command: Command): readonly FlagName[] {
  return [...command.flags, ...GLOBAL_FLAGS].filter((name) => flagNamed(name).hidden !== true);
}
