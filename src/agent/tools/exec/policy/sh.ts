import { forEachChild } from "unbash";
import type { SyntaxNode } from "unbash";

/** Which shell a text is for. */
export type ShellKind = "bash" | "sh";

/** What POSIX has not: other shells read it as something else. */
const OTHERS: Readonly<Record<string, string>> = {
  AnsiCQuoted: "$'…'",
  LocaleString: '$"…"',
  ArithmeticCommand: "((…))",
  ArithmeticFor: "for ((…))",
  ArithmeticCommandExpansion: "$((…))",
  ArrayValue: "an array",
  BraceExpansion: "{…,…}",
  Coproc: "coproc",
  ExtendedGlob: "an extended pattern",
  HereString: "<<<",
  ProcessSubstitution: "<(…)",
  Select: "select",
  TestCommand: "[[…]]",
};
/** Operations of `${…}` that are only bash's. */
const OPERATIONS = /^(?:Replace|Slice|CaseModification|Transform|Names|Unknown)$/;

/** The first thing in a parsed text that `sh` reads otherwise than bash; undefined where it reads all alike. */
export function unlikeSh(root: SyntaxNode): string | undefined {
  let found = wordOf(root);
  forEachChild(root, (child) => {
    found ??= unlikeSh(child);
  });
  return found;
}

function wordOf(node: SyntaxNode): string | undefined {
  const other = Object.hasOwn(OTHERS, node.type) ? OTHERS[node.type] : undefined;
  return other ?? expansionWord(node) ?? listWord(node) ?? redirectWord(node);
}

function expansionWord(node: SyntaxNode): string | undefined {
  if (node.type === "Assignment") {
    return node.append === true || node.index !== undefined ? node.text : undefined;
  }
  if (node.type !== "ParameterExpansion") return undefined;
  const { index, prefix, operation } = node;
  const isOther = index !== undefined || prefix === "!" || OPERATIONS.test(operation?.type ?? "");
  return isOther ? node.text : undefined;
}

function listWord(node: SyntaxNode): string | undefined {
  if (node.type === "Pipeline") return node.operators.find((operator) => operator === "|&");
  if (node.type === "CaseItem") return node.terminator === ";;" ? undefined : node.terminator;
  return node.type === "Function" && node.name.pos > node.pos ? "function" : undefined;
}

function redirectWord(node: SyntaxNode): string | undefined {
  if (node.type === "FileDescriptorVariable") return `{${node.name}}`;
  if (node.type === "HereDocDelimiter")
    return /[$`]/.test(node.text) ? `<<${node.text}` : undefined;
  if (node.type !== "Redirect") return undefined;
  const { operator, target } = node;
  const isFile = operator === ">&" && !/^(?:\d+|-)$/.test(target?.text ?? "");
  return operator.startsWith("&") || isFile ? operator : undefined;
}
