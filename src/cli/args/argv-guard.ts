import { Failure } from "../../base/failure.ts";
import { suggestWord } from "../../base/spelling.ts";
import { findCommand } from "./commands.ts";
import { FLAGS, type FlagName, flagNamed, flagNames, isFlagName } from "./flags.ts";

/** The arguments in a form that the parsing library cannot change. */
export interface GuardedArgs {
  /** The tokens to parse: long flags, names of commands, and references for everything else. */
  readonly tokens: readonly string[];
  /** The flags in the order of the command line. */
  readonly flags: readonly FlagName[];
  /** Makes the first failure; takes the flags of the command to suggest the one that was meant. */
  readonly failure?: Guess;
  /** The exact word behind a token or a parsed value. */
  wordOf(token: string): string;
}

type Guess = (among: readonly FlagName[]) => Failure;

/**
 * Protects arguments from `cac`, which reads `007` as 7, `--user= x` as a user x, `--json=yes` as an argument,
 * and drops unknown flags. Every value and argument is replaced with a reference (`@3`) that the library
 * cannot misread, and short flags are expanded.
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
  // Other words that start with a dash (`-`, `-5`, `- item`) are text.
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

/** `-dn5`: letters of flags without a value, then at most one that takes the rest as its value. */
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

/** The failure for a flag that the command does not have, with the most similar one of `among`. */
export function unknownFlag(flag: string, among: readonly FlagName[]): Failure {
  const shown = among.filter((name) => flagNamed(name).hidden !== true);
  const guess = flag.startsWith("--") ? suggestWord(flag.slice(2), shown) : undefined;
  return new Failure("usage", `unknown flag ${flag}`, {
    why: "put text that starts with - after --",
    ...(guess === undefined ? {} : { remedy: `--${guess}` }),
  });
}
