import * as v from "valibot";
import { Secret } from "../base/secret.ts";
import { quotable } from "./findings.ts";
import type { Findings } from "./findings.ts";
import { isComment } from "./tree.ts";
import type { Leaf, Path, Tree } from "./tree.ts";

/**
 * The kinds of values that keys have. A schema reads leaves instead of bare values, in arrays and
 * objects: text without a type is read as the schema wants it, and messages say what was found.
 */

/** A tree in the form that schemas read. Its objects have no prototype, so that any key is safe. */
function inputOf(tree: Tree): unknown {
  if (tree.kind === "leaf") return tree;
  if (tree.kind === "list") return tree.items.map((item) => inputOf(item));
  const input: Record<string, unknown> = Object.create(null);
  for (const [key, child] of tree.entries) input[key] = inputOf(child);
  return input;
}

/**
 * The entries of an object, without comments. Adds a problem to the findings if it is not an object.
 */
export function namedEntries(
  found: Tree | undefined,
  path: Path,
  findings: Findings,
): (readonly [string, Tree])[] {
  if (found?.kind === "branch") {
    return [...found.entries].filter(([name, { kind }]) => !(kind === "leaf" && isComment(name)));
  }
  if (found !== undefined) readAs(object({}), found, path, findings);
  return [];
}

/** What a schema makes of a value at a path; undefined, with problems in the findings, if it is wrong. */
export function readAs<T>(
  schema: v.GenericSchema<unknown, T>,
  found: Tree,
  path: Path,
  findings: Findings,
): T | undefined {
  const { success, output, issues } = v.safeParse(schema, inputOf(found));
  findings.issues(issues, path);
  return success ? output : undefined;
}

/** Whether `enabled` of a group is false, or missing with false as its default. */
export function isSwitchedOff(
  found: Tree,
  { enabled }: { readonly enabled: { readonly schema: v.GenericSchema<unknown, boolean> } },
): boolean {
  const { success, output } = v.safeParse(object({ enabled: enabled.schema }), inputOf(found));
  return success && output["enabled"] === false;
}

/** A scalar that `read` accepts; `allowed` ends the sentence `found …, allowed is …`. */
export function scalar<T>(allowed: string, read: (leaf: Leaf) => T | undefined) {
  return v.pipe(
    v.custom<Leaf>(isLeaf, ({ input }) => sentence(shapeOf(input), allowed)),
    v.rawTransform<Leaf, T>(({ dataset, addIssue, NEVER }) => {
      const value = read(dataset.value);
      if (value !== undefined) return value;
      addIssue({ message: sentence(shownLeaf(dataset.value), allowed) });
      return NEVER;
    }),
  );
}

/** Text that `accepts` accepts. */
export function text(allowed = "text", accepts: (text: string) => boolean = () => true) {
  return scalar(allowed, ({ value }) =>
    typeof value === "string" && accepts(value) ? value : undefined,
  );
}

/** Text that can hold a secret: `faultOf` says what is wrong, and no message quotes it. */
export function unquotedText(faultOf: (text: string) => string | undefined) {
  return v.pipe(
    v.custom<Leaf>(isLeaf, ({ input }) => sentence(shapeOf(input), "text")),
    v.rawTransform<Leaf, string>(({ dataset: { value: found }, addIssue, NEVER }) => {
      const fault = typeof found.value === "string" ? faultOf(found.value) : "is not a text";
      if (fault === undefined) return found.text;
      addIssue({ message: fault });
      return NEVER;
    }),
  );
}

/** A URL. No message quotes it, because it can hold a password. */
export function address(allowed: string, accepts: (text: string) => boolean) {
  return unquotedText((written) => (accepts(written) ? undefined : `allowed is ${allowed}`));
}

/** A whole number that `read` accepts. */
export function wholeNumber<T>(allowed: string, read: (number: number) => T | undefined) {
  return scalar(allowed, (found) => {
    const number = numberOf(found);
    return Number.isSafeInteger(number) ? read(number) : undefined;
  });
}

/** A whole number within bounds. */
export function integer(least: number, most: number) {
  return wholeNumber(`a whole number from ${least} to ${most}`, (number) =>
    within(number, least, most),
  );
}

/** A number within bounds. */
export function decimal(least: number, most: number) {
  return scalar(`a number from ${least} to ${most}`, (found) =>
    within(numberOf(found), least, most),
  );
}

/** `true` or `false`; text without a type is read as by Go's strconv.ParseBool. */
export function bool() {
  return scalar("true or false", ({ value, text: written, untyped }) => {
    if (typeof value === "boolean") return value;
    const word = untyped ? written.trim() : "";
    if (/^(?:1|t|true)$/i.test(word)) return true;
    return /^(?:0|f|false)$/i.test(word) ? false : undefined;
  });
}

/** One of a few words; case and surrounding blanks do not count. */
export function choice<const T>(allowed: string, words: Readonly<Record<string, T>>) {
  const values = new Map(Object.entries(words));
  return scalar(allowed, (found) => values.get(found.text.trim().toLowerCase()));
}

/** Text or a number, by its text. */
function loose() {
  return scalar("text", ({ value, text: written }) =>
    typeof value === "boolean" ? undefined : written,
  );
}

/** A secret: text, or a number by its text. No message tells its value. */
export function secret() {
  return v.pipe(
    v.custom<Leaf>(
      (input) => isLeaf(input) && typeof input.value !== "boolean",
      ({ input }) => sentence(`a value of type ${typeOf(input)}`, "text"),
    ),
    v.transform((found) => new Secret(found.text)),
  );
}

/** A list, or a single item without a list. */
export function oneOrMore<T>(item: v.GenericSchema<Leaf, T>) {
  return v.pipe(
    v.unknown(),
    v.transform((input) => (isLeaf(input) ? [input] : input)),
    v.array(item, ({ input }) => sentence(shapeOf(input), "a list")),
  );
}

/** Texts and numbers, in a list or single, as in Go's FlexibleStringSlice. */
export function texts() {
  return oneOrMore(loose());
}

/** An object with these keys; further keys are ignored. */
export function object(entries: v.ObjectEntries) {
  return v.pipe(v.custom<object>(isObject, notObject), v.object(entries));
}

/** A list of equal things. */
export function list<T>(item: v.GenericSchema<unknown, T>) {
  return v.array(item, ({ input }) => sentence(shapeOf(input), "a list"));
}

/** Any object, as plain JSON. */
export function anyObject() {
  return v.pipe(v.custom<object>(isObject, notObject), v.transform(valuesOf));
}

/** An object of secrets whose keys and values `accepts` accepts. */
export function secretTable(allowed: string, accepts: (key: string, text: string) => boolean) {
  return v.pipe(
    v.custom<object>(isObject, notObject),
    v.rawTransform<object, Readonly<Record<string, Secret>>>(({ dataset, addIssue, NEVER }) => {
      const entries: [string, Secret][] = [];
      for (const [key, found] of Object.entries(dataset.value)) {
        if (isLeaf(found) && accepts(key, found.text)) entries.push([key, new Secret(found.text)]);
        else addIssue({ message: `${quotable(key)} is wrong, allowed is ${allowed}` });
      }
      return entries.length === Object.keys(dataset.value).length
        ? Object.fromEntries(entries)
        : NEVER;
    }),
  );
}

function sentence(found: string, allowed: string): string {
  return `found ${found}, allowed is ${allowed}`;
}

function isLeaf(input: unknown): input is Leaf {
  return typeof input === "object" && input !== null && "kind" in input && input.kind === "leaf";
}

function isObject(input: unknown): input is object {
  return typeof input === "object" && input !== null && !Array.isArray(input) && !isLeaf(input);
}

function notObject({ input }: { readonly input: unknown }): string {
  return sentence(shapeOf(input), "an object");
}

function numberOf({ value, text: written, untyped }: Leaf): number {
  if (typeof value === "number") return value;
  const word = untyped ? written.trim() : "";
  return /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i.test(word) ? Number(word) : NaN;
}

function within(number: number, least: number, most: number): number | undefined {
  return number >= least && number <= most ? number : undefined;
}

function shownLeaf({ value, text: written }: Leaf): string {
  return typeof value === "string" ? `"${quotable(written)}"` : quotable(written);
}

function shapeOf(input: unknown): string {
  if (isLeaf(input)) return typeof input.value === "string" ? "text" : `a ${typeOf(input)}`;
  return Array.isArray(input) ? "a list" : "an object";
}

function typeOf(input: unknown): string {
  if (isLeaf(input)) return typeof input.value;
  return Array.isArray(input) ? "list" : "object";
}

function valuesOf(input: object): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(input).map(([key, found]) => [key, valueOf(found)]));
}

function valueOf(found: unknown): unknown {
  if (isLeaf(found)) return found.value;
  if (Array.isArray(found)) return found.map((item) => valueOf(item));
  return isObject(found) ? valuesOf(found) : found;
}
