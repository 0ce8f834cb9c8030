import { at, listAt, textAt } from "../../base/unknown.ts";
import type { JsonSchema } from "../model/contract.ts";

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
