import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { PromptMessage } from "../../../src/agent/model/contract.ts";
import { at, listAt } from "../../../src/base/unknown.ts";
import { sentBy } from "../../support/model.ts";

const MARK = { cache_control: { type: "ephemeral" } };
const QUESTION: PromptMessage = { role: "user", text: "one", preface: "noon" };
const ROUND: readonly PromptMessage[] = [
  { role: "assistant", text: "", toolCalls: [{ id: "c", name: "device", arguments: "{}" }] },
  { role: "tool", callId: "c", name: "device", text: "hot" },
];

async function bodyOf(messages: readonly PromptMessage[], api_base = "") {
  const entry = { model: "anthropic-messages/c", api_base };
  const { body, url } = await sentBy({ entry }, { system: "You are.", messages });
  assert.match(url, /\/v1\/messages$/);
  const json: unknown = JSON.parse(body);
  const contents = listAt(json, "messages").map((message) => at(message, "content"));
  return { system: at(json, "system"), contents };
}

describe("a request to Anthropic's own host", () => {
  it("marks the system prompt and the last message, which the next request begins with", async () => {
    const asked = await bodyOf([QUESTION]);
    assert.deepEqual(asked.system, [{ type: "text", text: "You are.", ...MARK }]);
    const texts = [
      { type: "text", text: "noon" },
      { type: "text", text: "one" },
    ];
    assert.deepEqual(asked.contents.at(-1), [texts[0], { ...texts[1], ...MARK }]);

    const round = await bodyOf([QUESTION, ...ROUND]);
    assert.deepEqual(round.contents[0], texts);
    const result = { type: "tool_result", tool_use_id: "c", content: "hot" };
    assert.deepEqual(round.contents.at(-1), [{ ...result, ...MARK }]);
  });

  it("is the only one with marks", async () => {
    const { system, contents } = await bodyOf(
      [QUESTION],
      "https://api.anthropic.com.a.test/v1/messages",
    );
    assert.doesNotMatch(JSON.stringify([system, contents]), /cache_control/);
  });
});

async function keyOf(owner: string, api_base = ""): Promise<unknown> {
  const { body } = await sentBy({ entry: { model: "openai/gpt-x", api_base } }, { owner });
  return at(JSON.parse(body), "prompt_cache_key");
}

describe("a request to OpenAI's own host", () => {
  it("has a cache key for each owner, which does not tell who it is", async () => {
    const key = await keyOf("4:mqttkitchen");
    assert.match(String(key), /^[\da-f]{32}$/);
    assert.equal(await keyOf("4:mqttkitchen"), key);
    assert.notEqual(await keyOf("4:mqtthall"), key);
  });

  it("is the only one with a key", async () => {
    assert.equal(await keyOf("here:me", "http://localhost:8080/v1"), undefined);
    assert.equal(await keyOf("here:me", "https://openrouter.ai/api/v1"), undefined);
  });
});
