import type { Command } from "../args/command.ts";
import { type Flag, type FlagName, flagNamed } from "../args/flags.ts";
import { formatDuration } from "../duration.ts";
import { EXIT_CODES } from "../exit-codes.ts";
import type { Paint } from "../terminal/colour.ts";

export interface HelpOptions {
  readonly paint: Paint;
  /** Columns of the stream that shows it. */
  readonly columns: number;
}

const WIDEST = 100;
const NARROWEST = 40;

/** `send <client> [message…]` */
export function usageOf(command: Command): string {
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
export function longChoices({ arguments: all }: Command): readonly string[] {
  return all.flatMap(({ name, choices }) =>
    choices === undefined || shortChoices(choices) ? [] : [`The ${name} is ${choices.join(", ")}.`],
  );
}

export type Row = readonly [left: string, right: string];
/** A paragraph, or two columns with a title, unless that is "". */
export type Block = string | { readonly title: string; readonly rows: readonly Row[] };

/** A flag with its letter and value, and what it does. */
export function flagRow(name: FlagName): Row {
  const flag = flagNamed(name);
  const letter = flag.letter === undefined ? "    " : `-${flag.letter}, `;
  const value = flag.value === undefined ? "" : ` ${flag.value}`;
  return [`${letter}--${name}${value}`, `${flag.summary}${notesOf(flag)}`];
}

function notesOf(flag: Flag): string {
  if (flag.choices !== undefined) return ` (${flag.choices.join(", ")})`;
  return flag.default === undefined ? "" : ` (default ${formatDuration(flag.default)})`;
}

export function exitRow(code: number): Row {
  return [String(code).padStart(3), EXIT_CODES.get(code) ?? ""];
}

/** The text of a page. */
export function pageOf({ paint, columns }: HelpOptions, blocks: readonly Block[]): string {
  const width = Math.max(NARROWEST, Math.min(columns, WIDEST));
  const texts = blocks.map((block) =>
    typeof block === "string"
      ? wrap(block, width).join("\n")
      : [...titleLines(block.title, paint), ...rowsOf(block.rows, width)].join("\n"),
  );
  return `${texts.join("\n\n")}\n`;
}

function titleLines(title: string, paint: Paint): readonly string[] {
  return title === "" ? [] : [paint.bold(title)];
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
