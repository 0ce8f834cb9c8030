import { Failure } from "../../base/failure.ts";
import { createPaint, isColoured } from "../colour.ts";
import type { Context } from "../context.ts";
import { commandHelp, exitCodesHelp, type HelpOptions, programHelp } from "../help.ts";
import { nearest } from "../line/nearest.ts";
import { commandNamed, COMMANDS, TOPICS } from "../line/table.ts";

/** `picoclaw help [command|exit-codes]`. */
export async function run({ host, words, flags }: Context): Promise<number> {
  const paint = createPaint(isColoured(host.stdout, host.env, flags));
  await host.stdout.write(textFor(words[0], { paint, columns: host.stdout.columns }));
  return 0;
}

function textFor(topic: string | undefined, options: HelpOptions): string {
  if (topic === undefined) return programHelp(options);
  if (topic === "exit-codes") return exitCodesHelp(options);
  const command = commandNamed(topic);
  if (command !== undefined) return commandHelp(command, options);
  const guess = nearest(topic, [...COMMANDS.map(({ name }) => name), ...TOPICS]);
  throw new Failure("usage", `there is no help about "${topic}"`, {
    remedy: guess === undefined ? "picoclaw help" : `picoclaw help ${guess}`,
  });
}
