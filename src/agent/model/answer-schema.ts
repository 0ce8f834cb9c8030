import { isObject, listAt } from "../../base/unknown.ts";
import type { JsonSchema, ModelCall } from "./contract.ts";

/** Keywords that Anthropic refuses (docs.claude.com, "Structured outputs"); the answer is checked against them here. */
const BOUNDS: ReadonlySet<string> = new Set([
  "minimum",
  "maximum",
  "exclusiveMinimum",
  "exclusiveMaximum",
  "multipleOf",
  "minLength",
  "maxLength",
  "pattern",
  "maxItems",
  "uniqueItems",
  "minProperties",
  "maxProperties",
]);

const MAPS: ReadonlySet<string> = new Set(["properties", "$defs", "definitions"]);
const VALUES: ReadonlySet<string> = new Set(["enum", "const", "default", "examples", "required"]);

/**
 * The schema with objects that have no other properties than the named ones, unless it says that they may:
 * providers that enforce a schema demand it, and such an answer fits the original, too.
 */
export function closedSchema(schema: JsonSchema, isBounded = true): JsonSchema {
  return Object(closed(schema, isBounded));
}

function closed(schema: unknown, isBounded: boolean): unknown {
  if (Array.isArray(schema)) return schema.map((inner) => closed(inner, isBounded));
  if (!isObject(schema)) return schema;
  const entries = Object.entries(schema).filter(([word]) => isBounded || !BOUNDS.has(word));
  const copy = entries.map(([word, value]) => {
    if (VALUES.has(word)) return [word, value];
    if (!MAPS.has(word) || !isObject(value)) return [word, closed(value, isBounded)];
    const inner = Object.entries(value).map(([name, one]) => [name, closed(one, isBounded)]);
    return [word, Object.fromEntries(inner)];
  });
  const isOpen = "properties" in schema && !("additionalProperties" in schema);
  return { ...Object.fromEntries(copy), ...(isOpen && { additionalProperties: false }) };
}

/** Whether all objects of a closed schema require all of their properties: OpenAI enforces no other schema. */
function isStrict(schema: unknown): boolean {
  if (Array.isArray(schema)) return schema.every(isStrict);
  if (!isObject(schema)) return true;
  const names = Object.keys(Object(schema["properties"]));
  const required = listAt(schema, "required");
  const isOpen = schema["type"] === "object" && schema["additionalProperties"] !== false;
  if (isOpen || names.some((name) => !required.includes(name))) return false;
  return Object.entries(schema).every(([word, value]) => {
    if (VALUES.has(word)) return true;
    return isStrict(MAPS.has(word) ? Object.values(Object(value)) : value);
  });
}

/** The format as OpenAI has it, in chat completions and in Responses. */
export function openaiFormat({ schema }: NonNullable<ModelCall["format"]>): JsonSchema {
  const own = closedSchema(schema);
  return isStrict(own)
    ? { name: "answer", schema: own, strict: true }
    : { name: "answer", schema, strict: false };
}
