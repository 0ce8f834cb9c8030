import type { ObjectNode, ValueNode } from "@humanwhocodes/momoa";
import { Failure } from "../base/failure.ts";
import type { Origin, Warning } from "./contract.ts";
import { explainJson } from "./json-fault.ts";
import { quotable } from "./problem.ts";
import { branch, isPlaceholder, leaf, list } from "./tree.ts";
import type { Branch, Tree } from "./tree.ts";

/** Levels of objects and lists; no configuration comes near, and a stack bears them. */
const MAX_DEPTH = 100;

interface Source {
  readonly file: string;
  readonly text: string;
  readonly warnings: Warning[];
}

/**
 * The object that a JSON text with comments and trailing commas holds, each value with its line.
 * `null` is no value, as in Go; of equal keys the last one counts, and a warning says so.
 */
export async function treeOfJson(
  text: string,
  file: string,
): Promise<{ readonly tree: Branch; readonly warnings: readonly Warning[] } | Failure> {
  const { parse } = await import("@humanwhocodes/momoa");
  const source: Source = { file, text, warnings: [] };
  let tree: Tree | undefined;
  try {
    const { body } = parse(text, { mode: "jsonc", allowTrailingCommas: true, ranges: true });
    tree = treeOf(body, source, 0);
  } catch (error) {
    return error instanceof RangeError ? tooDeep(file) : notJson(source, error);
  }
  if (tree?.kind === "branch") return { tree, warnings: source.warnings };
  return new Failure("config", `${file} holds no JSON object`, {
    why: `found ${tree?.kind === "list" ? "a list" : "a bare value"} where { was expected`,
    remedy: "begin the file with { and end it with }",
  });
}

/** Undefined for `null`. Throws a RangeError for what is nested too deeply, as the parser does. */
function treeOf(node: ValueNode, source: Source, depth: number): Tree | undefined {
  const origin: Origin = { from: "file", file: source.file, line: node.loc.start.line };
  if (depth > MAX_DEPTH) throw new RangeError("nested too deeply");
  if (node.type === "String" || node.type === "Boolean") return leaf(node.value, origin);
  if (node.type === "Number") {
    return leaf(node.value, origin, source.text.slice(...(node.range ?? [0, 0])));
  }
  if (node.type === "Object") return branch(entriesOf(node, source, depth), origin);
  if (node.type !== "Array") return undefined;
  const items = node.elements.map(({ value }) => treeOf(value, source, depth + 1));
  return list(
    items.flatMap((item) => (item === undefined || isPlaceholder(item) ? [] : [item])),
    origin,
  );
}

function entriesOf(node: ObjectNode, source: Source, depth: number): Map<string, Tree> {
  const entries = new Map<string, Tree>();
  for (const { name, value } of node.members) {
    const key = name.type === "String" ? name.value : name.name;
    const child = treeOf(value, source, depth + 1);
    if (entries.has(key)) source.warnings.push(repeated(key, source.file, name.loc.start.line));
    if (child !== undefined && !isPlaceholder(child)) entries.set(key, child);
  }
  return entries;
}

function repeated(key: string, file: string, line: number): Warning {
  return {
    message: `${file}:${line}: ${quotable(key)} is here a second time in one object; the last one counts`,
    remedy: "keep one of them",
  };
}

function tooDeep(file: string): Failure {
  return new Failure("config", `${file} is nested more than ${MAX_DEPTH} levels deep`, {
    why: "no configuration is",
    remedy: "look for brackets that are opened and never closed",
  });
}

function notJson({ file, text }: Source, error: unknown): Failure {
  const fault = explainJson(text) ?? momoaFault(error);
  return new Failure("config", `${file}:${fault.line}:${fault.column} is not JSON`, {
    why: `found ${fault.found} where ${fault.expected} was expected`,
    remedy: "correct that place; comments and trailing commas are allowed, all else is as in JSON",
  });
}

/** What the parser alone has seen: its message can quote the file, and with it a secret. */
function momoaFault(error: unknown): ReturnType<typeof explainJson> & {} {
  const { line, column } = Object.assign({ line: 1, column: 1 }, error);
  return { line, column, found: "something else", expected: "JSON" };
}
