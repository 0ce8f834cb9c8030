import { ownerOf } from "../access/permissions.ts";
import type { Turn, Turned } from "../contract.ts";
import { CHANGE_COMMANDS } from "./changes.ts";
import type { Asked, Command, CommandContext } from "./contract.ts";
import { FACT_COMMANDS } from "./facts.ts";
import { createArmedSkills, turnCommands } from "./turns.ts";
import { listing, usageOf, usageText } from "./words.ts";

export interface Commands {
  /**
   * The answer to a command; undefined where the text is none (it is for the model then, unchanged).
   * What a command says is not remembered. The message after `/use <skill>` is answered here too,
   * because it needs the skill.
   */
  readonly answer: (turn: Turn) => AsyncGenerator<string, Turned> | undefined;
}

const start: Command = {
  name: "start",
  about: "a greeting",
  run: () => "Hello! I am PicoClaw 🦞",
};

const stop: Command = {
  name: "stop",
  about: "end the answer that is being worked on",
  // Whoever keeps the lanes of the clients obeys it before it comes here.
  run: () => "Nothing to stop.",
};

/** The commands that begin with `/` or `!`, answered without the model's help as far as that goes. */
export function createCommands(context: CommandContext): Commands {
  const armed = createArmedSkills();
  const help: Command = {
    name: "help",
    about: "this list",
    run: () => helpText(table),
  };
  const table: readonly Command[] = [
    start,
    help,
    stop,
    ...FACT_COMMANDS,
    ...CHANGE_COMMANDS,
    ...turnCommands(armed),
  ];
  return {
    answer(turn) {
      const [, word = "", words = ""] = /^\s*[/!]([a-z]+)(?:\s+([\s\S]*))?$/i.exec(turn.text) ?? [];
      const command = table.find(({ name }) => name === word.toLowerCase());
      if (command !== undefined) return answered(command, { words: words.trim(), turn }, context);
      const skill = context.answer === undefined ? undefined : armed.take(ownerOf(turn));
      return skill === undefined ? undefined : context.answer?.(turn, [skill]);
    },
  };
}

async function* answered(
  command: Command,
  asked: Asked,
  context: CommandContext,
): AsyncGenerator<string, Turned> {
  asked.turn.signal.throwIfAborted();
  const outcome = refusal(command, asked) ?? (await command.run(asked, context));
  if (typeof outcome === "string") {
    yield outcome;
    return { messages: [] };
  }
  if ("run" in outcome) return yield* outcome.run();
  yield outcome.text;
  return { messages: [], forget: outcome.forget };
}

/** Why the command is not run at all. */
function refusal(command: Command, { words, turn }: Asked): string | undefined {
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
