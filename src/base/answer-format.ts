import type { AnswerFormat } from "./contract.ts";
import { at, isDeeperThan, isObject } from "./unknown.ts";

type Schema = Readonly<Record<string, unknown>>;

/** Characters of a schema's JSON, and its levels of objects and lists. */
const MAX_SCHEMA = 16_384;
const MAX_LEVELS = 64;

const TYPES: ReadonlySet<unknown> = new Set([
  "string",
  "number",
  "integer",
  "boolean",
  "object",
  "array",
  "null",
]);
/** Keywords whose value is one schema, a list of schemas, and schemas by name. */
const SCHEMA = ["additionalProperties", "not"];
const LISTS = ["anyOf", "oneOf", "allOf", "prefixItems"];
const MAPS = ["properties", "$defs", "definitions"];

/**
 * Reads the format of an answer, as a request has it. A string says what is wrong with it: a schema that is
 * too long or too deep, a type that does not exist, a reference that leads nowhere in the schema.
 */
export function formatOf(value: unknown): AnswerFormat | string {
  const schema = at(value, "schema");
  if (at(value, "type") !== "json_schema" || !isObject(schema)) {
    return 'its "format" is not {"type": "json_schema", "schema": {…}}';
  }
  const problem = problemOf(schema);
  if (problem !== undefined) return `the schema of its "format" ${problem}`;
  return { type: "json_schema", schema };
}

function problemOf(schema: Schema): string | undefined {
  if (isDeeperThan(schema, MAX_LEVELS)) return `is nested deeper than ${MAX_LEVELS} levels`;
  if (JSON.stringify(schema).length > MAX_SCHEMA) {
    return `is longer than ${MAX_SCHEMA} characters`;
  }
  return problemIn(schema, "", schema);
}

/** The first problem of a schema and of those in it; `path` is a JSON pointer (RFC 6901). */
function problemIn(schema: unknown, path: string, root: Schema): string | undefined {
  if (typeof schema === "boolean") return undefined;
  if (!isObject(schema)) return `has no schema at ${shown(path)}`;
  const wrong = wrongKeyword(schema, root);
  if (wrong !== undefined) return `has a bad ${wrong} at ${shown(path)}`;
  for (const [key, inner] of innerSchemas(schema)) {
    const problem = problemIn(inner, `${path}/${key}`, root);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** The names of properties are a client's text. */
function shown(path: string): string {
  if (path === "") return "/";
  return /^[\w$/.~ -]{1,100}$/.test(path) ? path : "a place inside";
}

/** The keyword of a schema that has a value of the wrong kind. */
function wrongKeyword(schema: Schema, root: Schema): string | undefined {
  const { type, required, enum: values, $ref: reference } = schema;
  const types = Array.isArray(type) ? type : [type];
  if (type !== undefined && (types.length === 0 || !types.every((name) => TYPES.has(name))))
    return "type";
  if (required !== undefined && !isListOfNames(required)) return "required";
  if (values !== undefined && !isFilledList(values)) return "enum";
  if (reference !== undefined && !leadsToSchema(reference, root)) return "$ref";
  const list = LISTS.find((word) => word in schema && !isFilledList(schema[word]));
  return list ?? MAPS.find((word) => word in schema && !isObject(schema[word]));
}

/** References that lead to references, one after the other. */
const MAX_REFERENCES = 16;

/** Whether a reference leads, also over others, to a schema, and not back to itself. */
function leadsToSchema(reference: unknown, root: Schema): boolean {
  let next = reference;
  for (let steps = 0; steps < MAX_REFERENCES; steps += 1) {
    const schema = schemaAt(next, root);
    if (schema === undefined) return false;
    next = at(schema, "$ref");
    if (next === undefined) return true;
  }
  return false;
}

function isListOfNames(value: unknown): boolean {
  return Array.isArray(value) && value.every((name: unknown) => typeof name === "string");
}

function isFilledList(value: unknown): boolean {
  return Array.isArray(value) && value.length > 0;
}

/** The schemas directly in a schema, by their path in it. */
function innerSchemas(schema: Schema): [string, unknown][] {
  const single = SCHEMA.filter((word) => word in schema).map((word) => [word, schema[word]]);
  const { items } = schema;
  const lists = [...LISTS, ...(Array.isArray(items) ? ["items"] : [])];
  if (items !== undefined && !Array.isArray(items)) single.push(["items", items]);
  const many = [...lists, ...MAPS].flatMap((word) =>
    Object.entries(Object(schema[word])).map(([name, inner]) => [`${word}/${name}`, inner]),
  );
  return [...single, ...many].map(([path, inner]) => [String(path), inner]);
}

/** The schema that a reference within the document leads to (`#`, `#/$defs/name`); undefined if there is none. */
export function schemaAt(reference: unknown, root: Schema): unknown {
  if (typeof reference !== "string" || !/^#(?:\/|$)/.test(reference)) return undefined;
  const steps = reference.split("/").slice(1);
  // RFC 6901, section 4.
  const names = steps.map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
  const found = names.reduce<unknown>((value, name) => at(value, name), root);
  return typeof found === "boolean" || isObject(found) ? found : undefined;
}
