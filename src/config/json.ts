import type { JSONVisitor } from "jsonc-parser";
import { Failure } from "../base/failure.ts";
import { quotable } from "./findings.ts";
import type { Warning } from "./findings.ts";
import { branch, isPlaceholder, leaf, list } from "./tree.ts";
import type { Branch, Origin, PlacedText, Tree } from "./tree.ts";

/** Levels of objects and lists; far more than a configuration needs, and safe for the stack. */
const MAX_DEPTH = 100;

interface Source {
  readonly file: string;
  readonly text: string;
  readonly warnings: Warning[];
  /** `UnexpectedEndOfString`; the parser declares its codes as a const enum, which has no values at run time. */
  readonly nameOfError: (code: number) => string;
}

/**
 * Reads the object in a JSON text with comments and trailing commas; each value has its line. `null`
 * is no value, as in Go. Of equal keys the last one counts, with a warning.
 */
export async function treeOfJson(
  text: string,
  file: string,
): Promise<{ readonly tree: Branch; readonly warnings: readonly Warning[] } | Failure> {
  const { visit, printParseErrorCode } = await import("jsonc-parser");
  const source: Source = { file, text, warnings: [], nameOfError: printParseErrorCode };
  const reader = treeReader(source);
  try {
    visit(text, reader.visitor, { allowTrailingComma: true });
  } catch (error) {
    if (error instanceof JsonFault) return notJson(error, file);
    if (error instanceof RangeError) return tooDeep(file);
    throw error;
  }
  const tree = reader.tree();
  if (tree?.kind === "branch") return { tree, warnings: source.warnings };
  return new Failure("config", `${file} is not a JSON object`, {
    why: `found ${tree?.kind === "list" ? "a list" : "a bare value"} where { was expected`,
    remedy: "begin the file with { and end it with }",
  });
}

/** Every text and number of a JSON file, each with its place; the Failure of `treeOfJson` where it is none. */
export async function textsOfJson(source: string, file: string): Promise<PlacedText[] | Failure> {
  const read = await treeOfJson(source, file);
  if (read instanceof Failure) return read;
  const { visit } = await import("jsonc-parser");
  const found: PlacedText[] = [];
  visit(
    source,
    {
      onLiteralValue(value: unknown, start, length, line, ...[, pathOf]) {
        if (typeof value !== "string" && typeof value !== "number") return;
        const end = start + length;
        const text = typeof value === "string" ? value : source.slice(start, end);
        found.push({ path: pathOf(), text, start, end, line: line + 1 });
      },
    },
    { allowTrailingComma: true },
  );
  return found;
}

/** Where a text stops being JSON. It quotes only punctuation, because the text holds secrets. */
class JsonFault extends Error {
  readonly place: Place;
  constructor(place: Place, message: string) {
    super(message);
    this.place = place;
  }
}

/** Line and column count from 0. */
interface Place {
  readonly line: number;
  readonly column: number;
}

/** An object or list that is not closed yet. */
interface Open {
  readonly close: "}" | "]";
  readonly line: number;
  readonly entries: Map<string, Tree>;
  readonly items: Tree[];
  key: string;
}

/**
 * Builds a tree from the parser's calls. Throws a JsonFault at the first error: the parser would go on,
 * and its codes do not say what it expected, which only its earlier calls show.
 */
function treeReader({ file, text, warnings, nameOfError }: Source): {
  readonly visitor: JSONVisitor;
  readonly tree: () => Tree | undefined;
} {
  const builder = new TreeBuilder(file);
  let lastWord: (Place & { readonly end: number; readonly expected: string }) | undefined;
  /** The parser also calls it at the end of the text, before it reports a missing bracket. */
  const end = (offset: number): void => {
    if (offset < text.length) builder.end();
  };
  const visitor: JSONVisitor = {
    onObjectBegin: (_offset, _length, line) => builder.begin("}", line),
    onArrayBegin: (_offset, _length, line) => builder.begin("]", line),
    onObjectEnd: end,
    onArrayEnd: end,
    onObjectProperty(key, _offset, _length, line) {
      if (builder.key(key)) warnings.push(repeated(key, file, line + 1));
    },
    onSeparator: (character) => builder.separator(character),
    onLiteralValue(value: unknown, offset, length, line, column) {
      const { expected } = builder;
      if (typeof value !== "string") lastWord = { end: offset + length, line, column, expected };
      builder.literal(value, text.slice(offset, offset + length), line);
    },
    onError(code, offset, length, line, column) {
      const error = nameOfError(code);
      if (error === "InvalidCharacter" && isTabbed(text.slice(offset, offset + length))) return;
      // The parser reads `01` and `1x` as two tokens; to a person it is one wrong word.
      if (lastWord?.end === offset && /[\w.+-]/.test(text[offset] ?? "")) {
        throw new JsonFault(lastWord, unlike("a number", lastWord.expected));
      }
      const fault = FAULTS[error] ?? unlike(nameOf(text[offset]), builder.expected);
      throw new JsonFault({ line, column }, fault);
    },
  };
  return { visitor, tree: () => builder.root };
}

/** The tree so far, and what may come next. Lines count from 0. */
class TreeBuilder {
  root: Tree | undefined;
  expected = "a value";
  readonly #file: string;
  readonly #open: Open[] = [];

  constructor(file: string) {
    this.#file = file;
  }

  begin(close: Open["close"], line: number): void {
    if (this.#open.length > MAX_DEPTH) throw new RangeError("nested too deeply");
    this.#open.push({ close, line, entries: new Map(), items: [], key: "" });
    this.expected = itemOf(this.#open.at(-1));
  }

  end(): void {
    const ended = this.#open.pop();
    if (ended === undefined) return;
    const origin = this.#originAt(ended.line);
    this.#add(ended.close === "}" ? branch(ended.entries, origin) : list(ended.items, origin));
  }

  /** Sets the key of the next value. Returns whether the object already has this key. */
  key(key: string): boolean {
    const parent = this.#open.at(-1);
    this.expected = "a colon after the key";
    if (parent === undefined) return false;
    parent.key = key;
    return parent.entries.has(key);
  }

  separator(character: string): void {
    this.expected = character === ":" ? "a value" : itemOf(this.#open.at(-1));
  }

  literal(value: unknown, written: string, line: number): void {
    const origin = this.#originAt(line);
    if (typeof value === "number") this.#add(leaf(value, origin, written));
    else if (typeof value === "string" || typeof value === "boolean")
      this.#add(leaf(value, origin));
    else this.#add(undefined);
  }

  #add(value: Tree | undefined): void {
    const parent = this.#open.at(-1);
    this.expected = parent === undefined ? "the end of the file" : `a comma or ${closeOf(parent)}`;
    if (parent === undefined) this.root = value;
    else if (value === undefined || isPlaceholder(value)) return;
    else if (parent.close === "}") parent.entries.set(parent.key, value);
    else parent.items.push(value);
  }

  #originAt(line: number): Origin {
    return { from: "file", file: this.#file, line: line + 1 };
  }
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

function repeated(key: string, file: string, line: number): Warning {
  return {
    message: `${file}:${line}: ${quotable(key)} is there twice in one object; the last one counts`,
    remedy: "remove one of them",
  };
}

function tooDeep(file: string): Failure {
  return new Failure("config", `${file} is nested more than ${MAX_DEPTH} levels deep`, {
    why: "no configuration needs that",
    remedy: "look for brackets that are never closed",
  });
}

function notJson({ place, message }: JsonFault, file: string): Failure {
  const { line, column } = place;
  return new Failure("config", `${file}:${line + 1}:${column + 1} is not JSON`, {
    why: message,
    remedy: "correct this place; it must be JSON, with comments and trailing commas allowed",
  });
}
