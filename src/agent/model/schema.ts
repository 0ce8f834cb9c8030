import { at, isObject, listAt, textAt } from "../../base/unknown.ts";
import type { JsonSchema, ToolDefinition } from "./contract.ts";

/** Levels of a schema; deeper ones, and references to itself, become an object of any kind. */
const MAX_DEPTH = 12;
/** Schemas within one tool's schema; a few references to each other could expand to billions. */
const MAX_SCHEMAS = 2000;

/** The schema to convert: references are relative to it. */
interface Source {
  readonly root: unknown;
  visited: number;
}

/** Counts one more schema of a source; returns whether it is too many or too deep. */
function isBeyond(source: Source, depth: number): boolean {
  source.visited += 1;
  return depth > MAX_DEPTH || source.visited > MAX_SCHEMAS;
}

/** Resolves a local reference (`#/$defs/name`), with its own description; returns other schemas unchanged. */
function resolved(schema: unknown, { root }: Source): unknown {
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
function choicesOf(schema: unknown): readonly unknown[] {
  for (const word of ["anyOf", "oneOf"]) {
    const choices = at(schema, word);
    if (Array.isArray(choices)) return choices;
  }
  return [];
}

/** The types of a schema, as a list. */
function typesOf(schema: unknown): readonly string[] {
  const type = at(schema, "type");
  const types = Array.isArray(type) ? type : [type];
  return types.filter((name) => typeof name === "string");
}

/** The allowed values: `enum`, or the only one of `const`. */
function valuesOf(schema: unknown): readonly unknown[] {
  const values = at(schema, "enum");
  if (Array.isArray(values)) return values;
  const only = at(schema, "const");
  return only === undefined ? [] : [only];
}

/** The description with the default in words, for servers that do not know the keyword. */
function withDefault(description: string, schema: unknown): string {
  const standard = at(schema, "default");
  if (standard === undefined || typeof standard === "object") return description;
  return `${description} Default: ${JSON.stringify(standard)}.`.trimStart();
}

/** The properties of an object's schema, each converted, and the required ones of them. */
function objectFields(schema: unknown, convert: (property: unknown) => JsonSchema): JsonSchema {
  const properties = Object.entries(at(schema, "properties") ?? {});
  const names = new Set(properties.map(([name]) => name));
  const required = listAt(schema, "required").filter(
    (name) => typeof name === "string" && names.has(name),
  );
  return {
    properties: Object.fromEntries(properties.map(([name, value]) => [name, convert(value)])),
    ...(required.length > 0 && { required }),
  };
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
  const description = withDefault(
    textAt(written, "description") || textAt(schema, "description"),
    schema,
  );
  const values = valuesOf(schema);
  const type = typesOf(schema).find((name) => name !== "null") ?? typeFor(schema, values);
  const simplified = (inner: unknown): JsonSchema => simplifySchema(inner, source, depth + 1);
  return {
    type,
    ...(description !== "" && { description }),
    ...(values.length > 0 && { enum: values }),
    ...(type === "object" && objectFields(schema, simplified)),
    ...(type === "array" && { items: simplified(at(schema, "items")) }),
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
  const convert = (inner: unknown): JsonSchema => converted(inner, source, depth + 1);
  const types = typesOf(schema);
  const choices = choicesOf(schema).map((choice) => resolved(choice, source));
  const named = types.filter((name) => name !== "null");
  const open = [
    ...choices.filter((choice) => !isNull(choice)),
    ...(named.length > 1 ? named.map((type) => Object.assign({}, schema, { type })) : []),
  ];
  const nullable = (types.includes("null") || choices.some(isNull)) && { nullable: true };
  const [only] = open;
  if (open.length > 1) return { ...described(schema), anyOf: open.map(convert), ...nullable };
  if (only !== undefined) return { ...convert(only), ...described(schema), ...nullable };
  return { ...oneType(schema, convert), ...nullable };
}

function isNull(schema: unknown): boolean {
  return textAt(schema, "type") === "null";
}

function described(schema: unknown): JsonSchema {
  const description = textAt(schema, "description");
  return description === "" ? {} : { description };
}

/** A schema with one type, named or inferred. */
function oneType(schema: unknown, convert: (inner: unknown) => JsonSchema): JsonSchema {
  const values = valuesOf(schema);
  const type = typesOf(schema).find((name) => name !== "null") ?? geminiTypeFor(schema);
  const keywords = SHARED_KEYWORDS.filter((word) => at(schema, word) !== undefined);
  const format = textAt(schema, "format");
  const description = withDefault(textAt(schema, "description"), schema);
  const hasProperties = Object.keys(at(schema, "properties") ?? {}).length > 0;
  return {
    type,
    ...Object.fromEntries(keywords.map((word) => [word, at(schema, word)])),
    ...(description !== "" && { description }),
    ...(FORMATS.has(format) && { format }),
    ...valueFields(description, type, values),
    ...(type === "object" && hasProperties && objectFields(schema, convert)),
    ...(type === "array" && { items: itemsOf(schema, convert) }),
  };
}

function geminiTypeFor(schema: unknown): string {
  if (at(schema, "properties") !== undefined) return "object";
  return at(schema, "items") === undefined ? "string" : "array";
}

/** Only strings can be an enum; other values go into the description. */
function valueFields(description: string, type: string, values: readonly unknown[]): JsonSchema {
  if (values.length === 0) return {};
  const texts = values.filter((value) => typeof value === "string");
  if (type === "string" && texts.length > 0) return { enum: texts };
  const choices = values.map((value) => JSON.stringify(value)).join(", ");
  return { description: `${description} One of ${choices}.`.trim() };
}

/** The items of a list are required. */
function itemsOf(schema: unknown, convert: (inner: unknown) => JsonSchema): JsonSchema {
  const items = at(schema, "items");
  return isObject(items) ? convert(items) : { type: "string" };
}
