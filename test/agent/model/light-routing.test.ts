import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { Message } from "../../../src/agent/contract.ts";
import { modelErrorOf } from "../../../src/agent/model/errors.ts";
import { isLight } from "../../../src/agent/model/router.ts";
import type { AgentDefaults } from "../../../src/config/contract.ts";
import { collect, modelEntry, modelFailureOf, questionOf } from "../../support/agent-config.ts";
import { answers, refuses, startModelServer } from "../../support/model-server.ts";
import type { ModelServer } from "../../support/model-server.ts";
import { openTestModels } from "../../support/model.ts";

const call = { id: "1", name: "device", arguments: "{}" };
const calling = (count: number): Message => ({
  role: "assistant",
  text: "",
  toolCalls: Array.from({ length: count }, () => call),
});
const said = (count: number): Message[] =>
  Array.from({ length: count }, (): Message => ({ role: "user", text: "so" }));

describe("the score of a question", () => {
  const rows: [string, Partial<Parameters<typeof isLight>[0]>, number][] = [
    ["a few words", {}, 0],
    ["50 tokens", { text: "a".repeat(127) }, 0],
    ["51 tokens", { text: "a".repeat(128) }, 0.15],
    ["200 tokens", { text: "a".repeat(502) }, 0.15],
    ["201 tokens", { text: "a".repeat(503) }, 0.35],
    ["127 characters of two units each", { text: "👍".repeat(127) }, 0],
    ["a code block", { text: "```\nx\n```" }, 0.4],
    ["one tool call", { history: [calling(1)] }, 0.1],
    ["three tool calls", { history: [calling(2), calling(1)] }, 0.1],
    ["four tool calls", { history: [calling(3), calling(1)] }, 0.25],
    ["tool calls of long ago", { history: [calling(4), ...said(6)] }, 0],
    ["ten messages", { history: said(10) }, 0],
    ["eleven messages", { history: said(11) }, 0.1],
    ["an image", { text: "see data:image/png;base64,AAAA" }, 1],
    ["an image beside it", { text: "see", images: [{ mediaType: "image/png", data: "AA==" }] }, 1],
    ["an attachment", { text: "see data:application/pdf;base64,AAAA" }, 1],
    ["talk of data: that is none", { text: "the data: image/png, 3 of it" }, 0],
    [
      "51 tokens, one call and eleven messages",
      { text: "a".repeat(128), history: [...said(10), calling(1)] },
      0.35,
    ],
    ["all of it", { text: `\`\`\`${"a".repeat(600)}`, history: [...said(10), calling(9)] }, 1],
  ];
  for (const [name, question, score] of rows) {
    it(`of ${name} is ${score}`, () => {
      const asked = { text: "how warm is it?", history: [], ...question };
      assert.equal(isLight(asked, score), false);
      assert.equal(isLight(asked, score + 0.001), true);
    });
  }
});

let light: ModelServer;
let main: ModelServer;
beforeEach(async () => {
  [light, main] = await Promise.all([startModelServer(), startModelServer()]);
  light.otherwise(answers("light"));
  main.otherwise(answers("main"));
});
afterEach(() => Promise.all([light.close(), main.close()]));

function setUp(
  routing: { enabled?: boolean; light_model?: string } = {},
  others: Partial<AgentDefaults> = {},
) {
  const entries = [
    modelEntry({ model_name: "main", api_base: main.base }),
    modelEntry({ model_name: "light", api_base: light.base }),
  ];
  const defaults = { enabled: true, light_model: "light", threshold: 0.35, ...routing };
  const { models, log } = openTestModels(entries, { routing: defaults, ...others });
  const ask = async (text: string): Promise<string> =>
    (await collect(models.forTurn({ history: [], text })(questionOf()))).text;
  return { ask, models, log };
}

const HEAVY = "explain\n```\nx\n```";

describe("a light question", () => {
  it("goes to the light model, any other to the main one", async () => {
    const { ask } = setUp();
    assert.equal(await ask("how warm is it?"), "light");
    assert.equal(await ask(HEAVY), "main");
  });

  it("goes to the main model where the light one fails", async () => {
    light.otherwise(refuses(503));
    const { ask } = setUp();
    assert.equal(await ask("how warm is it?"), "main");
    assert.equal(await ask("how warm is it?"), "main");
    assert.equal(light.requests.length, 1);
  });

  it("goes to the main model where it is too long for the light one, and only there", async () => {
    const overflow = refuses(400, { error: { message: "", code: "context_length_exceeded" } });
    light.otherwise(overflow);
    const { ask } = setUp();
    assert.equal(await ask("how warm is it?"), "main");
    main.otherwise(overflow);
    const failure = await modelFailureOf(ask("how warm is it?"));
    assert.equal(modelErrorOf(failure)?.kind, "overflow");
    assert.match(failure.why ?? "", /^model_list "main"/);
  });

  it("that is too long for the light model is told at once where that one is the main one", async () => {
    light.otherwise(refuses(400, { error: { message: "", code: "context_length_exceeded" } }));
    const { ask, models } = setUp({}, { model_fallbacks: ["main"] });
    models.switchTo("light");
    assert.equal(modelErrorOf(await modelFailureOf(ask("how warm is it?")))?.kind, "overflow");
    assert.equal(main.requests.length, 0);
  });

  it("goes to the main model where it comes from no turn", async () => {
    const { models } = setUp();
    assert.equal((await collect(models.main(questionOf()))).text, "main");
  });

  it("goes to the main model where routing is off", async () => {
    assert.equal(await setUp({ enabled: false }).ask("how warm is it?"), "main");
  });

  for (const [light_model, why] of [
    ["", "light_model is empty"],
    ["lite", "it is not in model_list"],
  ]) {
    it(`goes to the main model where light_model is "${light_model}", with a warning`, async () => {
      const { ask, log } = setUp({ light_model: light_model ?? "" });
      assert.equal(await ask("how warm is it?"), "main");
      const warnings = log.lines.filter(({ level }) => level === "warn");
      assert.deepEqual(
        warnings.map(({ fields }) => fields["why"]),
        [why],
      );
    });
  }
});
