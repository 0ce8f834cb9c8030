import * as v from "valibot";
import { at, listAt, textAt } from "../../base/unknown.ts";
import type { JsonSchema } from "../model/contract.ts";
import { resultOf, ToolError } from "./contract.ts";
import type { CallContext, Tool } from "./contract.ts";

/** A tool with its arguments as a valibot object schema. */
export interface TypedTool<Schema extends v.GenericSchema> extends Omit<
  Tool,
  "parameters" | "coerce" | "run"
> {
  readonly input: Schema;
  /** Returns text for the model. Throws a `ToolError` if it cannot or must not do its work. */
  run(input: v.InferOutput<Schema>, call: CallContext): Promise<string>;
}

/**
 * Makes a tool of a schema and a function. Models see the schema as JSON Schema. Clear slips in arguments
 * are corrected; for other wrong arguments the answer lists the issues. A `ToolError` becomes the answer.
 */
export function defineTool<Schema extends v.GenericSchema>(typed: TypedTool<Schema>): Tool {
  const { input, ...rest } = typed;
  return {
    ...rest,
    parameters: jsonSchemaOf(input),
    coerce: (value) => coerceArguments(input, value),
    run: (value, call) =>
      resultOf(async () => {
        const parsed = v.safeParse(input, coerceArguments(input, value));
        if (parsed.success) return await typed.run(parsed.output, call);
        const issues = parsed.issues.slice(0, 5).map(issueText).join("; ");
        throw new ToolError(`wrong arguments: ${issues}`);
      }, call),
  };
}

/** A text argument, with its description for the model. */
export const textField = (about: string) => v.pipe(v.string(), v.description(about));
/** A true or false argument, with its description for the model. */
export const flagField = (about: string) => v.pipe(v.boolean(), v.description(about));

/** An argument that models no longer see, and that older conversations use: it is still taken. */
export const oldField = <Schema extends v.GenericSchema>(schema: Schema) =>
  v.optional(v.pipe(schema, v.metadata({ deprecated: true })));

function issueText(issue: v.BaseIssue<unknown>): string {
  const path = v.getDotPath(issue);
  return path === null ? issue.message : `${path}: ${issue.message}`;
}

/**
 * Corrects arguments for a schema that `jsonSchemaOf` supports. Weak models write numbers and flags as
 * strings, null or "" for an omitted value, one item in place of a list, and JSON as a string. An unclear
 * value stays as it is, and the schema rejects it.
 */
export function coerceArguments(schema: unknown, value: unknown): unknown {
  return coerced(schema, value ?? {});
}

function coerced(schema: unknown, value: unknown): unknown {
  const kind = textAt(schema, "type");
  if (kind === "optional" || kind === "nullish") {
    return isOmitted(at(schema, "wrapped"), value)
      ? undefined
      : coerced(at(schema, "wrapped"), value);
  }
  return COERCIONS[kind]?.(value, schema) ?? value;
}

/** An empty string is a valid string, but not a number, a flag, a choice or a list. */
function isOmitted(schema: unknown, value: unknown): boolean {
  if (value === undefined || value === null) return true;
  return value === "" && textAt(schema, "type") !== "string";
}

/** By kind of schema. Undefined leaves the value as it is. */
const COERCIONS: Readonly<Record<string, (value: unknown, schema: unknown) => unknown>> = {
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
    return itemsOf(value, item).map((one) => coerced(item, one));
  },
  object: objectOf,
  strict_object: objectOf,
};

function itemsOf(value: unknown, item: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  if (typeof value !== "string") return [value];
  const parsed = parseIfJson(value, "[");
  if (Array.isArray(parsed)) return parsed;
  // A comma separates items only in a list of choices; in other texts it may belong to an item.
  return textAt(item, "type") === "picklist" ? value.split(",") : [value];
}

function objectOf(value: unknown, schema: unknown): unknown {
  const fields = typeof value === "string" ? parseIfJson(value, "{") : value;
  if (typeof fields !== "object" || fields === null || Array.isArray(fields)) return undefined;
  const entries = Object.entries(at(schema, "entries") ?? {});
  const present = entries.filter(([key]) => Object.hasOwn(fields, key));
  const changed = present.map(([key, entry]): [string, unknown] => [
    key,
    coerced(entry, at(fields, key)),
  ]);
  return { ...fields, ...Object.fromEntries(changed) };
}

/** The value of a JSON text; undefined if it is not JSON or does not begin with the character. */
function parseIfJson(text: string, beginning: "{" | "["): unknown {
  if (!text.trimStart().startsWith(beginning)) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return value;
  } catch {
    return undefined;
  }
}

/**
 * A valibot schema as JSON Schema (2020-12). Supports the kinds that tools use, and throws for any other:
 * an incomplete schema would mislead models.
 */
export function jsonSchemaOf(schema: unknown): JsonSchema {
  const shape = shapeOf(schema);
  const facts = listAt(schema, "pipe").slice(1).map(factOf);
  return Object.assign({}, shape, ...facts);
}

/** `nullish` is optional in JSON Schema: null is accepted from models, but not advertised. */
const MAY_BE_LEFT_OUT: ReadonlySet<string> = new Set(["optional", "nullish"]);

function shapeOf(schema: unknown): JsonSchema {
  const type = textAt(schema, "type");
  switch (type) {
    case "string":
    case "number":
    case "boolean":
      return { type };
    case "picklist":
      return choiceShapeOf(listAt(schema, "options"));
    case "array":
      return { type, items: jsonSchemaOf(at(schema, "item")) };
    case "object":
    case "strict_object":
      return objectShapeOf(schema);
    case "optional":
    case "nullish":
      return optionalShapeOf(schema);
    default:
      throw new Error(`no JSON Schema for ${type || "this"}`);
  }
}

function optionalShapeOf(schema: unknown): JsonSchema {
  const shape = jsonSchemaOf(at(schema, "wrapped"));
  const standard = at(schema, "default");
  return standard === undefined ? shape : { ...shape, default: standard };
}

function choiceShapeOf(options: readonly unknown[]): JsonSchema {
  const isNumeric = options.every((option) => typeof option === "number");
  return { type: isNumeric ? "number" : "string", enum: options };
}

/** Other keys are an error only in a strict object. */
function objectShapeOf(schema: unknown): JsonSchema {
  const entries = Object.entries(at(schema, "entries") ?? {}).filter(([, entry]) => !isOld(entry));
  const required = entries.filter(([, entry]) => !MAY_BE_LEFT_OUT.has(textAt(entry, "type")));
  return {
    type: "object",
    properties: Object.fromEntries(entries.map(([key, entry]) => [key, jsonSchemaOf(entry)])),
    ...(required.length > 0 && { required: required.map(([key]) => key) }),
    ...(textAt(schema, "type") === "strict_object" && { additionalProperties: false }),
  };
}

/** Whether `oldField` made it. */
function isOld(entry: unknown): boolean {
  const actions = listAt(at(entry, "wrapped"), "pipe");
  return actions.some((action) => at(at(action, "metadata"), "deprecated") === true);
}

/** The keywords for one action of a pipe; none for a check that JSON Schema cannot express. */
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
