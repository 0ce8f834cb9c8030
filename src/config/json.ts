import type { JSONVisitor, Node } from "jsonc-parser";
import { Failure } from "../base/failure.ts";
import { quotable } from "./findings.ts";
import type { Warning } from "./findings.ts";
import { branch, isPlaceholder, leaf, list } from "./tree.ts";
import type { Branch, Origin, PlacedText, Tree } from "./tree.ts";

type Jsonc = typeof import("jsonc-parser");

const OPTIONS = { allowTrailingComma: true };
/** Levels of objects and lists; far more than a configuration needs, and safe for the stack. */
const MAX_DEPTH = 100;

/**
 * Reads the object in a JSON text with comments and trailing commas; each value has its line. `null`
 * is no value, as in Go. Of equal keys the last one counts, with a warning.
 */
export async function treeOfJson(
  text: string,
  file: string,
): Promise<{ readonly tree: Branch; readonly warnings: readonly Warning[] } | Failure> {
  const jsonc = await import("jsonc-parser");
  try {
    checkJson(text, file, jsonc);
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  const root = jsonc.parseTree(text, [], OPTIONS);
  const source: Source = { file, text, lineAt: lineCounter(text), warnings: [] };
  const tree = root && treeOf(root, source);
  if (tree?.kind === "branch") return { tree, warnings: source.warnings };
  return new Failure("config", `${file} is not a JSON object`, {
    why: `found ${tree?.kind === "list" ? "a list" : "a bare value"} where { was expected`,
    remedy: "begin the file with { and end it with }",
  });
}

/** Every text and number of a JSON file, each with its position; the Failure of `treeOfJson` if the file is not JSON. */
export async function textsOfJson(source: string, file: string): Promise<PlacedText[] | Failure> {
  const read = await treeOfJson(source, file);
  if (read instanceof Failure) return read;
  const { visit } = await import("jsonc-parser");
  const found: PlacedText[] = [];
  const onLiteralValue: JSONVisitor["onLiteralValue"] = (
    value: unknown,
    start,
    length,
    line,
    ...[, pathOf]
  ) => {
    if (typeof value !== "string" && typeof value !== "number") return;
    const end = start + length;
    const text = typeof value === "string" ? value : source.slice(start, end);
    found.push({ path: pathOf(), text, start, end, line: line + 1 });
  };
  visit(source, { onLiteralValue }, OPTIONS);
  return found;
}

interface Source {
  readonly file: string;
  readonly text: string;
  readonly lineAt: (offset: number) => number;
  readonly warnings: Warning[];
}

/** Undefined for `null`. */
function treeOf(node: Node, source: Source): Tree | undefined {
  const { type, offset, length, children = [] } = node;
  const value: unknown = node.value;
  const origin: Origin = { from: "file", file: source.file, line: source.lineAt(offset) };
  if (type === "object") return branch(entriesOf(children, source), origin);
  if (type === "array") {
    const items = children.map((child) => treeOf(child, source));
    return list(items.filter(isValue), origin);
  }
  if (typeof value === "number") {
    return leaf(value, origin, source.text.slice(offset, offset + length));
  }
  return typeof value === "string" || typeof value === "boolean" ? leaf(value, origin) : undefined;
}

function entriesOf(properties: readonly Node[], source: Source): Map<string, Tree> {
  const entries = new Map<string, Tree>();
  for (const { children: [name, value] = [] } of properties) {
    const key = String(name?.value);
    if (entries.has(key)) source.warnings.push(repeated(key, source, name?.offset ?? 0));
    const child = value && treeOf(value, source);
    if (isValue(child)) entries.set(key, child);
  }
  return entries;
}

function isValue(tree: Tree | undefined): tree is Tree {
  return tree !== undefined && !isPlaceholder(tree);
}

/** Lines of offsets, counted from 1. Offsets must not decrease. */
function lineCounter(text: string): (offset: number) => number {
  let [at, line] = [0, 1];
  return (offset) => {
    for (; at < offset; at += 1) if (text[at] === "\n") line += 1;
    return line;
  };
}

/** Lines and columns count from 0. */
interface Place {
  readonly line: number;
  readonly column: number;
}

/** An object or list that is not closed yet. */
interface Open {
  readonly close: "}" | "]";
  readonly line: number;
}

/**
 * Throws a Failure at the first fault of a text. The parser's codes do not say what it expected; only its
 * earlier calls show that.
 */
function checkJson(text: string, file: string, { visit, printParseErrorCode }: Jsonc): void {
  const open: Open[] = [];
  let expected = "a value";
  let word: (Place & { readonly end: number; readonly expected: string }) | undefined;
  const begin = (close: Open["close"], line: number): void => {
    if (open.length > MAX_DEPTH) throw tooDeep(file);
    open.push({ close, line });
    expected = itemOf(open.at(-1));
  };
  const afterValue = (): void => {
    const parent = open.at(-1);
    expected = parent === undefined ? "the end of the file" : `a comma or ${closeOf(parent)}`;
  };
  /** The parser also calls it at the end of the text, before it reports a missing bracket. */
  const end = (offset: number): void => {
    if (offset === text.length) return;
    open.pop();
    afterValue();
  };
  const visitor: JSONVisitor = {
    onObjectBegin: (_offset, _length, line) => begin("}", line),
    onArrayBegin: (_offset, _length, line) => begin("]", line),
    onObjectEnd: end,
    onArrayEnd: end,
    onObjectProperty: () => {
      expected = "a colon after the key";
    },
    onSeparator: (character) => {
      expected = character === ":" ? "a value" : itemOf(open.at(-1));
    },
    onLiteralValue: (value: unknown, offset, length, line, column) => {
      if (typeof value !== "string") word = { end: offset + length, line, column, expected };
      afterValue();
    },
    onError: (code, offset, length, line, column) => {
      const error = printParseErrorCode(code);
      if (error === "InvalidCharacter" && isTabbed(text.slice(offset, offset + length))) return;
      // The parser reads `01` and `1x` as two tokens; to a person it is one wrong word.
      if (word?.end === offset && /[\w.+-]/.test(text[offset] ?? "")) {
        throw notJson(file, word, unlike("a number", word.expected));
      }
      const why = FAULTS[error] ?? unlike(nameOf(text[offset]), expected);
      throw notJson(file, { line, column }, why);
    },
  };
  visit(text, visitor, OPTIONS);
}

/** Whether tabs are the only fault of a string. They are accepted, although RFC 8259 wants them escaped. */
function isTabbed(written: string): boolean {
  try {
    JSON.parse(written.replaceAll("\t", " "));
    return true;
  } catch {
    return false;
  }
}

/** What may come at the start of an object or list, or after a comma. */
function itemOf(parent: Open | undefined): string {
  if (parent === undefined) return "a value";
  return `${parent.close === "}" ? "a key in double quotes" : "a value"} or ${closeOf(parent)}`;
}

function closeOf({ close, line }: Open): string {
  return `${close} (for line ${line + 1})`;
}

function unlike(found: string, expected: string): string {
  return `found ${found} where ${expected} was expected`;
}

/** Errors within one token. */
const FAULTS: Readonly<Record<string, string>> = {
  InvalidCharacter: "found a text with a control character",
  InvalidEscapeCharacter: "found a text with a backslash that escapes nothing",
  InvalidUnicode: "found a text with \\u that has no four hexadecimal digits",
  UnexpectedEndOfComment: "found a comment without its end",
  UnexpectedEndOfString: "found a text without its closing quote",
};

/** A name for a character that reveals nothing of a secret. */
function nameOf(character: string | undefined): string {
  if (character === undefined) return "the end of the file";
  if (/[{}[\]:,]/.test(character)) return character;
  if (character === '"') return "a text";
  if (character === "'") return "a single quote";
  if (/[\d+.-]/.test(character)) return "a number";
  return /\w/.test(character) ? "a word without quotes" : "another character";
}

function repeated(key: string, { file, lineAt }: Source, offset: number): Warning {
  const what = `${quotable(key)} is there twice in one object; the last one counts`;
  return { message: `${file}:${lineAt(offset)}: ${what}`, remedy: "remove one of them" };
}

function tooDeep(file: string): Failure {
  return new Failure("config", `${file} is nested more than ${MAX_DEPTH} levels deep`, {
    why: "no configuration needs that",
    remedy: "look for brackets that are never closed",
  });
}

function notJson(file: string, { line, column }: Place, why: string): Failure {
  return new Failure("config", `${file}:${line + 1}:${column + 1} is not JSON`, {
    why,
    remedy: "correct this place; it must be JSON, with comments and trailing commas allowed",
  });
}
