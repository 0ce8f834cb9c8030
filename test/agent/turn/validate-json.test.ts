import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { problemOf } from "../../../src/agent/turn/validate-json.ts";

type Row = readonly [
  schema: Record<string, unknown>,
  good: readonly unknown[],
  bad: readonly unknown[],
];

const ROWS: readonly Row[] = [
  [{}, [1, null, {}, []], []],
  [{ type: "integer" }, [1, 1.0, -3], [1.5, "1", null]],
  [{ type: "number" }, [1, 1.5], ["1", true, JSON.parse("1e400")]],
  [{ type: ["string", "null"] }, ["", null], [1, []]],
  [{ type: "object" }, [{}], [[], null]],
  [{ type: "array" }, [[]], [{}]],
  [{ type: "boolean" }, [true], [0]],
  [{ enum: [1, "a", { x: 1, y: [2] }] }, [1, "a", { y: [2], x: 1 }], [2, "b", { x: 1 }]],
  [{ const: null }, [null], [0, ""]],
  [{ minimum: 1, maximum: 3 }, [1, 3, "9"], [0, 4]],
  [{ exclusiveMinimum: 1, exclusiveMaximum: 3 }, [2], [1, 3]],
  [{ multipleOf: 0.1 }, [0.3, 1], [0.35]],
  [{ minLength: 2, maxLength: 3 }, ["ab", "👍👍👍", 1], ["a", "abcd"]],
  [{ minItems: 1, maxItems: 2 }, [[1], [1, 2]], [[], [1, 2, 3]]],
  [
    { uniqueItems: true },
    [[1, "1"]],
    [
      [1, 1],
      [
        { a: 1, b: 2 },
        { b: 2, a: 1 },
      ],
    ],
  ],
  [{ minProperties: 1, maxProperties: 1 }, [{ a: 1 }], [{}, { a: 1, b: 1 }]],
  [
    { properties: { a: { type: "string" } }, required: ["a"], additionalProperties: false },
    [{ a: "" }],
    [{}, { a: 1 }, { a: "", b: 1 }, JSON.parse('{"a": "", "__proto__": 1}')],
  ],
  [{ required: ["toString"] }, [{ toString: 1 }], [{}]],
  [{ additionalProperties: { type: "number" } }, [{ a: 1 }], [{ a: "1" }]],
  [{ patternProperties: { "^a": {} }, additionalProperties: false }, [{ ab: 1 }], []],
  [{ items: { type: "number" } }, [[1, 2], []], [[1, "2"]]],
  [{ prefixItems: [{ type: "number" }], items: false }, [[1], []], [["1"], [1, 2]]],
  [{ items: [{ type: "number" }], additionalItems: false }, [[1]], [[1, 2]]],
  [{ anyOf: [{ type: "number" }, { maxLength: 1 }] }, [5, "a"], ["ab"]],
  [{ oneOf: [{ type: "number" }, { minimum: 3 }] }, [1, "a"], [4]],
  [{ allOf: [{ minimum: 1 }, { maximum: 3 }] }, [2], [0, 4]],
  [{ not: { type: "null" } }, [1], [null]],
  [
    {
      $defs: { tree: { properties: { of: { $ref: "#/$defs/tree" }, n: { type: "number" } } } },
      $ref: "#/$defs/tree",
    },
    [{ of: { of: { n: 1 } } }],
    [{ of: { of: { n: "1" } } }],
  ],
  // Unchecked, because a client chose the pattern.
  [{ pattern: "^(a+)+$", format: "date" }, [`${"a".repeat(50)}!`], []],
];

function many(schema: unknown): unknown[] {
  return Array.from({ length: 500 }, () => schema);
}

describe("an answer's JSON", () => {
  for (const [schema, good, bad] of ROWS) {
    it(`is held against ${JSON.stringify(schema)}`, () => {
      for (const value of good) assert.equal(problemOf(value, schema), undefined);
      for (const value of bad) assert.equal(typeof problemOf(value, schema), "string");
    });
  }

  it("has its problem named with its place", () => {
    const schema = { properties: { "a/b": { items: { type: "number" } } } };
    const problem = problemOf({ "a/b": [1, "x"] }, schema);
    assert.equal(problem, "/a~1b/1 is of the type string, not number");
  });

  const steps = Array.from({ length: 30 }, (_, index) => [
    `d${index}`,
    { anyOf: [{ $ref: `#/$defs/d${index + 1}` }, { $ref: `#/$defs/d${index + 1}` }] },
  ]);
  const doubling = {
    $ref: "#/$defs/d0",
    $defs: { ...Object.fromEntries(steps), d30: { type: "null" } },
  };
  const long = "x".repeat(500_000);
  for (const [name, value, schema] of [
    ["references that double", 1, doubling],
    ["a reference to itself", 1, { $ref: "#" }],
    ["itself in a choice", 1, { anyOf: [{ $ref: "#" }, { $ref: "#" }] }],
    ["many comparisons of a long text", long, { allOf: many({ enum: [`${long}y`] }) }],
    ["many lengths of a long text", long, { allOf: many({ minLength: 1 }) }],
  ] as const) {
    it(`is given up early with ${name}`, () => {
      assert.match(problemOf(value, schema) ?? "", /takes too long|is none of/);
    });
  }
});
