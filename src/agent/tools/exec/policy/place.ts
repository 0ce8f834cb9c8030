import { forEachChild } from "unbash";
import type { CommandNode, Redirection, Script, SyntaxNode, Word } from "unbash";
import { valuesOf } from "./field.ts";
import type { Expander, Values } from "./field.ts";
import type { Input } from "./findings.ts";
import { isPlainOutput } from "./programs.ts";

/** Where a node stands in a command. */
export interface Place {
  readonly before: readonly CommandNode[];
  readonly after: readonly CommandNode[];
  readonly input: Input;
  readonly isProtected: boolean;
  /** Functions around it, and whether it runs beside others. */
  readonly functions: readonly string[];
  readonly isBeside: boolean;
  /** Its positions are those in the whole text. */
  readonly isInPlace: boolean;
}

export const TOP: Place = {
  before: [],
  after: [],
  input: "nothing",
  isProtected: false,
  functions: [],
  isBeside: false,
  isInPlace: true,
};

/** Commands of a pipeline beyond which its output is not followed. */
const LONG = 32;

/** Goes on to what is in a node, each in its place. */
export function descend(
  node: SyntaxNode,
  place: Place,
  walk: (node: SyntaxNode, place: Place) => void,
): void {
  if (node.type !== "Pipeline") {
    const within = placeWithin(node, place);
    forEachChild(node, (child) => walk(child, within));
    return;
  }
  const isLong = node.commands.length > LONG;
  node.commands.forEach((child, index) => {
    walk(child, {
      ...place,
      before: index > 0 ? node.commands.slice(isLong ? index : 0, index) : place.before,
      after: isLong ? [] : [...node.commands.slice(index + 1), ...place.after],
      isProtected: place.isProtected || isLong,
      input: index > 0 ? "pipe" : place.input,
      isBeside: place.isBeside || node.commands.length > 1,
    });
  });
}

function placeWithin(node: SyntaxNode, place: Place): Place {
  if (node.type === "Script") {
    return node.source === undefined ? place : { ...place, isInPlace: false };
  }
  if (node.type === "Statement") {
    return node.background === true ? { ...place, isBeside: true } : place;
  }
  if (node.type === "Function") {
    // Whatever calls it may hand it something to read.
    const functions = [...place.functions, node.name.value];
    return { ...place, functions, input: "unknown" };
  }
  if (node.type === "Redirected") {
    const isProtected = place.isProtected || keepsOutput(node.redirects);
    return { ...place, isProtected, input: inputOf(node.redirects, place.input) };
  }
  if (node.type === "CommandExpansion" || node.type === "ArithmeticCommandExpansion") {
    return { ...TOP, isInPlace: place.isInPlace, isProtected: true };
  }
  if (node.type === "ProcessSubstitution") {
    const input = node.operator === ">" ? "pipe" : "nothing";
    return { ...TOP, isInPlace: place.isInPlace, isProtected: true, input };
  }
  return place;
}

/** What a command reads whose redirections these are. */
export function inputOf(
  redirects: readonly Redirection[],
  otherwise: Input,
  expander?: Expander,
): Input {
  let input = otherwise;
  for (const redirect of redirects) {
    const { descriptor } = redirect;
    const isInput =
      descriptor === undefined || (descriptor.type === "FileDescriptor" && descriptor.value === 0);
    if (isInput) input = readBy(redirect, expander) ?? input;
  }
  return input;
}

function readBy(redirect: Redirection, expander: Expander | undefined): Input | undefined {
  if (redirect.type === "HereDoc") {
    const { parts, text } = redirect.body;
    const isPlain = parts === undefined || parts.every(({ type }) => type === "Literal");
    return isPlain ? { text, word: redirect.body } : "unknown";
  }
  if (redirect.type === "HereString") return stringIn(redirect.target, expander);
  if (!redirect.operator.startsWith("<")) return undefined;
  return redirect.target?.value === "/dev/null" ? "nothing" : "file";
}

function stringIn(target: Word | undefined, expander: Expander | undefined): Input {
  const values = target && expander ? valuesOf(target, expander) : "anything";
  const [text, ...others] = typeof values === "string" ? [] : values;
  return text === undefined || others.length > 0 ? "unknown" : { text };
}

/** Whether redirections put output into a file. */
export function keepsOutput(redirects: readonly Redirection[]): boolean {
  return redirects.some(
    (redirect) =>
      redirect.type === "Redirect" &&
      redirect.operator.includes(">") &&
      !/^(?:\d+|-|\/dev\/(?:null|stdout|stderr))$/.test(redirect.target?.value ?? ""),
  );
}

/** What may stand in the place of `$(…)`. */
export function outputOf(script: Script | undefined, cwd: string): Values {
  const [statement, ...others] = script?.commands ?? [];
  const command = statement?.command;
  if (command === undefined || others.length > 0 || command.type === "AndOr") return "anything";
  const commands = command.type === "Pipeline" ? command.commands : [command];
  if (commands.length === 1 && isFolder(command)) return [cwd];
  return isPlainOutput(commands) ? "name" : "anything";
}

function isFolder(command: SyntaxNode): boolean {
  return command.type === "Command" && command.name?.text === "pwd" && command.args.length === 0;
}
