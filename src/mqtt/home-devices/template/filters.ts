import { fromJson, isObject } from "../../../base/unknown.ts";
import { bounded, isTrue, jsonOf, numberOf, textOf, valueUnder } from "./values.ts";

/** Throws if the value is none for it. */
type Filter = (value: unknown, args: readonly unknown[]) => unknown;

function toNumber(value: unknown, base = 10): number {
  const isText = typeof value === "string" && value.trim() !== "";
  const number = isText && base !== 10 ? Number.parseInt(value, base) : Number(value);
  if (!(isText || typeof value === "number" || typeof value === "boolean") || Number.isNaN(number))
    throw new Error("not a number");
  return number;
}

/** Of a value that is no number it is the first argument, if that is given. */
function orFirst(convert: (value: unknown, args: readonly unknown[]) => unknown): Filter {
  return (value, args) => {
    try {
      return convert(value, args);
    } catch (thrown) {
      if (args[0] === undefined) throw thrown;
      return args[0];
    }
  };
}

const METHODS = { common: Math.round, floor: Math.floor, ceil: Math.ceil } as const;

function rounded(value: unknown, [precision = 0, method = "common"]: readonly unknown[]): number {
  const factor = 10 ** Math.min(Math.max(numberOf(precision), 0), 6);
  const change = method === "floor" || method === "ceil" ? METHODS[method] : METHODS.common;
  return change(toNumber(value) * factor) / factor;
}

function truncated(value: unknown, [length = 255, kill, dots = "..."]: readonly unknown[]): string {
  const [text, most, mark] = [textOf(value), numberOf(length), textOf(dots)];
  if (text.length <= most) return text;
  const cut = text.slice(0, Math.max(0, most - mark.length));
  const end = kill === true ? -1 : cut.lastIndexOf(" ");
  return (end === -1 ? cut : cut.slice(0, end)) + mark;
}

/** `%d`, `%s`, `%.1f`, `%02x`. */
const PLACE = /%(?:(%)|(0?)(\d?)(?:\.(\d))?([dsfxX]))/g;

function formatted(pattern: unknown, args: readonly unknown[]): string {
  const text = textOf(pattern);
  let made = "";
  let from = 0;
  let next = 0;
  for (const place of text.matchAll(PLACE)) {
    const [found, percent, zero, width, digits, type = "s"] = place;
    made += text.slice(from, place.index);
    from = place.index + found.length;
    if (percent === undefined) {
      const value = args[next];
      const one = type === "s" ? textOf(value) : digitsOf(toNumber(value), type, digits);
      made += one.padStart(Number(width), zero === "0" ? "0" : " ");
      next += 1;
    } else made += percent;
  }
  return bounded(made + text.slice(from));
}

function digitsOf(value: number, type: string, digits: string | undefined): string {
  if (type === "f") return value.toFixed(Number(digits ?? 6));
  const text = Math.trunc(value).toString(type === "d" ? 10 : 16);
  return type === "X" ? text.toUpperCase() : text;
}

function lengthOf(value: unknown): number {
  if (typeof value === "string" || Array.isArray(value)) return value.length;
  if (isObject(value)) return Object.keys(value).length;
  throw new Error("it has no length");
}

function listOf(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  if (typeof value === "string") return Array.from(value);
  throw new Error("not a list");
}

function objectOf(value: unknown): object {
  if (isObject(value)) return value;
  throw new Error("not an object");
}

function capitalized(value: unknown): string {
  const text = textOf(value);
  return text.slice(0, 1).toUpperCase() + text.slice(1).toLowerCase();
}

function replaced(value: unknown, [from, to]: readonly unknown[]): string {
  const [text, old, fresh] = [textOf(value), textOf(from), textOf(to)];
  bounded(" ".repeat(Math.min(text.length * fresh.length, 1_000_000)));
  return old === "" ? text : text.replaceAll(old, () => fresh);
}

function joined(value: unknown, [mark = ""]: readonly unknown[]): string {
  const between = textOf(mark);
  let text = "";
  for (const [index, one] of listOf(value).entries())
    text = bounded(text + (index === 0 ? "" : between) + textOf(one));
  return text;
}

const truth: Filter = (value) => {
  const text = textOf(value).toLowerCase();
  if (["true", "yes", "on", "enable", "1"].includes(text)) return true;
  if (["false", "no", "off", "disable", "0"].includes(text)) return false;
  throw new Error("no truth value");
};

const orElse: Filter = (value, [otherwise, isFalseToo]) => {
  const isMissing = value === undefined || (isFalseToo === true && !isTrue(value));
  return isMissing ? otherwise : value;
};

/** What keeps a value that is missing, so that a state without it is unknown and not a text. */
const onText =
  (change: (text: string, args: readonly unknown[]) => unknown): Filter =>
  (value, args) =>
    value === undefined ? undefined : change(textOf(value), args);

/** What a filter, a method or a function does alike. */
const float = orFirst((value) => toNumber(value));
const int = orFirst((value, [, base = 10]) => Math.trunc(toNumber(value, numberOf(base))));
const bool = orFirst(truth);
const iif: Filter = (value, [yes = true, no = false]) => (isTrue(value) ? yes : no);
const lower = onText((text) => text.toLowerCase());
const upper = onText((text) => text.toUpperCase());
const title = onText((text) => text.replaceAll(/\p{L}+/gu, capitalized));
const replace = onText(replaced);
const toJson: Filter = (value) => (value === undefined ? undefined : jsonOf(value));

/** The filters of Jinja and Home Assistant that only change a value. */
const FILTERS: Readonly<Record<string, Filter>> = {
  float,
  int,
  round: rounded,
  abs: (value) => Math.abs(toNumber(value)),
  multiply: (value, [factor]) => toNumber(value) * toNumber(factor),
  add: (value, [other]) => toNumber(value) + toNumber(other),
  bool,
  default: orElse,
  d: orElse,
  iif,
  is_defined: (value) => value,
  lower,
  upper,
  title,
  capitalize: onText(capitalized),
  trim: (value) => (typeof value === "string" ? value.trim() : value),
  string: onText((text) => text),
  replace,
  truncate: truncated,
  format: formatted,
  tojson: toJson,
  to_json: toJson,
  from_json: (value) => fromJson(textOf(value)),
  length: lengthOf,
  count: lengthOf,
  list: listOf,
  first: (value) => listOf(value)[0],
  last: (value) => listOf(value).at(-1),
  join: joined,
};

/** What is called on a text or an object. */
const CALLS: Readonly<Record<string, Filter>> = {
  get: (value, [key, otherwise = null]) => valueUnder(value, key) ?? otherwise,
  keys: (value) => (value instanceof Map ? [...value.keys()] : Object.keys(objectOf(value))),
  split: (value, [mark]) =>
    mark === undefined ? textOf(value).trim().split(/\s+/) : textOf(value).split(textOf(mark)),
  strip: onText((text) => text.trim()),
  lower,
  upper,
  title,
  replace,
  startswith: onText((text, [start]) => text.startsWith(textOf(start))),
  endswith: onText((text, [end]) => text.endsWith(textOf(end))),
};

const FUNCTIONS: Readonly<Record<string, Filter>> = {
  float,
  int,
  bool,
  iif,
  min: (value, args) => Math.min(...numbersOf(value, args)),
  max: (value, args) => Math.max(...numbersOf(value, args)),
};

function numbersOf(value: unknown, args: readonly unknown[]): readonly number[] {
  return (Array.isArray(value) ? value : [value, ...args]).map((one) => numberOf(one));
}

const TESTS: Readonly<Record<string, (value: unknown) => boolean>> = {
  defined: (value) => value !== undefined,
  undefined: (value) => value === undefined,
  none: (value) => value === null,
  number: (value) => typeof value === "number" || typeof value === "boolean",
  string: (value) => typeof value === "string",
  boolean: (value) => typeof value === "boolean",
  mapping: (value) => isObject(value),
  true: (value) => value === true,
  false: (value) => value === false,
};

const HEAVY: ReadonlySet<string> = new Set([
  "from_json",
  "join",
  "keys",
  "list",
  "split",
  "title",
  "to_json",
  "tojson",
]);

/** Whether a filter or a method takes time with each character: a template may have a few of them. */
export function isHeavy(name: string): boolean {
  return HEAVY.has(name);
}

const KINDS = { filter: FILTERS, method: CALLS, function: FUNCTIONS } as const;

/** Throws if there is no such one. */
export function callable(kind: keyof typeof KINDS, name: string): Filter {
  const found = Object.hasOwn(KINDS[kind], name) ? KINDS[kind][name] : undefined;
  if (found === undefined) throw new Error(`no ${kind} ${name}`);
  return found;
}

/** Throws if there is no such one. */
export function testOf(name: string): (value: unknown) => boolean {
  const found = Object.hasOwn(TESTS, name) ? TESTS[name] : undefined;
  if (found === undefined) throw new Error(`no test ${name}`);
  return found;
}
