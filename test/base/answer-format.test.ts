import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { formatOf, schemaAt } from "../../src/base/answer-format.ts";

function problemOf(schema: unknown): string {
  const read = formatOf({ type: "json_schema", schema });
  return typeof read === "string" ? read : assert.fail("it was read");
}

/** A value inside of so many objects. */
function nested(levels: number): unknown {
  let value: unknown = {};
  for (let level = 0; level < levels; level += 1) value = { not: value };
  return value;
}

describe("the format of an answer", () => {
  it("is a JSON schema, as it came", () => {
    const schema = {
      type: "object",
      properties: { list: { type: ["array", "null"], items: { $ref: "#/$defs/a~1b" } } },
      required: ["list"],
      additionalProperties: false,
      $defs: { "a/b": { enum: [1, "x"], anyOf: [true, { $ref: "#" }] } },
    };
    assert.deepEqual(formatOf({ type: "json_schema", schema, name: "x" }), {
      type: "json_schema",
      schema,
    });
    assert.deepEqual(schemaAt("#/$defs/a~1b", schema), schema.$defs["a/b"]);
  });

  for (const [schema, problem] of [
    [{ type: "strnig" }, /a bad type at \/$/],
    [{ type: [] }, /a bad type at \/$/],
    [{ properties: { a: { type: "text" } } }, /a bad type at \/properties\/a$/],
    [{ properties: [] }, /a bad properties/],
    [{ properties: { a: 1 } }, /no schema at \/properties\/a$/],
    [{ properties: { "\u0007\ud800": 1 } }, /no schema at a place inside$/],
    [{ properties: { ["x".repeat(500)]: 1 } }, /no schema at a place inside$/],
    [{ items: "string" }, /no schema at \/items$/],
    [{ items: [{ type: "x" }] }, /a bad type at \/items\/0$/],
    [{ required: "a" }, /a bad required/],
    [{ required: [1] }, /a bad required/],
    [{ enum: [] }, /a bad enum/],
    [{ anyOf: {} }, /a bad anyOf/],
    [{ oneOf: [] }, /a bad oneOf/],
    [{ $ref: "https://example.com/schema.json" }, /a bad \$ref/],
    [{ $ref: "other.json#/a" }, /a bad \$ref/],
    [{ $ref: "#/$defs/none" }, /a bad \$ref/],
    [{ $ref: "#/constructor" }, /a bad \$ref/],
    [{ $ref: "#" }, /a bad \$ref/],
    [{ $defs: { a: { $ref: "#/$defs/b" }, b: { $ref: "#/$defs/a" } } }, /a bad \$ref at .*defs/],
    [{ description: "x".repeat(20_000) }, /longer than 16384 characters/],
    [nested(70), /deeper than 64 levels/],
    [nested(100_000), /deeper than 64 levels/],
  ] as const) {
    it(`is refused: ${problem.source}`, () => {
      const text = problemOf(schema);
      assert.match(text, /^the schema of its "format" /);
      assert.match(text, problem);
    });
  }
});
