import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import * as v from "valibot";
import { FULL_ACCESS } from "../../../src/agent/access/permissions.ts";
import { FACT_NAMES, FACTS } from "../../../src/agent/device/facts.ts";
import type { Tool } from "../../../src/agent/tools/contract.ts";
import { defineTool, jsonSchemaOf } from "../../../src/agent/tools/define.ts";
import { createDeviceTool } from "../../../src/agent/tools/device.ts";
import { runTool } from "../../../src/agent/tools/run.ts";
import { nearestWord, typingErrors } from "../../../src/base/spelling.ts";
import { callContext } from "../../support/agent-config.ts";
import { createDeviceTree } from "../../support/device-tree.ts";

describe("the schema of a tool", () => {
  it("is stated once and becomes JSON Schema", () => {
    const schema = v.object({
      path: v.pipe(v.string(), v.description("a file")),
      lines: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(9))),
      mode: v.picklist(["r", "w"]),
      deep: v.array(v.strictObject({ all: v.boolean() })),
    });
    assert.deepEqual(jsonSchemaOf(schema), {
      type: "object",
      properties: {
        path: { type: "string", description: "a file" },
        lines: { type: "integer", minimum: 1, maximum: 9 },
        mode: { type: "string", enum: ["r", "w"] },
        deep: {
          type: "array",
          items: {
            type: "object",
            properties: { all: { type: "boolean" } },
            required: ["all"],
            additionalProperties: false,
          },
        },
      },
      required: ["path", "mode", "deep"],
    });
  });

  it("describes what may be null as optional", () => {
    const tool = defineTool({
      name: "wait",
      description: "",
      input: v.object({ seconds: v.nullish(v.pipe(v.number(), v.description("how long"))) }),
      run: async ({ seconds }) => String(seconds ?? 1),
    });
    assert.deepEqual(tool.parameters, {
      type: "object",
      properties: { seconds: { type: "number", description: "how long" } },
    });
  });

  it("has the defaults as data, and numbers for a choice of numbers", () => {
    const tool = defineTool({
      name: "wait",
      description: "",
      input: v.object({ qos: v.optional(v.picklist([0, 1]), 1), deep: v.optional(v.boolean()) }),
      run: async ({ qos }) => String(qos),
    });
    assert.deepEqual(tool.parameters, {
      type: "object",
      properties: { qos: { type: "number", enum: [0, 1], default: 1 }, deep: { type: "boolean" } },
    });
  });

  it("of an unsupported kind is refused", () => {
    assert.throws(() => jsonSchemaOf(v.object({ when: v.date() })), /no JSON Schema for date/);
  });
});

describe("the device tool", () => {
  it("names every fact once, with words where the name is not enough, and refuses others", async () => {
    const tree = await createDeviceTree({ "proc/uptime": "60.0 1.0\n" });
    const tool = createDeviceTool(tree.device);
    const shown = JSON.stringify(tool.parameters);
    for (const name of FACT_NAMES) {
      assert.ok(shown.includes(`"${name}"`));
      const { about } = FACTS[name];
      if (about !== "") assert.ok(shown.includes(`${name}: ${about}`));
    }
    const call = callContext();
    assert.match(
      await tool.run({ facts: ["uptime", "uptime"] }, call),
      /^Uptime is 1 minute, .*\.$/,
    );
    assert.match(await tool.run({ facts: ["fuel"] }, call), /^error: wrong arguments: facts\.0: /);
    assert.match(await tool.run({ facts: [] }, call), /at least one/);
    assert.match(await tool.run("cpu", call), /^error: wrong arguments/);
    await tree.remove();
  });
});

describe("a call of a tool", () => {
  it("that is aborted has no result", async () => {
    const reason = new Error("stop");
    const controller = new AbortController();
    const tool: Tool = {
      name: "slow",
      description: "",
      parameters: {},
      run: async () => {
        controller.abort(reason);
        throw new Error("cannot go on");
      },
    };
    const call = { id: "1", name: "slow", arguments: "{}" };
    await assert.rejects(
      runTool(call, { tools: [tool], ...callContext(controller.signal) }),
      (thrown) => thrown === reason,
    );
  });

  it("that who asks may not use runs nothing, though it is there", async () => {
    let runs = 0;
    const tool: Tool = {
      name: "touch",
      description: "",
      parameters: {},
      run: async () => String((runs += 1)),
    };
    const call = { id: "1", name: "touch", arguments: "{}" };
    const facts = { tools: [tool], ...callContext() };
    const permissions = { ...FULL_ACCESS, allows: (name: string) => name !== "touch" };
    assert.match(
      await runTool(call, { ...facts, permissions }),
      /^error: this client may not use touch/,
    );
    assert.equal(runs, 0);
    assert.equal(await runTool(call, facts), "1");
  });
});

describe("typing errors", () => {
  it("are counted: letters left out, doubled, wrong, or swapped", () => {
    for (const written of ["memry", "memmory", "mexory", "memroy"]) {
      assert.equal(typingErrors(written, "memory", 2), 1);
    }
    assert.equal(nearestWord("opnai", ["openai", "ollama"]), "openai");
    assert.equal(nearestWord("something", ["openai", "ollama"]), undefined);
  });

  it("are the same in both directions, none for a word itself, and never more than the limit and one", () => {
    const word = fc.stringMatching(/^[abc]{0,7}$/);
    fc.assert(
      fc.property(word, word, fc.nat(4), (left, right, most) => {
        const errors = typingErrors(left, right, most);
        assert.equal(errors, typingErrors(right, left, most));
        assert.equal(errors === 0, left === right);
        assert.ok(errors <= most + 1);
      }),
    );
  });
});
