import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { Failure } from "../../../src/base/failure.ts";
import {
  agentConfig,
  collect,
  modelEntry,
  modelFailureOf,
  questionOf,
} from "../../support/agent-config.ts";
import { leastTime } from "../../support/cpu-time.ts";
import { createMemoryLog } from "../../support/memory-log.ts";
import {
  answers,
  answersWhole,
  beginStream,
  event,
  hangs,
  resets,
  sends,
  startModelServer,
  streamEvents,
  streams,
  textEvent,
} from "../../support/model-server.ts";
import type { Behaviour, ModelServer } from "../../support/model-server.ts";
import { openModel } from "../../support/model.ts";

const NEVER = new AbortController().signal;
const CONTENT = 'Grüße, 世界 👋🏽! “Quoted”\n\tand\r\nlines, \u2028 and \\n "escapes".';

let server: ModelServer;
beforeEach(async () => {
  server = await startModelServer();
});
afterEach(() => server.close());

/** Only what must be over has little time: a busy machine may be late. */
function askWithin(seconds: number, behaviour: Behaviour) {
  server.script(behaviour);
  const entry = { api_base: server.base, request_timeout: seconds };
  const model = openModel({ entry, defaults: { max_llm_retries: 0 } });
  return collect(model(questionOf()));
}

const ask = (behaviour: Behaviour) => askWithin(30, behaviour);
const failureOf = (behaviour: Behaviour): Promise<Failure> => modelFailureOf(ask(behaviour));

describe("a streamed answer", () => {
  it("comes in pieces as they are sent, and its usage with the last chunk", async () => {
    const { pieces, result } = await ask(answers("one two three"));
    assert.deepEqual(pieces, ["one ", "two ", "three"]);
    assert.equal(result.text, "one two three");
    assert.deepEqual(result.usage, { inputTokens: 11, outputTokens: 3 });
    assert.equal(result.truncated, false);
  });

  it("has a usage that can be counted, whatever the server says it is", async () => {
    const usage = { prompt_tokens: 1e300, completion_tokens: -7 };
    const { result } = await ask(streams({ text: "x", usage }));
    assert.deepEqual(result.usage, { inputTokens: 1_000_000_000, outputTokens: 0 });
  });

  const counts = { prompt_tokens: 2006, completion_tokens: 300, total_tokens: 2306 };
  const cached: readonly [of: string, fields: Record<string, unknown>][] = [
    ["OpenAI", { prompt_tokens_details: { cached_tokens: 1920, audio_tokens: 0 } }],
    ["DeepSeek", { prompt_cache_hit_tokens: 1920, prompt_cache_miss_tokens: 86 }],
    ["Moonshot", { cached_tokens: 1920 }],
  ];
  for (const [of, fields] of cached) {
    it(`tells what the cache of ${of} served`, async () => {
      const { result } = await ask(streams({ text: "x", usage: { ...counts, ...fields } }));
      const expected = { inputTokens: 2006, outputTokens: 300, cachedTokens: 1920 };
      assert.deepEqual(result.usage, expected);
    });
  }

  it("tells what a cache behind OpenRouter took, and never more than was read", async () => {
    const details = { cached_tokens: 1000, cache_write_tokens: 100, audio_tokens: 0 };
    const usage = { ...counts, prompt_tokens_details: details };
    const { result } = await ask(streams({ text: "x", usage }));
    const { cachedTokens, cacheWriteTokens } = result.usage ?? {};
    assert.deepEqual([cachedTokens, cacheWriteTokens], [1000, 100]);
    const odd = { ...usage, prompt_tokens: 900 };
    const { result: bounded } = await ask(streams({ text: "x", usage: odd }));
    assert.deepEqual(bounded.usage, { inputTokens: 900, outputTokens: 300, cachedTokens: 900 });
  });

  it("is there word by word while the server still writes", async () => {
    const [head = "", first = "", ...rest] = streamEvents({ text: "one two" });
    const read = Promise.withResolvers<void>();
    server.script(async (_, response) => {
      beginStream(response);
      response.write(head + first);
      await read.promise;
      response.end(rest.join(""));
    });
    const model = openModel({ entry: { api_base: server.base } });
    const arrived: string[] = [];
    for await (const piece of model(questionOf())) {
      arrived.push(piece);
      read.resolve();
    }
    assert.deepEqual(arrived, ["one ", "two"]);
  });

  for (const cut of [1, 2, 3, 7, 64]) {
    for (const newline of ["\n", "\r\n"] as const) {
      it(`is whole in cuts of ${cut} bytes with ${JSON.stringify(newline)} and comments`, async () => {
        const { text } = await ask(streams({ text: CONTENT, cut, newline, comments: true }));
        assert.equal(text, CONTENT);
      });
    }
  }

  it("is whole without [DONE] where the reason of its end came", async () => {
    assert.equal((await ask(streams({ text: "whole", done: false }))).text, "whole");
  });

  it("is whole without a reason of its end where [DONE] came", async () => {
    assert.equal((await ask(streams({ text: "whole", finish: null }))).text, "whole");
  });

  it("is whole without the last blank line", async () => {
    const body = streamEvents({ text: "whole" }).join("").trimEnd();
    assert.equal((await ask(sends(body))).text, "whole");
  });

  it("is whole with a byte order mark, event names and ids, and no blank after the colon", async () => {
    const body = streamEvents({ text: "whole" })
      .join("")
      .replaceAll("data: {", "event: message\nid: 7\nretry: 10\ndata:{");
    assert.equal((await ask(sends(`\ufeff${body}`))).text, "whole");
  });

  it("is read from events of any content type", async () => {
    const body = streamEvents({ text: "whole" }).join("");
    for (const type of ["text/plain", "application/json", "application/octet-stream"]) {
      assert.equal((await ask(sends(body, { type }))).text, "whole");
    }
  });

  it("ends soon after its reason where the server keeps the connection open", async () => {
    const body = streamEvents({ text: "whole", done: false }).join("");
    const took = await leastTime(async () => {
      assert.equal((await ask(hangs(`${body}data: [DONE]\n\n`))).text, "whole");
    });
    assert.ok(took < 400, `${took} ms`);
  });

  it("is whole after its reason, whatever becomes of the connection then", async () => {
    const body = streamEvents({ text: "whole", done: false }).join("");
    for (const end of [hangs(body), resets(body)]) {
      assert.equal((await askWithin(2, end)).text, "whole");
    }
  });

  it("is said to be cut where the limit of tokens ended it", async () => {
    const { text, result } = await ask(streams({ text: "half an", finish: "length" }));
    assert.deepEqual([text, result.truncated], ["half an", true]);
  });

  it("leaves the connection usable: two questions need one", async () => {
    await ask(answers("one"));
    await ask(answers("two"));
    assert.equal(new Set(server.requests.map(({ port }) => port)).size, 1);
  });
});

describe("an answer that is no stream", () => {
  it("is taken whole", async () => {
    const { pieces, result } = await ask(answersWhole({ content: CONTENT }));
    assert.deepEqual(pieces, [CONTENT]);
    assert.deepEqual(result.usage, { inputTokens: 5, outputTokens: 7 });
  });

  it("may hold tool calls, with arguments as an object", async () => {
    const call = { id: "a", function: { name: "device", arguments: { facts: ["cpu"] } } };
    const { result } = await ask(answersWhole({ content: null, tool_calls: [call] }));
    assert.deepEqual(result.toolCalls, [
      { id: "a", name: "device", arguments: '{"facts":["cpu"]}' },
    ]);
  });

  it("is broken off where its JSON is", async () => {
    assert.match(
      (await failureOf(sends('{"choices":[{"message":{"content":"ha'))).message,
      /broke off/,
    );
  });

  it("may be an error, in spite of its status", async () => {
    const { why } = await failureOf(sends('{"error":{"message":"no such model","code":404}}'));
    assert.match(why ?? "", /no such model/);
  });
});

describe("thinking", () => {
  it("in a field of its own is no text, and is kept for the provider", async () => {
    const thought = event({ choices: [{ delta: { reasoning_content: "let me " } }] });
    const more = event({ choices: [{ delta: { reasoning: "see" } }] });
    const { text, result } = await ask(
      sends(thought + more + streamEvents({ text: "42" }).join("")),
    );
    assert.equal(text, "42");
    assert.equal(result.reasoning, "let me see");
  });

  for (const tag of ["think", "thinking"]) {
    it(`in <${tag}> at the beginning is no text, in any cuts`, async () => {
      const written = `\n<${tag}>a < b </thin > so\n</${tag}>\n\nThe answer has <${tag}> in it.`;
      const behaviour = streams({ text: written.split("") });
      assert.equal((await ask(behaviour)).text, `The answer has <${tag}> in it.`);
    });
  }

  it("that only looks so is text", async () => {
    for (const written of ["<thin", "  <th", "<thank you>", " \n", "a<think>b</think>"]) {
      assert.equal((await ask(streams({ text: written.split("") }))).text, written);
    }
  });

  it("in parts of a list of contents is no text", async () => {
    const content = [
      { type: "thinking", thinking: [{ type: "text", text: "hm" }] },
      { type: "text", text: "hello" },
    ];
    const { text } = await ask(
      sends(event({ choices: [{ delta: { content } }] }) + event("[DONE]")),
    );
    assert.equal(text, "hello");
  });
});

const half = { index: 0, function: { name: "device", arguments: "x".repeat(600_000) } };
const longCall = event({ choices: [{ delta: { tool_calls: [half] } }] });

describe("a stream that is no answer", () => {
  const cases: Record<string, [Behaviour, RegExp]> = {
    "ends without [DONE] and without a reason": [
      streams({ text: "ha", finish: null, usage: null, done: false }),
      /broke off/,
    ],
    "has no body": [sends(""), /broke off/],
    "has a blank body": [sends("\n\n \n"), /broke off/],
    "is an HTML page": [
      sends("<!doctype html><p>Sign in</p>", { type: "text/html" }),
      /invalid answer/,
    ],
    "holds what is no JSON": [sends("data: oops\n\ndata: [DONE]\n\n"), /invalid answer/],
    "has an event without end": [sends(`data: "${"x".repeat(1_200_000)}`), /longer/],
    "ends in a line of nothing": [
      sends(`data: {"a":1}\n\n${"x".repeat(1_200_000)}\ndata: {"a`, { cut: 100_000 }),
      /broke off/,
    ],
    "is longer than 1 MiB": [streams({ text: Array(12).fill("x".repeat(100_000)) }), /longer/],
    "has too long arguments": [sends(longCall + longCall), /longer/],
    "is a document without end": [sends(`{"x":"${"x".repeat(5_000_000)}`), /longer/],
    "was filtered": [streams({ text: "I", finish: "content_filter" }), /withheld the answer/],
    "ends in an error": [streams({ text: "I", finish: "error" }), /overloaded/],
    "has 65 tool calls": [
      streams({
        toolCalls: Array.from({ length: 65 }, () => ({ name: "device", arguments: "{}" })),
      }),
      /longer/,
    ],
  };
  for (const [name, [behaviour, message]] of Object.entries(cases)) {
    it(`${name} is a failure`, async () => {
      assert.match((await failureOf(behaviour)).message, message);
    });
  }

  const silent: Record<string, Behaviour> = {
    "before its end": hangs(textEvent("ha")),
    "after its headers": hangs(""),
    "before its headers": hangs(),
  };
  for (const [when, behaviour] of Object.entries(silent)) {
    it(`falls silent ${when} is a failure`, async () => {
      const { message } = await modelFailureOf(askWithin(0.5, behaviour));
      assert.match(message, /in time/);
    });
  }

  const errors: Record<string, [string, RegExp]> = {
    "with a code": [event({ error: { message: "slow down", code: 429 } }), /overloaded/],
    "with a type": [event({ error: { message: "x", type: "rate_limit_exceeded" } }), /overloaded/],
    "of the request": [event({ error: { message: "x", type: "invalid_request" } }), /refused/],
    "as a text": [event({ error: "out of memory" }), /overloaded/],
    "as vLLM sends it": [event({ object: "error", message: "bad", code: 400 }), /refused/],
    "under its own event name": [
      `event: error\n${event({ error: { message: "x" } })}`,
      /overloaded/,
    ],
  };
  for (const [name, [body, message]] of Object.entries(errors)) {
    it(`an error inside the stream ${name} is a failure`, async () => {
      assert.match((await failureOf(sends(textEvent("ha") + body))).message, message);
    });
  }
});

it("an answer cut at its limit is a warning in the log", async () => {
  const log = createMemoryLog();
  server.script(streams({ text: "half", finish: "length" }));
  const { openAgent } = await import("../../../src/agent/agent.ts");
  const config = agentConfig([modelEntry({ api_base: server.base })]);
  const { answer } = await openAgent({ config, log });
  const { text } = await collect(
    answer({ history: async () => [], text: "?", client: "c", signal: NEVER }),
  );
  assert.equal(text, "half");
  assert.equal(log.lines.filter(({ level }) => level === "warn").length, 1);
});
