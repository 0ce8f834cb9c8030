import { Secret } from "../base/secret.ts";
import { quotable } from "./findings.ts";
import { isComment } from "./tree.ts";
import type { Branch, Leaf, Path, Tree } from "./tree.ts";

/** Receives what is wrong with a value, and where. */
export type Report = (path: Path, text: string) => void;

/**
 * Reads a kind of value. If the value at the path is wrong, it reports every problem, says what was found and
 * what is allowed, and returns undefined.
 */
export interface Read<T> {
  (found: Tree, path: Path, report: Report): T | undefined;
  /** What it accepts in a file, as far as JSON Schema can say it; anything if it is absent. */
  readonly schema?: JsonSchema;
}

/** A part of a JSON Schema (draft 7). */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** A reader that says what it accepts. */
export function described<T>(schema: JsonSchema, read: Read<T>): Read<T> {
  return Object.assign(read, { schema });
}

const TEXT: JsonSchema = { type: "string" };
const TEXT_OR_NUMBER: JsonSchema = { type: ["string", "number"] };
const OBJECT: JsonSchema = { type: "object" };

/** As `Read`, for a value that may be missing: then it is the default, if there is one. */
export type ReadRow<T> = (found: Tree | undefined, path: Path, report: Report) => T | undefined;

/** A scalar that `read` accepts; `allowed` ends the sentence `found …, allowed is …`. */
export function scalar<T>(
  allowed: string,
  read: (leaf: Leaf) => T | undefined,
  schema: JsonSchema = TEXT,
): Read<T> {
  return described(schema, (found, path, report) => {
    const value = found.kind === "leaf" ? read(found) : undefined;
    if (value === undefined) report(path, sentence(shown(found), allowed));
    return value;
  });
}

/** Text that `accepts` accepts. */
export function text(allowed = "text", accepts: (text: string) => boolean = () => true) {
  return scalar(allowed, ({ value }) =>
    typeof value === "string" && accepts(value) ? value : undefined,
  );
}

/** Text that can hold a secret: `faultOf` says what is wrong, and no message quotes it. */
export function unquotedText(faultOf: (text: string) => string | undefined): Read<string> {
  return described(TEXT, (found, path, report) => {
    const isText = found.kind === "leaf" && typeof found.value === "string";
    const unlike = found.kind === "leaf" ? "is not a text" : sentence(shapeOf(found), "text");
    const fault = isText ? faultOf(found.text) : unlike;
    if (isText && fault === undefined) return found.text;
    report(path, fault ?? unlike);
    return undefined;
  });
}

/** A URL. No message quotes it, because it can hold a password. */
export function address(allowed: string, accepts: (text: string) => boolean) {
  return unquotedText((written) => (accepts(written) ? undefined : `allowed is ${allowed}`));
}

/** A whole number that `read` accepts. */
export function wholeNumber<T>(
  allowed: string,
  read: (number: number) => T | undefined,
  bounds: JsonSchema = {},
) {
  const readNumber = (found: Leaf): T | undefined => {
    const number = numberOf(found);
    return Number.isSafeInteger(number) ? read(number) : undefined;
  };
  return scalar(allowed, readNumber, { type: "integer", ...bounds });
}

/** A whole number within bounds. */
export function integer(least: number, most: number) {
  return wholeNumber(
    `a whole number from ${least} to ${most}`,
    (number) => within(number, least, most),
    { minimum: least, maximum: most },
  );
}

/** A number within bounds. */
export function decimal(least: number, most: number) {
  return scalar(
    `a number from ${least} to ${most}`,
    (found) => within(numberOf(found), least, most),
    { type: "number", minimum: least, maximum: most },
  );
}

/** `true` or `false`; text without a type is read as by Go's strconv.ParseBool. */
export function bool() {
  return scalar("true or false", booleanOf, { type: "boolean" });
}

/** Whether an entry says that it is enabled; undefined if it says neither. */
export function enabledOf(entry: Branch): boolean | undefined {
  return booleanOf(entry.entries.get("enabled"));
}

function booleanOf(found: Tree | undefined): boolean | undefined {
  if (found?.kind !== "leaf") return undefined;
  if (typeof found.value === "boolean") return found.value;
  const word = found.untyped ? found.text.trim() : "";
  if (/^(?:1|t|true)$/i.test(word)) return true;
  return /^(?:0|f|false)$/i.test(word) ? false : undefined;
}

/** One of a few words; case and surrounding blanks do not count. */
export function choice<const T>(allowed: string, words: Readonly<Record<string, T>>) {
  const values = new Map(Object.entries(words));
  const read = (found: Leaf): T | undefined => values.get(found.text.trim().toLowerCase());
  const numbers = Object.values(words).filter((value) => typeof value === "number");
  return scalar(allowed, read, { enum: [...Object.keys(words), ...numbers] });
}

/** A secret: text, or a number by its text. No message tells its value. */
export function secret(): Read<Secret> {
  return described(TEXT_OR_NUMBER, (found, path, report) => {
    if (found.kind === "leaf" && typeof found.value !== "boolean") return new Secret(found.text);
    const type = { leaf: "boolean", list: "list", branch: "object" }[found.kind];
    report(path, sentence(`a value of type ${type}`, "text"));
    return undefined;
  });
}

/** A list of equal things. */
export function list<T>(read: Read<T>): Read<T[]> {
  return described({ type: "array", items: read.schema ?? {} }, (found, path, report) => {
    if (found.kind !== "list") {
      report(path, sentence(shapeOf(found), "a list"));
      return undefined;
    }
    const items = found.items.map((item, index) => read(item, [...path, index], report));
    return items.every((item) => item !== undefined) ? items : undefined;
  });
}

/** A list, or a single item without a list. */
export function oneOrMore<T>(read: Read<T>): Read<T[]> {
  const readList = list(read);
  const schema = { anyOf: [readList.schema ?? {}, read.schema ?? {}] };
  return described(schema, (found, path, report) => {
    const { origin } = found;
    const items: Tree = found.kind === "leaf" ? { kind: "list", items: [found], origin } : found;
    return readList(items, path, report);
  });
}

/** Texts and numbers, in a list or single, as in Go's FlexibleStringSlice. */
export function texts() {
  return oneOrMore(
    scalar(
      "text",
      ({ value, text: written }) => (typeof value === "boolean" ? undefined : written),
      TEXT_OR_NUMBER,
    ),
  );
}

/** Any object, as plain JSON. */
export function anyObject(): Read<Readonly<Record<string, unknown>>> {
  return described(OBJECT, (found, path, report) => {
    const entries = entriesOf(found, path, report);
    return entries && Object.fromEntries([...entries].map(([key, child]) => [key, jsonOf(child)]));
  });
}

/** Whether an HTTP header has a name and a value of one line (RFC 9110, section 5). */
export function isHeader(name: string, value: string): boolean {
  return /^[!#$%&'*+.^_`|~\w-]+$/.test(name) && isHeaderText(value);
}

export function isHeaderText(value: string): boolean {
  return /^[\t\u0020-\u007e\u0080-\u00ff]*$/.test(value);
}

/** An object of secrets whose keys and values `accepts` accepts. */
export function secretTable(
  allowed: string,
  accepts: (key: string, text: string) => boolean,
): Read<Readonly<Record<string, Secret>>> {
  return described(OBJECT, (found, path, report) => {
    const entries = entriesOf(found, path, report);
    const secrets: [string, Secret][] = [];
    for (const [key, child] of entries ?? []) {
      if (child.kind === "leaf" && accepts(key, child.text)) {
        secrets.push([key, new Secret(child.text)]);
      } else report(path, `${quotable(key)} is wrong, allowed is ${allowed}`);
    }
    return secrets.length === entries?.size ? Object.fromEntries(secrets) : undefined;
  });
}

/** Variables that change what a compiled picoclaw or Bun does. */
export const NEVER_GIVEN: ReadonlySet<string> = new Set(["BUN_OPTIONS", "BUN_BE_BUN"]);

/** Whether `enabled` of a group is false, or missing with false as its default. */
export function isSwitchedOff(
  found: Tree,
  { enabled }: { readonly enabled: { readonly read: ReadRow<boolean> } },
): boolean {
  if (found.kind !== "branch") return false;
  return enabled.read(found.entries.get("enabled"), [], () => {}) === false;
}

/** The entries of an object, without comments; none, with a problem, if it is not an object. */
export function namedEntries(
  found: Tree | undefined,
  path: Path,
  report: Report,
): (readonly [string, Tree])[] {
  const entries = (found && entriesOf(found, path, report)) ?? [];
  return [...entries].filter(([name, { kind }]) => !(kind === "leaf" && isComment(name)));
}

/** The entries of an object; undefined, with a problem, if it is not one. */
export function entriesOf(
  found: Tree,
  path: Path,
  report: Report,
): ReadonlyMap<string, Tree> | undefined {
  if (found.kind === "branch") return found.entries;
  report(path, sentence(shapeOf(found), "an object"));
  return undefined;
}

function sentence(found: string, allowed: string): string {
  return `found ${found}, allowed is ${allowed}`;
}

function numberOf({ value, text: written, untyped }: Leaf): number {
  if (typeof value === "number") return value;
  const word = untyped ? written.trim() : "";
  return /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i.test(word) ? Number(word) : NaN;
}

function within(number: number, least: number, most: number): number | undefined {
  return number >= least && number <= most ? number : undefined;
}

/** A value as a sentence quotes it. */
function shown(found: Tree): string {
  if (found.kind !== "leaf") return shapeOf(found);
  const word = quotable(found.text);
  return typeof found.value === "string" ? `"${word}"` : word;
}

/** What a value is, without its text. */
function shapeOf(found: Tree): string {
  if (found.kind !== "leaf") return found.kind === "list" ? "a list" : "an object";
  return typeof found.value === "string" ? "text" : `a ${typeof found.value}`;
}

/** A value of a file as plain JSON. */
export function jsonOf(found: Tree): unknown {
  if (found.kind === "leaf") return found.value;
  if (found.kind === "list") return found.items.map((item) => jsonOf(item));
  return Object.fromEntries([...found.entries].map(([key, child]) => [key, jsonOf(child)]));
}
