import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Fetch, PromptMessage } from "../../../src/agent/model/contract.ts";
import { ModelError } from "../../../src/agent/model/errors.ts";
import { unwrapReasoning } from "../../../src/agent/model/http/reasoning-envelope.ts";
import { createResponseAnswer } from "../../../src/agent/model/protocols/responses.ts";
import { fromJson, listAt, textAt } from "../../../src/base/unknown.ts";
import { collect, questionOf } from "../../support/agent-config.ts";
import { openModel } from "../../support/model.ts";
import { RESPONSES } from "../../support/responses-server.ts";

type Json = Readonly<Record<string, unknown>>;

function heard(...events: readonly Json[]) {
  const answer = createResponseAnswer("me");
  const said = events.map((event) => answer.take(event));
  return { said: said.join(""), ended: answer.ended, reply: answer.reply() };
}

function faultIn(...events: readonly Json[]): ModelError {
  try {
    heard(...events);
  } catch (thrown) {
    assert.ok(thrown instanceof ModelError);
    return thrown;
  }
  return assert.fail("no fault");
}

const added = (output_index: number, item: Json) => ({
  type: "response.output_item.added",
  output_index,
  item,
});
const done = (output_index: number, item: Json) => ({
  type: "response.output_item.done",
  output_index,
  item,
});
const delta = (what: string, output_index: number, words: string) => ({
  type: `response.${what}.delta`,
  output_index,
  delta: words,
});
const ended = (status: string, response: Json = {}) => ({
  type: `response.${status}`,
  response: { object: "response", status, error: null, incomplete_details: null, ...response },
});
const message = (id: string, text: string, rest: Json = {}) => ({
  type: "message",
  id,
  role: "assistant",
  status: "completed",
  content: [{ type: "output_text", text, annotations: [], logprobs: [] }],
  ...rest,
});
const call = (id: string, words: string) => ({
  type: "function_call",
  id: `fc_${id}`,
  call_id: id,
  name: "device",
  arguments: words,
  status: "completed",
});
const reasoning = (encrypted_content: string | null) => ({
  type: "reasoning",
  id: "rs_1",
  summary: [],
  content: [],
  status: null,
  encrypted_content,
});

describe("a response of OpenAI", () => {
  it("keeps all that came with the reasoning before a call, in its order", () => {
    const {
      said,
      ended: isEnded,
      reply,
    } = heard(
      added(0, reasoning("beg")),
      delta("reasoning_summary_text", 0, "hm"),
      done(0, reasoning("whole")),
      added(1, message("msg_1", "", { content: [], phase: "commentary" })),
      delta("output_text", 1, "I "),
      delta("output_text", 1, "look."),
      done(1, message("msg_1", "I look.", { phase: "commentary" })),
      added(2, call("call_1", "")),
      delta("function_call_arguments", 2, '{"facts"'),
      delta("function_call_arguments", 2, ":[]}"),
      done(2, call("call_1", '{"facts":[]}')),
      ended("completed", { output: [message("msg_1", "I look.")] }),
    );
    assert.deepEqual([said, reply.text, isEnded], ["I look.", "I look.", true]);
    assert.deepEqual(reply.toolCalls, [
      { id: "call_1", name: "device", arguments: '{"facts":[]}' },
    ]);
    assert.deepEqual(unwrapReasoning("me", reply.reasoning), [
      { type: "reasoning", id: "rs_1", summary: [], encrypted_content: "whole" },
      {
        type: "message",
        id: "msg_1",
        role: "assistant",
        status: "completed",
        content: [{ type: "output_text", text: "I look.", annotations: [] }],
        phase: "commentary",
      },
      {
        id: "fc_call_1",
        type: "function_call",
        call_id: "call_1",
        name: "device",
        arguments: '{"facts":[]}',
      },
    ]);
  });

  it("keeps nothing of reasoning that is not encrypted, or that no call follows", () => {
    const open = heard(done(0, reasoning(null)), done(1, call("c", "{}")), ended("completed"));
    assert.equal(open.reply.reasoning, undefined);
    const last = heard(done(0, reasoning("x")), done(1, message("m", "a")), ended("completed"));
    assert.equal(last.reply.reasoning, undefined);
  });

  it("is read from whole items, or from its end alone, too", () => {
    const output = [message("m", "I look."), call("c", "{}")];
    const calls = [{ id: "c", name: "device", arguments: "{}" }];
    for (const events of [
      [...output.map((item, index) => done(index, item)), ended("completed", { output })],
      [ended("completed", { output })],
      [{ object: "response", status: "completed", error: null, output }],
    ]) {
      const { said, reply } = heard(...events);
      assert.deepEqual([said, reply.text, reply.toolCalls], ["I look.", "I look.", calls]);
    }
  });

  it("is read if ids change with each event, and an item has no beginning", () => {
    const { said } = heard(
      { ...delta("output_text", 0, "a"), item_id: "x" },
      { ...delta("output_text", 0, "b"), item_id: "y" },
      ended("completed"),
    );
    assert.equal(said, "ab");
  });

  it("is read if all items have one index, or none", () => {
    for (const index of [0, undefined]) {
      const at = { output_index: index };
      const { said, reply } = heard(
        { ...added(0, message("m", "", { content: [] })), ...at },
        { ...delta("output_text", 0, "I look."), item_id: "m", ...at },
        { ...added(0, call("c", "")), ...at },
        { ...added(0, call("d", "")), ...at },
        { ...delta("function_call_arguments", 0, '{"facts":'), item_id: "fc_c", ...at },
        { ...delta("function_call_arguments", 0, "{"), item_id: "fc_d", ...at },
        { ...delta("function_call_arguments", 0, "[]}"), item_id: "fc_c", ...at },
        { ...delta("function_call_arguments", 0, "}"), item_id: "fc_d", ...at },
        { ...done(0, message("m", "I look.")), ...at },
        { ...done(0, call("c", '{"facts":[]}')), ...at },
        { ...done(0, call("d", "{}")), ...at },
        ended("completed"),
      );
      assert.equal(said, "I look.");
      assert.deepEqual(
        reply.toolCalls.map(({ id, arguments: words }) => [id, words]),
        [
          ["c", '{"facts":[]}'],
          ["d", "{}"],
        ],
      );
    }
  });

  it("whose items only began has their content from its end", () => {
    const long = reasoning("x".repeat(600_000));
    const output = [long, message("m", "I look."), call("c", "{}")];
    const { said, reply } = heard(
      added(0, reasoning("")),
      done(0, long),
      added(1, message("m", "", { content: [] })),
      added(2, call("c", "")),
      ended("completed", { output }),
    );
    assert.equal(said, "I look.");
    assert.deepEqual(reply.toolCalls, [{ id: "c", name: "device", arguments: "{}" }]);
  });

  it("with a comment and an answer has a blank line between them", () => {
    const { said, reply } = heard(
      delta("output_text", 0, "I look."),
      delta("output_text", 1, "61 "),
      delta("output_text", 1, "°C"),
      ended("completed"),
    );
    assert.deepEqual([said, reply.text], ["I look.\n\n61 °C", "I look.\n\n61 °C"]);
  });

  it("in which the model refuses says what the model says", () => {
    const refusal = { content: [{ type: "refusal", refusal: "I cannot." }] };
    assert.equal(heard(delta("refusal", 0, "I cannot."), ended("completed")).said, "I cannot.");
    assert.equal(heard(done(0, message("m", "", refusal)), ended("completed")).said, "I cannot.");
  });

  it("passes over items and events that are not known", () => {
    const { said, reply } = heard(
      added(0, { type: "web_search_call", id: "ws_1" }),
      { type: "response.web_search_call.searching", output_index: 0 },
      delta("function_call_arguments", 0, "{}"),
      { type: "response.something.new" },
      delta("output_text", 1, "a"),
      ended("completed"),
    );
    assert.deepEqual([said, reply.toolCalls], ["a", []]);
  });

  it("counts the tokens of its end", () => {
    const usage = { input_tokens: 45, output_tokens: 25, total_tokens: 70 };
    const { inputTokens, outputTokens } = heard(ended("completed", { usage })).reply.usage ?? {};
    assert.deepEqual([inputTokens, outputTokens], [45, 25]);
    assert.equal(heard(ended("completed")).reply.usage, undefined);
  });

  it("tells what the cache served", () => {
    const usage = {
      input_tokens: 2006,
      input_tokens_details: { cached_tokens: 1920 },
      output_tokens: 300,
      output_tokens_details: { reasoning_tokens: 128 },
      total_tokens: 2306,
    };
    const { reply } = heard(ended("completed", { usage }));
    const expected = { inputTokens: 2006, outputTokens: 300, cachedTokens: 1920 };
    assert.deepEqual(reply.usage, expected);
  });

  it("without end is bounded", () => {
    const big = reasoning("x".repeat(300_000));
    assert.equal(faultIn(...[0, 1, 2, 3].map((at) => done(at, big))).kind, "oversized");
    const many = Array.from({ length: 1025 }, (_, index) => added(index, message("m", "")));
    assert.equal(faultIn(...many).kind, "oversized");
  });

  for (const [name, event, kind, status] of [
    [
      "response.failed",
      ended("failed", {
        error: {
          code: "rate_limit_exceeded",
          message:
            "Request too large for gpt-4o-mini in organization on tokens per min (TPM): Limit 30000, Requested 35364.",
        },
      }),
      "refused",
      429,
    ],
    ["response.failed without an error", ended("failed"), "refused", 500],
    [
      "an empty account",
      {
        type: "error",
        error: {
          type: "insufficient_quota",
          code: "insufficient_quota",
          message: "You exceeded your current quota, please check your plan and billing details.",
          param: null,
        },
      },
      "refused",
      402,
    ],
    [
      "an error without a code",
      {
        type: "error",
        error: { type: "server_error", code: null, message: "Sorry, something went wrong." },
      },
      "refused",
      500,
    ],
    [
      "an error as it is documented",
      {
        type: "error",
        code: "context_length_exceeded",
        message:
          "Your input exceeds the context window of this model. Please adjust your input and try again.",
        param: "input",
      },
      "overflow",
      400,
    ],
    [
      "a flagged prompt",
      ended("failed", { error: { code: "invalid_prompt", message: "Invalid prompt." } }),
      "refused",
      400,
    ],
    [
      "a filter",
      ended("incomplete", { incomplete_details: { reason: "content_filter" } }),
      "withheld",
      undefined,
    ],
  ] as const) {
    it(`that ends with ${name} is ${kind} ${status ?? ""}`, () => {
      const fault = faultIn(delta("output_text", 0, "a"), event);
      assert.deepEqual([fault.kind, fault.status], [kind, status]);
    });
  }
});

/** The types and ids of the items in a body. */
function itemsIn(body: unknown): string[] {
  const json = fromJson(typeof body === "string" ? body : "{}");
  return listAt(json, "input").map(
    (item) => `${textAt(item, "type") || textAt(item, "role")} ${textAt(item, "id")}`,
  );
}

/** Two rounds of one turn, the second one by the entry of that name and after these refusals; returns its items. */
async function inputsOf(name: string, ...refusals: readonly Json[]): Promise<string[][]> {
  const toolCalls = [{ id: "call_a", name: "device", arguments: "{}" }];
  const answers = [
    new Response(RESPONSES.events({ thought: "hm", toolCalls }).join("")),
    ...refusals.map((error) => Response.json({ error }, { status: 400 })),
    new Response(RESPONSES.events({ text: "done" }).join("")),
  ];
  const inputs: string[][] = [];
  const local: Fetch = async (_, { body }) => {
    inputs.push(itemsIn(body));
    return answers.shift() ?? assert.fail("one request too many");
  };
  const open = (model_name: string) =>
    openModel({
      entry: { ...RESPONSES.entry, model_name },
      defaults: { max_llm_retries: 0 },
      fetch: local,
    });
  const model = open("one");
  const { result } = await collect(model(questionOf()));
  assert.ok(result.reasoning);
  const messages: PromptMessage[] = [
    { role: "user", text: "hello" },
    { role: "assistant", text: "", toolCalls: result.toolCalls, reasoning: result.reasoning },
    { role: "tool", callId: "call_a", name: "device", text: "61 °C" },
  ];
  await collect((name === "one" ? model : open(name))({ ...questionOf(), messages }));
  return inputs.slice(1);
}

describe("the reasoning of a response", () => {
  const PLAIN = ["user ", "function_call ", "function_call_output "];

  it("goes back to its own entry alone", async () => {
    assert.deepEqual(await inputsOf("one"), [
      ["user ", "reasoning rs_1", "function_call fc_0", "function_call_output "],
    ]);
    assert.deepEqual(await inputsOf("another"), [PLAIN]);
  });

  for (const refusal of [
    {
      message:
        "The encrypted content for item rs_1 could not be verified. Reason: Encrypted content could not be decrypted or parsed.",
      code: "invalid_encrypted_content",
    },
    {
      message:
        "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this item from your input.",
      param: "input",
    },
  ]) {
    it(`is left out if the server cannot read it: ${refusal.message}`, async () => {
      const [first, ...others] = await inputsOf("one", refusal);
      assert.equal(first?.[1], "reasoning rs_1");
      assert.deepEqual(others, [PLAIN]);
    });
  }
});
