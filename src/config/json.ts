import type { JSONVisitor } from "jsonc-parser";
import { Failure } from "../base/failure.ts";
import { quotable } from "./findings.ts";
import type { Warning } from "./findings.ts";
import { branch, isPlaceholder, leaf, list } from "./tree.ts";
import type { Branch, Leaf, Origin, PlacedText, Tree } from "./tree.ts";

/** Levels of objects and lists; far more than a configuration needs, and safe for the stack. */
const MAX_DEPTH = 100;

/** What a JSON file holds. */
interface JsonFile {
  readonly tree: Branch;
  readonly warnings: readonly Warning[];
}

/**
 * Reads the object in a JSON text with comments and trailing commas; each value has its line. `null`
 * is no value, as in Go. Of equal keys the last one counts, with a warning. `onText` receives every text and
 * number.
 */
export async function treeOfJson(
  text: string,
  file: string,
  onText?: (placed: PlacedText) => void,
): Promise<JsonFile | Failure> {
  const { visit, printParseErrorCode } = await import("jsonc-parser");
  const reader = new JsonReader(text, file, printParseErrorCode);
  try {
    visit(text, reader.visitor(onText), { allowTrailingComma: true });
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  const { root: tree, warnings } = reader;
  if (tree?.kind === "branch") return { tree, warnings };
  return new Failure("config", `${file} is not a JSON object`, {
    why: `found ${tree?.kind === "list" ? "a list" : "a bare value"} where { was expected`,
    remedy: "begin the file with { and end it with }",
  });
}

/** Every text and number of a JSON file, each with its position; the Failure of `treeOfJson` if the file is not JSON. */
export async function textsOfJson(text: string, file: string): Promise<PlacedText[] | Failure> {
  const found: PlacedText[] = [];
  const read = await treeOfJson(text, file, (placed) => found.push(placed));
  return read instanceof Failure ? read : found;
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
  readonly entries: Map<string, Tree>;
  readonly items: Tree[];
  /** The key of an object's next value. */
  key: string;
}

/**
 * Builds the tree of a text while the parser reads it. Throws a Failure at the first fault: the parser's codes
 * do not say what it expected; only its earlier calls show that.
 */
class JsonReader {
  readonly warnings: Warning[] = [];
  /** The value of the whole text; undefined if it is `null`. */
  root: Tree | undefined;
  readonly #text: string;
  readonly #file: string;
  readonly #errorName: (code: number) => string;
  readonly #open: Open[] = [];
  #expected = "a value";
  /** The last value without quotes. */
  #word: (Place & { readonly end: number; readonly expected: string }) | undefined;

  constructor(text: string, file: string, errorName: (code: number) => string) {
    this.#text = text;
    this.#file = file;
    this.#errorName = errorName;
  }

  visitor(onText: ((placed: PlacedText) => void) | undefined): JSONVisitor {
    return {
      onObjectBegin: (_offset, _length, line) => this.#begin("}", line),
      onArrayBegin: (_offset, _length, line) => this.#begin("]", line),
      onObjectProperty: (key, _offset, _length, line) => this.#beginProperty(key, line),
      onSeparator: (character) => {
        this.#expected = character === ":" ? "a value" : itemOf(this.#open.at(-1));
      },
      onLiteralValue: (value: unknown, start, length, line, ...[column, pathOf]) => {
        const end = start + length;
        const text = typeof value === "string" ? value : this.#text.slice(start, end);
        if (typeof value === "string" || typeof value === "number") {
          onText?.({ path: pathOf(), text, start, end, line: line + 1 });
        }
        if (typeof value !== "string") this.#word = { end, line, column, expected: this.#expected };
        this.#add(isScalar(value) ? leaf(value, this.#originAt(line), text) : undefined);
      },
      onObjectEnd: (offset) => this.#end(offset),
      onArrayEnd: (offset) => this.#end(offset),
      onError: (code, offset, length, line, column) =>
        this.#fail(code, offset, length, { line, column }),
    };
  }

  #begin(close: Open["close"], line: number): void {
    if (this.#open.length > MAX_DEPTH) throw tooDeep(this.#file);
    this.#open.push({ close, line, entries: new Map(), items: [], key: "" });
    this.#expected = itemOf(this.#open.at(-1));
  }

  #beginProperty(key: string, line: number): void {
    const parent = this.#open.at(-1);
    if (parent?.entries.has(key) === true) {
      const what = `${quotable(key)} is there twice in one object; the last one counts`;
      const message = `${this.#file}:${line + 1}: ${what}`;
      this.warnings.push({ message, remedy: "remove one of them" });
    }
    if (parent !== undefined) parent.key = key;
    this.#expected = "a colon after the key";
  }

  /** Adds a value to the object or list around it. */
  #add(value: Tree | undefined): void {
    const parent = this.#open.at(-1);
    this.#expected = parent === undefined ? "the end of the file" : `a comma or ${closeOf(parent)}`;
    if (parent === undefined) this.root = value;
    else if (value === undefined || isPlaceholder(value)) return;
    else if (parent.close === "}") parent.entries.set(parent.key, value);
    else parent.items.push(value);
  }

  /** The parser also calls it at the end of the text, before it reports a missing bracket. */
  #end(offset: number): void {
    if (offset === this.#text.length) return;
    const ended = this.#open.pop();
    if (ended === undefined) return;
    const origin = this.#originAt(ended.line);
    this.#add(ended.close === "}" ? branch(ended.entries, origin) : list(ended.items, origin));
  }

  #originAt(line: number): Origin {
    return { from: "file", file: this.#file, line: line + 1 };
  }

  #fail(code: number, offset: number, length: number, place: Place): void {
    const error = this.#errorName(code);
    const written = this.#text.slice(offset, offset + length);
    if (error === "InvalidCharacter" && isTabbed(written)) return;
    const next = this.#text[offset];
    // The parser reads `01` and `1x` as two tokens; to a person it is one wrong word.
    if (this.#word?.end === offset && /[\w.+-]/.test(next ?? "")) {
      throw notJson(this.#file, this.#word, unlike("a number", this.#word.expected));
    }
    const why = FAULTS[error] ?? unlike(nameOf(next), this.#expected);
    throw notJson(this.#file, place, why);
  }
}

function isScalar(value: unknown): value is Leaf["value"] {
  return ["string", "number", "boolean"].includes(typeof value);
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
