import { at, isObject, listAt, textAt } from "../../../base/unknown.ts";
import type { JsonSchema } from "../../model/contract.ts";
import { ToolError } from "../contract.ts";
import { cleanText } from "./text.ts";

/** Levels of a schema; a deeper one becomes any value. */
const MAX_DEPTH = 10;
/** Schemas within one tool's schema; a few references to each other could expand to billions. */
const MAX_SCHEMAS = 400;
/** Characters of the whole schema as JSON. */
const MAX_SIZE = 16_384;
const MAX_DESCRIPTION = 400;
const MAX_CHOICES = 100;
const MAX_CHOICE = 200;

/** The keys of arguments that all providers take. */
const KEY = /^[\w.-]{1,64}$/;
const TYPES: ReadonlySet<unknown> = new Set(
  "string number integer boolean object array null".split(" "),
);
/** Keywords with a whole number that providers take. */
const BOUNDS = ["minimum", "maximum", "minItems", "maxItems", "minLength", "maxLength"] as const;

interface Source {
  readonly root: unknown;
  visited: number;
}

/**
 * A server's schema of arguments, written anew with what all providers take: one that a provider refuses would end
 * every call of the model. Local references are resolved, texts are cut and escaped, patterns are left out. Throws a
 * `ToolError` for one that cannot be used.
 */
export function boundedSchema(written: unknown): JsonSchema {
  if (!isObject(written)) throw new ToolError("its schema is not an object");
  const source = { root: written, visited: 0 };
  // OpenAI refuses choices and values at the top.
  const { properties = {}, required, description } = schemaOf(written, source, 0);
  const schema = {
    type: "object",
    ...(description !== undefined && { description }),
    properties,
    ...(required !== undefined && { required }),
  };
  if (source.visited > MAX_SCHEMAS) throw new ToolError("its schema has too many parts");
  const size = JSON.stringify(schema).length;
  if (size > MAX_SIZE) throw new ToolError(`its schema is too long: ${size} characters`);
  return schema;
}

function schemaOf(given: unknown, source: Source, depth: number): JsonSchema {
  source.visited += 1;
  if (depth > MAX_DEPTH || source.visited > MAX_SCHEMAS) return {};
  const schema = resolved(given, source);
  const inner = (one: unknown): JsonSchema => schemaOf(one, source, depth + 1);
  const type = typeOf(schema);
  const description = cleanText(
    textAt(given, "description") || textAt(schema, "description"),
    MAX_DESCRIPTION,
  );
  const choices = ["anyOf", "oneOf"].flatMap((word) => listAt(schema, word)).slice(0, MAX_CHOICES);
  return {
    ...(type !== undefined && { type }),
    ...(description !== "" && { description }),
    ...valuesOf(schema),
    ...boundsOf(schema),
    ...(type === "array" && { items: inner(at(schema, "items")) }),
    ...(at(schema, "properties") !== undefined && fieldsOf(schema, inner)),
    ...(choices.length > 0 && { anyOf: choices.map(inner) }),
  };
}

/** The target of a local reference (`#/$defs/name`, RFC 6901); other schemas as they are. */
function resolved(schema: unknown, { root }: Source): unknown {
  const reference = textAt(schema, "$ref");
  if (!reference.startsWith("#/")) return schema;
  const steps = reference.slice(2).split("/").slice(0, MAX_DEPTH);
  return steps
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"))
    .reduce<unknown>((value, step) => at(value, step), root);
}

function typeOf(schema: unknown): unknown {
  const type = at(schema, "type");
  if (!Array.isArray(type)) return TYPES.has(type) ? type : undefined;
  const types = [...new Set(type.filter((each: unknown) => TYPES.has(each)))];
  return types.length > 1 ? types : types[0];
}

/** `enum` and `const`, if they are short texts and numbers. */
function valuesOf(schema: unknown): JsonSchema {
  const only = at(schema, "const");
  const values = only === undefined ? listAt(schema, "enum") : [only];
  const isPlain = values.every(
    (value) =>
      typeof value === "number" ||
      typeof value === "boolean" ||
      (typeof value === "string" && value === cleanText(value, MAX_CHOICE)),
  );
  return isPlain && values.length > 0 && values.length <= MAX_CHOICES ? { enum: values } : {};
}

function boundsOf(schema: unknown): JsonSchema {
  const found = BOUNDS.map((word) => [word, at(schema, word)] as const);
  return Object.fromEntries(found.filter(([, value]) => Number.isSafeInteger(value)));
}

/** The properties of an object, and which are required. */
function fieldsOf(schema: unknown, inner: (one: unknown) => JsonSchema): JsonSchema {
  const properties = Object.entries(at(schema, "properties") ?? {});
  const wrong = properties.find(([name]) => !KEY.test(name));
  if (wrong !== undefined) {
    throw new ToolError("the name of an argument has other characters than A-Z a-z 0-9 _ . -");
  }
  const names = new Set(properties.map(([name]) => name));
  const required = listAt(schema, "required").filter(
    (name) => typeof name === "string" && names.has(name),
  );
  return {
    properties: Object.fromEntries(properties.map(([name, value]) => [name, inner(value)])),
    ...(required.length > 0 && { required: [...new Set(required)] }),
  };
}
