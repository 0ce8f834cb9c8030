import type { HomeValue } from "../../base/contract.ts";
import { at, fromJson } from "../../base/unknown.ts";

/**
 * The templates that programs write into discovery payloads, as far as they only read a value: `{{ value }}` or a
 * path in `value_json`, through a few filters. Nothing is executed; any other template is not read.
 */
export interface ValueTemplate {
  readonly isJson: boolean;
  readonly path: readonly (string | number)[];
  readonly filters: readonly Filter[];
}

interface Filter {
  readonly name: string;
  /** A literal. */
  readonly argument: string | undefined;
}

const MAX_TEMPLATE = 300;
const MAX_PATH = 8;

const KEY = String.raw`\.[A-Za-z_]\w*|\["[^"\\]*"\]|\['[^'\\]*'\]|\[\d{1,4}\]`;
const EXPRESSION = new RegExp(
  String.raw`^\s*\{\{-?\s*(value(?:_json)?)((?:${KEY})*)\s*((?:\|[^|{}]*)*)-?\}\}\s*$`,
);
const KEYS = /\.([A-Za-z_]\w*)|\["([^"\\]*)"\]|\['([^'\\]*)'\]|\[(\d{1,4})\]/g;
/** Blanks around it and its argument are cut off elsewhere: a pattern for them takes time by the cube of their number. */
const FILTER = /^([a-z_]+)\s*(?:\(([^()]*)\))?$/;
const LITERAL = /^(?:'([^']*)'|"([^"]*)"|(-?\d+(?:\.\d+)?)|(?:none|None|true|True|false|False))$/;

/** Undefined for a template that is not read. */
export function parseValueTemplate(text: string): ValueTemplate | undefined {
  if (text.length > MAX_TEMPLATE) return undefined;
  const [, root, keys = "", pipes = ""] = EXPRESSION.exec(text) ?? [];
  if (root === undefined || (root === "value" && keys !== "")) return undefined;
  const path = [...keys.matchAll(KEYS)].map(([, name, double, single, index]) =>
    index === undefined ? (name ?? double ?? single ?? "") : Number(index),
  );
  const filters = pipes.split("|").slice(1).map(filterOf);
  if (path.length > MAX_PATH || filters.length > MAX_PATH) return undefined;
  if (!filters.every((filter) => filter !== undefined)) return undefined;
  return { isJson: root === "value_json", path, filters };
}

function filterOf(text: string): Filter | undefined {
  const [, name = "", written = ""] = FILTER.exec(text.trim()) ?? [];
  if (!Object.hasOwn(FILTERS, name)) return undefined;
  const given = written.trim();
  if (given === "") return { name, argument: undefined };
  const [isLiteral, single, double, number] = LITERAL.exec(given) ?? [];
  if (isLiteral === undefined) return undefined;
  return { name, argument: single ?? double ?? number };
}

/** The value of a payload; undefined if it has none there. Without a template it is the payload itself. */
export function readValue(
  template: ValueTemplate | undefined,
  payload: string,
): HomeValue | undefined {
  if (template === undefined) return payload;
  let value = template.isJson ? valueAt(template.path, payload) : payload;
  for (const { name, argument } of template.filters) value = FILTERS[name]?.(value, argument);
  return value;
}

function valueAt(path: ValueTemplate["path"], payload: string): HomeValue | undefined {
  let value: unknown;
  try {
    value = fromJson(payload);
  } catch {
    return undefined;
  }
  for (const key of path) value = at(value, key);
  return isValue(value) ? value : undefined;
}

export function isValue(value: unknown): value is HomeValue {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}

type Apply = (value: HomeValue | undefined, argument: string | undefined) => HomeValue | undefined;

const numbered =
  (change: (value: number, argument: string | undefined) => number): Apply =>
  (value, argument) => {
    const number = Number(value);
    if (value === undefined || value === "" || !Number.isFinite(number)) return undefined;
    return change(number, argument);
  };

const FILTERS: Readonly<Record<string, Apply>> = {
  float: numbered((value) => value),
  int: numbered((value) => Math.trunc(value)),
  round: numbered((value, argument) => {
    const factor = 10 ** Math.min(Math.max(Number(argument ?? 0), 0), 6);
    return Math.round(value * factor) / factor;
  }),
  default: (value, argument) => value ?? argument,
  is_defined: (value) => value,
  lower: (value) => value && String(value).toLowerCase(),
  upper: (value) => value && String(value).toUpperCase(),
  trim: (value) => (typeof value === "string" ? value.trim() : value),
  string: (value) => (value === undefined ? undefined : String(value)),
  tojson: (value) => value,
};

/** How a value is put into a payload: around it the text of a command template, or as a key of a JSON object. */
export type CommandForm =
  | { readonly type: "text"; readonly before: string; readonly after: string }
  | { readonly type: "json"; readonly key: string };

export const PLAIN: CommandForm = { type: "text", before: "", after: "" };

const PLACEHOLDER =
  /\{\{-?\s*([a-z_]+)\s*(?:\|\s*(?:int|float|tojson|string|round(?:\(\d?\))?)\s*)?-?\}\}/;

/** Undefined for a template that is more than a text with one value in it, or with another name than these. */
export function parseCommandTemplate(
  text: string,
  names: readonly string[],
): CommandForm | undefined {
  const [found, name = ""] = PLACEHOLDER.exec(text) ?? [];
  if (found === undefined || text.length > MAX_TEMPLATE || !names.includes(name)) return undefined;
  const start = text.indexOf(found);
  const [before, after] = [text.slice(0, start), text.slice(start + found.length)];
  if (/\{[{%]|[%}]\}/.test(before + after)) return undefined;
  return { type: "text", before, after };
}
