import { forEachChild } from "unbash";
import type {
  Command,
  CommandNode,
  For,
  ParameterExpansionPart,
  Select,
  SyntaxNode,
  Word,
} from "unbash";
import { areNames } from "./programs.ts";

/** Part of a command that runs from top to bottom; nodes are numbered in their order. */
interface List {
  end: number;
}

/** Where a variable gets a value. */
export interface Setting {
  readonly values: readonly Word[] | "name" | "anything";
  readonly from: number;
  /** What comes after it in this list has the value for sure. */
  readonly within: List | undefined;
}

/** What a command sets, and in what order. */
export interface Settings {
  readonly of: ReadonlyMap<string, readonly Setting[]>;
  readonly numbers: ReadonlyMap<object, number>;
  /** Whether `$1` and its like may be anything. */
  readonly hasArguments: boolean;
}

/** Commands that put what they read or compute into the variables they name. */
const SETTERS = new Set("read mapfile readarray getopts printf let unset".split(" "));

interface Visit {
  /** The list in which the node surely runs. */
  readonly list: List | undefined;
  /** The pipeline in which it reads names of files. */
  readonly fed: List | undefined;
}

/** Reads all settings of variables in a parsed command. */
export function settingsIn(root: SyntaxNode): Settings {
  const settings = new Map<string, Setting[]>();
  const numbers = new Map<object, number>();
  let hasArguments = false;
  const add = (name: string, setting: Setting): void => {
    const known = settings.get(name);
    if (known === undefined) settings.set(name, [setting]);
    else known.push(setting);
  };
  const setBy = (node: Command, { list, fed }: Visit, from: number): void => {
    const alone = node.name === undefined ? list : undefined;
    for (const [name, values] of settingsOf(node, fed)) {
      add(name, { values, from, within: values === "name" ? fed : alone });
    }
  };
  const setByLoop = (node: For | Select, own: List, from: number): void => {
    const words = node.wordlist ?? [];
    const within = node.type === "For" && words.length > 0 ? own : undefined;
    add(node.name.value, { values: words.length > 0 ? words : "anything", from, within });
  };
  /** `${x:=value}`. */
  const setByDefault = ({ parameter, operation }: ParameterExpansionPart, from: number): void => {
    if (operation?.type !== "Default" || !operation.operator.endsWith("=")) return;
    add(parameter, { values: [operation.operand], from, within: undefined });
  };
  const visit = (node: SyntaxNode, { list, fed }: Visit): void => {
    const from = numbers.size;
    numbers.set(node, from);
    hasArguments ||= takesArguments(node);
    if (node.type === "Command") setBy(node, { list, fed }, from);
    const own: List = { end: Number.POSITIVE_INFINITY };
    let index = 0;
    forEachChild(node, (child) => {
      const isNamed = node.type === "Pipeline" && isFedByNames(node.commands, child);
      visit(child, { list: listOf(node, index, list, own), fed: isNamed ? own : fed });
      index += 1;
    });
    own.end = numbers.size;
    if (node.type === "For" || node.type === "Select") setByLoop(node, own, from);
    if (node.type === "ParameterExpansion") setByDefault(node, from);
  };
  visit(root, { list: undefined, fed: undefined });
  return { of: settings, numbers, hasArguments };
}

function takesArguments(node: SyntaxNode): boolean {
  return node.type === "Function" || (node.type === "Command" && node.name?.value === "set");
}

/** The list in which a node's child surely runs, if it runs at all. */
function listOf(
  node: SyntaxNode,
  index: number,
  list: List | undefined,
  own: List,
): List | undefined {
  if (node.type === "Script" || node.type === "CompoundList") return own;
  if (node.type === "Statement") return node.background === true ? undefined : list;
  if (node.type === "Pipeline") return node.commands.length === 1 ? list : undefined;
  if (node.type !== "AndOr") return undefined;
  if (index === 0) return list;
  return node.operators.every((operator) => operator === "&&") ? own : undefined;
}

function isFedByNames(commands: readonly CommandNode[], child: SyntaxNode): boolean {
  const index = commands.findIndex((command) => command === child);
  return index > 0 && index < 32 && areNames(commands.slice(0, index));
}

function settingsOf(
  { prefix, name, args }: Command,
  fed: List | undefined,
): readonly (readonly [string, Setting["values"]])[] {
  const all = [...prefix, ...args];
  // It stands for another variable, or is computed: `declare -n`, `-i`, `-l`.
  const isDeclared = args.some((arg) => arg.type === "Word" && /^[-+]\w*[nilu]/.test(arg.value));
  const assigned = all.flatMap((one) => {
    if (one.type !== "Assignment") return [];
    const { value, append, index } = one;
    const isPlain = value.type === "Word" && append !== true && index === undefined && !isDeclared;
    return [[one.name, isPlain ? [value] : "anything"] as const];
  });
  if (!SETTERS.has(name?.value ?? "")) return assigned;
  const values = fed !== undefined && name?.value === "read" ? "name" : "anything";
  const named = args.flatMap((arg) =>
    arg.type === "Word" && /^\w+$/.test(arg.value) ? [[arg.value, values] as const] : [],
  );
  return [...assigned, ...named];
}
