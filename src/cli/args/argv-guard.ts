import { Failure } from "../../base/failure.ts";
import { suggestWord } from "../../base/spelling.ts";
import { findCommand } from "./commands.ts";
import { FLAGS, type FlagName, flagNamed, flagNames, isFlagName } from "./flags.ts";

/** The command line in a form that the parsing library cannot damage. */
export interface GuardedArgs {
  /** What to parse: long flags, the names of commands, and references for all else. */
  readonly tokens: readonly string[];
  /** The flags in the order in which they were written. */
  readonly flags: readonly FlagName[];
  /** The first thing that is wrong; what was meant is guessed among the flags that the command has. */
  readonly failure?: Guess;
  /** The exact word that a token or a parsed value stands for. */
  wordOf(token: string): string;
}

type Guess = (among: readonly FlagName[]) => Failure;

/**
 * Guards words against `cac`, which reads `007` as 7, `--user= x` as a user x, `--json=yes` as an
 * argument, and forgets unknown flags: every value and argument is replaced by a reference (`@3`), so
 * what the library cannot read it cannot change, and short flags are written out.
 */
export function guardArgs(args: readonly string[]): GuardedArgs {
  const state: State = { tokens: [], flags: [], texts: [] };
  const end = args.indexOf("--");
  const head = end === -1 ? args : args.slice(0, end);
  for (const word of head) guardWord(state, word);
  if (end !== -1) {
    state.tokens.push("--", ...args.slice(end + 1).map((word) => referenceTo(state, word)));
  }
  const { tokens, flags, texts, failure } = state;
  return {
    tokens,
    flags,
    ...(failure === undefined ? {} : { failure }),
    wordOf: (token) => (token.startsWith("@") ? (texts[Number(token.slice(1))] ?? "") : token),
  };
}

interface State {
  readonly tokens: string[];
  readonly flags: FlagName[];
  readonly texts: string[];
  failure?: Guess;
}

function guardWord(state: State, word: string): void {
  if (word.startsWith("--")) guardLong(state, word);
  else if (/^-[A-Za-z]/.test(word)) guardLetters(state, word);
  // Anything else that starts with a dash (`-`, `-5`, `- item`) is text.
  else state.tokens.push(findCommand(word) === undefined ? referenceTo(state, word) : word);
}

function guardLong(state: State, word: string): void {
  const [name = "", ...rest] = word.slice(2).split("=");
  if (!isFlagName(name)) return fail(state, (among) => unknownFlag(`--${name}`, among));
  if (rest.length === 0) return use(state, name);
  if (FLAGS[name].type === "boolean") {
    const message = `--${name} takes no value: ${word}`;
    return fail(state, () => new Failure("usage", message));
  }
  use(state, name, rest.join("="));
}

/** `-dn5`: letters of flags without a value, then at most one that takes what is left as its value. */
function guardLetters(state: State, word: string): void {
  for (let index = 1; index < word.length; index += 1) {
    const name = flagOfLetter(word.charAt(index));
    if (name === undefined) return fail(state, (among) => unknownFlag(word, among));
    if (FLAGS[name].type !== "boolean") {
      const rest = word.slice(index + 1).replace(/^=/, "");
      return rest === "" ? use(state, name) : use(state, name, rest);
    }
    use(state, name);
  }
}

function use(state: State, name: FlagName, value?: string): void {
  state.flags.push(name);
  state.tokens.push(value === undefined ? `--${name}` : `--${name}=${referenceTo(state, value)}`);
}

function referenceTo(state: State, word: string): string {
  return `@${state.texts.push(word) - 1}`;
}

function fail(state: State, failure: Guess): void {
  state.failure ??= failure;
}

function flagOfLetter(letter: string): FlagName | undefined {
  return flagNames().find((name) => flagNamed(name).letter === letter);
}

/** A flag that the command does not have, with the one of `among` that was likely meant. */
export function unknownFlag(flag: string, among: readonly FlagName[]): Failure {
  const shown = among.filter((name) => flagNamed(name).hidden !== true);
  const guess = flag.startsWith("--") ? suggestWord(flag.slice(2), shown) : undefined;
  return new Failure("usage", `unknown flag ${flag}`, {
    why: "put text that starts with - after --",
    ...(guess === undefined ? {} : { remedy: `--${guess}` }),
  });
}
