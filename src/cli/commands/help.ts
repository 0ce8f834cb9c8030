import { Failure } from "../../base/failure.ts";
import { suggestWord } from "../../base/spelling.ts";
import { VERSION } from "../../base/version.ts";
import { type Command, COMMANDS, findCommand, GLOBAL_FLAGS, TOPICS } from "../args/commands.ts";
import { CONNECTION_FLAGS, type Flag, type FlagName, flagNamed } from "../args/flags.ts";
import { createPaint, isColoured, type Paint } from "../colour.ts";
import type { Context } from "../context.ts";
import { formatDuration } from "../duration.ts";
import { EXIT_CODES } from "../exit-codes.ts";

/** `picoclaw help [command|exit-codes]`. */
export async function run({ host, words, flags }: Context): Promise<number> {
  const paint = createPaint(isColoured(host.stdout, host.env, flags));
  await host.stdout.write(textFor(words[0], { paint, columns: host.stdout.columns }));
  return 0;
}

function textFor(topic: string | undefined, options: HelpOptions): string {
  if (topic === undefined) return programHelp(options);
  if (topic === "exit-codes") return exitCodesHelp(options);
  const command = findCommand(topic);
  if (command !== undefined) return commandHelp(command, options);
  const guess = suggestWord(topic, [...COMMANDS.map(({ name }) => name), ...TOPICS]);
  throw new Failure("usage", `no help for "${topic}"`, {
    remedy: guess === undefined ? "picoclaw help" : `picoclaw help ${guess}`,
  });
}

interface HelpOptions {
  readonly paint: Paint;
  /** Columns of the stream that shows it. */
  readonly columns: number;
}

const WIDEST = 100;
const NARROWEST = 40;
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
        ["picoclaw help exit-codes", "what the exit codes mean"],
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

/** `send <client> [message…]` */
function usageOf(command: Command): string {
  const words = command.arguments.map(({ name, required, rest, choices }) => {
    const word = `${shortChoices(choices) ?? name}${rest ? "…" : ""}`;
    return required ? `<${word}>` : `[${word}]`;
  });
  return [command.name, ...words].join(" ");
}

/** Characters of the choices that a usage line has at most. */
const MOST_CHOICES = 32;

function shortChoices(choices: readonly string[] = []): string | undefined {
  const text = choices.join("|");
  return text === "" || text.length > MOST_CHOICES ? undefined : text;
}

/** The choices that are too long for the usage line. */
function longChoices({ arguments: all }: Command): readonly string[] {
  return all.flatMap(({ name, choices }) =>
    choices === undefined || shortChoices(choices) ? [] : [`The ${name} is ${choices.join(", ")}.`],
  );
}

type Row = readonly [left: string, right: string];
type Block = string | { readonly title: string; readonly rows: readonly Row[] };

function shownOf(names: readonly FlagName[]): readonly FlagName[] {
  return names.filter((name) => flagNamed(name).hidden !== true);
}

function flagRow(name: FlagName): Row {
  const flag = flagNamed(name);
  const letter = flag.letter === undefined ? "    " : `-${flag.letter}, `;
  const value = flag.value === undefined ? "" : ` ${flag.value}`;
  return [`${letter}--${name}${value}`, `${flag.summary}${notesOf(flag)}`];
}

function notesOf(flag: Flag): string {
  if (flag.choices !== undefined) return ` (${flag.choices.join(", ")})`;
  return flag.default === undefined ? "" : ` (default ${formatDuration(flag.default)})`;
}

function exitRow(code: number): Row {
  return [String(code).padStart(3), EXIT_CODES.get(code) ?? ""];
}

function pageOf({ paint, columns }: HelpOptions, blocks: readonly Block[]): string {
  const width = Math.max(NARROWEST, Math.min(columns, WIDEST));
  const texts = blocks.map((block) =>
    typeof block === "string"
      ? wrap(block, width).join("\n")
      : [paint.bold(block.title), ...rowsOf(block.rows, width)].join("\n"),
  );
  return `${texts.join("\n\n")}\n`;
}

/** Two columns; a left side that is too long stands on its own line. */
function rowsOf(rows: readonly Row[], width: number): string[] {
  const wanted = Math.max(...rows.map(([left]) => left.length));
  const gutter = Math.min(wanted, Math.floor(width / 2)) + 4;
  return rows.flatMap(([left, right]) => {
    const lines = right === "" ? [] : wrap(right, width - gutter);
    const fits = left.length + 4 <= gutter;
    const first = fits ? [`  ${left.padEnd(gutter - 2)}${lines.shift() ?? ""}`] : [`  ${left}`];
    return [...first, ...lines.map((line) => `${" ".repeat(gutter)}${line}`)].map((line) =>
      line.trimEnd(),
    );
  });
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) {
      lines[lines.length - 1] = `${last} ${word}`;
    } else {
      lines.push(word);
    }
  }
  return lines;
}
