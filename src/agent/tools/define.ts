import * as v from "valibot";
import { at, listAt, textAt } from "../../base/unknown.ts";
import type { JsonSchema } from "../model/contract.ts";
import type { CallContext, Tool } from "./contract.ts";

/** A tool whose arguments are stated once, as a valibot object schema. */
export interface ToolDefinition<Schema extends v.GenericSchema> {
  readonly name: string;
  readonly description: string;
  readonly input: Schema;
  readonly exclusive?: true;
  readonly milliseconds?: number;
  readonly characters?: number;
  run(input: v.InferOutput<Schema>, call: CallContext): Promise<string>;
}

/**
 * Joins schema and work: models see JSON Schema, slips whose meaning is clear are taken, and what does
 * not fit is answered with the issues.
 */
export function defineTool<Schema extends v.GenericSchema>(
  definition: ToolDefinition<Schema>,
): Tool {
  const { input, ...rest } = definition;
  return {
    ...rest,
    parameters: jsonSchemaOf(input),
    coerce: (value) => coerceArguments(input, value),
    async run(value, call) {
      const parsed = v.safeParse(input, coerceArguments(input, value));
      if (parsed.success) return await definition.run(parsed.output, call);
      return `error: wrong arguments: ${parsed.issues.slice(0, 5).map(issueText).join("; ")}`;
    },
  };
}

function issueText(issue: v.BaseIssue<unknown>): string {
  const path = v.getDotPath(issue);
  return path === null ? issue.message : `${path}: ${issue.message}`;
}

/**
 * Arguments as they were coerced, for a schema as `jsonSchemaOf` knows them: weak models write numbers
 * and flags as texts, null or "" for what they leave out, one thing where a list is wanted, and a text
 * of JSON in the place of what it says. What is not clear stays as it is, and the schema refuses it.
 */
export function coerceArguments(schema: unknown, value: unknown): unknown {
  return coerced(schema, value ?? {});
}

function coerced(schema: unknown, value: unknown): unknown {
  const kind = textAt(schema, "type");
  if (kind === "optional" || kind === "nullish") {
    return isLeftOut(at(schema, "wrapped"), value)
      ? undefined
      : coerced(at(schema, "wrapped"), value);
  }
  return COERCIONS[kind]?.(value, schema) ?? value;
}

/** An empty text is a text; it is no number, no flag, no choice and no list. */
function isLeftOut(schema: unknown, value: unknown): boolean {
  if (value === undefined || value === null) return true;
  return value === "" && textAt(schema, "type") !== "string";
}

/** By kind of schema; undefined where a value is left as it is. */
const COERCIONS: Readonly<Record<string, (value: unknown, schema: unknown) => unknown>> = {
  string: (value) => {
    return typeof value === "number" || typeof value === "boolean" ? String(value) : undefined;
  },
  number: (value) => {
    const text = typeof value === "string" ? value.trim() : "";
    return /^[+-]?\d{1,15}(?:\.\d{1,15})?$/.test(text) ? Number(text) : undefined;
  },
  boolean: (value) => {
    const text = typeof value === "string" ? value.trim().toLowerCase() : "";
    return text === "true" || text === "false" ? text === "true" : undefined;
  },
  picklist: (value, schema) => {
    const text = typeof value === "string" ? value.trim().toLowerCase() : undefined;
    return listAt(schema, "options").find((option) => String(option).toLowerCase() === text);
  },
  array: (value, schema) => {
    const item = at(schema, "item");
    return itemsOf(value, item).map((one) => coerced(item, one));
  },
  object: objectOf,
  strict_object: objectOf,
};

function itemsOf(value: unknown, item: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  if (typeof value !== "string") return [value];
  const said = parseIfJson(value, "[");
  if (Array.isArray(said)) return said;
  // Only of choices it is sure that a comma stands between two of them.
  return textAt(item, "type") === "picklist" ? value.split(",") : [value];
}

function objectOf(value: unknown, schema: unknown): unknown {
  const said = typeof value === "string" ? parseIfJson(value, "{") : value;
  if (typeof said !== "object" || said === null || Array.isArray(said)) return undefined;
  const entries = Object.entries(at(schema, "entries") ?? {});
  const named = entries.filter(([key]) => Object.hasOwn(said, key));
  const taken = named.map(([key, entry]): [string, unknown] => [
    key,
    coerced(entry, at(said, key)),
  ]);
  return { ...said, ...Object.fromEntries(taken) };
}

/** What a text of JSON says; undefined where it is none that begins so. */
function parseIfJson(text: string, beginning: "{" | "["): unknown {
  if (!text.trimStart().startsWith(beginning)) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return value;
  } catch {
    return undefined;
  }
}

/**
 * A valibot schema as JSON Schema (2020-12), so that a tool states its arguments once. Knows the
 * kinds that tools use and throws for any other, because a schema that is half told misleads models.
 */
export function jsonSchemaOf(schema: unknown): JsonSchema {
  const shape = shapeOf(schema);
  const facts = listAt(schema, "pipe").slice(1).map(factOf);
  return Object.assign({}, shape, ...facts);
}

/** `nullish` is told as optional: some models write null for what they leave out, none need to know. */
const MAY_BE_LEFT_OUT: ReadonlySet<string> = new Set(["optional", "nullish"]);

function shapeOf(schema: unknown): JsonSchema {
  const type = textAt(schema, "type");
  switch (type) {
    case "string":
    case "number":
    case "boolean":
      return { type };
    case "picklist":
      return { type: "string", enum: listAt(schema, "options") };
    case "array":
      return { type, items: jsonSchemaOf(at(schema, "item")) };
    case "object":
    case "strict_object":
      return objectShapeOf(Object.entries(at(schema, "entries") ?? {}));
    case "optional":
    case "nullish":
      return jsonSchemaOf(at(schema, "wrapped"));
    default:
      throw new Error(`no JSON Schema for ${type || "this"}`);
  }
}

function objectShapeOf(entries: readonly [string, unknown][]): JsonSchema {
  const required = entries.filter(([, schema]) => !MAY_BE_LEFT_OUT.has(textAt(schema, "type")));
  return {
    type: "object",
    properties: Object.fromEntries(entries.map(([key, schema]) => [key, jsonSchemaOf(schema)])),
    required: required.map(([key]) => key),
    additionalProperties: false,
  };
}

/** What one action of a pipe adds to the shape; checks that have no like in JSON Schema stay ours. */
function factOf(action: unknown): JsonSchema {
  const requirement = at(action, "requirement");
  switch (textAt(action, "type")) {
    case "description":
      return { description: textAt(action, "description") };
    case "integer":
      return { type: "integer" };
    case "min_value":
      return { minimum: requirement };
    case "max_value":
      return { maximum: requirement };
    default:
      return {};
  }
}
