import { type CAC, cac } from "cac";
import type { Failure } from "../../base/failure.ts";
import { createFlags, flagNamed, type FlagName, flagNames, type Flags } from "./flags.ts";
import { type Command, commandNamed, COMMANDS } from "./table.ts";
import { usageFailure } from "./usage.ts";
import { guardWords, type GuardedWords } from "./words.ts";

/** A command line that was understood as far as `failure` allows. */
export interface CommandLine {
  /** Absent where none was named, or no known one. */
  readonly command?: Command;
  /** The positional arguments after the command, exactly as they were typed. */
  readonly words: readonly string[];
  readonly flags: Flags;
  /** Why it must not be run: always of code `usage`. */
  readonly failure?: Failure;
}

/** Understands the words after the program's name. Never throws: what is wrong is in `failure`. */
export function parseCommandLine(args: readonly string[]): CommandLine {
  const guarded = guardWords(args);
  const parser = createParser();
  const parsed = parser.parse(["", parser.name, ...guarded.tokens], { run: false });
  const words = [...parsed.args, ...afterDashes(parsed.options)].map((token) =>
    guarded.wordOf(String(token)),
  );
  const command = commandNamed(parser.matchedCommand?.name ?? "");
  const values = valuesOf(guarded, parsed.options);
  const flags = createFlags(new Set(guarded.flags), values);
  const failure = usageFailure({ command, words, guarded, values });
  return {
    ...(command === undefined ? {} : { command }),
    words,
    flags,
    ...(failure === undefined ? {} : { failure }),
  };
}

/** All flags are known to the parser for every command, so that it can tell values from arguments. */
function createParser(): CAC {
  const parser = cac("picoclaw");
  for (const name of flagNames()) {
    const flag = flagNamed(name);
    parser.option(flag.type === "boolean" ? `--${name}` : `--${name} <value>`, flag.summary);
  }
  for (const { name, aliases = [], summary } of COMMANDS) {
    const command = parser.command(`${name} [...words]`, summary);
    for (const alias of aliases) command.alias(alias);
  }
  return parser;
}

type Options = Readonly<Record<string, unknown>>;

function afterDashes(options: Options): readonly unknown[] {
  const words = options["--"];
  return Array.isArray(words) ? words : [];
}

/** The last value of every flag that takes one; a flag without its value is left out. */
function valuesOf(guarded: GuardedWords, options: Options): Map<FlagName, string> {
  const values = new Map<FlagName, string>();
  for (const name of guarded.flags) {
    if (flagNamed(name).type === "boolean") continue;
    const key = name.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
    const all = [options[key]].flat();
    const value = all.at(-1);
    // The library says `true` where no value followed.
    if (typeof value === "string" && !all.includes(true)) values.set(name, guarded.wordOf(value));
  }
  return values;
}
