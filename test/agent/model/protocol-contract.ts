import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import * as fc from "fast-check";
import type { ModelCall, Reply, PromptMessage } from "../../../src/agent/model/contract.ts";
import { isOverflow } from "../../../src/agent/model/errors.ts";
import { Failure } from "../../../src/base/failure.ts";
import { collect, modelFailureOf, questionOf } from "../../support/agent-config.ts";
import { codePoint } from "../../support/code-point.ts";
import { bytesOf, sendsAll } from "../../support/dialects.ts";
import type { ScriptedAnswer, TestDialect } from "../../support/dialects.ts";
import { hangs, refuses, resets, sends, startModelServer } from "../../support/model-server.ts";
import type { Behaviour, ModelServer } from "../../support/model-server.ts";
import type { EntryChanges } from "../../support/model.ts";
import { openModel } from "../../support/model.ts";
import { runs } from "../../support/runs.ts";

const CONTENT = 'Grüße, 世界 👋🏽! “Quoted”\n\tand\r\nlines, \u2028 and \\n "escapes".';
const KEY = "sk-test-key-0123456789";
const TOOL = {
  name: "device",
  description: "facts",
  parameters: {
    type: "object",
    properties: { facts: { type: "array", items: { type: "string" } } },
  },
};

/** What every protocol must do alike, whatever its provider calls it. */
export function describeProtocol(dialect: TestDialect): void {
  describe(`the protocol ${dialect.name}`, () => {
    let server: ModelServer;
    before(async () => {
      server = await startModelServer();
    });
    after(() => server.close());

    const answers = answersIn.bind(undefined, dialect);
    const unfinished = bytesOf(dialect, dialect.events({ text: "ha", finish: null }));

    interface Setup {
      readonly entry?: EntryChanges;
      readonly question?: Partial<ModelCall>;
      readonly retries?: number;
    }
    function modelOf({ entry = {}, retries = 0 }: Setup) {
      const full = { api_base: server.base, request_timeout: 30, ...dialect.entry, ...entry };
      return openModel({ entry: full, defaults: { max_llm_retries: retries } });
    }
    async function ask(behaviour: Behaviour | readonly Behaviour[], setup: Setup = {}) {
      server.script(...[behaviour].flat());
      const asked = { ...questionOf(), ...setup.question };
      return await collect(modelOf(setup)(asked));
    }
    const failureOf = (behaviour: Behaviour | readonly Behaviour[], setup: Setup = {}) =>
      modelFailureOf(ask(behaviour, setup));

    it("asks with its key in its own header, and says who asks", async () => {
      await ask(answers({ text: "yes" }));
      const { method, path, headers } = server.requests.at(-1) ?? assert.fail();
      assert.deepEqual([method, path], ["POST", dialect.path]);
      assert.equal(dialect.keyOf(headers), KEY);
      assert.match(headers["user-agent"] ?? "", /^PicoClaw\//);
    });

    it("says what the system prompt and the user say, unchanged", async () => {
      const messages: PromptMessage[] = [{ role: "user", text: CONTENT }];
      await ask(answers({ text: "yes" }), { question: { system: CONTENT, messages } });
      const request = server.requests.at(-1) ?? assert.fail();
      assert.equal(dialect.systemOf(request), CONTENT);
      assert.deepEqual(dialect.heard(request), messages);
    });

    it("lets extra_body, custom_headers and user_agent win", async () => {
      const entry = {
        extra_body: { top_k: 7, model: "another" },
        custom_headers: {
          "X-Team": "edge",
          "X-Api-Key": "own",
          Authorization: "own",
          "Api-Key": "own",
          "X-Goog-Api-Key": "own",
        },
        user_agent: "mine/1",
      };
      await ask(answers({ text: "yes" }), { entry });
      const { body, headers } = server.requests.at(-1) ?? assert.fail();
      assert.deepEqual([body["top_k"], body.model], [7, "another"]);
      assert.deepEqual(
        [headers["x-team"], headers["user-agent"], dialect.keyOf(headers)],
        ["edge", "mine/1", "own"],
      );
    });

    for (const cut of [1, 2, 3, 7, 64]) {
      for (const newline of ["\n", "\r\n"] as const) {
        it(`reads an answer in cuts of ${cut} bytes with ${JSON.stringify(newline)} and pings`, async () => {
          const { text } = await ask(answers({ text: CONTENT, newline, comments: true }, { cut }));
          assert.equal(text, CONTENT);
        });
      }
    }

    it("reads any text in any deltas and any cuts of bytes", async () => {
      const words = fc.array(fc.string({ unit: codePoint }), { maxLength: 8 });
      const cuts = fc.array(fc.nat(), { maxLength: 40 });
      await fc.assert(
        fc.asyncProperty(words, cuts, fc.boolean(), async (text, at, comments) => {
          fc.pre(!/^\s*</.test(text.join("")));
          const sent = bytesOf(dialect, dialect.events({ text, comments }));
          const headers = { "content-type": dialect.binary ?? "text/event-stream" };
          const local = async () => new Response(bodyOf(sent, at), { headers });
          const entry = { api_base: "http://model.test/v1", ...dialect.entry };
          const model = openModel({ entry, fetch: local });
          const { text: got, pieces, result } = await collect(model(questionOf()));
          assert.deepEqual([got, result.text], [text.join(""), text.join("")]);
          assert.ok(pieces.every((piece) => piece !== ""));
        }),
        { numRuns: runs(60) },
      );
    });

    it("yields the words as they come, and the usage at the end", async () => {
      const { pieces, result } = await ask(answers({ text: "one two three" }));
      assert.deepEqual(pieces, ["one ", "two ", "three"]);
      assert.deepEqual([result.usage, result.truncated], [dialect.usage, false]);
      assert.deepEqual(result.toolCalls, []);
    });

    it("takes an answer that is not streamed whole", async () => {
      const toolCalls = [{ id: "call_a", name: "device", arguments: '{"facts":["cpu"]}' }];
      const whole = dialect.whole({ text: CONTENT, toolCalls, thought: "hm" });
      const { text, result } = await ask(
        sends(JSON.stringify(whole, null, 2), { type: "application/json" }),
      );
      assert.equal(text, CONTENT);
      assert.deepEqual(result.toolCalls, toolCalls);
      assert.deepEqual(result.usage, dialect.usage);
    });

    if (dialect.marksEnd) {
      it("ends with its last event where the server keeps the connection open", async () => {
        const body = bytesOf(dialect, dialect.events({ text: "whole" }));
        const startedAt = performance.now();
        assert.equal(
          (await ask(hangs(body, dialect.binary), { entry: { request_timeout: 9 } })).text,
          "whole",
        );
        assert.ok(performance.now() - startedAt < 3000);
      });
    }

    it("needs one connection for two questions", async () => {
      const first = server.requests.length;
      for (const text of ["one", "two"]) await ask(answers({ text }));
      assert.equal(new Set(server.requests.slice(first).map(({ port }) => port)).size, 1);
    });

    describe("with tools", () => {
      const toolCalls = [
        { id: "call_a", name: "device", arguments: '{"facts":["cpu","Wärme"]}' },
        { id: "call_b", name: "device", arguments: "{}" },
      ];
      const asks = answers({ text: "I look. ", thought: "let me see", toolCalls }, { cut: 5 });

      it("hears several calls at once, and no thought as text", async () => {
        const { text, result } = await ask(asks, { question: { tools: [TOOL] } });
        assert.equal(text, "I look. ");
        assert.deepEqual(
          result.toolCalls.map(({ id, name, arguments: words }) => [
            id,
            name,
            JSON.parse(words || "{}"),
          ]),
          toolCalls.map(({ id, name, arguments: words }) => [id, name, JSON.parse(words)]),
        );
      });

      it("tells the results, and gives the provider back what it needs of its thinking", async () => {
        const { result } = await ask(asks, { question: { tools: [TOOL] } });
        const messages = roundOf(result);
        await ask(answers({ text: "done" }), { question: { tools: [TOOL], messages } });
        assert.deepEqual(dialect.heard(server.requests.at(-1) ?? assert.fail()), [
          { role: "user", text: "hello" },
          {
            role: "assistant",
            text: "I look. ",
            calls: [
              { name: "device", arguments: { facts: ["cpu", "Wärme"] } },
              { name: "device", arguments: {} },
            ],
            ...(dialect.signs ? { signed: true } : {}),
          },
          { role: "tool", text: "result of call_a" },
          { role: "tool", text: "result of call_b" },
        ]);
      });

      it("keeps the thinking of another model to itself", async () => {
        const { result } = await ask(asks, { question: { tools: [TOOL] } });
        const model = `${dialect.entry.model ?? ""}-other`;
        const question = { tools: [TOOL], messages: roundOf(result) };
        await ask(answers({ text: "done" }), { question, entry: { model } });
        const request = server.requests.at(-1) ?? assert.fail();
        assert.ok(dialect.heard(request).every(({ signed }) => signed !== true));
        assert.doesNotMatch(JSON.stringify(request.body), /let me see/);
      });

      it("makes ids of its own where the provider gives none, or the same twice", async () => {
        const twins = [
          { id: "", name: "device", arguments: "{}" },
          { id: "x", name: "device", arguments: "{}" },
          { id: "x", name: "device", arguments: "{}", index: 7 },
        ];
        const { result } = await ask(answers({ toolCalls: twins }));
        const ids = new Set(result.toolCalls.map(({ id }) => id));
        assert.ok(!ids.has("") && ids.size === result.toolCalls.length);
      });

      it("takes no more than 64 calls, and no boundless arguments", async () => {
        const many = Array.from({ length: 65 }, (_, index) => ({
          id: `c${index}`,
          name: "device",
          arguments: "{}",
        }));
        const half = { name: "device", arguments: JSON.stringify({ x: "x".repeat(600_000) }) };
        for (const calls of [
          many,
          [
            { id: "a", ...half },
            { id: "b", ...half },
          ],
        ]) {
          const whole = JSON.stringify(dialect.whole({ toolCalls: calls }));
          assert.match((await failureOf(sends(whole))).message, /longer/);
        }
      });
    });

    describe("when an answer is not what it should be", () => {
      it("says that it was cut at the limit of tokens", async () => {
        const { text, result } = await ask(answers({ text: "half an", finish: "length" }));
        assert.deepEqual([text, result.truncated], ["half an", true]);
      });

      const bad: Record<string, [() => Behaviour, RegExp]> = {
        "was held back": [() => answers({ text: "I", finish: "filter" }), /withheld the answer/],
        "ends early": [() => answers({ text: "ha", finish: null }), /broke off/],
        "is cut off": [() => resets(unfinished, dialect.binary), /broke off/],
        "has no body": [() => sends(""), /broke off/],
        "is a page": [() => sends("<!doctype html><p>Sign in</p>"), /invalid answer/],
        "is no JSON": [() => sends("data: oops\n\n"), /invalid answer/],
        "is half a document": [
          () => sends(JSON.stringify(dialect.whole({ text: CONTENT })).slice(0, -20)),
          /broke off/,
        ],
        "is longer than 1 MiB": [
          () => answers({ text: Array(12).fill("x".repeat(100_000)) }),
          /longer/,
        ],
        "holds an error": [
          () =>
            sendsAll(dialect, [
              ...dialect.events({ text: "ha", finish: null }),
              dialect.errorEvent,
            ]),
          /overloaded/,
        ],
        "is an error": [() => sends(JSON.stringify(dialect.error(400, "bad"))), /refused/],
        "falls silent": [() => hangs(unfinished, dialect.binary), /in time/],
        "never begins": [() => hangs(), /in time/],
      };
      for (const [name, [behaviour, sentence]] of Object.entries(bad)) {
        it(`fails where it ${name}`, async () => {
          // Only what must be over has little time: a busy machine may be late.
          const seconds = sentence.source === "in time" ? 0.5 : 30;
          const setup = { entry: { request_timeout: seconds } };
          const { message, why = "" } = await failureOf(behaviour(), setup);
          assert.match(message, sentence);
          assert.ok(!why.includes(KEY) && why.length < 400);
        });
      }

      it("is bounded where it has no end", async () => {
        const piece = new TextEncoder().encode(`: ${"x".repeat(1024 * 1024)}\n`);
        const endless = () =>
          new ReadableStream<Uint8Array>({ pull: (body) => body.enqueue(piece) });
        for (const [status, sentence] of [
          [200, /longer/],
          [400, /refused/],
        ] as const) {
          const local = async () => new Response(endless(), { status });
          const entry = { api_base: "http://model.test/v1", ...dialect.entry };
          const model = openModel({ entry, fetch: local });
          assert.match((await modelFailureOf(collect(model(questionOf())))).message, sentence);
        }
      });

      it("is whole after its reason, whatever becomes of the connection then", async () => {
        const body = bytesOf(dialect, dialect.events({ text: "whole" }));
        const setup = { entry: { request_timeout: 2 } };
        for (const end of [hangs(body, dialect.binary), resets(body, dialect.binary)])
          assert.equal((await ask(end, setup)).text, "whole");
      });
    });

    describe("when the provider refuses", () => {
      const sentences: Record<number, RegExp> = {
        400: /refused the question/,
        401: /refused this agent's key/,
        402: /payment/,
        404: /does not know this model/,
        408: /overloaded/,
        429: /overloaded/,
        500: /overloaded/,
        529: /overloaded/,
      };
      for (const [written, sentence] of Object.entries(sentences)) {
        const status = Number(written);
        it(`HTTP ${status} is said to the operator without the key and to others without anything`, async () => {
          const body = dialect.error(status, `what ${KEY} got from ${server.base}`);
          const { message, why = "" } = await failureOf(refuses(status, body));
          assert.match(message, sentence);
          assert.match(why, new RegExp(`HTTP ${status}: what \\[FILTERED\\] got`));
        });
      }

      it("hands on how long the provider wants to rest", async () => {
        const body = dialect.error(429, "slow down");
        const { retryAfter } = await failureOf(refuses(429, body, { "retry-after": "3600" }));
        assert.equal(retryAfter, 3600);
      });

      it("asks again after what passes", async () => {
        const tries = [
          refuses(529, dialect.error(529, "later")),
          sendsAll(dialect, [dialect.errorEvent]),
          answers({ text: "at last" }),
        ];
        assert.equal((await ask(tries, { retries: 2 })).text, "at last");
      });

      it("knows a conversation that is too long, and never asks it again", async () => {
        const { status, message } = dialect.overflow;
        const body = dialect.error(status, message);
        for (const behaviour of [
          refuses(status, body),
          sends(`data: ${JSON.stringify(body)}\n\n`),
        ]) {
          const first = server.requests.length;
          const failure = await failureOf(behaviour, {
            retries: 2,
            entry: { api_keys: ["key-one", "key-two"] },
          });
          assert.ok(isOverflow(failure));
          assert.match(failure.message, /longer than the model's context window/);
          assert.equal(server.requests.length, first + 1);
        }
      });
    });

    describe("an abort", () => {
      const reason = new Failure("cancelled", "stopped");
      const moments: Record<string, () => Behaviour> = {
        "before the headers": () => hangs(),
        "after the headers": () => hangs(""),
        "in the middle": () => hangs(unfinished, dialect.binary),
      };
      for (const [moment, behaviour] of Object.entries(moments)) {
        it(`${moment} ends the question with its reason, and the request too`, async () => {
          const controller = new AbortController();
          const index = server.requests.length;
          const setup = { entry: { request_timeout: 30 }, question: { signal: controller.signal } };
          const answer = ask(behaviour(), setup);
          const { gone } = await server.received(index);
          setTimeout(() => controller.abort(reason), 30);
          await assert.rejects(answer, (thrown) => thrown === reason);
          if (!gone.aborted)
            await new Promise((resolve) => gone.addEventListener("abort", resolve));
        });
      }
    });
  });
}

function answersIn(dialect: TestDialect, answer: ScriptedAnswer, options = {}): Behaviour {
  return sendsAll(dialect, dialect.events(answer), options);
}

/** The next question of a turn: the calls with their results. */
function roundOf({ text, toolCalls, reasoning }: Reply): PromptMessage[] {
  return [
    { role: "user", text: "hello" },
    { role: "assistant", text, toolCalls, ...(reasoning === undefined ? {} : { reasoning }) },
    ...toolCalls.map(({ id, name }): PromptMessage => ({
      role: "tool",
      callId: id,
      name,
      text: `result of ${id}`,
    })),
  ];
}

/** A body that arrives in exactly these pieces. */
function bodyOf(bytes: Uint8Array, cuts: readonly number[]): ReadableStream<Uint8Array> {
  const ends = [...new Set(cuts.map((cut) => cut % bytes.length))].toSorted((a, b) => a - b);
  return new ReadableStream({
    start(controller) {
      [0, ...ends].forEach((start, index) => controller.enqueue(bytes.slice(start, ends[index])));
      controller.close();
    },
  });
}
