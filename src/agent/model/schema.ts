import { at, textAt, listAt } from "../../base/unknown.ts";
import type { JsonSchema, ToolDefinition } from "./contract.ts";

/** Levels of a schema; deeper ones, and references to itself, become an object of any kind. */
const MAX_DEPTH = 12;
/** Schemas within one tool's schema; a few references to each other could expand to billions. */
const MAX_SCHEMAS = 2000;

/** The schema to convert: references are relative to it. */
export interface Source {
  readonly root: unknown;
  visited: number;
}

/** Counts one more schema of a source; returns whether it is too many or too deep. */
export function isBeyond(source: Source, depth: number): boolean {
  source.visited += 1;
  return depth > MAX_DEPTH || source.visited > MAX_SCHEMAS;
}

/** Resolves a local reference (`#/$defs/name`), with its own description; returns other schemas unchanged. */
export function resolved(schema: unknown, { root }: Source): unknown {
  const reference = textAt(schema, "$ref");
  if (!reference.startsWith("#/")) return schema;
  const steps = reference.slice(2).split("/").map(unescaped);
  const found = steps.reduce<unknown>((value, step) => at(value, step), root);
  const description = textAt(schema, "description");
  return Object.assign({}, found, description === "" ? {} : { description });
}

/** RFC 6901, 4. */
function unescaped(step: string): string {
  return step.replaceAll("~1", "/").replaceAll("~0", "~");
}

/** The schemas that a schema offers to choose from. */
export function choicesOf(schema: unknown): readonly unknown[] {
  for (const word of ["anyOf", "oneOf"]) {
    const choices = at(schema, word);
    if (Array.isArray(choices)) return choices;
  }
  return [];
}

/** The types of a schema, as a list. */
export function typesOf(schema: unknown): readonly string[] {
  const type = at(schema, "type");
  const types = Array.isArray(type) ? type : [type];
  return types.filter((name) => typeof name === "string");
}

/** The allowed values: `enum`, or the only one of `const`. */
export function valuesOf(schema: unknown): readonly unknown[] {
  const values = at(schema, "enum");
  if (Array.isArray(values)) return values;
  const only = at(schema, "const");
  return only === undefined ? [] : [only];
}

/** The properties of an object's schema. */
export function propertiesOf(schema: unknown): readonly [string, unknown][] {
  return Object.entries(at(schema, "properties") ?? {});
}

/**
 * Reduces a tool's schema for servers that support little of JSON Schema: to type, properties, required,
 * description, enum and items, and to the first of a choice of schemas.
 */
export function simplifyTool({ name, description, parameters }: ToolDefinition): ToolDefinition {
  return {
    name,
    description,
    parameters: simplifySchema(parameters, { root: parameters, visited: 0 }, 0),
  };
}

function simplifySchema(written: unknown, source: Source, depth: number): JsonSchema {
  if (isBeyond(source, depth)) return { type: "object" };
  const schema = chosen(resolved(written, source), source);
  const description = textAt(written, "description") || textAt(schema, "description");
  const values = valuesOf(schema);
  const type = typesOf(schema).find((name) => name !== "null") ?? typeFor(schema, values);
  return {
    type,
    ...(description === "" ? {} : { description }),
    ...(values.length === 0 ? {} : { enum: values }),
    ...(type === "object" ? objectFields(schema, source, depth) : {}),
    ...(type === "array" ? { items: simplifySchema(at(schema, "items"), source, depth + 1) } : {}),
  };
}

/** The first of a choice that is not null: null only says that a value may be omitted. */
function chosen(schema: unknown, source: Source): unknown {
  const choices = choicesOf(schema).map((choice) => resolved(choice, source));
  return choices.find((choice) => textAt(choice, "type") !== "null") ?? schema;
}

function typeFor(schema: unknown, values: readonly unknown[]): string {
  if (at(schema, "properties") !== undefined) return "object";
  if (at(schema, "items") !== undefined) return "array";
  const kinds = new Set(values.map((value) => typeof value));
  return kinds.size === 1 && (kinds.has("number") || kinds.has("boolean"))
    ? ([...kinds][0] ?? "string")
    : "string";
}

function objectFields(schema: unknown, source: Source, depth: number): JsonSchema {
  const properties = propertiesOf(schema);
  const names = new Set(properties.map(([name]) => name));
  const entries = properties.map(([name, value]) => [
    name,
    simplifySchema(value, source, depth + 1),
  ]);
  const required = listAt(schema, "required").filter(
    (name) => typeof name === "string" && names.has(name),
  );
  return {
    properties: Object.fromEntries(entries),
    ...(required.length === 0 ? {} : { required }),
  };
}
