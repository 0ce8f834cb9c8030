import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { PromptMessage } from "../../../src/agent/model/contract.ts";
import {
  normalizeHistory,
  wellFormedJson,
} from "../../../src/agent/model/http/normalize-history.ts";
import { wrapReasoning } from "../../../src/agent/model/http/reasoning-envelope.ts";
import { at, listAt, textAt } from "../../../src/base/unknown.ts";
import { sentBy } from "../../support/model.ts";

/** What one entry sends of a conversation, as text. */
async function sent(model: string, messages: readonly PromptMessage[]): Promise<string> {
  return (await sentBy({ entry: { model } }, { system: "", messages })).body;
}

const round = (id: string, name = "device", words = "{}"): PromptMessage[] => [
  { role: "user", text: "?" },
  { role: "assistant", text: "", toolCalls: [{ id, name, arguments: words }] },
  { role: "tool", callId: id, name, text: `of ${words}` },
  { role: "assistant", text: "Done." },
];
const callA = (words: string) => ({ id: "a", name: "device", arguments: words });
const resultA = (text: string): PromptMessage => ({
  role: "tool",
  callId: "a",
  name: "device",
  text,
});
const VLLM_ID = `chatcmpl-tool-${"0".repeat(32)}`;

/** What several models said before: two that number their calls anew each time, and vLLM. */
const MIXED: readonly PromptMessage[] = [
  ...round("call_0", "device", '{"a":1}'),
  ...round("call_0", "device", '{"a":2}'),
  ...round(VLLM_ID),
  { role: "user", text: "And now?" },
];

/** The ids of the calls and those of the results, in the order of a request. */
function idsIn(body: unknown): { calls: string[]; results: string[] } {
  const messages = listAt(body, "messages");
  const blocks = messages.flatMap((message) => listAt(message, "content"));
  const of = (type: string) => blocks.filter((block) => textAt(block, "type") === type);
  const calls = messages.flatMap((message) => listAt(message, "tool_calls"));
  const results = messages.filter((message) => textAt(message, "role") === "tool");
  return {
    calls: [...calls, ...of("tool_use")].map((call) => textAt(call, "id")),
    results: [
      ...results.map((result) => textAt(result, "tool_call_id")),
      ...of("tool_result").map((result) => textAt(result, "tool_use_id")),
    ],
  };
}

describe("a conversation that several models had", () => {
  const rules: [string, RegExp][] = [
    ["openai/gpt", /^\S{1,40}$/],
    ["mistral/small", /^[a-zA-Z0-9]{9}$/],
    ["anthropic-messages/claude", /^[\w-]{1,64}$/],
  ];
  for (const [model, rule] of rules) {
    it(`gives each call an id of its own that ${model} takes, the same each time`, async () => {
      const body = await sent(model, MIXED);
      const { calls, results } = idsIn(JSON.parse(body));
      assert.equal(new Set(calls).size, 3);
      for (const id of calls) assert.match(id, rule);
      assert.deepEqual(results, calls);
      const later = await sent(model, [...MIXED, ...round("call_0")]);
      assert.deepEqual(idsIn(JSON.parse(later)).calls.slice(0, 3), calls);
    });
  }

  it("keeps two calls of one id in one answer apart", () => {
    const toolCalls = [callA("1"), callA("2")];
    const shown = normalizeHistory(
      [{ role: "assistant", text: "", toolCalls }, resultA("one"), resultA("two")],
      { ids: /./ },
    );
    const ids = listAt(shown[0], "toolCalls").map((each) => textAt(each, "id"));
    assert.equal(new Set(ids).size, 2);
    assert.deepEqual(
      shown.slice(1).map((each) => textAt(each, "callId")),
      ids,
    );
  });

  it("leaves the ids of an answer that goes back as it came", async () => {
    const model = "anthropic-messages/claude";
    const by = "anthropic-messages/https://api.anthropic.com/v1/claude";
    const kept = [{ type: "tool_use", id: "call_0", name: "device", input: {} }];
    const toolCalls = [{ id: "call_0", name: "device", arguments: "{}" }];
    const body = await sent(model, [
      ...round("call_0"),
      { role: "user", text: "?" },
      { role: "assistant", text: "", toolCalls, reasoning: wrapReasoning(by, kept) },
      { role: "tool", callId: "call_0", name: "device", text: "ok" },
    ]);
    const { calls, results } = idsIn(JSON.parse(body));
    assert.equal(calls[1], "call_0");
    assert.notEqual(calls[0], "call_0");
    assert.deepEqual(results, calls);
  });

  it("does not end because of the name that a model gave a tool", async () => {
    const messages = round("1", "functions.device {read}");
    for (const model of ["openai/gpt", "anthropic-messages/claude", "gemini/flash"]) {
      const names = [...(await sent(model, messages)).matchAll(/"name":"([^"]*)"/g)];
      assert.ok(names.length > 0);
      for (const [, name] of names) assert.equal(name, "functions_device__read_");
    }
  });

  it("has no words of nothing but blanks where those are refused", async () => {
    const messages: PromptMessage[] = [{ role: "user", text: "" }];
    const claude: unknown = JSON.parse(await sent("anthropic-messages/claude", messages));
    const gemini: unknown = JSON.parse(await sent("gemini/flash", messages));
    const [block] = listAt(listAt(claude, "messages")[0], "content");
    const [part] = listAt(listAt(gemini, "contents")[0], "parts");
    for (const said of [block, part]) assert.notEqual(textAt(said, "text").trim(), "");
  });

  it("has no call behind another answer where that is refused", async () => {
    const messages: PromptMessage[] = [
      { role: "user", text: "?" },
      { role: "assistant", text: "I look." },
      ...round("1").slice(1),
    ];
    const body: unknown = JSON.parse(await sent("gemini/flash", messages));
    const roles = listAt(body, "contents").map((content) => textAt(content, "role"));
    assert.deepEqual(roles, ["user", "model", "user", "model"]);
    assert.equal(at(listAt(listAt(body, "contents")[1], "parts")[0], "text"), "I look.");
  });
});

describe("half a character in a conversation", () => {
  it("is sent as a sign for it, in texts and in arguments", async () => {
    const messages = round("1", "device", '{"a":"\\ud83d!"}').concat({
      role: "user",
      text: "\ud83d\ude00 \udc00 and \ud83d",
    });
    for (const model of ["openai/gpt", "anthropic-messages/claude", "gemini/flash"]) {
      const body = await sent(model, messages);
      assert.ok(body.includes("\ud83d\ude00 \ufffd and \ufffd"), body);
      if (model !== "openai/gpt") assert.ok(body.includes('{"a":"\ufffd!"}'), body);
    }
  });

  it("is not taken for one where somebody writes about it", () => {
    const words = { text: '\\ud83d \\\\ud83d "\\ud83d', half: "\\\ud83d\ud83d" };
    const read: unknown = JSON.parse(wellFormedJson(words));
    assert.deepEqual(read, { text: words.text, half: "\\\ufffd\ufffd" });
  });
});
