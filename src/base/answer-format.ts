import type { AnswerFormat } from "./contract.ts";

/** Characters of a schema's JSON. */
const MAX_SCHEMA = 16_384;
const EXAMPLE = 'not {"type": "json_schema", "schema": {…}}';

/** Reads the format of an answer; returns what is wrong with it. */
export function formatOf(value: unknown): AnswerFormat | string {
  if (!isObject(value) || value["type"] !== "json_schema" || !isObject(value["schema"])) {
    return `its "format" is ${EXAMPLE}`;
  }
  const { schema } = value;
  if (JSON.stringify(schema).length > MAX_SCHEMA) {
    return `the schema of its "format" is longer than ${MAX_SCHEMA} characters`;
  }
  return { type: "json_schema", schema };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
