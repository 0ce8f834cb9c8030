import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { JsonSchema } from "../../../src/agent/model/contract.ts";
import { geminiSchema } from "../../../src/agent/model/schema.ts";
import { simplifyTool } from "../../../src/agent/model/schema.ts";
import { runs } from "../../support/runs.ts";

const plain = (parameters: JsonSchema): JsonSchema =>
  simplifyTool({ name: "tool", description: "does", parameters }).parameters;

/** What a server of the Model Context Protocol may say of its arguments. */
const RICH = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Arguments",
  type: "object",
  properties: {
    mode: { const: "fast" },
    level: { type: "integer", enum: [1, 2], description: "How far." },
    name: { type: ["string", "null"], format: "hostname", minLength: 1 },
    when: { type: "string", format: "date-time", default: "now" },
    what: { anyOf: [{ type: "string" }, { type: "number" }] },
    maybe: { oneOf: [{ $ref: "#/$defs/place" }, { type: "null" }], description: "Where." },
    many: { type: "array", items: { $ref: "#/$defs/place" }, uniqueItems: true },
    some: { type: "array" },
    any: { type: "object", additionalProperties: { type: "string" } },
    either: { type: ["string", "number"] },
  },
  required: ["mode", "gone"],
  additionalProperties: false,
  $defs: {
    place: {
      type: "object",
      properties: { x: { type: "number", exclusiveMinimum: 0 } },
      required: ["x"],
      additionalProperties: false,
    },
  },
};

describe("a tool's schema", () => {
  it("for Gemini holds only what Gemini takes", () => {
    const place = { type: "object", properties: { x: { type: "number" } }, required: ["x"] };
    assert.deepEqual(geminiSchema(RICH), {
      type: "object",
      title: "Arguments",
      properties: {
        mode: { type: "string", enum: ["fast"] },
        level: { type: "integer", description: "How far. One of 1, 2." },
        name: { type: "string", minLength: 1, nullable: true },
        when: { type: "string", format: "date-time", description: 'Default: "now".' },
        what: { anyOf: [{ type: "string" }, { type: "number" }] },
        maybe: { ...place, description: "Where.", nullable: true },
        many: { type: "array", items: place },
        some: { type: "array", items: { type: "string" } },
        any: { type: "object" },
        either: { anyOf: [{ type: "string" }, { type: "number" }] },
      },
      required: ["mode"],
    });
  });

  it("in its plainest form holds six keywords", () => {
    const place = { type: "object", properties: { x: { type: "number" } }, required: ["x"] };
    assert.deepEqual(plain(RICH), {
      type: "object",
      properties: {
        mode: { type: "string", enum: ["fast"] },
        level: { type: "integer", enum: [1, 2], description: "How far." },
        name: { type: "string" },
        when: { type: "string", description: 'Default: "now".' },
        what: { type: "string" },
        maybe: { ...place, description: "Where." },
        many: { type: "array", items: place },
        some: { type: "array", items: { type: "string" } },
        any: { type: "object", properties: {} },
        either: { type: "string" },
      },
      required: ["mode"],
    });
  });

  it("that refers to itself has an end", () => {
    const endless = {
      type: "object",
      properties: { next: { $ref: "#" }, list: { anyOf: [{ $ref: "#/properties/list" }] } },
    };
    for (const shown of [geminiSchema(endless), plain(endless)]) {
      assert.ok(JSON.stringify(shown).length < 1_000_000);
    }
  });

  it("that names billions in a few words is bounded", () => {
    const twenty = Array.from({ length: 20 }, (_, index) => [`p${index}`, { $ref: "#" }]);
    const laughs = { type: "object", properties: Object.fromEntries(twenty) };
    for (const shown of [geminiSchema(laughs), plain(laughs)]) {
      assert.ok(JSON.stringify(shown).length < 1_000_000);
    }
  });

  it("of any shape is told in the allowed keywords", () => {
    const allowed = new Set(["type", "properties", "required", "description", "enum", "items"]);
    const keywords = [
      ...allowed,
      "$ref",
      "anyOf",
      "const",
      "format",
      "minimum",
      "additionalProperties",
    ];
    const { schema } = fc.letrec((tie) => ({
      schema: fc.dictionary(
        fc.constantFrom(...keywords),
        fc.oneof(
          { depthSize: "small" },
          fc.constantFrom("object", "array", "string", "#", "#/properties/a", 7, null, true),
          tie("schema"),
          fc.array(tie("schema"), { maxLength: 3 }),
          fc.dictionary(fc.constantFrom("a", "b"), tie("schema"), { maxKeys: 2 }),
        ),
        { maxKeys: 4 },
      ),
    }));
    const isPlain = (shown: unknown): boolean => {
      const { properties = {}, items, ...rest } = Object(shown);
      const inner = [...Object.values(properties), ...(items === undefined ? [] : [items])];
      return Object.keys(rest).every((key) => allowed.has(key)) && inner.every(isPlain);
    };
    fc.assert(
      fc.property(schema, (written) => {
        const parameters: JsonSchema = Object(written);
        assert.ok(isPlain(plain(parameters)));
        geminiSchema(parameters);
      }),
      { numRuns: runs(300) },
    );
  });
});
