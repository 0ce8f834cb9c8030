import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { PromptMessage } from "../../../src/agent/model/contract.ts";
import { VERSION } from "../../../src/base/version.ts";
import type { AgentDefaults } from "../../../src/config/contract.ts";
import { collect, questionOf } from "../../support/agent-config.ts";
import { answers, refuses, startModelServer } from "../../support/model-server.ts";
import type { ModelServer, ReceivedRequest } from "../../support/model-server.ts";
import type { EntryChanges } from "../../support/model.ts";
import { openModel } from "../../support/model.ts";

describe("a request", () => {
  let server: ModelServer;
  beforeEach(async () => {
    server = await startModelServer();
    server.otherwise(answers("yes"));
  });
  afterEach(() => server.close());

  interface Asked {
    readonly entry?: EntryChanges;
    readonly defaults?: Partial<AgentDefaults>;
    readonly messages?: readonly PromptMessage[];
    readonly tools?: ReturnType<typeof questionOf>["tools"];
  }

  async function requestOf({ entry, defaults, ...question }: Asked): Promise<ReceivedRequest> {
    const model = openModel({ entry: { api_base: server.base, ...entry }, defaults });
    await collect(model({ ...questionOf(), ...question }));
    const request = server.requests.at(-1);
    assert.ok(request);
    return request;
  }

  it("goes to chat completions as a stream, with key, name and system prompt", async () => {
    const { method, path, headers, body } = await requestOf({ defaults: { temperature: 0.5 } });
    assert.deepEqual([method, path], ["POST", "/v1/chat/completions"]);
    assert.equal(headers.authorization, "Bearer sk-test-key-0123456789");
    assert.equal(headers["content-type"], "application/json");
    assert.equal(headers["user-agent"], `PicoClaw/${VERSION}`);
    assert.deepEqual(body, {
      model: "gpt-test",
      messages: [
        { role: "system", content: "be short" },
        { role: "user", content: "hello" },
      ],
      stream: true,
      stream_options: { include_usage: true },
      max_tokens: 1000,
      temperature: 0.5,
    });
  });

  it("has no key where there is none, and keeps the query of the base", async () => {
    const entry = { api_keys: [], api_base: `${server.base}/?version=2` };
    const { path, headers } = await requestOf({ entry });
    assert.equal(headers.authorization, undefined);
    assert.equal(path, "/v1/chat/completions?version=2");
  });

  it("takes a base that names chat completions already", async () => {
    const entry = { api_base: `${server.base}/chat/completions` };
    assert.equal((await requestOf({ entry })).path, "/v1/chat/completions");
  });

  it("limits the tokens only where that is configured, whatever the model's name", async () => {
    for (const model of ["glm-5", "o3", "gpt-5.6", "llama3"]) {
      const { body } = await requestOf({ entry: { model }, defaults: { max_tokens: 7 } });
      assert.deepEqual([body["max_tokens"], body["max_completion_tokens"]], [7, undefined]);
      const unlimited = await requestOf({ entry: { model }, defaults: { max_tokens: 0 } });
      assert.doesNotMatch(JSON.stringify(unlimited.body), /max_/);
    }
  });

  it("limits the tokens by the configured field", async () => {
    const { body } = await requestOf({ entry: { max_tokens_field: "max_output" } });
    assert.deepEqual([body["max_output"], body["max_tokens"]], [1000, undefined]);
  });

  it("has the configured temperature alone, whatever the model's name", async () => {
    const entry = { model: "moonshot/kimi-k2.5" };
    assert.equal("temperature" in (await requestOf({ entry })).body, false);
    const { body } = await requestOf({ entry, defaults: { temperature: 0.2 } });
    assert.equal(body["temperature"], 0.2);
  });

  it("lets extra_body, custom_headers and user_agent win", async () => {
    const { body, headers } = await requestOf({
      entry: {
        extra_body: { max_tokens: 1, top_p: 0.1, stream_options: null },
        custom_headers: { Authorization: "Token x", "X-Team": "edge" },
        user_agent: "mine/1",
      },
    });
    assert.deepEqual([body["max_tokens"], body["top_p"], body["stream_options"]], [1, 0.1, null]);
    assert.deepEqual(
      [headers.authorization, headers["x-team"], headers["user-agent"]],
      ["Token x", "edge", "mine/1"],
    );
  });

  it("spares Mistral stream_options, which it refuses, and tells MiniMax to split its reasoning", async () => {
    const mistral = await requestOf({ entry: { model: "mistral/large" } });
    assert.equal(mistral.body["stream_options"], undefined);
    const minimax = await requestOf({ entry: { model: "minimax/m2" } });
    assert.equal(minimax.body["reasoning_split"], true);
  });

  it("lists the tools", async () => {
    const tools = [{ name: "device", description: "facts", parameters: { type: "object" } }];
    const { body } = await requestOf({ tools });
    assert.deepEqual(body.tools, [{ type: "function", function: tools[0] }]);
    assert.equal(body["tool_choice"], "auto");
  });

  const messages: PromptMessage[] = [
    { role: "user", text: " two\nlines " },
    {
      role: "assistant",
      text: "",
      reasoning: "hm",
      toolCalls: [
        { id: "a", name: "device", arguments: '{"facts":["cpu"]}' },
        { id: "b", name: "device", arguments: '{"fac' },
      ],
    },
    { role: "tool", callId: "a", name: "device", text: "12 %" },
    { role: "tool", callId: "b", name: "device", text: "error" },
    { role: "assistant", text: "12 %" },
  ];

  it("tells the conversation unchanged, but for arguments that would be no JSON", async () => {
    const { body } = await requestOf({ messages });
    assert.deepEqual(body.messages.slice(1), [
      { role: "user", content: " two\nlines " },
      {
        role: "assistant",
        content: null,
        tool_calls: [
          {
            id: "a",
            type: "function",
            function: { name: "device", arguments: '{"facts":["cpu"]}' },
          },
          { id: "b", type: "function", function: { name: "device", arguments: "{}" } },
        ],
      },
      { role: "tool", tool_call_id: "a", content: "12 %" },
      { role: "tool", tool_call_id: "b", content: "error" },
      { role: "assistant", content: "12 %" },
    ]);
  });

  it("gives the reasoning of a tool round back to those who want it", async () => {
    for (const model of ["deepseek/reasoner", "mimo/v2", "moonshot/kimi"]) {
      const { body } = await requestOf({ messages, entry: { model } });
      assert.equal(body.messages[2]?.reasoning_content, "hm");
    }
  });

  it("has a thought before each call for those who refuse calls without one", async () => {
    const forgotten = messages.map((message) => Object.assign({}, message, { reasoning: "" }));
    const entry = { model: "deepseek/reasoner" };
    const { body } = await requestOf({ messages: forgotten, entry });
    assert.match(body.messages[2]?.reasoning_content ?? "", /device.*cpu/);
    assert.equal(body.messages.filter((message) => "reasoning_content" in message).length, 1);
  });

  it("is made again without tools, and so from then on, where the model takes none", async () => {
    const tools = [{ name: "device", description: "facts", parameters: { type: "object" } }];
    for (const words of ["gemma:2b does not support tools", '"auto" tool choice requires --x']) {
      server.script(refuses(400, { error: { message: words } }));
      const model = openModel({ entry: { api_base: server.base } });
      const before = server.requests.length;
      for (const text of ["yes", "yes"]) {
        assert.equal((await collect(model({ ...questionOf(), tools }))).text, text);
      }
      const bodies = server.requests.slice(before).map(({ body }) => body);
      assert.deepEqual(
        bodies.map((body) => body.tools?.length),
        [1, undefined, undefined],
      );
      assert.match(bodies[1]?.messages[0]?.content ?? "", /no tools/);
    }
  });
});
