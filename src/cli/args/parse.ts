import { type CAC, cac } from "cac";
import { Failure } from "../../base/failure.ts";
import { suggestWord } from "../../base/spelling.ts";
import { parseDuration } from "../duration.ts";
import type { Command } from "./command.ts";
import { findCommand, COMMANDS, GLOBAL_FLAGS, namesOf } from "./commands.ts";
import {
  createFlags,
  type Flag,
  type FlagName,
  flagNamed,
  flagNames,
  type Flags,
  FLAGS,
  isFlagName,
  shownOf,
} from "./flags.ts";

/** A parsed command line. */
export interface CommandLine {
  /** Absent if the line names no command, or an unknown one. */
  readonly command: Command | undefined;
  /** The positional arguments after the command, exactly as typed. */
  readonly words: readonly string[];
  readonly flags: Flags;
  /** Why the line is wrong; of code `usage`. Then it must not run. */
  readonly failure: Failure | undefined;
}

/** Parses the arguments after the program's name. Does not throw: errors are in `failure`. */
export function parseCommandLine(args: readonly string[]): CommandLine {
  const guarded = guardArgs(withOwnFlags(args));
  const parser = createParser(guarded);
  const parsed = parser.parse(["", parser.name, ...guarded.tokens], { run: false });
  const words = [...parsed.args, ...afterDashes(parsed.options)].map((token) =>
    wordOf(guarded, String(token)),
  );
  const command = findCommand(parser.matchedCommand?.name ?? "");
  const values = valuesOf(guarded, parsed.options);
  const flags = createFlags(new Set(guarded.flags), values);
  const failure = usageFailure({ command, words, guarded, values });
  return { command, words, flags, failure };
}

/** Flags that are spelled as another one is elsewhere, by the command that must then come first. */
const OWN_FLAGS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  service: { "--user": "--user-service" },
  logs: { "--user": "--user-service", "-f": "--follow" },
};

function withOwnFlags(args: readonly string[]): readonly string[] {
  const [command = "", ...rest] = args;
  const own = Object.hasOwn(OWN_FLAGS, command) ? OWN_FLAGS[command] : undefined;
  return own === undefined ? args : [command, ...rest.map((word) => own[word] ?? word)];
}

/** The arguments in a form that the parsing library cannot change. */
interface GuardedArgs {
  /** The tokens to parse: long flags, names of commands, and references for everything else. */
  readonly tokens: string[];
  /** The flags in the order of the command line. */
  readonly flags: FlagName[];
  /** The exact words behind the references. */
  readonly texts: string[];
  /** Makes the first failure; takes the flags of the command to suggest the one that was meant. */
  failure?: Guess;
}

type Guess = (among: readonly FlagName[]) => Failure;

/**
 * Protects arguments from `cac`, which reads `007` as 7, `--user= x` as a user x, `--json=yes` as an argument,
 * and drops unknown flags. Every value and argument is replaced with a reference (`@3`) that the library
 * cannot misread, and short flags are expanded.
 */
function guardArgs(args: readonly string[]): GuardedArgs {
  const guarded: GuardedArgs = { tokens: [], flags: [], texts: [] };
  const end = args.indexOf("--");
  const head = end === -1 ? args : args.slice(0, end);
  for (const word of head) guardWord(guarded, word);
  if (end !== -1) {
    guarded.tokens.push("--", ...args.slice(end + 1).map((word) => referenceTo(guarded, word)));
  }
  return guarded;
}

function guardWord(guarded: GuardedArgs, word: string): void {
  if (word.startsWith("--")) guardLong(guarded, word);
  else if (/^-[A-Za-z]/.test(word)) guardLetters(guarded, word);
  // Other words that start with a dash (`-`, `-5`, `- item`) are text.
  else guarded.tokens.push(findCommand(word) === undefined ? referenceTo(guarded, word) : word);
}

function guardLong(guarded: GuardedArgs, word: string): void {
  const [name = "", ...rest] = word.slice(2).split("=");
  if (!isFlagName(name)) return fail(guarded, (among) => unknownFlag(`--${name}`, among));
  if (rest.length === 0) return use(guarded, name);
  if (FLAGS[name].type === "boolean") {
    const message = `--${name} takes no value: ${word}`;
    return fail(guarded, () => new Failure("usage", message));
  }
  use(guarded, name, rest.join("="));
}

/** `-dn5`: letters of flags without a value, then at most one that takes the rest as its value. */
function guardLetters(guarded: GuardedArgs, word: string): void {
  for (let index = 1; index < word.length; index += 1) {
    const name = flagOfLetter(word.charAt(index));
    if (name === undefined) return fail(guarded, (among) => unknownFlag(word, among));
    if (FLAGS[name].type !== "boolean") {
      const rest = word.slice(index + 1).replace(/^=/, "");
      return rest === "" ? use(guarded, name) : use(guarded, name, rest);
    }
    use(guarded, name);
  }
}

function use(guarded: GuardedArgs, name: FlagName, value?: string): void {
  const token = `--${keyOf(name)}`;
  guarded.flags.push(name);
  guarded.tokens.push(value === undefined ? token : `${token}=${referenceTo(guarded, value)}`);
}

function referenceTo(guarded: GuardedArgs, word: string): string {
  return `@${guarded.texts.push(word) - 1}`;
}

/** The exact word behind a token or a parsed value. */
function wordOf({ texts }: GuardedArgs, token: string): string {
  return token.startsWith("@") ? (texts[Number(token.slice(1))] ?? "") : token;
}

function fail(guarded: GuardedArgs, failure: Guess): void {
  guarded.failure ??= failure;
}

function flagOfLetter(letter: string): FlagName | undefined {
  return flagNames().find((name) => flagNamed(name).letter === letter);
}

/**
 * The parser knows the flags of this line for every command, so that it can tell values from arguments. It
 * does not know the others: building all of them takes longer than all the rest.
 */
function createParser({ flags, tokens }: GuardedArgs): CAC {
  const parser = cac("picoclaw");
  for (const name of new Set(flags)) {
    const { type } = flagNamed(name);
    parser.option(type === "boolean" ? `--${keyOf(name)}` : `--${keyOf(name)} <value>`, "");
  }
  for (const word of tokens) {
    const command = findCommand(word);
    if (command === undefined) continue;
    const named = parser.command(`${command.name} [...words]`);
    for (const alias of command.aliases ?? []) named.alias(alias);
  }
  return parser;
}

/** `dryRun`: the library would take the word after a boolean `--dry-run` for its value. */
function keyOf(name: FlagName): string {
  return name.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

type Options = Readonly<Record<string, unknown>>;

function afterDashes(options: Options): readonly unknown[] {
  const words = options["--"];
  return Array.isArray(words) ? words : [];
}

/** The values of every flag that takes one, in their order. Flags without their value are omitted. */
function valuesOf(guarded: GuardedArgs, options: Options): Map<FlagName, readonly string[]> {
  const values = new Map<FlagName, readonly string[]>();
  for (const name of guarded.flags) {
    if (flagNamed(name).type === "boolean") continue;
    const all = [options[keyOf(name)]].flat();
    // The library gives `true` if no value follows.
    if (all.every((value) => typeof value === "string")) {
      values.set(
        name,
        all.map((value) => wordOf(guarded, value)),
      );
    }
  }
  return values;
}

/** A command line before the checks. */
interface ParsedLine {
  readonly command: Command | undefined;
  readonly words: readonly string[];
  readonly guarded: GuardedArgs;
  /** The values of flags; a flag without its value is missing. */
  readonly values: ReadonlyMap<FlagName, readonly string[]>;
}

/** The first error of a command line, with a suggestion. */
function usageFailure(line: ParsedLine): Failure | undefined {
  const { command, words, guarded } = line;
  return (
    commandFailure(line) ??
    guarded.failure?.(allowedFlags(command)) ??
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
function unknownFlagFailure({ command, guarded }: ParsedLine): Failure | undefined {
  const allowed = allowedFlags(command);
  const unknown = guarded.flags.find((name) => !allowed.includes(name));
  if (unknown === undefined) return undefined;
  if (command !== undefined) return unknownFlag(`--${unknown}`, allowed);
  return new Failure("usage", `--${unknown} needs a command`, { remedy: "picoclaw help" });
}

function allowedFlags(command: Command | undefined): readonly FlagName[] {
  return [...GLOBAL_FLAGS, ...(command?.flags ?? (["version", "json"] as const))];
}

function valueFailure({ guarded, values }: ParsedLine): Failure | undefined {
  for (const name of guarded.flags) {
    const flag = flagNamed(name);
    if (flag.type === "boolean") continue;
    const all = values.get(name) ?? [""];
    const value = flag.repeats === true ? (all.find((one) => one === "") ?? all[0]) : all.at(-1);
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
  if (flag.type === "count") return countExpectation(flag, value);
  return flag.type === "duration" ? durationExpectation(flag, value) : undefined;
}

function countExpectation({ zero, most = Infinity }: Flag, value: string): string | undefined {
  const least = zero ? 0 : 1;
  const counts = /^\d{1,15}$/.test(value) && Number(value) >= least && Number(value) <= most;
  if (counts) return undefined;
  const range = most === Infinity ? `of at least ${least}` : `from ${least} to ${most}`;
  return `use a whole number ${range}`;
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
  const guess = flag.startsWith("--") ? suggestWord(flag.slice(2), shownOf(among)) : undefined;
  return new Failure("usage", `unknown flag ${flag}`, {
    why: "put text that starts with - after --",
    remedy: guess && `--${guess}`,
  });
}
