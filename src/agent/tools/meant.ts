import { at, listAt, textAt } from "../../base/unknown.ts";

/**
 * Arguments as they were meant, for a schema as `jsonSchemaOf` knows them: weak models write numbers
 * and flags as texts, null or "" for what they leave out, one thing where a list is wanted, and a text
 * of JSON in the place of what it says. What is not clear stays as it is, and the schema refuses it.
 */
export function meantArguments(schema: unknown, value: unknown): unknown {
  return meant(schema, value ?? {});
}

function meant(schema: unknown, value: unknown): unknown {
  const kind = textAt(schema, "type");
  if (kind === "optional" || kind === "nullish") {
    return isLeftOut(at(schema, "wrapped"), value)
      ? undefined
      : meant(at(schema, "wrapped"), value);
  }
  return MEANINGS[kind]?.(value, schema) ?? value;
}

/** An empty text is a text; it is no number, no flag, no choice and no list. */
function isLeftOut(schema: unknown, value: unknown): boolean {
  if (value === undefined || value === null) return true;
  return value === "" && textAt(schema, "type") !== "string";
}

/** By kind of schema; undefined where a value is left as it is. */
const MEANINGS: Readonly<Record<string, (value: unknown, schema: unknown) => unknown>> = {
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
    return itemsOf(value, item).map((one) => meant(item, one));
  },
  object: objectOf,
  strict_object: objectOf,
};

function itemsOf(value: unknown, item: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  if (typeof value !== "string") return [value];
  const said = parsed(value, "[");
  if (Array.isArray(said)) return said;
  // Only of choices it is sure that a comma stands between two of them.
  return textAt(item, "type") === "picklist" ? value.split(",") : [value];
}

function objectOf(value: unknown, schema: unknown): unknown {
  const said = typeof value === "string" ? parsed(value, "{") : value;
  if (typeof said !== "object" || said === null || Array.isArray(said)) return undefined;
  const entries = Object.entries(at(schema, "entries") ?? {});
  const named = entries.filter(([key]) => Object.hasOwn(said, key));
  const taken = named.map(([key, entry]): [string, unknown] => [key, meant(entry, at(said, key))]);
  return { ...said, ...Object.fromEntries(taken) };
}

/** What a text of JSON says; undefined where it is none that begins so. */
function parsed(text: string, beginning: "{" | "["): unknown {
  if (!text.trimStart().startsWith(beginning)) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return value;
  } catch {
    return undefined;
  }
}
