import { at, textAt } from "../../../base/unknown.ts";

/** How deep a schema is followed: what lies deeper (or refers to itself) is told as an object of any kind. */
const MAX_DEPTH = 12;
/** Schemas that one tool's schema is told in; a few references to each other could name billions. */
const MAX_SCHEMAS = 2000;

/** The schema that is being told: references are relative to it. */
export interface Source {
  readonly root: unknown;
  told: number;
}

/** Counts one more schema of a source; whether it is one too many. */
export function isBeyond(source: Source, depth: number): boolean {
  source.told += 1;
  return depth > MAX_DEPTH || source.told > MAX_SCHEMAS;
}

/** What a local reference (`#/$defs/name`) stands for, beside its own description; else the schema itself. */
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

/** Under which keyword a schema offers a choice of schemas. */
export function choicesOf(schema: unknown): readonly unknown[] {
  for (const word of ["anyOf", "oneOf"]) {
    const choices = at(schema, word);
    if (Array.isArray(choices)) return choices;
  }
  return [];
}

/** The types that a schema names, in one shape. */
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
