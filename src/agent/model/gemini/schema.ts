import { at, listAt, textAt } from "../../../base/unknown.ts";
import type { JsonSchema } from "../contract.ts";
import { choicesOf, isBeyond, propertiesOf, resolved, typesOf, valuesOf } from "../schema.ts";
import type { Source } from "../schema.ts";

/** Keywords with the same meaning in both. */
const SHARED_KEYWORDS = [
  "title",
  "description",
  "minimum",
  "maximum",
  "minItems",
  "maxItems",
  "minLength",
  "maxLength",
  "pattern",
] as const;

/** Gemini refuses all others. */
const FORMATS: ReadonlySet<string> = new Set([
  "date-time",
  "enum",
  "float",
  "double",
  "int32",
  "int64",
]);

/**
 * Converts a JSON Schema to the subset of OpenAPI that Gemini accepts (ai.google.dev/api/caching#Schema). Gemini
 * refuses requests with other keywords, such as additionalProperties, const or $ref.
 */
export function geminiSchema(schema: JsonSchema): JsonSchema {
  return converted(schema, { root: schema, visited: 0 }, 0);
}

function converted(written: unknown, source: Source, depth: number): JsonSchema {
  if (isBeyond(source, depth)) return { type: "object" };
  const schema = resolved(written, source);
  const types = typesOf(schema);
  const choices = choicesOf(schema).map((choice) => resolved(choice, source));
  const named = types.filter((name) => name !== "null");
  const open = [
    ...choices.filter((choice) => !isNull(choice)),
    ...(named.length > 1 ? named.map((type) => Object.assign({}, schema, { type })) : []),
  ];
  const nullable = types.includes("null") || choices.some(isNull) ? { nullable: true } : {};
  const [only] = open;
  if (open.length > 1) {
    const anyOf = open.map((choice) => converted(choice, source, depth + 1));
    return { ...described(schema), anyOf, ...nullable };
  }
  if (only !== undefined) {
    return { ...converted(only, source, depth + 1), ...described(schema), ...nullable };
  }
  return { ...oneType(schema, source, depth), ...nullable };
}

function isNull(schema: unknown): boolean {
  return textAt(schema, "type") === "null";
}

function described(schema: unknown): JsonSchema {
  const description = textAt(schema, "description");
  return description === "" ? {} : { description };
}

/** A schema with one type, named or inferred. */
function oneType(schema: unknown, source: Source, depth: number): JsonSchema {
  const values = valuesOf(schema);
  const type = typesOf(schema).find((name) => name !== "null") ?? typeFor(schema);
  const keywords = SHARED_KEYWORDS.filter((word) => at(schema, word) !== undefined);
  const format = textAt(schema, "format");
  return {
    type,
    ...Object.fromEntries(keywords.map((word) => [word, at(schema, word)])),
    ...(FORMATS.has(format) ? { format } : {}),
    ...valueFields(schema, type, values),
    ...(type === "object" ? objectFields(schema, source, depth) : {}),
    ...(type === "array" ? { items: itemsOf(schema, source, depth) } : {}),
  };
}

function typeFor(schema: unknown): string {
  if (at(schema, "properties") !== undefined) return "object";
  return at(schema, "items") === undefined ? "string" : "array";
}

/** Only strings can be an enum; other values go into the description. */
function valueFields(schema: unknown, type: string, values: readonly unknown[]): JsonSchema {
  if (values.length === 0) return {};
  const texts = values.filter((value) => typeof value === "string");
  if (type === "string" && texts.length > 0) return { enum: texts };
  const choices = values.map((value) => JSON.stringify(value)).join(", ");
  return { description: `${textAt(schema, "description")} One of ${choices}.`.trim() };
}

function objectFields(schema: unknown, source: Source, depth: number): JsonSchema {
  const properties = propertiesOf(schema);
  if (properties.length === 0) return {};
  const names = new Set(properties.map(([name]) => name));
  const entries = properties.map(([name, value]) => [name, converted(value, source, depth + 1)]);
  const required = listAt(schema, "required").filter(
    (name) => typeof name === "string" && names.has(name),
  );
  return {
    properties: Object.fromEntries(entries),
    ...(required.length === 0 ? {} : { required }),
  };
}

/** The items of a list are required. */
function itemsOf(schema: unknown, source: Source, depth: number): JsonSchema {
  const items = at(schema, "items");
  return typeof items === "object" && items !== null && !Array.isArray(items)
    ? converted(items, source, depth + 1)
    : { type: "string" };
}
