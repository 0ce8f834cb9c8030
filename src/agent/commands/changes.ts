import { Failure } from "../../base/failure.ts";
import { nearestWord } from "../../base/spelling.ts";
import type { Command, CommandContext } from "./contract.ts";
import { NO_MODEL } from "./contract.ts";
import { firstWord, shown, usageText } from "./words.ts";

const clear: Command = {
  name: "clear",
  about: "begin this conversation anew",
  run: () => ({ text: "Chat history cleared!", forget: true }),
};

const switchCommand: Command = {
  name: "switch",
  options: "model to <name>",
  about: "let another model answer everyone",
  isForAdmins: true,
  async run({ words }, context) {
    const [, name] = /^model\s+to\s+([\s\S]+)$/i.exec(words) ?? [];
    if (name !== undefined) return await switched(name.trim(), context);
    const { word } = firstWord(words);
    return usageText(switchCommand, word === "model" ? "" : words);
  },
};

const reload: Command = {
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

/** Commands that change something. */
export const CHANGE_COMMANDS: readonly Command[] = [clear, switchCommand, reload];

async function switched(name: string, { models }: CommandContext): Promise<string> {
  const names = models.list().map((model) => model.name);
  if (names.length === 0) return NO_MODEL;
  if (!names.includes(name)) {
    const nearest = nearestWord(name, names);
    const hint = nearest === undefined ? "." : `, did you mean ${nearest}?`;
    return `There is no model "${shown(name)}"${hint} Models are: ${names.join(", ")}.`;
  }
  const before = models.current()?.name ?? "none";
  try {
    await models.switchTo(name);
  } catch (error) {
    return `The model was not switched: ${reasonOf(error)}`;
  }
  return `Switched model from ${before} to ${name}`;
}

/** What may be told to anyone; any other fault is ours and goes on. */
function reasonOf(error: unknown): string {
  if (error instanceof Failure) return error.message;
  throw error;
}
