import { Failure } from "../../base/failure.ts";
import { suggestWord } from "../../base/spelling.ts";
import { parseDuration } from "../duration.ts";
import { type Command, findCommand, COMMANDS, GLOBAL_FLAGS, namesOf } from "./commands.ts";
import {
  createFlags,
  flagNamed,
  type FlagName,
  flagNames,
  type Flags,
  FLAGS,
  isFlagName,
} from "./flags.ts";
import type { Flag } from "./flags.ts";

/** A parsed command line. */
export interface CommandLine {
  /** Absent if the line names no command, or an unknown one. */
  readonly command?: Command;
  /** The positional arguments after the command, exactly as typed. */
  readonly words: readonly string[];
  readonly flags: Flags;
  /** Why the line is wrong; of code `usage`. Then it must not run. */
  readonly failure?: Failure;
}

/** Parses the arguments after the program's name. Does not throw: errors are in `failure`. */
export function parseCommandLine(args: readonly string[]): CommandLine {
  const line = readArgs(args);
  const { command, words, flags, values } = line;
  const failure = usageFailure(line);
  return {
    ...(command === undefined ? {} : { command }),
    words,
    flags: createFlags(new Set(flags), values),
    ...(failure === undefined ? {} : { failure }),
  };
}

/** A command line before the checks. */
interface ParsedLine {
  readonly command: Command | undefined;
  /** The positional arguments after the command. */
  readonly words: readonly string[];
  /** In the order of the command line. */
  readonly flags: readonly FlagName[];
  /** The last value of every flag that takes one. A flag that once has no value is missing. */
  readonly values: ReadonlyMap<FlagName, string>;
  /** Makes the first failure; takes the flags of the command to suggest the one that was meant. */
  readonly failure: Guess | undefined;
}

type Guess = (among: readonly FlagName[]) => Failure;

/** The first word is the command. After `--` every word is text, even if it starts with a dash. */
function readArgs(args: readonly string[]): ParsedLine {
  const line: Line = { words: [], flags: [], values: new Map(), incomplete: new Set() };
  const end = args.indexOf("--");
  const head = end === -1 ? args : args.slice(0, end);
  for (const word of head) readWord(line, word);
  endPending(line);
  for (const name of line.incomplete) line.values.delete(name);
  const [first, ...others] = line.words;
  const command = first === undefined ? undefined : findCommand(first);
  const words = command === undefined ? line.words : others;
  const texts = end === -1 ? [] : args.slice(end + 1);
  return { ...line, command, words: [...words, ...texts], failure: line.failure };
}

interface Line {
  readonly words: string[];
  readonly flags: FlagName[];
  readonly values: Map<FlagName, string>;
  /** Flags without the value that they take. */
  readonly incomplete: Set<FlagName>;
  /** The last flag, if the next word is its value. */
  pending?: FlagName | undefined;
  failure?: Guess;
}

function readWord(line: Line, word: string): void {
  if (word.startsWith("--")) readLong(line, word);
  else if (/^-[A-Za-z]/.test(word)) readLetters(line, word);
  // Other words that start with a dash (`-`, `-5`, `- item`) are text.
  else if (line.pending === undefined) line.words.push(word);
  else setValue(line, line.pending, word);
}

function readLong(line: Line, word: string): void {
  const [name = "", ...rest] = word.slice(2).split("=");
  if (!isFlagName(name)) return fail(line, (among) => unknownFlag(`--${name}`, among));
  if (rest.length === 0) return use(line, name);
  if (FLAGS[name].type === "boolean") {
    const message = `--${name} takes no value: ${word}`;
    return fail(line, () => new Failure("usage", message));
  }
  use(line, name);
  setValue(line, name, rest.join("="));
}

/** `-dn5`: letters of flags without a value, then at most one that takes the rest as its value. */
function readLetters(line: Line, word: string): void {
  for (let index = 1; index < word.length; index += 1) {
    const name = flagOfLetter(word.charAt(index));
    if (name === undefined) return fail(line, (among) => unknownFlag(word, among));
    use(line, name);
    if (FLAGS[name].type !== "boolean") {
      const rest = word.slice(index + 1).replace(/^=/, "");
      if (rest !== "") setValue(line, name, rest);
      return;
    }
  }
}

function use(line: Line, name: FlagName): void {
  endPending(line);
  line.flags.push(name);
  if (FLAGS[name].type !== "boolean") line.pending = name;
}

function endPending(line: Line): void {
  if (line.pending !== undefined) line.incomplete.add(line.pending);
  line.pending = undefined;
}

function setValue(line: Line, name: FlagName, value: string): void {
  line.pending = undefined;
  line.values.set(name, value);
}

function fail(line: Line, failure: Guess): void {
  line.failure ??= failure;
}

function flagOfLetter(letter: string): FlagName | undefined {
  return flagNames().find((name) => flagNamed(name).letter === letter);
}

/** The first error of a command line, with a suggestion. */
function usageFailure(line: ParsedLine): Failure | undefined {
  const { command, words, failure } = line;
  return (
    commandFailure(line) ??
    failure?.(allowedFlags(command)) ??
    unknownFlagFailure(line) ??
    valueFailure(line) ??
    (command && argumentFailure(command, words))
  );
}

function commandFailure({ command, words }: ParsedLine): Failure | undefined {
  const [word] = words;
  if (command !== undefined || word === undefined) return undefined;
  const guess = suggestWord(word, COMMANDS.flatMap(namesOf));
  return new Failure("usage", `unknown command "${word}"`, {
    remedy: guess === undefined ? "picoclaw help" : `picoclaw ${guess}, or picoclaw help`,
  });
}

/** A known flag that the command does not have. */
function unknownFlagFailure({ command, flags }: ParsedLine): Failure | undefined {
  const allowed = allowedFlags(command);
  const unknown = flags.find((name) => !allowed.includes(name));
  if (unknown === undefined) return undefined;
  if (command !== undefined) return unknownFlag(`--${unknown}`, allowed);
  return new Failure("usage", `--${unknown} needs a command`, { remedy: "picoclaw help" });
}

function allowedFlags(command: Command | undefined): readonly FlagName[] {
  return [...GLOBAL_FLAGS, ...(command?.flags ?? (["version", "json"] as const))];
}

function valueFailure({ flags, values }: ParsedLine): Failure | undefined {
  for (const name of flags) {
    const flag = flagNamed(name);
    if (flag.type === "boolean") continue;
    const value = values.get(name);
    if (value === undefined || value === "") {
      return new Failure("usage", `--${name} needs a value: --${name} ${flag.value}`, {
        why: `write a value that starts with - as --${name}=-…`,
      });
    }
    const expected = expectedValue(flag, value);
    if (expected !== undefined) {
      return new Failure("usage", `--${name} ${value}: ${expected}`);
    }
  }
  return undefined;
}

/** What the value must be; undefined if it is right. */
function expectedValue(flag: Flag, value: string): string | undefined {
  if (flag.choices?.includes(value) === false) return oneOf(flag.choices, value);
  if (flag.type === "count") return countExpectation(value);
  return flag.type === "duration" ? durationExpectation(flag, value) : undefined;
}

function countExpectation(value: string): string | undefined {
  const counts = /^\d{1,15}$/.test(value) && Number(value) > 0;
  return counts ? undefined : "use a whole number of at least 1";
}

function durationExpectation(flag: Flag, value: string): string | undefined {
  const duration = parseDuration(value);
  if (duration === undefined) return "use a time such as 500ms, 30s, 2m or 1h";
  return duration > 0 || flag.zero ? undefined : "use a time above zero";
}

function oneOf(choices: readonly string[], value: string): string {
  const guess = suggestWord(value, choices);
  const meant = guess === undefined ? "" : `; did you mean ${guess}?`;
  const rest = choices.slice(0, -1).join(", ");
  const all = rest === "" ? choices.join("") : `${rest} or ${choices.at(-1)}`;
  return `use ${all}${meant}`;
}

function argumentFailure(command: Command, words: readonly string[]): Failure | undefined {
  const remedy = `picoclaw help ${command.name}`;
  for (const [index, { name, required, choices }] of command.arguments.entries()) {
    const word = words[index];
    if (word === undefined) {
      if (required) return new Failure("usage", `${command.name} needs <${name}>`, { remedy });
    } else if (choices?.includes(word) === false) {
      return new Failure(
        "usage",
        `${command.name}: unknown ${name} "${word}"; ${oneOf(choices, word)}`,
        {
          remedy,
        },
      );
    }
  }
  const extra = command.arguments.at(-1)?.rest ? undefined : words[command.arguments.length];
  if (extra === undefined) return undefined;
  return new Failure("usage", `${command.name} does not take "${extra}"`, { remedy });
}

/** The failure for a flag that the command does not have, with the most similar one of `among`. */
function unknownFlag(flag: string, among: readonly FlagName[]): Failure {
  const shown = among.filter((name) => flagNamed(name).hidden !== true);
  const guess = flag.startsWith("--") ? suggestWord(flag.slice(2), shown) : undefined;
  return new Failure("usage", `unknown flag ${flag}`, {
    why: "put text that starts with - after --",
    remedy: guess && `--${guess}`,
  });
}
