import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { FULL_ACCESS } from "../../../src/agent/access/permissions.ts";
import type { Message } from "../../../src/agent/contract.ts";
import type { Tool } from "../../../src/agent/tools/contract.ts";
import { createTurns } from "../../../src/agent/turn/turn.ts";
import { SILENT } from "../../../src/base/log.ts";
import type { ModelEntry } from "../../../src/config/contract.ts";
import { collect, modelEntry, modelFailureOf } from "../../support/agent-config.ts";
import { frameOf } from "../../support/frames.ts";
import { openTestAgent } from "../../support/model-agent.ts";
import {
  answers,
  calls,
  event,
  refuses,
  sends,
  startModelServer,
  textEvent,
} from "../../support/model-server.ts";
import type { Behaviour, ModelServer } from "../../support/model-server.ts";
import { openModel } from "../../support/model.ts";

let server: ModelServer;
beforeEach(async () => {
  server = await startModelServer();
});
afterEach(() => server.close());

const signal = new AbortController().signal;
const TOO_LONG = { error: { code: "context_length_exceeded", message: "too long" } };

/** Reads so many characters and refuses what is longer. */
function reads(most: number, otherwise: Behaviour): Behaviour {
  return (request, response) => {
    const said = request.body.messages.slice(1).map(({ content }) => content ?? "");
    const isTooLong = said.join("").length > most;
    return (isTooLong ? refuses(400, TOO_LONG) : otherwise)(request, response);
  };
}

const log: Tool = {
  name: "log",
  description: "reads a log",
  parameters: { type: "object" },
  run: async () => "line\n".repeat(1900),
};

function createTestTurns() {
  const model = openModel({ entry: { api_base: server.base } });
  return createTurns({
    prepareTurn: async () => ({
      model,
      tools: [log],
      permissions: FULL_ACCESS,
      system: "be short",
    }),
    max_tool_iterations: 5,
    log: SILENT,
  });
}

function ask(history: readonly Message[] = []) {
  return collect(
    createTestTurns()({
      text: "What is wrong?",
      history: async () => history,
      client: "c",
      signal,
    }),
  );
}

function historyOf(turns: number, times: number, word = "x"): Message[] {
  return Array.from({ length: turns }, (_, index) => index).flatMap((index): Message[] => [
    { role: "user", text: `question ${index}` },
    { role: "assistant", text: word.repeat(times) },
  ]);
}

describe("a conversation that is too long for the model", () => {
  it("is asked with less and less of its history until there is room", async () => {
    server.otherwise(reads(3000, answers("Nothing.")));
    const { text } = await ask(historyOf(16, 1000));
    assert.equal(text, "Nothing.");
    assert.equal(server.requests.length, 4);
    assert.equal(server.requests.at(-1)?.body.messages.at(-3)?.content, "question 15");
  });

  it("because of what tools just said, is asked with less of that", async () => {
    server.script(calls(...Array.from({ length: 3 }, () => ({ name: "log", arguments: "{}" }))));
    server.otherwise(reads(10_000, answers("A lot.")));
    const { text, result } = await ask(historyOf(1, 1000));
    assert.equal(text, "A lot.");
    const shown = server.requests.at(-1)?.body.messages ?? [];
    const results = shown.filter(({ role }) => role === "tool").map(({ content }) => content ?? "");
    assert.equal(results.length, 3);
    for (const each of results) {
      assert.match(frameOf(each).text, /^line\n/);
      assert.match(each, /cut here/);
    }
    // The history was not what was too long; and it remembers what the model read.
    assert.ok(shown.some(({ content }) => content === "question 0"));
    const kept = result.messages.filter(({ role }) => role === "tool");
    assert.deepEqual(
      kept.map((message) => message.text),
      results.map((each) => frameOf(each).text),
    );
  });

  it("by the question alone is a failure, and is not asked again", async () => {
    server.otherwise(refuses(400, TOO_LONG));
    const { message } = await modelFailureOf(ask());
    assert.match(message, /longer than the model's context window/);
    assert.equal(server.requests.length, 1);
  });

  it("ends in a failure soon, however long it is", async () => {
    server.otherwise(refuses(400, TOO_LONG));
    await modelFailureOf(ask(historyOf(500, 10)));
    assert.equal(server.requests.length, 5);
  });

  it("as the model finds out in the middle of its answer, is not answered twice", async () => {
    server.script(sends(textEvent("It is ") + event(TOO_LONG)), answers("It is the disk."));
    const heard: string[] = [];
    const turn = createTestTurns()({
      text: "?",
      history: async () => historyOf(4, 9),
      client: "c",
      signal,
    });
    const asked = (async () => {
      for await (const piece of turn) heard.push(piece);
    })();
    await modelFailureOf(asked);
    assert.deepEqual(heard, ["It is "]);
    assert.equal(server.requests.length, 1);
  });
});

const large = (): ModelEntry => modelEntry({ model_name: "large", api_base: server.base });
const small = (): ModelEntry =>
  modelEntry({ model_name: "small", model: "openai/small", api_base: server.base });
const long = (): Message[] => historyOf(8, 500, "the log ");

describe("the window of a model", () => {
  it("is learned from a conversation that was too long, and is that model's own", async () => {
    server.script(refuses(400, TOO_LONG), answers("Yes."));
    const { agent, models } = openTestAgent([large(), small()], { context_window: 100_000 });
    await collect(agent.answer({ text: "?", history: async () => long(), client: "c", signal }));
    assert.ok(
      models.window().tokens > 5000 && models.window().tokens < 13_000,
      String(models.window().tokens),
    );
    models.switchTo("small");
    assert.equal(models.window().tokens, 100_000);
    await agent.close();
  });

  it("is not learned from a smaller one that stands in", async () => {
    server.script(refuses(503), refuses(400, TOO_LONG), answers("Yes."));
    const { agent, models } = openTestAgent([large(), small()], {
      context_window: 100_000,
      model_fallbacks: ["small"],
    });
    await collect(agent.answer({ text: "?", history: async () => long(), client: "c", signal }));
    assert.deepEqual(
      server.requests.map(({ body }) => body.model),
      ["gpt-test", "small", "small"],
    );
    assert.equal(models.window().tokens, 100_000);
    await agent.close();
  });

  it("is never believed to be so small that a summary would have no room", async () => {
    server.script(refuses(400, TOO_LONG));
    const { agent, models } = openTestAgent([large()], { context_window: 100_000 });
    const asked = collect(
      agent.answer({ text: "?", history: async () => [], client: "c", signal }),
    );
    const { message, remedy } = await modelFailureOf(asked);
    // What was learned is a bound, and no number of the server.
    assert.match(message, /^the prompt and the tools are longer than the model.s context window$/);
    assert.match(remedy ?? "", /OLLAMA_CONTEXT_LENGTH.*AGENT\.md/);
    assert.equal(models.window().tokens, 2048);
    await agent.close();
  });

  it("is not small because short answers are configured", async () => {
    const { agent, models } = openTestAgent([large()], { max_tokens: 500 });
    assert.deepEqual(models.window(), { tokens: 32_768, source: "guess" });
    await agent.close();
  });

  it("is as configured until something smaller is known", async () => {
    const { agent, models } = openTestAgent([large()], { context_window: 8000 });
    assert.deepEqual(models.window(), { tokens: 8000, source: "configured" });
    await agent.close();
  });
});
