import type { HomeValue } from "../../base/contract.ts";
import { fromJson } from "../../base/unknown.ts";
import { parseTemplate, type Template } from "./template/template.ts";

/** A template that reads a value out of a payload: `{{ value_json.state }}`. */
export type ValueTemplate = Template;

/** Undefined for a template that is not read: one that reads anything but the payload. */
export function parseValueTemplate(text: string): ValueTemplate | undefined {
  const template = parseTemplate(text);
  return template?.names.has("value") || template?.names.has("value_json") ? template : undefined;
}

/** The last payload: the entities of a device read the same one after another, and change nothing in it. */
let last: { readonly payload: string; readonly value: unknown } | undefined;

/** Throws for what is no JSON. */
function parsed(payload: string): unknown {
  if (last?.payload !== payload) last = { payload, value: fromJson(payload) };
  return last.value;
}

/** The value of a payload; undefined if it has none there. Without a template it is the payload itself. */
export function readValue(template: ValueTemplate | undefined, payload: string): unknown {
  if (template === undefined) return payload;
  try {
    const scope = new Map<string, unknown>([["value", payload]]);
    if (template.names.has("value_json")) scope.set("value_json", parsed(payload));
    const value = template.evaluate(scope);
    return value === "" || value === null ? undefined : value;
  } catch {
    return undefined;
  }
}

export function isValue(value: unknown): value is HomeValue {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}

/**
 * How a value is put into a payload: around it the text of a command template, as a key of a JSON object, or by a
 * template that makes the payload of it.
 */
export type CommandForm =
  | { readonly type: "text"; readonly before: string; readonly after: string }
  | { readonly type: "json"; readonly key: string }
  | { readonly type: "template"; readonly template: Template; readonly name: string };

export const PLAIN: CommandForm = { type: "text", before: "", after: "" };

const PLACEHOLDER =
  /\{\{-?\s*([a-z_]+)\s*(?:\|\s*(?:int|float|tojson|string|round(?:\(\d?\))?)\s*)?-?\}\}/;

/** Undefined for a template that is not understood, or that has no value of one of these names. */
export function parseCommandTemplate(
  text: string,
  names: readonly string[],
): CommandForm | undefined {
  const [found, name = ""] = PLACEHOLDER.exec(text) ?? [];
  if (found !== undefined && names.includes(name)) {
    const start = text.indexOf(found);
    const [before, after] = [text.slice(0, start), text.slice(start + found.length)];
    if (!/\{[{%#]/.test(before + after)) return { type: "text", before, after };
  }
  const template = parseTemplate(text);
  const read = names.find((one) => template?.names.has(one));
  if (template === undefined || read === undefined) return undefined;
  return { type: "template", template, name: read };
}
