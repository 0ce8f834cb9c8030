import { Failure } from "../../base/failure.ts";
import { parseDuration } from "../duration.ts";
import { type Flag, flagNamed, type FlagName } from "./flags.ts";
import { nearest } from "./nearest.ts";
import { type Command, COMMANDS, GLOBAL_FLAGS, namesOf } from "./table.ts";
import { type GuardedWords, unknownFlag } from "./words.ts";

/** A command line, taken apart and not yet checked. */
export interface Understood {
  readonly command: Command | undefined;
  readonly words: readonly string[];
  readonly guarded: GuardedWords;
  /** What flags were given; a flag that lacks its value is not in it. */
  readonly values: ReadonlyMap<FlagName, string>;
}

/** The first thing that is wrong with a command line, with the nearest known word. */
export function usageFailure(line: Understood): Failure | undefined {
  const { command, words, guarded } = line;
  return (
    commandFailure(line) ??
    guarded.failure?.(allowedFlags(command)) ??
    strangerFailure(line) ??
    valueFailure(line) ??
    (command && argumentFailure(command, words))
  );
}

function commandFailure({ command, words }: Understood): Failure | undefined {
  const [word] = words;
  if (command !== undefined || word === undefined) return undefined;
  const guess = nearest(word, COMMANDS.flatMap(namesOf));
  return new Failure("usage", `unknown command "${word}"`, {
    remedy: guess === undefined ? "picoclaw help" : `picoclaw ${guess}, or picoclaw help`,
  });
}

/** A flag that there is, but not here. */
function strangerFailure({ command, guarded }: Understood): Failure | undefined {
  const allowed = allowedFlags(command);
  const stranger = guarded.flags.find((name) => !allowed.includes(name));
  if (stranger === undefined) return undefined;
  if (command !== undefined) return unknownFlag(`--${stranger}`, allowed);
  return new Failure("usage", `no command to use --${stranger} with`, { remedy: "picoclaw help" });
}

function allowedFlags(command: Command | undefined): readonly FlagName[] {
  return [...GLOBAL_FLAGS, ...(command?.flags ?? (["version", "json"] as const))];
}

function valueFailure({ guarded, values }: Understood): Failure | undefined {
  for (const name of guarded.flags) {
    const flag = flagNamed(name);
    if (flag.type === "boolean") continue;
    const value = values.get(name);
    if (value === undefined || value === "") {
      return new Failure("usage", `--${name} needs a value: --${name} ${flag.value}`, {
        why: `a value that starts with - is written --${name}=-…`,
      });
    }
    const expected = expectation(flag, value);
    if (expected !== undefined) {
      return new Failure("usage", `--${name} ${value}: ${expected}`);
    }
  }
  return undefined;
}

/** What a value should have been, or undefined where it is right. */
function expectation(flag: Flag, value: string): string | undefined {
  if (flag.choices?.includes(value) === false) return oneOf(flag.choices, value);
  if (flag.type === "count") return countExpectation(value);
  return flag.type === "duration" ? durationExpectation(flag, value) : undefined;
}

function countExpectation(value: string): string | undefined {
  const counts = /^\d{1,15}$/.test(value) && Number(value) > 0;
  return counts ? undefined : "a whole number from 1 on is expected";
}

function durationExpectation(flag: Flag, value: string): string | undefined {
  const duration = parseDuration(value);
  if (duration === undefined) return "a time such as 500ms, 30s, 2m or 1h is expected";
  return duration > 0 || flag.zero ? undefined : "a time above zero is expected";
}

function oneOf(choices: readonly string[], value: string): string {
  const guess = nearest(value, choices);
  const meant = guess === undefined ? "" : `; did you mean ${guess}?`;
  return `one of ${choices.join(", ")} is expected${meant}`;
}

function argumentFailure(command: Command, words: readonly string[]): Failure | undefined {
  const remedy = `picoclaw help ${command.name}`;
  for (const [index, { name, required, choices }] of command.arguments.entries()) {
    const word = words[index];
    if (word === undefined) {
      if (required) return new Failure("usage", `${command.name} needs <${name}>`, { remedy });
    } else if (choices?.includes(word) === false) {
      return new Failure("usage", `${name} ${word}: ${oneOf(choices, word)}`, { remedy });
    }
  }
  const extra = command.arguments.at(-1)?.rest ? undefined : words[command.arguments.length];
  if (extra === undefined) return undefined;
  return new Failure("usage", `${command.name} does not take "${extra}"`, { remedy });
}
