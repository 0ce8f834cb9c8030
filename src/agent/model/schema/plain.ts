import { at, listAt, textAt } from "../../../base/unknown.ts";
import type { JsonSchema, ToolOutline } from "../contract.ts";
import { choicesOf, isBeyond, propertiesOf, resolved, typesOf, valuesOf } from "./resolve.ts";
import type { Source } from "./resolve.ts";

/**
 * A tool told in the plainest JSON Schema, for servers that stumble over more: only type, properties,
 * required, description, enum and items are left, and of a choice of schemas its first.
 */
export function plainTool({ name, description, parameters }: ToolOutline): ToolOutline {
  return {
    name,
    description,
    parameters: plainSchema(parameters, { root: parameters, told: 0 }, 0),
  };
}

function plainSchema(written: unknown, source: Source, depth: number): JsonSchema {
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
    ...(type === "array" ? { items: plainSchema(at(schema, "items"), source, depth + 1) } : {}),
  };
}

/** The first of a choice that is not null, since null only says that a value may be left out. */
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
  const told = properties.map(([name, value]) => [name, plainSchema(value, source, depth + 1)]);
  const required = listAt(schema, "required").filter(
    (name) => typeof name === "string" && names.has(name),
  );
  return {
    properties: Object.fromEntries(told),
    ...(required.length === 0 ? {} : { required }),
  };
}
