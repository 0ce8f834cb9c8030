import { OTHER_CHANNEL_TYPES } from "./compat/go/keys.ts";
import { CHANNEL } from "./keys/channel.ts";
import { type Group, type Key, withoutMarkdown, type Row } from "./keys/key.ts";
import { KEYS } from "./keys/keys.ts";
import type { JsonSchema } from "./values.ts";

/**
 * The JSON Schema (draft 7) of config.json at version 3, from the table of keys. What `config validate` warns of as
 * an unknown key is an error for it. It cannot say all that the reader checks: a regular expression, a broker's URL.
 */
export function configSchema(): JsonSchema {
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "picoclaw config.json",
    ...schemaOf(KEYS),
    definitions: { channel: schemaOf(CHANNEL) },
  };
}

const ANYTHING: JsonSchema = {};
/** In JSON `null` is no value, as in Go. */
const NULL = { type: "null" };

function schemaOf(row: Row): JsonSchema {
  if (row.kind === "key") return schemaOfKey(row);
  if (row.kind === "group") return schemaOfGroup(row);
  if (row.kind === "list") return { type: ["array", "null"], items: schemaOf(row.each) };
  return row.each === CHANNEL ? channels() : tableOf(schemaOf(row.each));
}

function schemaOfKey({ schema = {}, doc, shown }: Key): JsonSchema {
  const description = shown === "–" ? doc : `${doc} Default: ${shown}`;
  return { description: withoutMarkdown(description), ...orNull(schema) };
}

function orNull(schema: JsonSchema): JsonSchema {
  const { type, enum: words, anyOf } = schema;
  if (Array.isArray(words)) return { ...schema, enum: [...words, null] };
  if (Array.isArray(anyOf)) return { ...schema, anyOf: [...anyOf, NULL] };
  return type === undefined ? schema : { ...schema, type: [type, "null"].flat() };
}

function schemaOfGroup({ rows, also }: Group): JsonSchema {
  const known = Object.entries(rows).map(([name, row]) => [name, schemaOf(row)] as const);
  const others = also === "any" ? [] : also.map((name) => [name, ANYTHING] as const);
  return {
    type: ["object", "null"],
    properties: Object.fromEntries([...others, ...known]),
    ...COMMENTS,
    additionalProperties: also === "any",
  };
}

/** Keys that begin so are comments. */
const COMMENTS = { patternProperties: { "^(_|\\$|//)": ANYTHING } };

function tableOf(each: JsonSchema): JsonSchema {
  return { type: ["object", "null"], ...COMMENTS, additionalProperties: each };
}

/** Channels of other types have other keys. The type of a channel is its name, if it says nothing else. */
function channels(): JsonSchema {
  const channel = { $ref: "#/definitions/channel" };
  const saysMqtt = { type: "object", required: ["type"], properties: { type: { const: "mqtt" } } };
  const saysOther = {
    type: "object",
    required: ["type"],
    properties: { type: { enum: [...OTHER_CHANNEL_TYPES] } },
  };
  return {
    ...tableOf({ if: { not: saysMqtt }, else: channel }),
    properties: { mqtt: { if: saysOther, else: channel } },
  };
}
