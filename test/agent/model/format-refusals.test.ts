import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createFormatRefusals, withFields } from "../../../src/agent/model/http/format-refusals.ts";
import { questionOf } from "../../support/agent-config.ts";

const tool = { name: "device", description: "measures", parameters: { type: "object" } };
const format = { type: "json_schema", schema: { type: "object" } } as const;
const call = { ...questionOf(), tools: [tool], format };
const repeated = { ...call, isFormatRepeated: true } as const;

describe("the format of a call", () => {
  it("is left to words, with all tools, where an API has no field for it", () => {
    const formats = createFormatRefusals({ isKnown: false, withTools: false });
    for (const asked of [call, repeated]) {
      const { format: _, ...words } = asked;
      assert.deepEqual(formats.apply(asked), words);
    }
  });

  it("takes the place of tools in the second try, where a server has not both", () => {
    const formats = createFormatRefusals({ isKnown: true, withTools: false });
    assert.equal(formats.apply(call).format, undefined);
    assert.deepEqual(formats.apply(repeated), { ...repeated, tools: [] });
  });

  it("is with tools in both where a server has both", () => {
    const formats = createFormatRefusals({ isKnown: true, withTools: true });
    for (const asked of [call, repeated]) assert.equal(formats.apply(asked), asked);
  });

  it("changes no field of the configuration", () => {
    const body = { model: "m", text: { verbosity: "low", format: "mine" }, response_format: 1 };
    const fields = { text: { format: "ours", more: 1 }, response_format: { type: "ours" } };
    assert.deepEqual(withFields(body, fields), {
      ...body,
      text: { verbosity: "low", format: "mine", more: 1 },
    });
    assert.deepEqual(withFields({ model: "m" }, fields), { model: "m", ...fields });
  });
});
