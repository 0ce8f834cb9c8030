import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import * as v from "valibot";
import { defineTool, coerceArguments } from "../../../src/agent/tools/define.ts";
import { runTool } from "../../../src/agent/tools/run.ts";
import { callContext } from "../../support/agent-config.ts";

const input = v.object({
  query: v.string(),
  count: v.optional(v.pipe(v.number(), v.integer(), v.maxValue(10))),
  deep: v.nullish(v.boolean()),
  range: v.optional(v.picklist(["d", "w"])),
  facts: v.optional(v.pipe(v.array(v.picklist(["cpu", "disk"])), v.minLength(1))),
  days: v.optional(v.array(v.string())),
  past: v.optional(v.object({ hours: v.number() })),
});

const echo = defineTool({
  name: "echo",
  description: "",
  input,
  run: async (said) => JSON.stringify(said),
});

const answer = async (said: unknown): Promise<unknown> => {
  const call = { id: "1", name: "echo", arguments: JSON.stringify(said) };
  const text = await runTool(call, { tools: [echo], ...callContext() });
  return text.startsWith("error: ") ? text : JSON.parse(text);
};

describe("arguments of a weak model", () => {
  it("are taken as they are meant", async () => {
    const rows: [unknown, unknown][] = [
      [
        { query: "x", count: "5" },
        { query: "x", count: 5 },
      ],
      [
        { query: "x", count: " 7.0 " },
        { query: "x", count: 7 },
      ],
      [
        { query: 42, deep: "True" },
        { query: "42", deep: true },
      ],
      [
        { query: false, deep: "false" },
        { query: "false", deep: false },
      ],
      [{ query: "", range: "", count: "", deep: "" }, { query: "" }],
      [{ query: "x", range: null, count: null, facts: null, past: null }, { query: "x" }],
      [
        { query: "x", range: " W" },
        { query: "x", range: "w" },
      ],
      [
        { query: "x", facts: "cpu" },
        { query: "x", facts: ["cpu"] },
      ],
      [
        { query: "x", facts: "CPU, disk" },
        { query: "x", facts: ["cpu", "disk"] },
      ],
      [
        { query: "x", facts: '["disk"]' },
        { query: "x", facts: ["disk"] },
      ],
      [
        { query: "x", days: "a, b" },
        { query: "x", days: ["a, b"] },
      ],
      [
        { query: "x", past: '{"hours": "3"}' },
        { query: "x", past: { hours: 3 } },
      ],
      [{ query: "x", reason: "because", session: { id: 1 } }, { query: "x" }],
      [JSON.stringify({ query: "x" }), { query: "x" }],
    ];
    for (const [said, expected] of rows) assert.deepEqual(await answer(said), expected);
  });

  it("are refused where nobody knows what they mean", async () => {
    const rows: [unknown, RegExp][] = [
      [null, /query: /],
      ["query", /wrong arguments/],
      [[{ query: "x" }], /wrong arguments/],
      [{ query: null }, /query: /],
      [{ query: { words: "x" } }, /query: /],
      [{ query: "x", count: "five" }, /count: /],
      [{ query: "x", count: "0x5" }, /count: /],
      [{ query: "x", count: "11" }, /count: .*10/],
      [{ query: "x", count: [5] }, /count: /],
      [{ query: "x", deep: "maybe" }, /deep: /],
      [{ query: "x", range: "decade" }, /range: /],
      [{ query: "x", facts: [] }, /facts: /],
      [{ query: "x", facts: 7 }, /facts\.0: /],
      [{ query: "x", past: "{hours: 3}" }, /past: /],
    ];
    for (const [said, reason] of rows) {
      const text = await answer(said);
      assert.ok(typeof text === "string", JSON.stringify(said));
      assert.match(text, reason);
    }
  });

  it("stay what they are where they are right", () => {
    const right = fc.record(
      {
        query: fc.string(),
        count: fc.integer({ max: 10 }),
        deep: fc.boolean(),
        range: fc.constantFrom("d", "w"),
        facts: fc.array(fc.constantFrom("cpu", "disk"), { minLength: 1 }),
        days: fc.array(fc.string()),
        past: fc.record({ hours: fc.double({ noNaN: true }) }, { noNullPrototype: true }),
      },
      { requiredKeys: ["query"], noNullPrototype: true },
    );
    fc.assert(fc.property(right, (said) => assert.deepEqual(coerceArguments(input, said), said)));
  });

  it("never throw, whatever they are", () => {
    fc.assert(fc.property(fc.jsonValue(), (said) => void coerceArguments(input, said)));
  });
});
